/* POST .../processes/{id}/wait: until it has written a line, answers on a port, or has ended. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel-gw/api/box/box.h"
#include "kernel-gw/api/box/match.h"
#include "kernel-gw/api/box/probe.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"

struct waiter {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    char id[WIRE_PROCESS_ID], sandbox[64];
    json_t *body;
    bool answered, over;
    struct process_stream *stream;
    struct sandbox_hold hold;
    struct match *match;
    struct probe *probe;
    struct probe_spec port;
    uv_timer_t *timer;
};

static void on_timer_closed(uv_handle_t *h)
{
    free(h);
}

static void waiter_free(struct waiter *w)
{
    sandbox_release(&w->hold);
    process_stream_free(w->stream);
    probe_stop(w->probe);
    match_free(w->match);
    json_decref(w->body);
    if (w->timer)
        uv_close((uv_handle_t *)w->timer, on_timer_closed);
    free(w);
}

static void let_go(struct waiter *w)
{
    w->over = true;
    process_stream_free(STEAL_PTR(w->stream));
    probe_stop(STEAL_PTR(w->probe));
    if (w->timer)
        uv_timer_stop(w->timer);
    if (w->answered)
        waiter_free(w);
}

static void on_client_gone(void *user)
{
    struct waiter *w = user;
    w->x = NULL;
    let_go(w);
}

static const struct exchange_ops waiter_ops = {.closed = on_client_gone};

static struct exchange *take_exchange(struct waiter *w)
{
    struct exchange *x = STEAL_PTR(w->x);
    exchange_set_ops(x, NULL, NULL);
    return x;
}

static void fail(struct waiter *w, const struct err *err)
{
    box_error(w->gw, take_exchange(w), err, "process", w->id);
    let_go(w);
}

static void put_condition(struct waiter *w, struct buf *b)
{
    const char *log = api_string(w->body, "log"), *pattern = api_string(w->body, "pattern");
    if (log || pattern)
        buf_printf(b, "log %s", log ? log : pattern);
    else if (w->port.port)
        buf_printf(b, "port %u", w->port.port);
    else
        buf_puts(b, "exit");
}

static void on_timeout(uv_timer_t *t)
{
    struct waiter *w = t->data;
    CLEANUP_BUF struct buf what = {0};
    put_condition(w, &what);
    api_error_detail(w->gw, take_exchange(w), 408, "PROCESS_READY_TIMEOUT", "condition",
                     buf_str(&what), "process %s: the time was over before: %s", w->id,
                     buf_str(&what));
    let_go(w);
}

static void ended(struct waiter *w, const struct wire_process_info *info)
{
    CLEANUP_BUF struct buf b = {0};
    int code = box_exit_code(info->status, info->marks);
    buf_puts(&b, "{\"processId\":");
    json_put_cstring(&b, w->id);
    box_put_end(&b, info->status, info->marks);
    buf_putc(&b, '}');
    if (w->match || w->port.port) {
        char text[16];
        snprintf(text, sizeof text, "%d", code);
        api_error_detail(w->gw, take_exchange(w), 409, "PROCESS_EXITED_BEFORE_READY", "exitCode",
                         text, "process %s ended with code %d before it was ready", w->id, code);
    } else {
        api_json(w->gw, take_exchange(w), 200, &b);
    }
    let_go(w);
}

static void matched(struct waiter *w, int stream)
{
    CLEANUP_BUF struct buf b = {0};
    size_t len;
    const char *line = match_line(w->match, &len);
    buf_printf(&b, "{\"stream\":\"%s\",\"line\":", stream ? "stderr" : "stdout");
    json_put_string(&b, line, len);
    buf_puts(&b, ",\"match\":[");
    unsigned last = 0;
    for (unsigned g = 0; g < MATCH_GROUPS; g++)
        if (match_group(w->match, g, &len))
            last = g;
    for (unsigned g = 0; g <= last; g++) {
        const char *text = match_group(w->match, g, &len);
        if (g)
            buf_putc(&b, ',');
        if (text)
            json_put_string(&b, text, len);
        else
            buf_puts(&b, "null");
    }
    buf_puts(&b, "]}");
    api_json(w->gw, take_exchange(w), 200, &b);
    let_go(w);
}

static void on_frame(void *user, const struct wire_frame *f, const uint8_t *payload)
{
    struct waiter *w = user;
    struct wire_process_info info;
    bool output = f->type == WIRE_FRAME_STDOUT || f->type == WIRE_FRAME_STDERR;
    int i = f->type - WIRE_FRAME_STDOUT;
    if (output && w->match && match_feed(w->match, i, payload, f->len)) {
        matched(w, i);
    } else if (f->type == WIRE_FRAME_EXIT && f->len == sizeof info) {
        memcpy(&info, payload, sizeof info);
        ended(w, &info);
    }
}

static void on_stream_closed(void *user)
{
    struct waiter *w = user;
    struct err gone = {0};
    process_stream_free(STEAL_PTR(w->stream));
    if (!w->answered)
        return;
    err_set(&gone, -ECONNRESET, "wait", "the sandbox ended");
    fail(w, &gone);
}

static const struct process_stream_ops stream_ops = {.frame = on_frame, .closed = on_stream_closed};

static void on_port_ready(void *user, int status)
{
    struct waiter *w = user;
    CLEANUP_BUF struct buf b = {0};
    w->probe = NULL;
    buf_printf(&b, "{\"port\":%u", w->port.port);
    if (status)
        buf_printf(&b, ",\"status\":%d", status);
    buf_putc(&b, '}');
    api_json(w->gw, take_exchange(w), 200, &b);
    let_go(w);
}

static void on_attached(void *user, const struct err *error, const struct wire_message *m)
{
    struct waiter *w = user;
    struct err err = *error;
    (void)m;
    w->answered = true;
    if (w->over) {
        waiter_free(w);
        return;
    }
    if (!err.code && !w->stream)
        err_set(&err, -ECONNRESET, "wait", "the sandbox ended");
    if (!err.code && w->port.port) {
        w->probe = probe_start(w->gw, w->sandbox, &w->port, on_port_ready, w);
        if (!w->probe)
            err_set(&err, -ENOMEM, "wait", NULL);
    }
    if (err.code)
        fail(w, &err);
    else
        process_stream_resume(w->stream);
}

/* ---- the request ---- */

