/* One connection: bytes to exchanges and back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/net/private.h"

enum { INPUT_MAX = 64 << 10, QUEUE_LOW = 64 << 10, DISCARD_MAX = 64 << 20 };

static void process(struct conn *c);

static void on_handle_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    struct http_server *s = c->server;
    list_remove(&c->item);
    s->nconns--;
    http_parser_deinit(&c->parser);
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    buf_deinit(&c->chunk);
    buf_deinit(&c->extra);
    buf_deinit(&c->sending);
    free(c);
}

void conn_close(struct conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    admission_leave(c);
    list_remove(&c->held_item);
    if (c->active) {
        c->active = false;
        const struct exchange_ops *ops = c->x.ops;
        c->x.ops = NULL;
        if (ops && ops->closed)
            ops->closed(c->x.user);
    }
    if (c->tunnel.open)
        tunnel_closed(c);
    uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
}

/* ---- output ---- */

static void after_sent(struct conn *c)
{
    if (c->closing)
        return;
    if (c->out.err) {
        conn_close(c);
        return;
    }
    if (c->close_when_sent && !c->out.len && !c->sending.len) {
        conn_close(c);
        return;
    }
    if (c->tunnel.open) {
        tunnel_sent(c);
        return;
    }
    if (!c->active && c->in.len && !c->processing) { /* it waited until its answers were read */
        process(c);
        return;
    }
    if (c->active && c->x.ops && c->x.ops->drained && c->above_low &&
        exchange_queued(&c->x) <= QUEUE_LOW) {
        c->above_low = false;
        c->x.ops->drained(c->x.user);
    }
}

static void on_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;
    buf_reset(&c->sending);
    if (status < 0) {
        conn_close(c);
        return;
    }
    if (c->closing)
        return;
    c->progress_ms = uv_now(c->server->loop);
    conn_flush(c);
    after_sent(c);
}

void conn_flush(struct conn *c)
{
    if (c->closing || c->held || c->sending.len || !c->out.len)
        return;
    uv_buf_t b = uv_buf_init((char *)c->out.data, (unsigned)c->out.len);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
    if (n < 0 && n != UV_EAGAIN) {
        c->broken = true;
        return;
    }
    if (n == (int)c->out.len) {
        buf_reset(&c->out);
        return;
    }
    if (n > 0)
        buf_consume(&c->out, (size_t)n);
    struct buf swap = c->sending;
    c->sending = c->out;
    c->out = swap;
    b = uv_buf_init((char *)c->sending.data, (unsigned)c->sending.len);
    c->write.data = c;
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &b, 1, on_written) < 0)
        c->broken = true;
}

/* ---- exchanges ---- */

static struct conn *conn_of(const struct exchange *x)
{
    return (struct conn *)((char *)(uintptr_t)x - offsetof(struct conn, x));
}

void exchange_trust(struct exchange *x)
{
    admission_leave(conn_of(x));
}

void exchange_address(const struct exchange *x, char *out, size_t cap)
{
    conn_address(conn_of(x), out, cap);
}

void exchange_set_ops(struct exchange *x, const struct exchange_ops *ops, void *user)
{
    x->ops = ops;
    x->user = user;
}

const struct http_request *exchange_request(const struct exchange *x)
{
    return &conn_of(x)->parser.request;
}

size_t exchange_queued(const struct exchange *x)
{
    const struct conn *c = conn_of(x);
    return c->out.len + c->sending.len + c->chunk.len;
}

void exchange_header(struct exchange *x, const char *name, const char *value)
{
    buf_printf(&conn_of(x)->extra, "%s: %s\r\n", name, value);
}

/* The response that begins now waits until what it tells of is on disk. */
static void conn_hold(struct conn *c)
{
    struct http_server *s = c->server;
    uint64_t number = s->config.pending ? s->config.pending(s->user, &c->parser.request) : 0;
    if (!number)
        return;
    if (!c->held) {
        c->held_from = c->out.len;
        list_append(&s->held, &c->held_item);
    }
    c->held = number > c->held ? number : c->held;
}

