#include <errno.h>
#include <string.h>

#include "clients/c/stream.h"
#include "clients/c/wire.h"

#define PROCESSES "/v1/sandboxes/%s/processes"

/* A wait is asked for in slices, so that no answer takes longer than proxies like. */
enum { SLICE_MS = 60000 };

static void fill_process(void *to, const json_t *from)
{
    const json_t *exit_code = json_object_get(from, "exitCode");
    *(struct cellbox_process *)to = (struct cellbox_process){
        .id = wire_text(from, "id"),
        .command = wire_text(from, "command"),
        .status = wire_text(from, "status"),
        .signal = wire_text(from, "signal"),
        .started_at = wire_text(from, "startTime"),
        .ended_at = wire_text(from, "endTime"),
        .pid = wire_int(from, "pid"),
        .restarts = wire_int(from, "restarts"),
        .exit_code = json_is_integer(exit_code) ? (int)json_integer_value(exit_code) : -1,
        .timed_out = wire_true(from, "timedOut"),
    };
}

int cellbox_process_start(struct cellbox_client *client, const char *sandbox, const char *command,
                          const struct cellbox_process_options *options,
                          struct cellbox_process **ret_process, struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    json_t *answer = NULL;
    static const struct cellbox_process_options defaults;
    const struct cellbox_process_options *o = options ? options : &defaults;
    members_init(&m);
    members_command(&m, command, o->argv);
    members_text(&m, "processId", o->id);
    members_text(&m, "cwd", o->cwd);
    members_map(&m, "env", o->env);
    members_int(&m, "timeout", o->timeout_ms);
    members_int(&m, "grace", o->grace_ms);
    members_text(&m, "restart", o->restart);
    members_int(&m, "maxRestarts", o->max_restarts);
    members_int(&m, "logLimit", o->log_limit);
    members_true(&m, "keepAwake", o->keep_awake);
    members_true(&m, "stdin", o->input);
    int r = client_json(client, "POST", false, &m, &answer, error, PROCESSES, sandbox);
    if (!ret_process) {
        json_decref(answer);
        return r;
    }
    return WIRE_GIVE(r, ret_process, wire_new(answer, sizeof **ret_process, fill_process), error);
}

int cellbox_process_list(struct cellbox_client *client, const char *sandbox,
                         struct cellbox_processes **ret_processes, struct cellbox_error *error)
{
    json_t *answer;
    int r = client_json(client, "GET", true, NULL, &answer, error, PROCESSES, sandbox);
    return WIRE_GIVE(r, ret_processes,
                     WIRE_LIST(answer, "processes", struct cellbox_processes,
                               struct cellbox_process, fill_process),
                     error);
}

int cellbox_process_get(struct cellbox_client *client, const char *sandbox, const char *process,
                        struct cellbox_process **ret_process, struct cellbox_error *error)
{
    json_t *answer;
    int r =
        client_json(client, "GET", true, NULL, &answer, error, PROCESSES "/%s", sandbox, process);
    return WIRE_GIVE(r, ret_process, wire_new(answer, sizeof **ret_process, fill_process), error);
}

int cellbox_process_put(struct cellbox_client *client, const char *sandbox, const char *process,
                        const void *data, size_t len, bool end, struct cellbox_error *error)
{
    CLEANUP_STR struct str path = {0};
    struct call call = {.request = {.method = "POST",
                                    .type = "application/octet-stream",
                                    .body = data ? data : "",
                                    .len = len}};
    int r = client_address(&path, error, PROCESSES "/%s/input", sandbox, process);
    if (r == CELLBOX_OK && end && text_addf(&path, "?end=true") < 0)
        r = error_memory(error);
    call.request.path = path.data;
    return r == CELLBOX_OK ? client_call(client, &call, NULL, error) : r;
}

int cellbox_process_kill(struct cellbox_client *client, const char *sandbox, const char *process,
                         const char *signal, struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    members_init(&m);
    members_text(&m, "signal", signal);
    return client_json(client, "POST", true, &m, NULL, error, PROCESSES "/%s/kill", sandbox,
                       process);
}

int cellbox_process_delete(struct cellbox_client *client, const char *sandbox, const char *process,
                           struct cellbox_error *error)
{
    return client_json(client, "DELETE", true, NULL, NULL, error, PROCESSES "/%s", sandbox,
                       process);
}

/* ---- output ---- */

static int copy_piece(void *held, const json_t *from, const char *key, const char *encoding,
                      const char **ret, size_t *ret_len)
{
    CLEANUP_STR struct str hold = {0};
    const char *data;
    int r = stream_piece(from, key, encoding, &hold, &data, ret_len);
    if (r < 0)
        return r;
    *ret = held_copy(held, data, *ret_len);
    return *ret ? 0 : -ENOMEM;
}

int cellbox_process_logs(struct cellbox_client *client, const char *sandbox, const char *process,
                         int64_t cursor, struct cellbox_logs **ret_logs,
                         struct cellbox_error *error)
{
    CLEANUP_STR struct str at = {0};
    json_t *answer;
    if (text_addf(&at, "%lld", (long long)cursor) < 0)
        return error_memory(error);
    int r = client_json(client, "GET", true, NULL, &answer, error, PROCESSES "/%s/logs?cursor=%s",
                        sandbox, process, at.data);
    if (r != CELLBOX_OK)
        return r;
    struct cellbox_logs *made = held_new(sizeof *made, answer);
    if (!made)
        return error_memory(error);
    made->cursor = wire_int(answer, "cursor");
    made->truncated = wire_true(answer, "truncated");
    r = copy_piece(made, answer, "stdout", "stdoutEncoding", &made->out, &made->out_len);
    if (r == 0)
        r = copy_piece(made, answer, "stderr", "stderrEncoding", &made->err, &made->err_len);
    if (r == 0) {
        *ret_logs = made;
        return CELLBOX_OK;
    }
    cellbox_free(made);
    return r == -ENOMEM ? error_memory(error)
                        : error_set(error, CELLBOX_E_PROTOCOL, "logs are not what they should be");
}

