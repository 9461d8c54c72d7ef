#include <errno.h>
#include <string.h>

#include "clients/c/stream.h"
#include "clients/c/wire.h"

enum { MAX_OUTPUT = 8 << 20 };

struct exec {
    const struct cellbox_exec_options *options;
    struct str out, err, hold;
    bool cut;
    json_t *end; /* the last event */
};

static int keep(struct exec *x, struct str *to, const char *data, size_t len)
{
    size_t max = x->options->max_output ? x->options->max_output : MAX_OUTPUT;
    size_t room = max - to->len;
    x->cut |= len > room;
    return text_add(to, data, len < room ? len : room);
}

static int on_output(struct exec *x, const char *type, const json_t *event,
                     struct cellbox_error *error)
{
    const char *data;
    size_t len;
    int stream = !strcmp(type, "stdout") ? CELLBOX_STDOUT : CELLBOX_STDERR;
    int r = stream_piece(event, "data", "encoding", &x->hold, &data, &len);
    if (r == -EINVAL)
        return error_set(error, CELLBOX_E_PROTOCOL, "output is not the base64 that it should be");
    if (r == 0 && !x->options->on_output)
        r = keep(x, stream == CELLBOX_STDOUT ? &x->out : &x->err, data, len);
    if (r < 0)
        return error_memory(error);
    if (x->options->on_output && x->options->on_output(x->options->user, stream, data, len) != 0)
        return error_set(error, CELLBOX_E_STOPPED, "stopped by the caller");
    return STREAM_ON;
}

static int on_event(void *user, const char *type, const json_t *event, struct cellbox_error *error)
{
    struct exec *x = user;
    if (!strcmp(type, "stdout") || !strcmp(type, "stderr"))
        return on_output(x, type, event, error);
    if (!strcmp(type, "error"))
        return error_of_json(error, !strcmp(json_text(event, "code"), "BOX_GONE") ? 503 : 500,
                             event, "the command's stream failed");
    if (strcmp(type, "complete") != 0)
        return STREAM_ON;
    x->end = json_copy((json_t *)(uintptr_t)event);
    return x->end ? STREAM_OVER : error_memory(error);
}

static int give(struct exec *x, struct cellbox_exec_result **ret, struct cellbox_error *error)
{
    struct cellbox_exec_result *made = held_new(sizeof *made, json_incref(x->end));
    if (!made)
        return error_memory(error);
    *made = (struct cellbox_exec_result){
        .success = wire_true(x->end, "success"),
        .exit_code = (int)wire_int(x->end, "exitCode"),
        .signal = wire_text(x->end, "signal"),
        .timed_out = wire_true(x->end, "timedOut"),
        .truncated = x->cut || wire_true(x->end, "truncated"),
        .duration_ms = wire_real(x->end, "durationMs"),
        .out = held_copy(made, str_text(&x->out), x->out.len),
        .err = held_copy(made, str_text(&x->err), x->err.len),
        .out_len = x->out.len,
        .err_len = x->err.len,
    };
    if (!made->out || !made->err) {
        cellbox_free(made);
        return error_memory(error);
    }
    *ret = made;
    return CELLBOX_OK;
}

static int make_body(const char *command, const struct cellbox_exec_options *o, char **ret,
                     struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    members_init(&m);
    if (o->session && (o->argv || o->cwd || o->env || o->input))
        m.problem = "a session has its own directory, environment and input, and takes no argv";
    members_command(&m, command, o->argv);
    members_text(&m, "cwd", o->cwd);
    members_map(&m, "env", o->env);
    members_int(&m, "timeout", o->timeout_ms);
    members_int(&m, "grace", o->grace_ms);
    if (o->input) {
        members_bytes(&m, "stdin", o->input, o->input_len);
        members_text(&m, "stdinEncoding", "base64");
    }
    return client_body(&m, ret, error);
}

int cellbox_exec(struct cellbox_client *client, const char *sandbox, const char *command,
                 const struct cellbox_exec_options *options,
                 struct cellbox_exec_result **ret_result, struct cellbox_error *error)
{
    static const struct cellbox_exec_options defaults;
    struct exec x = {.options = options ? options : &defaults};
    CLEANUP_STR struct str path = {0};
    CLEANUP_FREE char *body = NULL;
    const char *session = x.options->session;
    int r = session ? client_address(&path, error, "/v1/sandboxes/%s/sessions/%s/exec", sandbox,
                                     session)
                    : client_address(&path, error, "/v1/sandboxes/%s/exec", sandbox);
    if (r == CELLBOX_OK)
        r = make_body(command, x.options, &body, error);
    if (r != CELLBOX_OK)
        return r;
    struct stream s = {.client = client,
                       .on_event = on_event,
                       .user = &x,
                       .first = {.method = "POST", .path = path.data, .body = body}};
    s.first.len = strlen(body);
    r = stream_run(&s, error);
    if (r == CELLBOX_OK && ret_result)
        r = give(&x, ret_result, error);
    json_decref(x.end);
    str_deinit(&x.out);
    str_deinit(&x.err);
    str_deinit(&x.hold);
    return r;
}