/* The handler of a response that cannot be given is told that the client has gone. */
static void conn_refuse_unwritten(struct conn *c)
{
    static const char body[] =
        "{\"error\":{\"code\":\"NOT_STORED\",\"message\":\"the change could not be written to the "
        "server's disk; free some space there and repeat the request\"}}";
    const struct exchange_ops *ops = c->active ? c->x.ops : NULL;
    void *user = c->x.user;
    c->active = false;
    c->x = (struct exchange){0};
    c->out.len = c->held_from;
    buf_reset(&c->chunk);
    c->close_after = c->close_when_sent = true;
    http_put_head(&c->out, 507, "application/json", sizeof body - 1, false,
                  c->server->config.headers);
    buf_put(&c->out, body, sizeof body - 1);
    if (ops && ops->closed)
        ops->closed(user);
}

void conn_release(struct conn *c, bool written)
{
    list_remove(&c->held_item);
    if (!written)
        conn_refuse_unwritten(c);
    c->held = 0;
    conn_flush(c);
    if (c->broken)
        conn_close(c);
    else
        after_sent(c);
}

static bool keeps_alive(struct conn *c)
{
    if (c->body != BODY_WHOLE)
        c->close_after = true; /* nobody will read what is still to come */
    return c->parser.request.keep_alive && !c->close_after && !c->server->draining;
}

/* The response is queued whole: on to the next request. */
static void finish(struct conn *c)
{
    c->active = false;
    c->x = (struct exchange){0};
    buf_reset(&c->extra);
    bool rest = c->body != BODY_WHOLE;
    if (rest) {
        /* Closing now would reset the connection under a client that has not read the answer. */
        c->body = BODY_DISCARD;
        c->close_after = true;
        c->discard_since_ms = uv_now(c->server->loop);
    } else if (!keeps_alive(c)) {
        c->close_when_sent = true;
    }
    conn_flush(c);
    if (rest && !c->broken) {
        if (!c->processing)
            process(c);
        return;
    }
    if (c->broken || (c->close_when_sent && !c->out.len && !c->sending.len)) {
        if (c->processing)
            c->broken = true;
        else
            conn_close(c);
        return;
    }
    http_parser_next(&c->parser);
    c->head_since_ms = 0;
    c->progress_ms = uv_now(c->server->loop);
    if (!c->processing && c->in.len)
        process(c);
}

static const char *extra_headers(struct conn *c)
{
    if (c->server->config.headers)
        buf_puts(&c->extra, c->server->config.headers);
    return c->extra.len ? buf_str(&c->extra) : NULL;
}

void exchange_respond(struct exchange *x, int status, const char *content_type, const void *body,
                      size_t len)
{
    struct conn *c = conn_of(x);
    bool head_only = c->parser.request.method == HTTP_HEAD;
    conn_hold(c);
    int64_t length = status == 204 ? -2 : (int64_t)len;
    http_put_head(&c->out, status, content_type, length, keeps_alive(c), extra_headers(c));
    if (!head_only && len)
        buf_put(&c->out, body, len);
    finish(c);
}

void exchange_begin(struct exchange *x, int status, const char *content_type)
{
    struct conn *c = conn_of(x);
    conn_hold(c);
    x->chunked = !c->parser.request.http10;
    if (!x->chunked)
        c->close_after = true;
    http_put_head(&c->out, status, content_type, x->chunked ? -1 : -2, keeps_alive(c),
                  extra_headers(c));
}

void exchange_begin_sized(struct exchange *x, int status, const char *content_type, uint64_t length)
{
    struct conn *c = conn_of(x);
    conn_hold(c);
    x->chunked = false;
    http_put_head(&c->out, status, content_type, (int64_t)length, keeps_alive(c), extra_headers(c));
    conn_flush(c);
}

void exchange_begin_foreign(struct exchange *x, int status, const char *reason, const char *headers,
                            int64_t length)
{
    struct conn *c = conn_of(x);
    x->chunked = length == -1 && !c->parser.request.http10;
    if (length == -1 && !x->chunked)
        c->close_after = true;
    buf_printf(&c->out, "HTTP/1.1 %d %s\r\n", status, reason);
    buf_puts(&c->out, headers);
    if (length >= 0)
        buf_printf(&c->out, "Content-Length: %lld\r\n", (long long)length);
    else if (x->chunked)
        buf_puts(&c->out, "Transfer-Encoding: chunked\r\n");
    if (!keeps_alive(c))
        buf_puts(&c->out, "Connection: close\r\n");
    buf_puts(&c->out, "\r\n");
}

