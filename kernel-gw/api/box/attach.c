/*
 * A viewer of a terminal over WebSocket. Binary messages are bytes of the terminal, both ways; text
 * messages are JSON: from us ready, exit and error, from the viewer resize and signal. First comes
 * what the terminal has shown before (replay), then ready.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel-gw/api/box/terminal.h"
#include "kernel-gw/net/websocket/websocket.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"

enum {
    MESSAGE_MAX = 1 << 20,
    INPUT_MAX = 4 << 20, /* that the program has not read */
    CLOSE_NORMAL = 1000,
    CLOSE_INTERNAL = 1011
};

struct viewer {
    struct gateway *gw;
    struct exchange *x; /* until it is upgraded; NULL: the client has gone */
    struct websocket *ws;
    struct process_stream *stream;
    struct sandbox_hold hold; /* an attached terminal keeps the box awake */
    char sandbox[64], id[WIRE_PROCESS_ID];
    uint16_t cols, rows; /* to be set on attach; 0: left as they are */
    bool read_only, answered, over;
};

static void viewer_free(struct viewer *v)
{
    sandbox_release(&v->hold);
    process_stream_free(v->stream);
    free(v);
}

/* Gone once neither the socket nor an answer of init needs it. */
static void let_go(struct viewer *v)
{
    v->over = true;
    process_stream_free(STEAL_PTR(v->stream));
    if (v->answered && !v->ws)
        viewer_free(v);
}

static void send_text(struct viewer *v, const struct buf *b)
{
    struct ws_part part = {b->data, b->len};
    if (v->ws && !b->err)
        websocket_send(v->ws, false, &part, 1);
}

static void send_error(struct viewer *v, const char *message)
{
    CLEANUP_BUF struct buf b = {0};
    buf_puts(&b, "{\"type\":\"error\",\"message\":");
    json_put_cstring(&b, message);
    buf_putc(&b, '}');
    send_text(v, &b);
}

/* ---- from the terminal ---- */

static void send_ready(struct viewer *v, uint64_t cursor)
{
    CLEANUP_BUF struct buf b = {0};
    buf_puts(&b, "{\"type\":\"ready\",\"id\":");
    json_put_cstring(&b, v->id);
    buf_printf(&b, ",\"readOnly\":%s,\"cursor\":%llu}", v->read_only ? "true" : "false",
               (unsigned long long)cursor);
    send_text(v, &b);
}

static void send_exit(struct viewer *v, const struct wire_process_info *info)
{
    CLEANUP_BUF struct buf b = {0};
    buf_printf(&b, "{\"type\":\"exit\",\"code\":%d", box_exit_code(info->status, info->marks));
    if (WIFSIGNALED(info->status) && box_signal_name(WTERMSIG(info->status)))
        api_member(&b, "signal", box_signal_name(WTERMSIG(info->status)));
    buf_putc(&b, '}');
    send_text(v, &b);
    websocket_close(v->ws, CLOSE_NORMAL, "the program has ended");
    process_stream_free(STEAL_PTR(v->stream));
}

static void on_frame(void *user, const struct wire_frame *f, const uint8_t *payload)
{
    struct viewer *v = user;
    struct wire_process_info info;
    if (f->type == WIRE_FRAME_STDOUT) {
        struct ws_part part = {payload, f->len};
        websocket_send(v->ws, true, &part, 1);
        if (v->stream && websocket_queued(v->ws) > HTTP_QUEUE_HIGH)
            process_stream_pause(v->stream);
    } else if (f->type == WIRE_FRAME_CAUGHT_UP) {
        send_ready(v, f->cursor);
    } else if (f->type == WIRE_FRAME_EXIT && f->len == sizeof info) {
        memcpy(&info, payload, sizeof info);
        send_exit(v, &info);
    }
}

