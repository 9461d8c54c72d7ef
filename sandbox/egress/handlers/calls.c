/* Requests to handlers, and the requests that handlers make. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/handlers/private.h"

static struct handler_stream *find(struct handlers *h, uint32_t id)
{
    LIST_FOREACH (it, &h->streams) {
        struct handler_stream *s = LIST_ENTRY(it, struct handler_stream, link);
        if (s->id == id)
            return s;
    }
    return NULL;
}

/* One box may not take what all share. */
static bool has_room(const struct handlers *h, uint64_t box)
{
    unsigned n = 0;
    LIST_FOREACH (it, &h->streams)
        n += LIST_ENTRY(it, struct handler_stream, link)->box == box;
    return h->nstreams < STREAMS_MAX && n < STREAMS_OF_BOX_MAX;
}

static struct handler_stream *stream_make(struct handlers *h, uint32_t id, bool is_call,
                                          const struct egress_box *b)
{
    struct handler_stream *s = has_room(h, b->number) ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return NULL;
    s->box = b->number;
    s->egress = b->egress;
    s->length.left = -1;
    s->h = h;
    s->id = id;
    s->is_call = is_call;
    s->credit = HANDLER_BODY_WINDOW;
    list_append(&h->streams, &s->link);
    h->nstreams++;
    return s;
}

static void stream_free(struct handler_stream *s)
{
    s->h->nstreams--;
    list_remove(&s->link);
    free(s);
}

static void send_error(struct handlers *h, uint32_t id, const char *message)
{
    worker_send_json(h, HANDLER_ERROR, id, json_pack("{s:s}", "message", message));
}

/* ---- bodies, the same both ways ---- */

static int send_body(struct handler_stream *s, const uint8_t *data, size_t len)
{
    worker_send(s->h, HANDLER_DATA, s->id, data, len);
    s->credit -= (int64_t)len;
    s->full |= s->credit <= 0;
    return s->full ? EXCHANGE_FULL : EXCHANGE_OK;
}

static void open_window(struct handler_stream *s, uint32_t n)
{
    uint8_t le[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)};
    worker_send(s->h, HANDLER_WINDOW, s->id, le, sizeof le);
}

static void set_paused(struct handler_stream *s, bool paused)
{
    s->paused = paused;
    if (!paused && s->owed) {
        open_window(s, s->owed);
        s->owed = 0;
    }
}

/* ---- calls: the up side of an exchange ---- */

static int call_body(void *up, const uint8_t *data, size_t len)
{
    return send_body(up, data, len);
}

static void call_end(void *up, const struct http_head *trailers)
{
    struct handler_stream *s = up;
    (void)trailers;
    worker_send(s->h, HANDLER_END, s->id, NULL, 0);
}

/* Its fetches go with it. */
static void drop_fetches(struct handlers *h, uint32_t call)
{
    LIST_FOREACH_SAFE (it, &h->streams) {
        struct handler_stream *s = LIST_ENTRY(it, struct handler_stream, link);
        if (s->is_call || s->call != call)
            continue;
        struct exchange *x = STEAL_PTR(s->x);
        send_error(h, s->id, "the request that made this fetch is over");
        stream_free(s);
        if (x)
            exchange_down_gone(x);
        it_n = h->streams.next; /* ending one may have ended others */
    }
}

static void call_cancel(void *up)
{
    struct handler_stream *s = up;
    struct handlers *h = s->h;
    uint32_t id = s->id;
    s->x = NULL;
    worker_send(h, HANDLER_CANCEL, id, NULL, 0);
    stream_free(s);
    drop_fetches(h, id);
}

static void call_pause(void *up, bool paused)
{
    set_paused(up, paused);
}

static const struct exchange_up_ops call_ops = {call_body, call_end, call_cancel, call_pause};

static void call_fail(struct handler_stream *s, uint16_t status, const char *reason)
{
    struct exchange *x = STEAL_PTR(s->x);
    struct handlers *h = s->h;
    uint32_t id = s->id;
    stream_free(s);
    if (x)
        exchange_up_failed(x, status, reason);
    drop_fetches(h, id);
}

int handlers_start(struct handlers *h, struct exchange *x, const char *name, const char *params,
                   const struct exchange_up_ops **ret_ops, void **ret_up, char ret_reason[208])
{
    const struct http_head *head = exchange_request_head(x);
    const struct egress_box *b = exchange_box(x);
    if (!handlers_has(h, name)) {
        snprintf(ret_reason, 208, "there is no handler \"%.100s\"", name);
        return HANDLERS_E_NOT_FOUND;
    }
    if (!h->stream) {
        snprintf(ret_reason, 208, "the handler's worker is being started again");
        return -EAGAIN;
    }
    int r = environment_admit(h, name, x, ret_reason);
    if (r < 0)
        return r;
    h->next_call += 2;
    struct handler_stream *s = stream_make(h, h->next_call, true, b);
    if (!s) {
        snprintf(ret_reason, 208, "too many requests wait for handlers");
        return -ENOBUFS;
    }
    s->x = x;
    s->deadline = uv_now(h->loop) + h->config.deadline_ms;
    snprintf(s->handler, sizeof s->handler, "%s", name);
    json_t *p = json_loads(params, JSON_DECODE_ANY, NULL);
    json_t *o = json_pack("{s:s, s:o, s:s%, s:o, s:o, s:{s:s, s:s}}", "handler", name, "params",
                          p ? p : json_null(), "method", head_at(head, head->method),
                          (size_t)head->method.len, "url", url_to_json(head), "headers",
                          fields_to_json(head), "sandbox", "name", b->name, "id", b->disk);
    if (worker_send_json(h, HANDLER_CALL, s->id, o) < 0) {
        stream_free(s);
        snprintf(ret_reason, 208, "the request cannot be described to the handler");
        return -EINVAL;
    }
    *ret_ops = &call_ops;
    *ret_up = s;
    return 0;
}

