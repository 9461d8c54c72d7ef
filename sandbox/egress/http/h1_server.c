/* HTTP/1.1 towards the box: requests become exchanges, one at a time, in order. */
#include <errno.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/http/authority.h"
#include "sandbox/egress/http/h1.h"
#include "sandbox/egress/net/conn.h"

enum { HEAD_MS = 30000, IDLE_MS = 120000, DRAIN_MS = 5000, BEHIND_MAX = 65536 };

struct h1_server {
    struct conn *conn;
    struct stream *stream;
    llhttp_t parser;
    struct http_head head, trailers;
    struct h1_collect collect;
    struct buf target, behind; /* behind: bytes after a request that is still being answered */
    struct exchange *x;
    bool request_done, keep_alive, http10, head_request, chunked, close_delimited, responded,
        tunnel, draining, upgrade;
    bool paused, eof, in_parse, broken;
    const char
        *wrong; /* with the request that is being read; NULL: nothing but its syntax may be */
};

static void next_request(struct h1_server *s);

static void release(void *self)
{
    struct h1_server *s = self;
    struct exchange *x = STEAL_PTR(s->x);
    if (x)
        exchange_down_gone(x);
    stream_close(s->stream);
    h1_collect_deinit(&s->collect);
    head_deinit(&s->head);
    head_deinit(&s->trailers);
    buf_deinit(&s->target);
    buf_deinit(&s->behind);
    free(s);
}

/* What was written still goes out. */
static void end(struct h1_server *s)
{
    struct conn *c = s->conn;
    if (s->in_parse) {
        s->broken = true;
        return;
    }
    stream_close_sent(STEAL_PTR(s->stream));
    release(s);
    conn_finish(c);
}

/* The answer is out before the request was in: what still comes is read away, or the close would be
 * a reset. */
static void drain(struct h1_server *s)
{
    s->draining = true;
    stream_shutdown(s->stream);
    conn_limit(s->conn, DRAIN_MS);
    stream_pause(s->stream, false);
    if (s->eof)
        end(s);
}

/* ---- what the exchange does to us ---- */

static void frame(struct h1_server *s, const struct http_head *h, bool last, struct buf *out)
{
    bool bare = s->head_request || h->status == 204 || h->status == 304;
    bool length = head_find(h, "content-length") != NULL;
    s->chunked = s->close_delimited = false;
    if (!length && !bare) {
        if (last)
            buf_puts(out, "content-length: 0\r\n");
        else if (s->http10)
            s->close_delimited = true;
        else
            s->chunked = true;
    }
    if (s->chunked)
        buf_puts(out, "transfer-encoding: chunked\r\n");
    if (s->close_delimited || !s->request_done)
        s->keep_alive = false;
    if (!s->keep_alive)
        buf_puts(out, "connection: close\r\n");
    else if (s->http10)
        buf_puts(out, "connection: keep-alive\r\n");
}

static int respond(void *down, const struct http_head *h, bool last)
{
    struct h1_server *s = down;
    CLEANUP_BUF struct buf out = {0};
    buf_init(&out, 2 * HEAD_TEXT_MAX);
    if (h->status < 200 && s->http10)
        return 0;
    h1_put_status(&out, h->status);
    h1_put_fields(&out, h);
    if (h->status >= 200) {
        frame(s, h, last, &out);
        s->responded = true;
    }
    buf_puts(&out, "\r\n");
    return stream_write(s->stream, out.data, out.len) == STREAM_FULL ? EXCHANGE_FULL : EXCHANGE_OK;
}

static int body(void *down, const uint8_t *data, size_t len)
{
    struct h1_server *s = down;
    char size[24];
    if (!len || (s->head_request && !s->tunnel))
        return EXCHANGE_OK;
    if (s->chunked) {
        int n = snprintf(size, sizeof size, "%zx\r\n", len);
        stream_write(s->stream, size, (size_t)n);
    }
    int r = stream_write(s->stream, data, len);
    if (s->chunked)
        r = stream_write(s->stream, "\r\n", 2);
    return r == STREAM_FULL ? EXCHANGE_FULL : EXCHANGE_OK;
}