static void on_stream_closed(void *user)
{
    struct viewer *v = user;
    process_stream_free(STEAL_PTR(v->stream));
    if (v->ws) {
        send_error(v, "the sandbox ended");
        websocket_close(v->ws, CLOSE_INTERNAL, "the sandbox ended");
    }
}

static const struct process_stream_ops stream_ops = {.frame = on_frame, .closed = on_stream_closed};

/* ---- from the viewer ---- */

const char *terminal_control_read(const uint8_t *data, size_t len, struct terminal_control *ret)
{
    enum { CONTROL_MAX = 4096 };
    json_t *o = len <= CONTROL_MAX && json_check_object(data, len) == 0
                    ? json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, NULL)
                    : NULL;
    const char *type = o ? api_string(o, "type") : NULL, *wrong = NULL;
    json_int_t cols = o ? api_integer(o, "cols", 0) : 0, rows = o ? api_integer(o, "rows", 0) : 0;
    *ret = (struct terminal_control){.type = TERMINAL_RESIZE};
    if (!type) {
        wrong = "Invalid control message";
    } else if (!strcmp(type, "resize")) {
        if (cols < 1 || rows < 1 || cols > TERMINAL_SIZE_MAX || rows > TERMINAL_SIZE_MAX)
            wrong = "Invalid dimensions: cols and rows are 1 to 4096";
        ret->cols = (uint16_t)cols;
        ret->rows = (uint16_t)rows;
    } else if (!strcmp(type, "signal")) {
        ret->type = TERMINAL_SIGNAL;
        ret->signo = box_signal(json_object_get(o, "signal"));
        wrong = ret->signo ? NULL : "Invalid signal";
    } else {
        wrong = "Unknown control message: resize and signal are known";
    }
    json_decref(o);
    return wrong;
}

static void on_control(struct viewer *v, const uint8_t *data, size_t len)
{
    struct terminal_control c;
    struct sandbox *sb = sandbox_get(v->gw->manager, v->sandbox);
    struct wire_link *init = sb ? sandbox_init(sb) : NULL;
    const char *wrong = terminal_control_read(data, len, &c);
    if (!wrong && v->read_only)
        wrong = "This viewer is read-only";
    if (wrong)
        send_error(v, wrong);
    else if (c.type == TERMINAL_RESIZE)
        process_stream_resize(v->stream, c.cols, c.rows);
    else if (init)
        process_link_signal(init, v->id, c.signo, false, 0, NULL, NULL);
}

static void on_message(void *user, bool binary, const uint8_t *data, size_t len)
{
    struct viewer *v = user;
    if (!v->stream)
        return;
    if (!binary) {
        on_control(v, data, len);
    } else if (v->read_only) {
        send_error(v, "This viewer is read-only");
    } else if (process_stream_queued(v->stream) + len > INPUT_MAX) {
        send_error(v, "The program does not read its input");
        websocket_close(v->ws, CLOSE_INTERNAL, "input is not read");
    } else {
        process_stream_input(v->stream, data, len);
    }
}

static void on_drained(void *user)
{
    struct viewer *v = user;
    if (v->stream)
        process_stream_resume(v->stream);
}

static void on_ws_closed(void *user)
{
    struct viewer *v = user;
    v->ws = NULL;
    let_go(v);
}

static void upgrade(struct viewer *v)
{
    struct exchange *x = STEAL_PTR(v->x);
    struct websocket_config config = {.loop = v->gw->loop,
                                      .message_max = MESSAGE_MAX,
                                      .compression = WEBSOCKET_NEVER, /* a key is a byte */
                                      .message = on_message,
                                      .drained = on_drained,
                                      .closed = on_ws_closed,
                                      .user = v};
    int status = 0;
    const char *why = NULL;
    exchange_set_ops(x, NULL, NULL);
    v->ws = websocket_accept(x, &config, &status, &why);
    if (v->ws) {
        api_count(v->gw, 101);
        if (v->cols && v->rows && !v->read_only)
            process_stream_resize(v->stream, v->cols, v->rows);
        process_stream_resume(v->stream);
        return;
    }
    if (status)
        api_error(v->gw, x, status, "BAD_WEBSOCKET", "%s", why);
    let_go(v);
}

