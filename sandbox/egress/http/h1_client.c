#include <errno.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/http/client.h"
#include "sandbox/egress/http/h1.h"

struct h1_client {
    struct stream *stream;
    const struct client_events *events;
    void *conn;
    struct exchange *x;
    llhttp_t parser;
    struct http_head head, trailers;
    struct h1_collect collect;
    bool chunked, request_done, response_done, answered, tunnel, upgrade, keep_alive, head_request,
        in_trailers, dead;
    const char *wrong; /* with an answer that is valid otherwise */
    bool in_parse;
    struct body_length length; /* of what is sent */
};

static int on_header_field(llhttp_t *p, const char *at, size_t n)
{
    struct h1_client *c = p->data;
    h1_collect_name(&c->collect, at, n);
    return c->collect.err ? HPE_USER : 0;
}

static int on_header_value(llhttp_t *p, const char *at, size_t n)
{
    struct h1_client *c = p->data;
    h1_collect_value(&c->collect, at, n);
    return c->collect.err ? HPE_USER : 0;
}

static int on_message_begin(llhttp_t *p)
{
    struct h1_client *c = p->data;
    head_reset(&c->head);
    head_reset(&c->trailers);
    c->collect.into = &c->head;
    c->in_trailers = false;
    return 0;
}

static bool no_body(const struct h1_client *c, uint16_t status)
{
    return c->head_request || status < 200 || status == 204 || status == 304;
}

static int on_switched(struct h1_client *c)
{
    if (!c->upgrade || !head_has_token(&c->head, "upgrade", "websocket")) {
        c->wrong = "it switches to a protocol that nobody has asked for";
        return -1;
    }
    c->tunnel = true;
    h1_strip_hop_by_hop(&c->head, true);
    exchange_up_head(c->x, &c->head, false);
    return c->x ? 2 : -1;
}

/* 1: the message has no body whatever its fields say. */
static int on_headers_complete(llhttp_t *p)
{
    struct h1_client *c = p->data;
    uint16_t status = (uint16_t)p->status_code;
    h1_collect_done(&c->collect);
    if (c->collect.err || status < 100)
        return -1;
    c->head.status = status;
    c->collect.into = &c->trailers;
    c->in_trailers = true;
    if (status == 101)
        return on_switched(c);
    if (status >= 200 && !h1_coding_fits(&c->head, p->flags & F_CHUNKED)) {
        c->wrong = "chunked is the only Transfer-Encoding that is understood";
        return -1;
    }
    bool final = status >= 200;
    h1_strip_hop_by_hop(&c->head, false);
    /* llhttp has refused a length together with chunks; an empty body is known at once. */
    bool empty = no_body(c, status) || ((p->flags & F_CONTENT_LENGTH) && p->content_length == 0);
    if (final)
        c->keep_alive = llhttp_should_keep_alive(p);
    exchange_up_head(c->x, &c->head, final && empty);
    if (!c->x)
        return -1;
    return no_body(c, status) ? 1 : 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct h1_client *c = p->data;
    if (exchange_up_body(c->x, (const uint8_t *)at, n) == EXCHANGE_FULL && c->x)
        stream_pause(c->stream, true);
    return c->x ? 0 : -1;
}

