/* cellbox ps, logs, stdin, kill */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/events.h"
#include "clients/cli/http.h"
#include "clients/cli/table.h"

static const struct {
    const char *kind, *path, *member;
} kinds[] = {{"process", "processes", "processes"},
             {"terminal", "terminals", "terminals"},
             {"session", "sessions", "sessions"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void add_rows(struct table *t, const char *kind, const json_t *list)
{
    size_t i;
    json_t *p;
    json_array_foreach (list, i, p) {
        const json_t *begun = json_object_get(p, "startTime");
        CLEANUP_FREE char *age =
            duration_text(age_ms(begun ? begun : json_object_get(p, "createdAt")));
        const json_t *code = json_object_get(p, "exitCode"), *pid = json_object_get(p, "pid");
        CLEANUP_FREE char *exit_text =
            code ? text_format("%lld", (long long)json_integer_value(code)) : must(strdup("-"));
        CLEANUP_FREE char *pid_text = json_is_integer(pid)
                                          ? text_format("%lld", (long long)json_integer_value(pid))
                                          : must(strdup("-"));
        const char *command = json_text(p, "command");
        table_row(t, json_text(p, "id"), kind, json_text(p, "status"), pid_text, exit_text, age,
                  *command ? command : "bash");
    }
}

static int list(const char *box, bool json)
{
    struct server server;
    struct table t = {.columns = 7};
    CLEANUP_JSON json_t *all = must(json_object());
    int r = server_find(&server);
    if (r)
        return r;
    table_row(&t, "ID", "KIND", "STATUS", "PID", "EXIT", "AGE", "COMMAND");
    for (int i = 0; i < KINDS && r == 0; i++) {
        CLEANUP_REPLY struct reply reply = {0};
        CLEANUP_FREE char *base = http_path("/v1/sandboxes/%s", box);
        CLEANUP_FREE char *path = text_format("%s/%s", base, kinds[i].path);
        r = http_do(&server, "GET", path, NULL, &reply);
        const json_t *found = json_object_get(reply.json, kinds[i].member);
        add_rows(&t, kinds[i].kind, found);
        json_object_set(all, kinds[i].member, (json_t *)found);
    }
    if (r == 0 && json)
        print_json(all);
    else if (r == 0)
        table_print(&t);
    server_deinit(&server);
    return r;
}

int command_ps(int argc, char **argv)
{
    bool json = false;
    const struct opt opts[] = {
        {"json", OPT_FLAG, &json, NULL, "print what the server knows as JSON"}};
    struct args a = {.synopsis = "ps NAME [--json]",
                     .about = "Lists the background processes, terminals and sessions of the "
                              "sandbox NAME, ended ones included.",
                     .opts = opts,
                     .nopts = 1,
                     .min = 1,
                     .max = 1};
    int status = args_parse(&a, argc, argv) ? list(a.positional[0], json) : a.status;
    free(a.positional);
    return status;
}

struct logs_options {
    bool follow, json;
    long long cursor;
    const char *stream;
};

static void show(const json_t *logs, const char *name, int fd)
{
    CLEANUP_FREE char *how = text_format("%sEncoding", name);
    const json_t *text = json_object_get(logs, name);
    CLEANUP_STR struct str bytes = {0};
    if (!strcmp(json_text(logs, how), "base64"))
        base64_decode(json_string_value(text), json_string_length(text), &bytes);
    else if (json_string_length(text))
        str_add(&bytes, json_string_value(text), json_string_length(text));
    if (bytes.len)
        write_all(fd, bytes.data, bytes.len);
}

static int logs(const struct logs_options *o, const char *box, const char *id)
{
    struct server server;
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *base = http_path("/v1/sandboxes/%s/processes/%s/logs", box, id);
    CLEANUP_FREE char *path = text_format("%s?cursor=%lld%s%s", base, o->cursor,
                                          o->stream ? "&stream=" : "", o->stream ? o->stream : "");
    int r = server_find(&server);
    if (r)
        return r;
    if (o->follow) {
        r = events_show(&server, "GET", path, NULL);
        server_deinit(&server);
        return r;
    }
    r = http_do(&server, "GET", path, NULL, &reply);
    if (r == 0 && o->json) {
        print_json(reply.json);
    } else if (r == 0) {
        if (json_is_true(json_object_get(reply.json, "truncated")))
            note("[older output is not kept any more]");
        show(reply.json, "stdout", STDOUT_FILENO);
        show(reply.json, "stderr", STDERR_FILENO);
    }
    server_deinit(&server);
    return r;
}

int command_logs(int argc, char **argv)
{
    struct logs_options o = {0};
    const struct opt opts[] = {
        {"follow", OPT_FLAG, &o.follow, NULL,
         "go on until it ends; the exit status is the process's then"},
        {"cursor", OPT_NUMBER, &o.cursor, "N", "begin there: a cursor that --json printed"},
        {"stream", OPT_TEXT, &o.stream, "stdout|stderr", "only this one"},
        {"json", OPT_FLAG, &o.json, NULL, "print text, cursor and more as JSON"},
    };
    struct args a = {.synopsis = "logs NAME ID [OPTION...]",
                     .about = "Shows what is kept of the output of a background process. With "
                              "--follow, stdout and stderr come in the\n"
                              "order in which they were written; without, stdout comes first.",
                     .opts = opts,
                     .nopts = sizeof opts / sizeof *opts,
                     .min = 2,
                     .max = 2};
    int status = STATUS_USAGE;
    if (!args_parse(&a, argc, argv))
        status = a.status;
    else if (o.stream && strcmp(o.stream, "stdout") != 0 && strcmp(o.stream, "stderr") != 0)
        fail(STATUS_USAGE, "--stream is stdout or stderr, not %s", o.stream);
    else
        status = logs(&o, a.positional[0], a.positional[1]);
    free(a.positional);
    return status;
}

static int feed(const char *box, const char *id, bool ends)
{
    struct server server;
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *path = http_path(ends ? "/v1/sandboxes/%s/processes/%s/input?end=true"
                                             : "/v1/sandboxes/%s/processes/%s/input",
                                        box, id);
    int r = server_find(&server);
    if (r)
        return r;
    http_post_fd(&server, path, STDIN_FILENO, &reply);
    r = http_check(&server, &reply);
    server_deinit(&server);
    return r;
}

int command_stdin(int argc, char **argv)
{
    bool ends = false;
    const struct opt opts[] = {
        {"end", OPT_FLAG, &ends, NULL, "nothing follows: the process sees the end of its input"}};
    struct args a = {.synopsis = "stdin NAME ID [--end]",
                     .about = "Gives its own standard input to a background process that was "
                              "started with exec --background --stdin,\n"
                              "and ends once the process has been given all of it.",
                     .opts = opts,
                     .nopts = 1,
                     .min = 2,
                     .max = 2};
    int status =
        args_parse(&a, argc, argv) ? feed(a.positional[0], a.positional[1], ends) : a.status;
    free(a.positional);
    return status;
}

static int end(const char *box, const char *id, const char *signal)
{
    struct server server;
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_JSON json_t *body = must(json_object());
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/processes/%s/kill", box, id);
    int r = server_find(&server);
    if (r)
        return r;
    if (signal)
        json_object_set_new(body, "signal", json_string(signal));
    r = http_do(&server, "POST", path, body, &reply);
    server_deinit(&server);
    return r;
}

int command_kill(int argc, char **argv)
{
    const char *signal = NULL;
    const struct opt opts[] = {{"signal", OPT_TEXT, &signal, "NAME",
                                "the signal to send, e.g. SIGHUP (default: SIGTERM)"}};
    struct args a = {.synopsis = "kill NAME ID [--signal NAME]",
                     .about = "Ends a background process and everything that it started: SIGTERM, "
                              "and SIGKILL 5 seconds later. A\n"
                              "signal that does not end things is only delivered.",
                     .opts = opts,
                     .nopts = 1,
                     .min = 2,
                     .max = 2};
    int status =
        args_parse(&a, argc, argv) ? end(a.positional[0], a.positional[1], signal) : a.status;
    free(a.positional);
    return status;
}
