/*
 * POST .../exec: one command, its output and its end, as one JSON document or as events while it
 * runs. The command belongs to the request: whoever closes the request ends it. The same watch
 * serves scripts in sessions.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel-gw/api/box/box.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"

enum {
    OUTPUT_DEFAULT = 8 << 20, /* of each stream, in a JSON answer */
    OUTPUT_MAX = 32 << 20,
    STDIN_PIECE = 256 << 10
};

struct exec {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    json_t *body;
    char *session; /* NULL: a command of its own */
    char id[WIRE_PROCESS_ID];
    bool wants_events, answered, started, over;
    enum box_encoding encoding;
    struct box_command command;
    struct sandbox_hold hold; /* what somebody waits for keeps the box awake */
    struct process_stream *stream;
    struct box_events events;
    struct box_text text[2];
    struct buf out[2];
    struct buf stdin_bytes;
    size_t stdin_at;
    size_t output_max;
    uint64_t cursor;
    bool truncated, stdin_given, stdin_ended, stdin_stream;
    uint64_t begun_ns;
    int32_t pid;
};

static void exec_free(struct exec *e)
{
    sandbox_release(&e->hold);
    process_stream_free(e->stream);
    box_events_forget(&e->events);
    box_command_deinit(&e->command);
    for (int i = 0; i < 2; i++)
        buf_deinit(&e->out[i]);
    buf_deinit(&e->stdin_bytes);
    json_decref(e->body);
    free(e->session);
    free(e);
}

/* init's answer is still to come: it finds the exec and frees it. */
static void let_go(struct exec *e)
{
    e->over = true;
    process_stream_free(STEAL_PTR(e->stream));
    if (e->answered)
        exec_free(e);
}

static void on_client_gone(void *user)
{
    struct exec *e = user;
    e->x = NULL;
    box_events_forget(&e->events);
    let_go(e);
}

static void on_drained(void *user)
{
    struct exec *e = user;
    if (e->stream)
        process_stream_resume(e->stream);
}

static const struct exchange_ops exec_ops = {.closed = on_client_gone, .drained = on_drained};

static void fail(struct exec *e, const struct err *err)
{
    int status;
    struct exchange *x = e->x;
    e->x = NULL;
    if (x && e->events.x) {
        struct buf *b = box_event(&e->events, "error", 0, NULL);
        api_member(b, "code", box_error_code(err, &status));
        api_member(b, "message", err->text);
        box_event_end(&e->events);
        box_events_end(&e->events);
    } else if (x) {
        exchange_set_ops(x, NULL, NULL);
        const json_t *command = json_object_get(e->body, "command");
        const char *program = json_string_value(json_array_get(command, 0));
        box_error(e->gw, x, err, e->session ? "session" : "command",
                  e->session ? e->session
                  : program  ? program
                             : "bash");
    }
    let_go(e);
}

/* ---- output ---- */

static void put_duration(struct exec *e, struct buf *b)
{
    double ms = (double)(uv_hrtime() - e->begun_ns) / 1e6;
    buf_printf(b, ",\"duration\":%.3f,\"durationMs\":%.3f", ms, ms);
}

static void on_output(struct exec *e, int i, const struct wire_frame *f, const uint8_t *payload)
{
    size_t len = f->len;
    if (f->cursor > e->cursor && e->cursor != UINT64_MAX)
        e->truncated = true; /* the box dropped some */
    e->cursor = f->cursor + len;
    if (e->wants_events) {
        CLEANUP_BUF struct buf piece = {0};
        if (!box_put_piece(&piece, &e->text[i], e->encoding, payload, len, false))
            return;
        struct buf *b = box_event(&e->events, i ? "stderr" : "stdout", f->time_us, NULL);
        buf_put(b, piece.data, piece.len);
        if (box_event_end(&e->events))
            process_stream_pause(e->stream);
        return;
    }
    size_t room = e->output_max - e->out[i].len;
    e->truncated |= len > room;
    buf_put(&e->out[i], payload, len < room ? len : room);
}