static void finish_answer(void *down, const struct http_head *trailers)
{
    struct h1_server *s = down;
    s->x = NULL;
    if (s->chunked) {
        CLEANUP_BUF struct buf out = {0};
        buf_puts(&out, "0\r\n");
        if (trailers)
            h1_put_fields(&out, trailers);
        buf_puts(&out, "\r\n");
        stream_write(s->stream, out.data, out.len);
    }
    if (s->tunnel)
        end(s);
    else if (!s->request_done)
        drain(s);
    else if (!s->keep_alive || s->eof)
        end(s);
    else
        next_request(s);
}

static void abort_answer(void *down)
{
    struct h1_server *s = down;
    s->x = NULL;
    if (s->in_parse) {
        s->broken = true;
        return;
    }
    struct conn *c = s->conn;
    stream_reset(STEAL_PTR(s->stream));
    release(s);
    conn_finish(c);
}

static void pause_request(void *down, bool paused)
{
    struct h1_server *s = down;
    s->paused = paused;
    stream_pause(s->stream, paused || s->behind.len > BEHIND_MAX);
}

static int upgrade(void *down, const struct http_head *h)
{
    struct h1_server *s = down;
    CLEANUP_BUF struct buf out = {0};
    h1_put_status(&out, 101);
    h1_put_fields(&out, h);
    buf_puts(&out, "connection: upgrade\r\n\r\n");
    stream_write(s->stream, out.data, out.len);
    s->tunnel = true;
    s->chunked = false;
    conn_limit(s->conn, 0);
    if (s->behind.len) {
        exchange_request_body(s->x, s->behind.data, s->behind.len);
        buf_reset(&s->behind);
    }
    return s->x ? 0 : -EPIPE;
}

static const struct exchange_down_ops down_ops = {respond,      body,          finish_answer,
                                                  abort_answer, pause_request, upgrade};

/* ---- parsing ---- */

/* Of what is not HTTP, or nothing that could be passed on: an answer, a line in the log, and the
 * end. */
static void refuse(struct h1_server *s, uint16_t status, const char *reason)
{
    CLEANUP_BUF struct buf out = {0};
    struct conn *c = s->conn;
    h1_put_status(&out, status);
    buf_printf(&out,
               "content-type: text/plain\r\nx-cellbox-egress-reason: %.150s\r\n"
               "content-length: 0\r\nconnection: close\r\n\r\n",
               reason);
    struct egress_record r = {.kind = "http",
                              .id = c->id,
                              .scheme = c->https ? "https" : "http",
                              .host = c->host,
                              .port = c->port,
                              .protocol = "HTTP/1.1",
                              .decision = "deny",
                              .reason = reason,
                              .status = status,
                              .start_us = egress_clock_us()};
    box_record(c->box, &r);
    if (!s->responded || !s->x)
        stream_write(s->stream, out.data, out.len);
    s->keep_alive = false;
    if (s->x) {
        struct exchange *x = STEAL_PTR(s->x);
        exchange_down_gone(x);
    }
    drain(s);
}

static int on_begin(llhttp_t *p)
{
    struct h1_server *s = p->data;
    head_reset(&s->head);
    head_reset(&s->trailers);
    buf_reset(&s->target);
    s->collect.into = &s->head;
    s->request_done = s->responded = s->chunked = s->close_delimited = false;
    conn_limit(s->conn, HEAD_MS);
    return 0;
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
    struct h1_server *s = p->data;
    return buf_put(&s->target, at, n) < 0 ? HPE_USER : 0;
}

static int on_field(llhttp_t *p, const char *at, size_t n)
{
    struct h1_server *s = p->data;
    h1_collect_name(&s->collect, at, n);
    return s->collect.err ? HPE_USER : 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
    struct h1_server *s = p->data;
    h1_collect_value(&s->collect, at, n);
    return s->collect.err ? HPE_USER : 0;
}

/* "http://host/path" is what a program sends that believes in an HTTP proxy; it gets origin form.
 */
static int set_target(struct http_head *h, const char *url, size_t len, struct head_slice host)
{
    const char *rest = url, *end = url + len;
    size_t scheme = len > 7 && !strncasecmp(url, "http://", 7)    ? 7
                    : len > 8 && !strncasecmp(url, "https://", 8) ? 8
                                                                  : 0;
    if (!scheme) {
        if (*url != '/' && !(len == 1 && *url == '*'))
            return -EINVAL;
        h->authority = host;
        return head_put(h, url, len, &h->target);
    }
    rest = url + scheme;
    const char *path = rest;
    while (path < end && *path != '/' && *path != '?')
        path++;
    int r = head_put(h, rest, (size_t)(path - rest), &h->authority);
    if (r < 0)
        return r;
    if (path == end)
        return head_put(h, "/", 1, &h->target);
    if (*path == '/')
        return head_put(h, path, (size_t)(end - path), &h->target);
    r = head_put(h, "/", 1,
                 &h->target); /* "?x" becomes "/?x": the two lie side by side in the arena */
    struct head_slice query;
    if (r == 0 && (r = head_put(h, path, (size_t)(end - path), &query)) == 0)
        h->target.len += query.len;
    return r;
}