static const struct api_field wait_fields[] = {
    {.name = "log", .type = API_STRING, .max = MATCH_PATTERN_MAX},
    {.name = "pattern", .type = API_STRING, .max = MATCH_PATTERN_MAX},
    {.name = "port", .type = API_INTEGER, .min = 1, .max = 65535},
    {.name = "mode", .type = API_STRING, .max = 8},
    {.name = "path", .type = API_STRING, .max = PROBE_PATH_MAX - 1},
    {.name = "statusMin", .type = API_INTEGER, .min = 100, .max = 599},
    {.name = "statusMax", .type = API_INTEGER, .min = 100, .max = 599},
    {.name = "interval", .type = API_INTEGER, .min = 10, .max = 10000},
    {.name = "exit", .type = API_BOOLEAN},
    {.name = "cursor", .type = API_INTEGER, .min = 0, .max = 1ll << 52},
    {.name = "timeout", .type = API_INTEGER, .min = 1, .max = BOX_TIMEOUT_MAX_MS},
};

/* NULL: fine. */
static const char *read_port(struct waiter *w)
{
    const char *mode = api_string(w->body, "mode"), *path = api_string(w->body, "path");
    enum { INTERVAL_MS = 100, OK_MIN = 200, OK_MAX = 399 };
    w->port =
        (struct probe_spec){.port = (uint16_t)api_integer(w->body, "port", 0),
                            .http = !mode || !strcmp(mode, "http"),
                            .status_min = (int)api_integer(w->body, "statusMin", OK_MIN),
                            .status_max = (int)api_integer(w->body, "statusMax", OK_MAX),
                            .interval_ms = (unsigned)api_integer(w->body, "interval", INTERVAL_MS)};
    box_copy(w->port.path, sizeof w->port.path, path ? path : "/");
    if (mode && strcmp(mode, "http") != 0 && strcmp(mode, "tcp") != 0)
        return "mode is http or tcp";
    for (const char *c = w->port.path; *c; c++)
        if (*c <= ' ' || *c == 0x7f)
            return "path must not hold spaces or control characters";
    return w->port.path[0] == '/' ? NULL : "path must begin with /";
}