/* ---- fetches: the down side of an exchange ---- */

static int fetch_respond(void *down, const struct http_head *head, bool end)
{
    struct handler_stream *s = down;
    (void)end;
    if (head->status >= 200)
        worker_send_json(
            s->h, HANDLER_HEAD, s->id,
            json_pack("{s:i, s:o}", "status", (int)head->status, "headers", fields_to_json(head)));
    return EXCHANGE_OK;
}

static int fetch_body(void *down, const uint8_t *data, size_t len)
{
    return send_body(down, data, len);
}

static void fetch_end(void *down, const struct http_head *trailers)
{
    struct handler_stream *s = down;
    (void)trailers;
    worker_send(s->h, HANDLER_END, s->id, NULL, 0);
    stream_free(s);
}

static void fetch_abort(void *down)
{
    struct handler_stream *s = down;
    send_error(s->h, s->id, "the connection broke");
    stream_free(s);
}

static void fetch_pause(void *down, bool paused)
{
    set_paused(down, paused);
}

static const struct exchange_down_ops fetch_ops = {fetch_respond, fetch_body,  fetch_end,
                                                   fetch_abort,   fetch_pause, NULL};

static const char *begin_fetch(struct handlers *h, uint32_t id, const json_t *o)
{
    struct handler_stream *call = find(h, (uint32_t)json_integer_value(json_object_get(o, "call")));
    const char *url = json_string_value(json_object_get(o, "url"));
    const char *method = json_string_value(json_object_get(o, "method"));
    bool body = json_is_true(json_object_get(o, "body"));
    struct authority_text space;
    struct egress_box *b = call && call->is_call && (call->x || call->lingers)
                               ? box_find(call->egress, call->box)
                               : NULL;
    if (!b)
        return "the request that made this fetch is over";
    struct exchange_origin origin = {.box = b, .protocol = "HTTP/1.1", .from_handler = true};
    struct http_head head;
    head_init(&head);
    const char *wrong = NULL;
    if (!url || !method || !is_token(method, strlen(method)) ||
        head_put(&head, method, strlen(method), &head.method) < 0 ||
        url_split(url, &head, &origin, &space) < 0 || head_request_fault(&head))
        wrong = "that URL cannot be fetched";
    else if (fields_from_json(json_object_get(o, "headers"), &head) < 0)
        wrong = "its headers cannot be sent";
    struct handler_stream *s = wrong ? NULL : stream_make(h, id, false, b);
    if (!wrong && !s)
        wrong = "too many requests are under way";
    if (s && body && body_length_read(&s->length, &head) < 0)
        wrong = "its Content-Length is none";
    if (!body)
        head_remove(&head, "content-length");
    if (s && !wrong) {
        CLEANUP_FREE struct fill *fills = environment_fills(h, call->handler, &origin.nfills);
        s->call = call->id;
        origin.fills = fills;
        s->x = fills ? exchange_new(&origin, &head, !body, &fetch_ops, s) : NULL;
        if (!s->x)
            wrong = "out of memory";
    }
    if (s && wrong)
        stream_free(s);
    head_deinit(&head);
    return wrong;
}

/* ---- frames of the worker ---- */

static void on_head(struct handler_stream *s, const json_t *o)
{
    struct http_head head;
    json_int_t status = json_integer_value(json_object_get(o, "status"));
    head_init(&head);
    head.status = (uint16_t)status;
    bool end = json_is_true(json_object_get(o, "end"));
    if (status < 200 || status > 599 ||
        fields_from_json(json_object_get(o, "headers"), &head) < 0 ||
        (!end && body_length_read(&s->length, &head) < 0)) {
        head_deinit(&head);
        worker_send(s->h, HANDLER_CANCEL, s->id, NULL, 0);
        call_fail(s, 502, "the handler's response cannot be sent");
        return;
    }
    s->deadline = 0;
    s->answered = true;
    exchange_up_head(s->x, &head, end);
    head_deinit(&head);
}

/* It ends on both sides. */
static void break_off(struct handler_stream *s, const char *reason)
{
    struct handlers *h = s->h;
    uint32_t id = s->id;
    if (s->is_call) {
        worker_send(h, HANDLER_CANCEL, id, NULL, 0);
        call_fail(s, 502, reason);
        return;
    }
    struct exchange *x = STEAL_PTR(s->x);
    stream_free(s);
    send_error(h, id, reason);
    exchange_down_gone(x);
}