/*
 * Where the body ends must be beyond doubt: what one reader takes for a body is a request to
 * another. NULL: it is.
 */
static const char *check_framing(struct h1_server *s)
{
    const struct http_head *h = &s->head;
    bool chunked = s->parser.flags & F_CHUNKED;
    struct body_length length;
    if (s->parser.http_major != 1 || s->parser.http_minor > 1)
        return "it is neither HTTP/1.0 nor HTTP/1.1";
    if (chunked && s->http10)
        return "HTTP/1.0 knows no Transfer-Encoding";
    if (!h1_coding_fits(h, chunked))
        return "chunked is the only Transfer-Encoding that is understood";
    if (body_length_read(&length, h) < 0)
        return "its Content-Length is no length";
    if (s->parser.upgrade && (chunked || length.left > 0))
        return "a request that asks for another protocol can have no body";
    return NULL;
}

/*
 * Any other protocol than WebSocket would pass unseen once it is switched to, h2c above all: then
 * the wish is dropped and an ordinary answer comes. NULL: fine.
 */
static const char *take_upgrade(struct h1_server *s)
{
    struct http_head *h = &s->head;
    s->upgrade = s->parser.upgrade && !s->http10 && head_slice_is(h, h->method, "GET") &&
                 head_has_token(h, "upgrade", "websocket");
    s->parser.upgrade = s->upgrade;
    h1_strip_hop_by_hop(h, false);
    if (!s->upgrade)
        return NULL;
    s->keep_alive = false; /* what follows it belongs to the one protocol or the other */
    head_remove(h, "content-length");
    return head_set(h, "upgrade", "websocket", 9) < 0 ? "it has too many fields" : NULL;
}

/* NULL: fine. */
static const char *complete_head(struct h1_server *s)
{
    struct http_head *h = &s->head;
    const struct head_field *host = NULL;
    const char *method = llhttp_method_name(llhttp_get_method(&s->parser));
    for (uint16_t i = 0; i < h->nfields; i++) {
        if (!head_slice_is(h, h->fields[i].name, "host"))
            continue;
        if (host)
            return "it has two Host fields";
        host = &h->fields[i];
    }
    if (!host)
        return "it has no Host field";
    const struct head_slice named = host->value;
    if (head_put(h, method, strlen(method), &h->method) < 0 || !s->target.len ||
        (!head_slice_is(h, h->method, "CONNECT") &&
         set_target(h, buf_str(&s->target), s->target.len, named) < 0))
        return "its target cannot be understood";
    const char *why = head_request_fault(h);
    if (!why)
        why = check_framing(s);
    if (why)
        return why;
    head_remove(h, "host");
    return take_upgrade(s);
}

static int on_headers_complete(llhttp_t *p)
{
    struct h1_server *s = p->data;
    struct origin_space space;
    struct exchange_origin origin;
    h1_collect_done(&s->collect);
    if (s->collect.err)
        return -1;
    s->http10 = p->http_major == 1 && p->http_minor == 0;
    s->keep_alive = llhttp_should_keep_alive(p);
    const char *why = complete_head(s);
    s->head_request = !why && head_slice_is(&s->head, s->head.method, "HEAD");
    if (!why)
        why = authority_origin(s->conn, &s->head, &space, &origin);
    if (why) {
        s->wrong = why;
        return -1;
    }
    bool no_body =
        !(p->flags & F_CHUNKED) && (!(p->flags & F_CONTENT_LENGTH) || p->content_length == 0);
    origin.protocol = s->http10 ? "HTTP/1.0" : "HTTP/1.1";
    s->collect.into = &s->trailers;
    s->request_done = no_body;
    conn_limit(s->conn, 0);
    s->x = exchange_new(&origin, &s->head, no_body, &down_ops, s);
    if (!s->x)
        return -1;
    return s->upgrade ? 2 : 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
    struct h1_server *s = p->data;
    if (s->x && exchange_request_body(s->x, (const uint8_t *)at, n) == EXCHANGE_FULL && s->x)
        pause_request(s, true);
    return s->broken ? -1 : 0;
}