static void flush_text(struct exec *e)
{
    for (int i = 0; i < 2; i++) {
        CLEANUP_BUF struct buf piece = {0};
        if (!box_put_piece(&piece, &e->text[i], e->encoding, NULL, 0, true))
            continue;
        struct buf *b = box_event(&e->events, i ? "stderr" : "stdout", 0, NULL);
        buf_put(b, piece.data, piece.len);
        box_event_end(&e->events);
    }
}

struct end {
    int status;
    uint8_t marks;
    uint32_t how; /* of a session */
};

static void put_end(struct exec *e, struct buf *b, const struct end *end)
{
    int code = box_exit_code(end->status, end->marks);
    box_put_end(b, end->status, end->marks);
    buf_printf(b, ",\"success\":%s,\"truncated\":%s", code == 0 ? "true" : "false",
               e->truncated ? "true" : "false");
    if (e->session) {
        api_member(b, "sessionId", e->session);
        buf_printf(b, ",\"sessionEnded\":%s,\"sessionRestarted\":%s",
                   end->how & WIRE_SESSION_OVER ? "true" : "false",
                   end->how & WIRE_SESSION_FRESH ? "true" : "false");
    }
    put_duration(e, b);
}

static void put_result(struct exec *e, struct buf *b, const struct end *end)
{
    static const char *const names[] = {"stdout", "stderr"};
    bool base64;
    buf_init(b, 4 * (size_t)OUTPUT_MAX);
    buf_puts(b, "{\"command\":");
    box_put_command(b, json_object_get(e->body, "command"));
    put_end(e, b, end);
    for (int i = 0; i < 2; i++) {
        size_t len = e->out[i].len;
        if (len == e->output_max) /* cut: not in the middle of a character */
            len -= utf8_incomplete_tail(e->out[i].data, len);
        buf_printf(b, ",\"%s\":", names[i]);
        box_put_bytes(b, e->out[i].data, len, e->encoding, &base64);
        buf_printf(b, ",\"%sEncoding\":\"%s\"", names[i], base64 ? "base64" : "utf-8");
    }
    buf_puts(b, ",\"timestamp\":");
    api_put_time(b, box_now_us());
    buf_putc(b, '}');
}

static void finish(struct exec *e, const struct end *end)
{
    struct exchange *x = STEAL_PTR(e->x);
    if (e->wants_events) {
        flush_text(e);
        struct buf *b = box_event(&e->events, "complete", 0, NULL);
        put_end(e, b, end);
        box_event_end(&e->events);
        box_events_end(&e->events);
    } else {
        CLEANUP_BUF struct buf b = {0};
        put_result(e, &b, end);
        exchange_set_ops(x, NULL, NULL);
        api_json(e->gw, x, 200, &b);
    }
    let_go(e);
}

static void on_frame(void *user, const struct wire_frame *f, const uint8_t *payload)
{
    struct exec *e = user;
    struct wire_process_info info;
    struct wire_session_done done;
    struct err broken = {0};
    if (f->type == WIRE_FRAME_STDOUT || f->type == WIRE_FRAME_STDERR) {
        on_output(e, f->type - WIRE_FRAME_STDOUT, f, payload);
    } else if (f->type == WIRE_FRAME_EXIT && f->len == sizeof info && !e->session) {
        memcpy(&info, payload, sizeof info);
        finish(e, &(struct end){.status = info.status, .marks = info.marks});
    } else if (f->type == WIRE_FRAME_DONE && f->len == sizeof done && e->session) {
        memcpy(&done, payload, sizeof done);
        bool over = done.how & WIRE_SESSION_OVER;
        finish(e,
               &(struct end){.status = over ? done.status : (done.status & 0xff) << 8,
                             .marks = done.how & WIRE_SESSION_TIMED_OUT ? WIRE_MARK_TIMED_OUT : 0,
                             .how = done.how});
    } else if (f->type == WIRE_FRAME_EXIT) {
        err_set(&broken, -EPROTO, "session", "the shell has ended");
        fail(e, &broken);
    }
}

/* ---- input ---- */

