/* cellbox context ls|rm|restart|interrupt */
#include <string.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/table.h"

static void print_contexts(const json_t *contexts)
{
    struct table t = {.columns = 6};
    size_t i;
    json_t *c;
    table_row(&t, "ID", "LANGUAGE", "STATE", "RUNS", "QUEUED", "AGE");
    json_array_foreach (contexts, i, c) {
        CLEANUP_FREE char *age = duration_text(age_ms(json_object_get(c, "createdAt")));
        CLEANUP_FREE char *runs = text_format(
            "%lld", (long long)json_integer_value(json_object_get(c, "executionCount")));
        CLEANUP_FREE char *queued =
            text_format("%lld", (long long)json_integer_value(json_object_get(c, "queued")));
        table_row(&t, json_text(c, "id"), json_text(c, "language"), json_text(c, "state"), runs,
                  queued, age);
    }
    table_print(&t);
}

static int list(const struct server *s, const char *box, bool json)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/contexts", box);
    int r = http_do(s, "GET", path, NULL, &reply);
    const json_t *contexts = json_object_get(reply.json, "contexts");
    if (r == 0 && json)
        print_json(contexts);
    else if (r == 0)
        print_contexts(contexts);
    return r;
}

/* One context, or all of the sandbox when none is named. */
static int act(const struct server *s, const char *box, const char *id, const char *method,
               const char *verb)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *base = http_path("/v1/sandboxes/%s/contexts/%s", box, id);
    CLEANUP_FREE char *path = text_format("%s%s", base, verb);
    return http_do(s, method, path, NULL, &reply);
}

static int act_all(const struct server *s, const char *box, const char *method, const char *verb)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/contexts", box);
    int status = http_do(s, "GET", path, NULL, &reply);
    size_t i;
    json_t *c;
    json_array_foreach (json_object_get(reply.json, "contexts"), i, c) {
        int r = act(s, box, json_text(c, "id"), method, verb);
        if (r)
            status = r;
    }
    return status;
}

static int dispatch(const struct server *s, const struct args *a, bool json)
{
    static const struct {
        const char *name, *method, *verb;
    } actions[] = {
        {"rm", "DELETE", ""}, {"restart", "POST", "/restart"}, {"interrupt", "POST", "/interrupt"}};
    const char *what = a->positional[0], *box = a->positional[1];
    if (!strcmp(what, "ls"))
        return list(s, box, json);
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(what, actions[i].name))
            return a->n == 3 ? act(s, box, a->positional[2], actions[i].method, actions[i].verb)
                             : act_all(s, box, actions[i].method, actions[i].verb);
    return fail(STATUS_USAGE, "no command 'context %s'; usage: cellbox %s", what, a->synopsis);
}

int command_context(int argc, char **argv)
{
    bool json = false;
    const struct opt opts[] = {
        {"json", OPT_FLAG, &json, NULL, "ls: print what the server knows as JSON"}};
    struct args a = {
        .synopsis = "context ls|rm|restart|interrupt NAME [ID] [--json]",
        .about = "The contexts (interpreters) of the sandbox NAME. Without an ID, rm, restart and "
                 "interrupt mean all of\n"
                 "them. A restarted context keeps its id and loses its variables.",
        .opts = opts,
        .nopts = 1,
        .min = 2,
        .max = 3,
    };
    struct server server;
    int status = STATUS_OK;
    if (!args_parse(&a, argc, argv))
        status = a.status;
    else if ((status = server_find(&server)) == 0) {
        status = dispatch(&server, &a, json);
        server_deinit(&server);
    }
    free(a.positional);
    return status;
}