static void on_body(struct handler_stream *s, const uint8_t *data, size_t len)
{
    struct handlers *h = s->h;
    uint32_t id = s->id;
    if (!body_length_take(&s->length, len)) {
        break_off(s, "the body is longer than its Content-Length");
        return;
    }
    bool full = s->is_call ? exchange_up_body(s->x, data, len) == EXCHANGE_FULL
                           : exchange_request_body(s->x, data, len) == EXCHANGE_FULL;
    if ((s = find(h, id)) == NULL)
        return;
    s->paused |= full;
    if (s->paused)
        s->owed += (uint32_t)len;
    else
        open_window(s, (uint32_t)len);
}

static void on_end(struct handler_stream *s, bool lingers)
{
    struct handlers *h = s->h;
    uint32_t id = s->id;
    struct exchange *x = s->x;
    if (!body_length_over(&s->length)) {
        break_off(s, "the body is shorter than its Content-Length");
        return;
    }
    if (!s->is_call) {
        exchange_request_end(x, NULL);
        return;
    }
    if (lingers) {
        s->x = NULL;
        s->lingers = true;
        s->deadline = uv_now(h->loop) + h->config.deadline_ms;
    } else {
        stream_free(s);
    }
    exchange_up_end(x, NULL);
    if (!lingers)
        drop_fetches(h, id);
}

static void on_done(struct handler_stream *s)
{
    struct handlers *h = s->h;
    uint32_t id = s->id;
    stream_free(s);
    drop_fetches(h, id);
}

static void on_error(struct handler_stream *s, const json_t *o)
{
    const char *message = json_string_value(json_object_get(o, "message"));
    char text[208];
    if (s->is_call) {
        snprintf(text, sizeof text, "handler %.60s threw: %.130s", s->handler,
                 message ? message : "nothing");
        call_fail(s, 502, text);
        return;
    }
    struct exchange *x = STEAL_PTR(s->x);
    stream_free(s);
    if (x)
        exchange_down_gone(x);
}

static void on_window(struct handler_stream *s, const struct handler_frame *f)
{
    if (f->len != 4)
        return;
    s->credit += (int64_t)f->data[0] | (int64_t)f->data[1] << 8 | (int64_t)f->data[2] << 16 |
                 (int64_t)f->data[3] << 24;
    if (s->credit <= 0 || !s->full)
        return;
    s->full = false;
    if (s->is_call)
        exchange_up_drained(s->x);
    else
        exchange_down_drained(s->x);
}

void calls_frame(struct handlers *h, const struct handler_frame *f)
{
    bool described =
        f->type == HANDLER_FETCH || f->type == HANDLER_HEAD || f->type == HANDLER_ERROR;
    json_t *o = described ? json_loadb((const char *)f->data, f->len, JSON_ALLOW_NUL, NULL) : NULL;
    struct handler_stream *s = find(h, f->stream);
    const char *wrong;
    if (f->type == HANDLER_FETCH) {
        wrong = !o || s || !(f->stream & 1) ? "malformed" : begin_fetch(h, f->stream, o);
        if (wrong)
            send_error(h, f->stream, wrong);
    } else if (f->type == HANDLER_DONE) {
        if (s && s->lingers)
            on_done(s);
    } else if (s && s->x) { /* else it has ended on our side meanwhile */
        switch (f->type) {
        case HANDLER_HEAD:
            if (s->is_call && !s->answered && o)
                on_head(s, o);
            break;
        case HANDLER_DATA:
            if (!s->is_call || s->answered)
                on_body(s, f->data, f->len);
            break;
        case HANDLER_END:
            if (!s->is_call || s->answered)
                on_end(s, f->len == 1 && f->data[0] == 1);
            break;
        case HANDLER_ERROR:
        case HANDLER_CANCEL:
            on_error(s, o);
            break;
        case HANDLER_WINDOW:
            on_window(s, f);
            break;
        default:
            break;
        }
    }
    json_decref(o);
}

void calls_fail(struct handlers *h, uint16_t status, const char *reason)
{
    while (!list_empty(&h->streams)) {
        struct handler_stream *s = LIST_ENTRY(h->streams.next, struct handler_stream, link);
        if (s->is_call) {
            call_fail(s, status, reason);
            continue;
        }
        struct exchange *x = STEAL_PTR(s->x);
        stream_free(s);
        if (x)
            exchange_down_gone(x);
    }
}

void calls_sweep(struct handlers *h, uint64_t now)
{
    LIST_FOREACH_SAFE (it, &h->streams) {
        struct handler_stream *s = LIST_ENTRY(it, struct handler_stream, link);
        if (!s->deadline || now < s->deadline)
            continue;
        worker_send(h, HANDLER_CANCEL, s->id, NULL, 0);
        if (s->lingers)
            on_done(s);
        else
            call_fail(s, 504, "the handler has not answered in time");
        it_n = h->streams.next;
    }
}