/* A piece at a time: what the command does not read stays here. */
static void feed(struct exec *e)
{
    if (!e->stream || e->stdin_ended || !e->stdin_given)
        return;
    while (e->stdin_at < e->stdin_bytes.len && process_stream_queued(e->stream) < STDIN_PIECE) {
        size_t left = e->stdin_bytes.len - e->stdin_at;
        size_t n = left < STDIN_PIECE ? left : STDIN_PIECE;
        if (process_stream_input(e->stream, e->stdin_bytes.data + e->stdin_at, n) < 0)
            return;
        e->stdin_at += n;
    }
    if (e->stdin_at == e->stdin_bytes.len) {
        e->stdin_ended = true;
        process_stream_input_end(e->stream);
    }
}

static void on_input_drained(void *user)
{
    feed(user);
}

static void on_stream_closed(void *user)
{
    struct exec *e = user;
    struct err gone = {0};
    process_stream_free(STEAL_PTR(e->stream));
    if (!e->started) /* init says why */
        return;
    err_set(&gone, -ECONNRESET, "command",
            e->session ? "the session or its sandbox ended" : "the sandbox ended");
    fail(e, &gone);
}

static const struct process_stream_ops stream_ops = {
    .frame = on_frame, .drained = on_input_drained, .closed = on_stream_closed};

/* ---- start ---- */

static int begin_events(struct exec *e)
{
    if (!e->wants_events)
        return 0;
    int r = box_events_begin(&e->events, e->gw, e->x, &exec_ops, e);
    if (r < 0)
        return r;
    struct buf *b = box_event(&e->events, "start", 0, NULL);
    buf_puts(b, ",\"command\":");
    box_put_command(b, json_object_get(e->body, "command"));
    if (e->session)
        api_member(b, "sessionId", e->session);
    else
        buf_printf(b, ",\"pid\":%d", (int)e->pid);
    if (e->stdin_stream)
        api_member(b, "processId", e->id);
    box_event_end(&e->events);
    return 0;
}

/* Output may have come before this answer: the stream was paused. */
static void on_started(void *user, const struct err *error, const struct wire_message *m)
{
    struct exec *e = user;
    struct wire_process_info info;
    const char *note;
    size_t cursor = 0;
    struct err err = *error;
    e->answered = true;
    if (e->over) {
        exec_free(e);
        return;
    }
    if (!err.code && !e->session && process_table_next(m, &cursor, &info, &note))
        e->pid = info.pid;
    if (!err.code && !e->stream)
        err_set(&err, -ECONNRESET, "command", "the sandbox ended");
    if (!err.code && begin_events(e) < 0)
        err_set(&err, -ENOMEM, "command", "out of memory");
    if (err.code) {
        fail(e, &err);
        return;
    }
    e->started = true;
    feed(e);
    process_stream_resume(e->stream);
}

static int send_command(struct exec *e, struct sandbox *sb, int theirs)
{
    struct wire_process_start *st = &e->command.start;
    int r = box_command_make(sb, e->body, e->stdin_stream ? BOX_TAKES_INPUT : NULL, &e->command);
    box_make_id(e->id, "exec");
    memcpy(st->id, e->id, sizeof st->id);
    st->kind = WIRE_PROCESS_COMMAND;
    st->flags |= WIRE_PROCESS_TIED | (e->stdin_given || e->stdin_stream ? WIRE_PROCESS_STDIN : 0);
    if (r == 0)
        r = process_link_start(sandbox_init(sb), st, &e->command.spec, theirs, on_started, e);
    buf_deinit(&e->command.spec);
    return r;
}

static int send_script(struct exec *e, struct sandbox *sb, int theirs)
{
    const json_t *command = json_object_get(e->body, "command");
    struct wire_session_run run = {.timeout_ms = (uint32_t)api_integer(e->body, "timeout", 0),
                                   .grace_ms =
                                       (uint32_t)api_integer(e->body, "grace", BOX_GRACE_MS)};
    memcpy(run.id, e->session, strlen(e->session) + 1);
    return process_link_session_run(sandbox_init(sb), &run, json_string_value(command),
                                    json_string_length(command), theirs, on_started, e);
}