static void on_attached(void *user, const struct err *error, const struct wire_message *m)
{
    struct viewer *v = user;
    struct wire_process_info info;
    struct err err = *error;
    const char *note;
    size_t cursor = 0;
    v->answered = true;
    if (v->over) {
        viewer_free(v);
        return;
    }
    if (!err.code &&
        (!process_table_next(m, &cursor, &info, &note) || info.kind != WIRE_PROCESS_TERMINAL))
        err.code = -ESRCH;
    if (!err.code && !v->stream)
        err_set(&err, -ECONNRESET, "attach", "the sandbox ended");
    if (!err.code) {
        upgrade(v);
        return;
    }
    struct exchange *x = STEAL_PTR(v->x);
    exchange_set_ops(x, NULL, NULL);
    box_error(v->gw, x, &err, "terminal", v->id);
    let_go(v);
}

/* ---- the request ---- */

static void on_client_gone(void *user)
{
    struct viewer *v = user;
    v->x = NULL;
    let_go(v);
}

static const struct exchange_ops viewer_ops = {.closed = on_client_gone};

/* False: answered. */
static bool read_query(struct viewer *v, const struct http_request *r, uint64_t *cursor)
{
    char word[24];
    long cols = 0, rows = 0, from = 0;
    v->read_only = http_query(r, "readOnly", word, sizeof word) &&
                   (!strcmp(word, "1") || !strcmp(word, "true"));
    if (!api_query_int(v->gw, v->x, r, "cols", 1, TERMINAL_SIZE_MAX, &cols) ||
        !api_query_int(v->gw, v->x, r, "rows", 1, TERMINAL_SIZE_MAX, &rows) ||
        !api_query_int(v->gw, v->x, r, "cursor", 0, 1l << 52, &from))
        return false;
    v->cols = (uint16_t)cols;
    v->rows = (uint16_t)rows;
    *cursor = (uint64_t)from;
    return true;
}

static void attach(struct viewer *v, struct wire_link *init, uint64_t cursor)
{
    int theirs = -1;
    exchange_set_ops(v->x, &viewer_ops, v);
    v->stream = process_stream_new(v->gw->loop, &stream_ops, v, &theirs);
    if (!v->stream) {
        struct exchange *x = STEAL_PTR(v->x);
        exchange_set_ops(x, NULL, NULL);
        api_error(v->gw, x, 503, "OUT_OF_MEMORY", "no descriptors are left");
        v->answered = true;
        let_go(v);
        return;
    }
    process_stream_pause(v->stream);
    process_link_attach(init, v->id, cursor, v->read_only ? WIRE_ATTACH_READ_ONLY : 0, theirs,
                        on_attached, v);
    fd_close(theirs);
}

void terminal_attach(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const struct route_params *p)
{
    uint64_t cursor = 0;
    if (!websocket_wanted(r)) {
        exchange_header(x, "Upgrade", "websocket");
        api_error(gw, x, 426, "BAD_WEBSOCKET", "a terminal is attached to by WebSocket");
        return;
    }
    struct wire_link *init = box_running(gw, x, p->value[0], "terminal", p->value[1]);
    struct viewer *v = init ? calloc(1, sizeof *v) : NULL;
    if (!init)
        return;
    if (!v) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *v = (struct viewer){.gw = gw, .x = x};
    box_copy(v->sandbox, sizeof v->sandbox, p->value[0]);
    box_copy(v->id, sizeof v->id, p->value[1]);
    sandbox_hold(sandbox_get(gw->manager, v->sandbox), &v->hold);
    if (read_query(v, r, &cursor))
        attach(v, init, cursor);
    else
        viewer_free(v);
}
