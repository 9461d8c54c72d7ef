/* Running code: events as they come, over as many connections as it takes; then the whole of it. */
#include <string.h>

#include "clients/c/result.h"
#include "clients/c/stream.h"

struct run {
    struct cellbox_client *client;
    const char *sandbox;
    const struct cellbox_run_options *options;
    struct stream stream;
    struct str id; /* of the execution, once it is known */
};

static int stopped(struct cellbox_error *error)
{
    return error_set(error, CELLBOX_E_STOPPED, "stopped by the caller");
}

static int on_result(const struct run *x, const char *type, const json_t *event,
                     struct cellbox_error *error)
{
    struct cellbox_result *made;
    int r;
    if (!x->options->on_result)
        return STREAM_ON;
    made = held_new(sizeof *made, json_incref((json_t *)(uintptr_t)event));
    if (!made || result_fill(made, made, (json_t *)(uintptr_t)event) < 0) {
        cellbox_free(made);
        return error_memory(error);
    }
    made->is_update = !strcmp(type, "update_display");
    r = x->options->on_result(x->options->user, made);
    cellbox_free(made);
    return r ? stopped(error) : STREAM_ON;
}

static int on_error(const struct run *x, const json_t *event, struct cellbox_error *error)
{
    struct cellbox_code_error *made;
    int r;
    if (!x->options->on_error)
        return STREAM_ON;
    made = held_new(sizeof *made, json_incref((json_t *)(uintptr_t)event));
    if (!made || result_fill_error(made, made, (json_t *)(uintptr_t)event) < 0) {
        cellbox_free(made);
        return error_memory(error);
    }
    r = x->options->on_error(x->options->user, made);
    cellbox_free(made);
    return r ? stopped(error) : STREAM_ON;
}

/*
 * What the server knows of the run, in *ret_list, which the caller frees. NULL: nothing. A list of
 * heads is cheap, however much the run printed.
 */
static const json_t *find_head(struct cellbox_client *c, const struct run *x, json_t **ret_list)
{
    size_t i;
    json_t *head;
    if (client_json(c, "GET", true, NULL, ret_list, NULL, "/v1/sandboxes/%s/executions?limit=1000",
                    x->sandbox) != CELLBOX_OK)
        return NULL;
    json_array_foreach (json_object_get(*ret_list, "executions"), i, head)
        if (!strcmp(json_text(head, "id"), str_text(&x->id)) && *json_text(head, "context"))
            return head;
    return NULL;
}

static int on_input(const struct run *x, const json_t *event, struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    CLEANUP_FREE char *answer = NULL;
    if (!x->options->on_input)
        return STREAM_ON;
    int r = x->options->on_input(x->options->user, json_text(event, "prompt"),
                                 wire_true(event, "password"), &answer);
    if (r != 0 || !answer)
        return stopped(error);
    CLEANUP_JSON json_t *list = NULL;
    const json_t *head = find_head(x->client, x, &list);
    if (!head)
        return error_set(error, CELLBOX_E_CONNECTION, "the run that asked for input is gone");
    members_init(&m);
    members_text(&m, "value", answer);
    members_text(&m, "executionId", str_text(&x->id));
    r = client_json(x->client, "POST", false, &m, NULL, error, "/v1/sandboxes/%s/contexts/%s/input",
                    x->sandbox, json_text(head, "context"));
    return r == CELLBOX_OK ? STREAM_ON : r;
}

/* From the first event on a lost connection can be taken up. */
static int learn_id(struct run *x, const json_t *event, struct cellbox_error *error)
{
    const char *id = json_text(event, "executionId");
    if (x->id.len || !*id)
        return CELLBOX_OK;
    if (text_add(&x->id, id, strlen(id)) < 0)
        return error_memory(error);
    return client_address(&x->stream.again, error, "/v1/sandboxes/%s/executions/%s", x->sandbox,
                          id);
}