static void go(void *user, struct sandbox *sb)
{
    struct exec *e = user;
    struct err err = {0};
    int theirs = -1;
    exchange_set_ops(e->x, &exec_ops, e);
    sandbox_hold(sb, &e->hold);
    e->begun_ns = uv_hrtime();
    e->stream = process_stream_new(e->gw->loop, &stream_ops, e, &theirs);
    int r = e->stream ? 0 : -EMFILE;
    if (r == 0) {
        process_stream_pause(e->stream);
        r = e->session ? send_script(e, sb, theirs) : send_command(e, sb, theirs);
    }
    fd_close(theirs);
    if (r == 0)
        return;
    e->answered = true;
    err_set(&err, r == -EMSGSIZE ? -E2BIG : r, "execute", NULL);
    fail(e, &err);
}

static void drop(void *user)
{
    exec_free(user);
}

static bool read_stdin(struct exec *e)
{
    const json_t *text = json_object_get(e->body, "stdin");
    const char *how = api_string(e->body, "stdinEncoding");
    buf_init(&e->stdin_bytes, OUTPUT_MAX);
    e->stdin_given = text != NULL;
    e->stdin_stream = json_is_true(json_object_get(e->body, "stdinStream"));
    bool base64 = how && !strcmp(how, "base64");
    if (how && !base64 && strcmp(how, "utf-8") != 0)
        return false;
    if (text && base64)
        return box_read_base64(json_string_value(text), json_string_length(text),
                               &e->stdin_bytes) == 0;
    if (text)
        buf_put(&e->stdin_bytes, json_string_value(text), json_string_length(text));
    return e->stdin_bytes.err == 0;
}

/* Takes body. */
static void start(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  json_t *body, const char *sandbox, const char *session)
{
    struct exec *e = calloc(1, sizeof *e);
    if (!e) {
        json_decref(body);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *e = (struct exec){.gw = gw, .x = x, .body = body, .wants_events = api_wants_events(r)};
    e->cursor = session ? UINT64_MAX : 0;
    e->output_max = (size_t)api_integer(body, "maxOutput", OUTPUT_DEFAULT);
    e->session = session ? strdup(session) : NULL;
    for (int i = 0; i < 2; i++)
        buf_init(&e->out[i], OUTPUT_MAX + 1);
    if (!read_stdin(e)) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "stdin",
                         "stdin is not in its encoding (utf-8 or base64)");
        exec_free(e);
    } else if (e->stdin_stream && (e->stdin_given || !e->wants_events)) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "stdinStream",
                         "stdinStream needs Accept: text/event-stream and no stdin: the event "
                         "start says where input goes");
        exec_free(e);
    } else if (!box_read_encoding(gw, x, body, &e->encoding)) {
        exec_free(e);
    } else {
        box_call(gw, x, sandbox, !session, go, drop, e);
    }
}

static const struct api_field exec_fields[] = {
    {.name = "command", .type = API_COMMAND, .required = true},
    BOX_COMMAND_FIELDS,
    {.name = "grace", .type = API_INTEGER, .min = 0, .max = 600000},
    {.name = "stdin", .type = API_STRING},
    {.name = "stdinEncoding", .type = API_STRING, .max = 16},
    {.name = "stdinStream", .type = API_BOOLEAN},
    {.name = "encoding", .type = API_STRING, .max = 16},
    {.name = "maxOutput", .type = API_INTEGER, .min = 1, .max = OUTPUT_MAX},
};

static void exec(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    json_t *o = api_body(gw, x, r, exec_fields, COUNT(exec_fields));
    if (o)
        start(gw, x, r, o, p->value[0], NULL);
}

static const struct api_field script_fields[] = {
    {.name = "command", .type = API_STRING, .required = true},
    {.name = "timeout", .type = API_INTEGER, .min = 1, .max = BOX_TIMEOUT_MAX_MS},
    {.name = "grace", .type = API_INTEGER, .min = 0, .max = 600000},
    {.name = "encoding", .type = API_STRING, .max = 16},
    {.name = "maxOutput", .type = API_INTEGER, .min = 1, .max = OUTPUT_MAX},
};

void exec_in_session(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const char *sandbox, const char *session)
{
    json_t *o = api_body(gw, x, r, script_fields, COUNT(script_fields));
    if (o)
        start(gw, x, r, o, sandbox, session);
}

const struct route api_exec_routes[] = {
    {"POST", "/v1/sandboxes/{name}/exec", exec, 0},
};
const size_t api_exec_nroutes = COUNT(api_exec_routes);
