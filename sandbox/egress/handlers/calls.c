/* Requests to handlers, and the requests that handlers make. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/handlers/private.h"
#include "sandbox/egress/http/authority.h"

static struct handler_stream *find(struct handlers *h, uint32_t id)
{
    LIST_FOREACH (it, &h->streams) {
        struct handler_stream *s = LIST_ENTRY(it, struct handler_stream, link);
        if (s->id == id)
            return s;
    }
    return NULL;
}

static struct handler_stream *stream_make(struct handlers *h, uint32_t id, bool is_call)
{
    struct handler_stream *s = h->nstreams < STREAMS_MAX ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return NULL;
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

/* ---- heads ---- */

/* A field's bytes are the characters that JavaScript sees (a ByteString). */
static json_t *to_json(const char *p, size_t n)
{
    CLEANUP_BUF struct buf b = {0};
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c >= 0x80)
            buf_putc(&b, (char)(0xc0 | c >> 6));
        buf_putc(&b, (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c));
    }
    return json_stringn(buf_str(&b), b.len);
}

static int from_json(const char *p, size_t n, struct buf *out)
{
    buf_reset(out);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 0x80) {
            if (c == '\r' || c == '\n' || c == 0)
                return -EINVAL;
            buf_putc(out, (char)c);
        } else if ((c & 0xfc) == 0xc0 && i + 1 < n) {
            buf_putc(out, (char)(c << 6 | (p[++i] & 0x3f)));
        } else {
            return -EINVAL;
        }
    }
    return out->err;
}

static json_t *fields_to_json(const struct http_head *h)
{
    json_t *list = json_array();
    for (uint16_t i = 0; i < h->nfields; i++) {
        const struct head_field *f = &h->fields[i];
        json_t *pair = json_array();
        json_array_append_new(pair, json_stringn(head_at(h, f->name), f->name.len));
        json_array_append_new(pair, to_json(head_at(h, f->value), f->value.len));
        json_array_append_new(list, pair);
    }
    return list;
}

static int fields_from_json(const json_t *list, struct http_head *h)
{
    CLEANUP_BUF struct buf name = {0}, value = {0};
    size_t i;
    json_t *pair;
    json_array_foreach (list, i, pair) {
        const json_t *n = json_array_get(pair, 0), *v = json_array_get(pair, 1);
        if (!json_is_string(n) || !json_is_string(v) ||
            from_json(json_string_value(n), json_string_length(n), &name) < 0 ||
            from_json(json_string_value(v), json_string_length(v), &value) < 0)
            return -EINVAL;
        int r = head_add(h, buf_str(&name), name.len, buf_str(&value), value.len);
        if (r < 0)
            return r;
    }
    static const char *const hop[] = {"connection", "keep-alive", "transfer-encoding",
                                      "upgrade",    "host",       "te"};
    for (i = 0; i < sizeof hop / sizeof *hop; i++)
        head_remove(h, hop[i]);
    return 0;
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
    h->next_call += 2;
    struct handler_stream *s = stream_make(h, h->next_call, true);
    if (!s) {
        snprintf(ret_reason, 208, "too many requests wait for handlers");
        return -ENOBUFS;
    }
    s->x = x;
    s->deadline = uv_now(h->loop) + h->config.deadline_ms;
    snprintf(s->handler, sizeof s->handler, "%s", name);
    CLEANUP_BUF struct buf url = {0};
    buf_puts(&url, head->https ? "https://" : "http://");
    buf_put(&url, head_at(head, head->authority), head->authority.len);
    buf_put(&url, head_at(head, head->target), head->target.len);
    json_t *p = json_loads(params, JSON_DECODE_ANY, NULL);
    json_t *o =
        json_pack("{s:s, s:o, s:s%, s:o, s:o, s:{s:s, s:s}}", "handler", name, "params",
                  p ? p : json_null(), "method", head_at(head, head->method),
                  (size_t)head->method.len, "url", to_json(buf_str(&url), url.len), "headers",
                  fields_to_json(head), "sandbox", "name", b->name, "id", b->disk);
    worker_send_json(h, HANDLER_CALL, s->id, o);
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

/* "https://host:port/path?query" into head and origin. */
static int set_url(const char *url, struct http_head *head, struct exchange_origin *o,
                   char host[256], union socket_address *addr)
{
    size_t scheme = !strncmp(url, "https://", 8) ? 8 : !strncmp(url, "http://", 7) ? 7 : 0;
    if (!scheme)
        return -EINVAL;
    const char *authority = url + scheme, *path = authority + strcspn(authority, "/?#");
    size_t len = strcspn(path, "#");
    head->https = o->https = scheme == 8;
    if (authority_split(authority, (size_t)(path - authority), o->https, host, &o->port) < 0 ||
        head_put(head, authority, (size_t)(path - authority), &head->authority) < 0)
        return -EINVAL;
    o->host = host;
    memset(addr, 0, sizeof *addr);
    if (inet_pton(AF_INET, host, &addr->v4.sin_addr) == 1)
        addr->sa.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, host, &addr->v6.sin6_addr) == 1)
        addr->sa.sa_family = AF_INET6;
    o->by_address = addr->sa.sa_family != 0;
    o->addr = o->by_address ? &addr->sa : NULL;
    if (*path != '/') {
        CLEANUP_BUF struct buf b = {0};
        buf_putc(&b, '/');
        buf_put(&b, path, len);
        return head_put(head, buf_str(&b), b.len, &head->target);
    }
    return head_put(head, path, len, &head->target);
}