/* False: answered. */
static bool read_condition(struct waiter *w)
{
    const json_t *log = json_object_get(w->body, "log");
    const char *pattern = api_string(w->body, "pattern");
    bool port = json_object_get(w->body, "port"), end = json_object_get(w->body, "exit");
    char why[160] = "";
    if (!!log + !!pattern + port + end > 1) {
        api_error(w->gw, w->x, 400, "INVALID_FIELD", "wait for one of log, pattern, port and exit");
        return false;
    }
    if (log)
        w->match = match_text(json_string_value(log), json_string_length(log));
    else if (pattern && !(w->match = match_pattern(pattern, why, sizeof why))) {
        api_error_detail(w->gw, w->x, 400, "INVALID_PATTERN", "field", "pattern", "pattern: %s",
                         why);
        return false;
    }
    const char *wrong = port ? read_port(w) : NULL;
    if (wrong)
        api_error(w->gw, w->x, 400, "INVALID_FIELD", "%s", wrong);
    return !wrong;
}

static int start_timer(struct waiter *w)
{
    json_int_t ms = api_integer(w->body, "timeout", 0);
    if (!ms)
        return 0;
    w->timer = calloc(1, sizeof *w->timer);
    if (!w->timer)
        return -ENOMEM;
    uv_timer_init(w->gw->loop, w->timer);
    w->timer->data = w;
    uv_timer_start(w->timer, on_timeout, (uint64_t)ms, 0);
    return 0;
}

static void attach(struct waiter *w, struct wire_link *init)
{
    int theirs = -1;
    struct err err = {0};
    /* What was written before counts for a line, not for an end. */
    uint64_t from = w->match ? (uint64_t)api_integer(w->body, "cursor", 0) : UINT64_MAX;
    exchange_set_ops(w->x, &waiter_ops, w);
    w->stream = process_stream_new(w->gw->loop, &stream_ops, w, &theirs);
    if (!w->stream || start_timer(w) < 0) {
        w->answered = true;
        fd_close(theirs);
        err_set(&err, -ENOMEM, "wait", NULL);
        fail(w, &err);
        return;
    }
    process_stream_pause(w->stream);
    process_link_attach(init, w->id, from, WIRE_ATTACH_READ_ONLY, theirs, on_attached, w);
    fd_close(theirs);
}

void box_wait(struct gateway *gw, struct exchange *x, const struct http_request *r,
              const struct route_params *p)
{
    json_t *o = api_body(gw, x, r, wait_fields, COUNT(wait_fields));
    struct waiter *w = o ? calloc(1, sizeof *w) : NULL;
    if (!w) {
        json_decref(o);
        if (o)
            api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *w = (struct waiter){.gw = gw, .x = x, .body = o};
    box_copy(w->id, sizeof w->id, p->value[1]);
    box_copy(w->sandbox, sizeof w->sandbox, p->value[0]);
    struct wire_link *init =
        read_condition(w) ? box_running(gw, x, p->value[0], "process", p->value[1]) : NULL;
    if (init) {
        sandbox_hold(sandbox_get(gw->manager, w->sandbox), &w->hold);
        attach(w, init);
    } else {
        waiter_free(w);
    }
}