static int on_event(void *user, const char *type, const json_t *event, struct cellbox_error *error)
{
    struct run *x = user;
    const struct cellbox_run_options *o = x->options;
    int r = learn_id(x, event, error);
    if (r != CELLBOX_OK)
        return r;
    if (!strcmp(type, "stdout") || !strcmp(type, "stderr")) {
        const json_t *text = json_object_get(event, "text");
        int stream = type[3] == 'o' ? CELLBOX_STDOUT : CELLBOX_STDERR;
        if (o->on_output && json_is_string(text))
            r = o->on_output(o->user, stream, json_string_value(text), json_string_length(text));
    } else if (!strcmp(type, "result") || !strcmp(type, "display") ||
               !strcmp(type, "update_display")) {
        return on_result(x, type, event, error);
    } else if (!strcmp(type, "error")) {
        return on_error(x, event, error);
    } else if (!strcmp(type, "notice")) {
        r = o->on_notice ? o->on_notice(o->user, json_text(event, "text")) : 0;
    } else if (!strcmp(type, "input_request")) {
        return on_input(x, event, error);
    } else if (!strcmp(type, "done")) {
        return STREAM_OVER;
    }
    return r ? stopped(error) : STREAM_ON;
}

static int make_body(const char *code, const struct cellbox_run_options *o, char **ret,
                     struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    members_init(&m);
    members_text(&m, "code", code);
    members_text(&m, "context", o->context);
    members_text(&m, "language", o->language);
    members_map(&m, "env", o->env);
    members_int(&m, "timeout", o->timeout_ms);
    members_list(&m, "formats", o->formats);
    members_true(&m, "stopOnError", o->stop_on_error);
    members_true(&m, "allowStdin", o->on_input != NULL);
    if (!code)
        m.problem = "there is no code";
    return client_body(&m, ret, error);
}

/* Nobody waits for the run any more. It may be waiting for another one, which is left alone. */
static void interrupt(const struct run *x)
{
    CLEANUP_JSON json_t *list = NULL;
    struct cellbox_client aside;
    if (!x->id.len)
        return;
    client_aside_init(&aside, x->client);
    const json_t *head = find_head(&aside, x, &list);
    if (head && !strcmp(json_text(head, "status"), "running"))
        cellbox_context_interrupt(&aside, x->sandbox, json_text(head, "context"), NULL);
    client_aside_deinit(&aside);
}

static int fetch(const struct run *x, struct cellbox_execution **ret, struct cellbox_error *error)
{
    json_t *answer;
    int r = client_json(x->client, "GET", true, NULL, &answer, error,
                        "/v1/sandboxes/%s/executions/%s", x->sandbox, str_text(&x->id));
    return WIRE_GIVE(r, ret, result_execution(answer), error);
}

int cellbox_run_code(struct cellbox_client *client, const char *sandbox, const char *code,
                     const struct cellbox_run_options *options,
                     struct cellbox_execution **ret_execution, struct cellbox_error *error)
{
    static const struct cellbox_run_options defaults;
    struct run x = {.client = client, .sandbox = sandbox, .options = options ? options : &defaults};
    CLEANUP_STR struct str path = {0};
    CLEANUP_FREE char *body = NULL;
    int r = client_address(&path, error, "/v1/sandboxes/%s/run", sandbox);
    if (r == CELLBOX_OK)
        r = make_body(code, x.options, &body, error);
    if (r != CELLBOX_OK)
        return r;
    x.stream = (struct stream){.client = client,
                               .on_event = on_event,
                               .user = &x,
                               .first = {.method = "POST", .path = path.data, .body = body}};
    x.stream.first.len = strlen(body);
    r = stream_run(&x.stream, error);
    if (r == CELLBOX_E_STOPPED)
        interrupt(&x);
    else if (r == CELLBOX_OK && ret_execution)
        r = fetch(&x, ret_execution, error);
    str_deinit(&x.stream.again);
    str_deinit(&x.id);
    return r;
}