bool exchange_body_pending(const struct exchange *x)
{
    return conn_of(x)->body != BODY_WHOLE;
}

void exchange_body_read(struct exchange *x, bool on)
{
    struct conn *c = conn_of(x);
    if (c->body != BODY_PAUSED && c->body != BODY_READING)
        return;
    c->body = on ? BODY_READING : BODY_PAUSED;
    if (!on)
        return;
    c->progress_ms = uv_now(c->server->loop);
    if (c->parser.want_continue) {
        c->parser.want_continue = false;
        buf_puts(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        conn_flush(c);
    }
    if (!c->processing)
        process(c);
}

struct buf *exchange_chunk(struct exchange *x)
{
    return &conn_of(x)->chunk;
}

static void close_chunk(struct exchange *x)
{
    struct conn *c = conn_of(x);
    if (c->parser.request.method != HTTP_HEAD && c->chunk.len) {
        if (x->chunked)
            buf_printf(&c->out, "%zx\r\n", c->chunk.len);
        buf_put(&c->out, c->chunk.data, c->chunk.len);
        if (x->chunked)
            buf_puts(&c->out, "\r\n");
    }
    if (c->chunk.err && !c->out.err)
        c->out.err = c->chunk.err;
    buf_reset(&c->chunk);
}

void exchange_flush(struct exchange *x)
{
    struct conn *c = conn_of(x);
    close_chunk(x);
    conn_flush(c);
    if (exchange_queued(x) > QUEUE_LOW)
        c->above_low = true;
}

void exchange_write(struct exchange *x, const void *data, size_t len)
{
    struct conn *c = conn_of(x);
    if (!x->chunked && !c->held && !exchange_queued(x) && !c->broken && !c->closing &&
        c->parser.request.method != HTTP_HEAD) { /* from where it is, without a copy */
        uv_buf_t b = uv_buf_init((char *)data, (unsigned)len);
        int n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
        if (n > 0) {
            c->progress_ms = uv_now(c->server->loop);
            data = (const char *)data + n;
            len -= (size_t)n;
        }
        if (!len)
            return;
    }
    buf_put(&conn_of(x)->chunk, data, len);
    exchange_flush(x);
}

void exchange_end(struct exchange *x)
{
    struct conn *c = conn_of(x);
    close_chunk(x);
    if (x->chunked && c->parser.request.method != HTTP_HEAD)
        buf_puts(&c->out, "0\r\n\r\n");
    finish(c);
}

void exchange_abort(struct exchange *x)
{
    struct conn *c = conn_of(x);
    x->ops = NULL;
    c->broken = true;
    if (!c->processing)
        conn_close(c);
}

/* ---- input ---- */

static void refuse(struct conn *c, int status)
{
    char body[160];
    int n = snprintf(body, sizeof body, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}",
                     status == 413   ? "BODY_TOO_LARGE"
                     : status == 408 ? "REQUEST_TIMEOUT"
                                     : "BAD_REQUEST",
                     http_status_text(status));
    c->close_after = c->close_when_sent = true;
    http_put_head(&c->out, status, "application/json", n, false, c->server->config.headers);
    buf_put(&c->out, body, (size_t)n);
    conn_flush(c);
    uv_read_stop((uv_stream_t *)&c->tcp);
    c->refused = true;
    /* Reading what is still under way would be politer than a reset; the timeout bounds how long.
     */
    if (!c->out.len && !c->sending.len)
        conn_close(c);
}

void conn_timed_out(struct conn *c)
{
    if (c->parser.in_message && !c->active && !c->refused && c->body == BODY_WHOLE)
        refuse(c, 408);
    else
        conn_close(c);
}

static void dispatch(struct conn *c)
{
    c->active = true;
    c->x = (struct exchange){0};
    c->discarded = 0;
    c->server->handler(c->server->user, &c->x, &c->parser.request);
}