static int on_complete(llhttp_t *p)
{
    struct h1_server *s = p->data;
    h1_collect_done(&s->collect);
    if (!s->request_done) {
        s->request_done = true;
        head_clean_trailers(&s->trailers);
        if (s->x)
            exchange_request_end(s->x, s->trailers.nfields ? &s->trailers : NULL);
    }
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_begin,
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

static void keep_behind(struct h1_server *s, const uint8_t *data, size_t len)
{
    if (s->tunnel) {
        if (s->x && exchange_request_body(s->x, data, len) == EXCHANGE_FULL && s->x)
            stream_pause(s->stream, true);
        return;
    }
    if (buf_put(&s->behind, data, len) < 0) { /* the rest would be read as something else */
        end(s);
        return;
    }
    if (s->behind.len > BEHIND_MAX)
        stream_pause(s->stream, true);
}

static void parse(struct h1_server *s, const uint8_t *data, size_t len)
{
    s->in_parse = true;
    llhttp_errno_t e = llhttp_execute(&s->parser, (const char *)data, len);
    s->in_parse = false;
    if (s->broken) { /* something ended it meanwhile */
        s->broken = false;
        end(s);
        return;
    }
    if (e == HPE_PAUSED || e == HPE_PAUSED_UPGRADE) {
        const uint8_t *rest = (const uint8_t *)llhttp_get_error_pos(&s->parser);
        if (rest && rest < data + len)
            keep_behind(s, rest, (size_t)(data + len - rest));
        return;
    }
    if (e == HPE_OK)
        return;
    if (s->collect.err)
        refuse(s, 431, "the head is too large");
    else if (s->wrong)
        refuse(s, strstr(s->wrong, "another host") ? 421 : 400, s->wrong);
    else
        refuse(s, 400, llhttp_get_error_reason(&s->parser));
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
    struct h1_server *s = user;
    if (s->draining)
        return;
    if (s->request_done || s->tunnel)
        keep_behind(s, data, len);
    else
        parse(s, data, len);
}

static void next_request(struct h1_server *s)
{
    head_reset(&s->head);
    s->request_done = false;
    llhttp_resume(&s->parser);
    llhttp_init(&s->parser, HTTP_REQUEST, &settings);
    s->parser.data = s;
    h1_collect_deinit(&s->collect);
    h1_collect_init(&s->collect, &s->head);
    conn_limit(s->conn, IDLE_MS);
    stream_pause(s->stream, false);
    if (!s->behind.len)
        return;
    size_t len;
    uint8_t *data = buf_steal(&s->behind, &len);
    parse(s, data, len);
    free(data);
}

static void on_eof(void *user)
{
    struct h1_server *s = user;
    s->eof = true;
    if (s->tunnel && s->x)
        exchange_request_end(s->x, NULL);
    else if (!s->x || !s->request_done)
        end(s); /* between requests, or in the middle of one */
}

static void on_failed(void *user, const char *reason)
{
    struct h1_server *s = user;
    (void)reason;
    if (s->in_parse) {
        s->broken = true;
        return;
    }
    struct conn *c = s->conn;
    release(s);
    conn_finish(c);
}

static void on_drained(void *user)
{
    struct h1_server *s = user;
    if (s->x)
        exchange_down_drained(s->x);
}

int h1_server_start(struct conn *c)
{
    static const struct stream_ops ops = {
        .data = on_data, .eof = on_eof, .failed = on_failed, .drained = on_drained};
    static const struct conn_protocol protocol = {release};
    struct h1_server *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->conn = c;
    s->stream = c->stream;
    head_init(&s->head);
    head_init(&s->trailers);
    buf_init(&s->target, HEAD_TEXT_MAX);
    buf_init(&s->behind, 2 * BEHIND_MAX + STREAM_READ);
    h1_collect_init(&s->collect, &s->head);
    llhttp_init(&s->parser, HTTP_REQUEST, &settings);
    s->parser.data = s;
    stream_set_ops(c->stream, &ops, s);
    c->protocol = &protocol;
    c->self = s;
    conn_limit(c, HEAD_MS);
    stream_pause(c->stream, false);
    return 0;
}