static const char *begin_fetch(struct handlers *h, uint32_t id, const json_t *o)
{
    struct handler_stream *call = find(h, (uint32_t)json_integer_value(json_object_get(o, "call")));
    const char *url = json_string_value(json_object_get(o, "url"));
    const char *method = json_string_value(json_object_get(o, "method"));
    bool body = json_is_true(json_object_get(o, "body"));
    char host[256];
    union socket_address addr;
    if (!call || !call->is_call || !call->x)
        return "the request that made this fetch is over";
    struct exchange_origin origin = {
        .box = exchange_box(call->x), .protocol = "HTTP/1.1", .from_handler = true};
    struct http_head head;
    head_init(&head);
    const char *wrong = NULL;
    if (!url || !method || head_put(&head, method, strlen(method), &head.method) < 0 ||
        set_url(url, &head, &origin, host, &addr) < 0)
        wrong = "that URL cannot be fetched";
    else if (fields_from_json(json_object_get(o, "headers"), &head) < 0)
        wrong = "its headers cannot be sent";
    struct handler_stream *s = wrong ? NULL : stream_make(h, id, false);
    if (!wrong && !s)
        wrong = "too many requests are under way";
    if (s) {
        s->call = call->id;
        s->x = exchange_new(&origin, &head, !body, &fetch_ops, s);
        if (!s->x) {
            stream_free(s);
            wrong = "out of memory";
        }
    }
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
    if (status < 200 || status > 599 ||
        fields_from_json(json_object_get(o, "headers"), &head) < 0) {
        head_deinit(&head);
        worker_send(s->h, HANDLER_CANCEL, s->id, NULL, 0);
        call_fail(s, 502, "the handler's response cannot be sent");
        return;
    }
    s->deadline = 0;
    s->answered = true;
    exchange_up_head(s->x, &head, json_is_true(json_object_get(o, "end")));
    head_deinit(&head);
}

static void on_body(struct handler_stream *s, const uint8_t *data, size_t len)
{
    struct handlers *h = s->h;
    uint32_t id = s->id;
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

static void on_end(struct handler_stream *s)
{
    struct handlers *h = s->h;
    uint32_t id = s->id;
    struct exchange *x = s->x;
    if (!s->is_call) {
        exchange_request_end(x, NULL);
        return;
    }
    stream_free(s);
    exchange_up_end(x, NULL);
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
                on_end(s);
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
        call_fail(s, 504, "the handler has not answered in time");
        it_n = h->streams.next;
    }
}