static int on_message_complete(llhttp_t *p)
{
    struct h1_client *c = p->data;
    if (c->tunnel || c->head.status < 200)
        return 0;
    h1_collect_done(&c->collect);
    c->response_done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_message_begin,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* The connection is over: the exchange is told, unless nothing of an answer has come (the owner
 * decides then). */
static void die(struct h1_client *c, const char *reason)
{
    struct exchange *x = c->x;
    if (c->dead)
        return;
    c->dead = true;
    if (x && c->answered) {
        c->x = NULL;
        exchange_up_failed(x, 502, reason);
    }
    c->events->closed(c->conn, reason);
}

/* The whole answer is there. A request that is still being sent cannot share the connection with
 * another. */
static void complete(struct h1_client *c)
{
    struct exchange *x = c->x;
    bool reusable = c->keep_alive && c->request_done && !c->upgrade;
    c->x = NULL;
    head_clean_trailers(&c->trailers);
    exchange_up_end(x, c->trailers.nfields ? &c->trailers : NULL);
    if (!reusable) {
        c->dead = true;
        c->events->closed(c->conn, "done");
        return;
    }
    stream_pause(c->stream, false); /* to see it being closed */
    c->events->idle(c->conn);
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
    struct h1_client *c = user;
    if (c->tunnel) {
        if (c->x && exchange_up_body(c->x, data, len) == EXCHANGE_FULL && c->x)
            stream_pause(c->stream, true);
        return;
    }
    if (!c->x) { /* nobody has asked */
        die(c, "it sent something without a request");
        return;
    }
    c->answered = true;
    c->in_parse = true;
    llhttp_errno_t e = llhttp_execute(&c->parser, (const char *)data, len);
    c->in_parse = false;
    if (!c->x) {
        die(c, "cancelled");
    } else if (e == HPE_PAUSED && c->response_done) {
        if (llhttp_get_error_pos(&c->parser) != (const char *)data + len)
            c->keep_alive = false; /* bytes after the answer: whose are they? */
        complete(c);
    } else if (e == HPE_PAUSED_UPGRADE && c->tunnel) {
        const uint8_t *rest = (const uint8_t *)llhttp_get_error_pos(&c->parser);
        if (rest < data + len)
            on_data(c, rest, (size_t)(data + len - rest));
    } else if (e != HPE_OK) {
        char text[200];
        snprintf(text, sizeof text, "its answer is not valid HTTP/1.1: %s",
                 c->collect.err ? "the head is too large"
                 : c->wrong     ? c->wrong
                                : llhttp_get_error_reason(&c->parser));
        die(c, text);
    }
}

static void on_eof(void *user)
{
    struct h1_client *c = user;
    if (c->tunnel && c->x) {
        struct exchange *x = c->x;
        c->x = NULL;
        exchange_up_end(x, NULL);
        die(c, "done");
        return;
    }
    if (c->x && c->answered && llhttp_finish(&c->parser) != HPE_OK && !c->response_done) {
        die(c, "it closed the connection in the middle of its answer");
        return;
    }
    if (c->x && c->response_done) {
        c->keep_alive = false;
        complete(c);
        return;
    }
    die(c, "it closed the connection without an answer");
}

static void on_failed(void *user, const char *reason)
{
    die(user, reason);
}

static void on_drained(void *user)
{
    struct h1_client *c = user;
    if (c->x)
        exchange_up_drained(c->x);
}

struct h1_client *h1_client_new(struct stream *s, const struct client_events *events, void *conn)
{
    static const struct stream_ops ops = {
        .data = on_data, .eof = on_eof, .failed = on_failed, .drained = on_drained};
    struct h1_client *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->stream = s;
    c->events = events;
    c->conn = conn;
    head_init(&c->head);
    head_init(&c->trailers);
    h1_collect_init(&c->collect, &c->head);
    stream_set_ops(s, &ops, c);
    stream_pause(s, false);
    return c;
}

void h1_client_free(struct h1_client *c)
{
    if (!c)
        return;
    h1_collect_deinit(&c->collect);
    head_deinit(&c->head);
    head_deinit(&c->trailers);
    free(c);
}

struct exchange *h1_client_take_back(struct h1_client *c)
{
    return STEAL_PTR(c->x);
}

static int put_request(struct h1_client *c, const struct http_head *h, bool end, struct buf *out)
{
    buf_put(out, head_at(h, h->method), h->method.len);
    buf_putc(out, ' ');
    buf_put(out, head_at(h, h->target), h->target.len);
    buf_puts(out, " HTTP/1.1\r\nhost: ");
    buf_put(out, head_at(h, h->authority), h->authority.len);
    buf_puts(out, "\r\n");
    h1_put_fields(out, h);
    if (body_length_read(&c->length, h) < 0 || head_request_fault(h) || !head_fields_fit(h) ||
        (end ? !body_length_over(&c->length) : c->upgrade))
        return -EINVAL;
    c->chunked = !end && c->length.left < 0;
    if (c->chunked)
        buf_puts(out, "transfer-encoding: chunked\r\n");
    if (c->upgrade)
        buf_puts(out, "connection: upgrade\r\n");
    return buf_puts(out, "\r\n");
}

int h1_client_send(struct h1_client *c, struct exchange *x, bool end, bool upgrade)
{
    const struct http_head *h = exchange_request_head(x);
    CLEANUP_BUF struct buf out = {0};
    buf_init(&out, 2 * HEAD_TEXT_MAX);
    c->upgrade = upgrade;
    c->head_request = head_slice_is(h, h->method, "HEAD");
    int r = put_request(c, h, end, &out);
    if (r < 0)
        return r;
    if (end)
        c->length.left = 0;
    c->x = x;
    c->wrong = NULL;
    c->request_done = end;
    c->response_done = c->answered = c->tunnel = false;
    llhttp_init(&c->parser, HTTP_RESPONSE, &settings);
    c->parser.data = c;
    stream_write(c->stream, out.data, out.len);
    stream_pause(c->stream, false);
    return 0;
}

/* ---- up ops ---- */

/* What has been sent is no whole request, and nothing can be sent that would end it. */
static void violate(struct h1_client *c, const char *reason)
{
    struct exchange *x = STEAL_PTR(c->x);
    if (x)
        exchange_up_failed(x, 502, reason);
    if (!c->in_parse)
        die(c, reason);
}

static int up_body(void *up, const uint8_t *data, size_t len)
{
    struct h1_client *c = up;
    char size[24];
    if (!len)
        return EXCHANGE_OK;
    if (!c->tunnel && (c->request_done || !body_length_take(&c->length, len))) {
        violate(c, "the request's body is longer than it was declared");
        return EXCHANGE_OK;
    }
    if (c->chunked) {
        int n = snprintf(size, sizeof size, "%zx\r\n", len);
        stream_write(c->stream, size, (size_t)n);
    }
    int r = stream_write(c->stream, data, len);
    if (c->chunked && c->x)
        r = stream_write(c->stream, "\r\n", 2);
    return r == STREAM_FULL ? EXCHANGE_FULL : EXCHANGE_OK;
}

static void up_end(void *up, const struct http_head *trailers)
{
    struct h1_client *c = up;
    if (c->tunnel) {
        stream_shutdown(c->stream);
        return;
    }
    if (!body_length_over(&c->length) && !c->chunked) {
        violate(c, "the request's body is shorter than it was declared");
        return;
    }
    c->request_done = true;
    if (!c->chunked)
        return;
    CLEANUP_BUF struct buf out = {0};
    buf_puts(&out, "0\r\n");
    if (trailers)
        h1_put_fields(&out, trailers);
    buf_puts(&out, "\r\n");
    stream_write(c->stream, out.data, out.len);
}

/* In the middle of a parse the connection may not go: the parser comes back to it. */
static void up_cancel(void *up)
{
    struct h1_client *c = up;
    c->x = NULL;
    if (!c->in_parse && !c->dead) {
        c->dead = true;
        c->events->closed(c->conn, "cancelled");
    }
}

static void up_pause(void *up, bool paused)
{
    struct h1_client *c = up;
    stream_pause(c->stream, paused);
}

const struct exchange_up_ops h1_client_ops = {up_body, up_end, up_cancel, up_pause};