struct follow {
    cellbox_output_fn *on_output;
    void *user;
    struct str hold;
};

static int on_event(void *user, const char *type, const json_t *event, struct cellbox_error *error)
{
    struct follow *f = user;
    const char *data;
    size_t len;
    if (!strcmp(type, "exit"))
        return STREAM_OVER;
    if (strcmp(type, "stdout") != 0 && strcmp(type, "stderr") != 0)
        return STREAM_ON;
    int r = stream_piece(event, "data", "encoding", &f->hold, &data, &len);
    if (r == -ENOMEM)
        return error_memory(error);
    if (r < 0)
        return error_set(error, CELLBOX_E_PROTOCOL, "output is not the base64 that it should be");
    if (f->on_output(f->user, type[3] == 'o' ? CELLBOX_STDOUT : CELLBOX_STDERR, data, len) != 0)
        return error_set(error, CELLBOX_E_STOPPED, "stopped by the caller");
    return STREAM_ON;
}

int cellbox_process_follow(struct cellbox_client *client, const char *sandbox, const char *process,
                           int64_t cursor, cellbox_output_fn *on_output, void *user,
                           struct cellbox_error *error)
{
    struct follow f = {.on_output = on_output, .user = user};
    struct stream s = {.client = client, .on_event = on_event, .user = &f, .idempotent = true};
    CLEANUP_STR struct str path = {0};
    int r = client_address(&path, error, PROCESSES "/%s/logs", sandbox, process);
    if (r == CELLBOX_OK && text_addf(&path, "?follow=1&cursor=%lld", (long long)cursor) < 0)
        r = error_memory(error);
    if (r == CELLBOX_OK && text_add(&s.again, path.data, path.len) < 0)
        r = error_memory(error);
    if (r == CELLBOX_OK) {
        s.first = (struct request){.method = "GET", .path = path.data};
        r = stream_run(&s, error);
    }
    str_deinit(&s.again);
    str_deinit(&f.hold);
    return r;
}

/* ---- waiting ---- */

static struct cellbox_log_match *make_match(json_t *take_answer)
{
    const json_t *groups = json_object_get(take_answer, "match");
    size_t n = json_array_size(groups);
    struct cellbox_log_match *made = held_new(sizeof *made, take_answer);
    const char **texts = made ? held_more(made, n * sizeof *texts) : NULL;
    if (!texts) {
        cellbox_free(made);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        texts[i] = json_string_value(json_array_get(groups, i));
    *made = (struct cellbox_log_match){
        .stream =
            !strcmp(json_text(take_answer, "stream"), "stderr") ? CELLBOX_STDERR : CELLBOX_STDOUT,
        .line = json_text(take_answer, "line"),
        .n = n,
        .groups = texts,
    };
    return made;
}

/* Slice by slice until the condition is met or the time is over. */
static int wait_for(struct cellbox_client *c, const char *sandbox, const char *process,
                    struct members *m, int64_t timeout_ms, json_t **ret,
                    struct cellbox_error *error)
{
    struct cellbox_error e;
    int64_t until = monotonic_ms() + timeout_ms;
    for (;;) {
        int64_t left = timeout_ms ? until - monotonic_ms() : SLICE_MS;
        members_int(m, "timeout", left < 1 ? 1 : left < SLICE_MS ? left : SLICE_MS);
        int r = client_json(c, "POST", true, m, ret, &e, PROCESSES "/%s/wait", sandbox, process);
        bool over = timeout_ms && left <= SLICE_MS;
        if (r == CELLBOX_E_SERVER && !strcmp(e.code, "PROCESS_READY_TIMEOUT") && !over)
            continue;
        return error_pass(r, &e, error);
    }
}

int cellbox_process_wait(struct cellbox_client *client, const char *sandbox, const char *process,
                         const struct cellbox_wait *condition, struct cellbox_log_match **ret_match,
                         struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    json_t *answer = NULL;
    members_init(&m);
    members_text(&m, "log", condition->log);
    members_text(&m, "pattern", condition->pattern);
    members_int(&m, "port", condition->port);
    members_text(&m, "mode", condition->mode);
    members_text(&m, "path", condition->path);
    members_int(&m, "statusMin", condition->status_min);
    members_int(&m, "statusMax", condition->status_max);
    if (!!condition->log + !!condition->pattern + !!condition->port != 1)
        m.problem = "exactly one of log, pattern and port has to be given";
    int r = wait_for(client, sandbox, process, &m, condition->timeout_ms, &answer, error);
    if (r == CELLBOX_OK && ret_match && !condition->port)
        return WIRE_GIVE(r, ret_match, make_match(answer), error);
    if (r == CELLBOX_OK && ret_match)
        *ret_match = NULL;
    json_decref(answer);
    return r;
}

int cellbox_process_wait_exit(struct cellbox_client *client, const char *sandbox,
                              const char *process, int64_t timeout_ms,
                              struct cellbox_process **ret_process, struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    json_t *answer = NULL;
    members_init(&m);
    members_true(&m, "exit", true);
    int r = wait_for(client, sandbox, process, &m, timeout_ms, &answer, error);
    json_decref(answer);
    return r == CELLBOX_OK && ret_process
               ? cellbox_process_get(client, sandbox, process, ret_process, error)
               : r;
}