static void update_reading(struct conn *c)
{
    bool full = c->in.len >= INPUT_MAX;
    if (full == c->paused || c->closing)
        return;
    c->paused = full;
    if (full)
        uv_read_stop((uv_stream_t *)&c->tcp);
    else
        conn_read_start(c);
}

static bool wants_input(const struct conn *c)
{
    if (c->tunnel.open || c->broken || c->close_when_sent)
        return false;
    if (!c->active && c->body != BODY_DISCARD && c->out.len + c->sending.len > HTTP_QUEUE_HIGH)
        return false; /* who sends requests and reads no answers waits */
    return !c->active || c->body == BODY_READING;
}

static void body_piece(struct conn *c)
{
    if (c->body == BODY_DISCARD) {
        c->discarded += c->parser.piece_len;
        c->broken = c->discarded > DISCARD_MAX;
    } else if (c->x.ops && c->x.ops->body) {
        c->x.ops->body(c->x.user, c->parser.piece, c->parser.piece_len);
    }
}

/* The request is complete: it is handed on whole, or its handler, which has it, is told. */
static void request_complete(struct conn *c)
{
    enum body_mode body = c->body;
    c->body = BODY_WHOLE;
    if (body == BODY_WHOLE)
        dispatch(c);
    else if (body == BODY_DISCARD)
        c->close_when_sent = true;
    else if (c->x.ops && c->x.ops->body_end)
        c->x.ops->body_end(c->x.user);
}

/* 0, or the status to refuse with. */
static int head_complete(struct conn *c)
{
    const struct http_server *s = c->server;
    int64_t max = s->config.judge(s->user, &c->x, &c->parser.request);
    int status = http_parser_body(&c->parser, max);
    if (!status && max == HTTP_BODY_STREAM) {
        c->body = BODY_PAUSED;
        dispatch(c);
    }
    return status;
}

/* Parses what has come, one request after the other, until one is not answered at once. */
static void process(struct conn *c)
{
    size_t at = 0;
    c->processing = true;
    /* What follows a piece may be the end of the body, which takes no further byte. */
    while (wants_input(c) && (at < c->in.len || c->parser.at_piece)) {
        size_t used = 0;
        int r = http_parser_feed(&c->parser, buf_str(&c->in) + at, c->in.len - at, &used);
        at += used;
        if (!c->head_since_ms)
            c->head_since_ms = uv_now(c->server->loop);
        int refusal = r >= 400 ? r : r == HTTP_FED_HEAD ? head_complete(c) : 0;
        if (r == 1)
            request_complete(c);
        else if (r == HTTP_FED_PIECE)
            body_piece(c);
        if (refusal) {
            c->processing = false;
            refuse(c, refusal);
            return;
        }
        if (c->parser.want_continue && c->body == BODY_WHOLE && !c->active && at == c->in.len) {
            c->parser.want_continue = false;
            buf_puts(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
            conn_flush(c);
        }
    }
    c->processing = false;
    if (c->broken) {
        conn_close(c);
        return;
    }
    buf_consume(&c->in, at);
    if (!c->in.len)
        buf_reset(&c->in);
    admission_charge(c);
    if (c->tunnel.open) {
        if (c->in.len) { /* came right behind the request */
            struct buf early = c->in;
            c->in = (struct buf){.max = early.max};
            tunnel_received(c, early.data, early.len);
            buf_deinit(&early);
        }
        return;
    }
    if (c->close_when_sent && !c->out.len && !c->sending.len)
        conn_close(c);
    else
        update_reading(c);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct conn *c = h->data;
    (void)suggested;
    *ret = uv_buf_init(c->server->scratch, sizeof c->server->scratch);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = stream->data;
    if (n < 0) {
        conn_close(c);
        return;
    }
    if (n == 0)
        return;
    c->progress_ms = uv_now(c->server->loop);
    if (c->close_when_sent)
        return;
    if (c->tunnel.open) {
        tunnel_received(c, b->base, (size_t)n);
        return;
    }
    if (buf_put(&c->in, b->base, (size_t)n) < 0) {
        conn_close(c);
        return;
    }
    admission_charge(c);
    if (c->active && c->body != BODY_READING)
        update_reading(c);
    else
        process(c);
}

void conn_read_start(struct conn *c)
{
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}
