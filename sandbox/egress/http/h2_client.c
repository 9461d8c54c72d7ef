/* HTTP/2 towards the world: many exchanges of one box over one connection. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/http/client.h"
#include "sandbox/egress/http/h1.h"
#include "sandbox/egress/http/h2.h"

struct h2_client {
    struct h2 h; /* first */
    const struct client_events *events;
    void *conn;
    bool closing; /* events->closed has been called */
};

unsigned h2_client_streams(const struct h2_client *c)
{
    return c->h.nstreams;
}

/* All exchanges are told, then the owner, who frees. */
static void die(struct h2_client *c, const char *reason)
{
    if (c->closing)
        return;
    if (c->h.busy) {
        c->h.dead = true; /* on_data sees it, or it comes of age */
        c->events->idle(c->conn);
        return;
    }
    c->closing = c->h.dead = true;
    while (!list_empty(&c->h.streams)) {
        struct h2_stream *s = LIST_ENTRY(c->h.streams.next, struct h2_stream, link);
        struct exchange *x = STEAL_PTR(s->x);
        h2_stream_free(s);
        if (x)
            exchange_up_failed(x, 502, reason);
    }
    c->events->closed(c->conn, reason);
}

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    (void)user;
    if (!s || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (s->got_head)
        s->trailing = true;
    else
        head_reset(&s->head); /* after a 1xx */
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    (void)flags;
    (void)user;
    if (s)
        h2_collect(s, name, name_len, value, len);
    return 0;
}

static void fail(struct h2_stream *s, const char *reason)
{
    struct exchange *x = STEAL_PTR(s->x);
    if (x)
        exchange_up_failed(x, 502, reason);
}

static void on_head(struct h2_stream *s, bool last)
{
    if (s->too_large) {
        fail(s, "the head of its answer is too large");
        h2_reset(s, NGHTTP2_CANCEL);
        return;
    }
    if (s->head.status >= 200)
        s->got_head = true;
    h1_strip_hop_by_hop(&s->head, false);
    if (s->x)
        exchange_up_head(s->x, &s->head, last);
}

static void on_last(struct h2_stream *s)
{
    struct exchange *x = STEAL_PTR(s->x);
    s->in_ended = true;
    head_clean_trailers(&s->trailers);
    if (x)
        exchange_up_end(x, s->trailers.nfields ? &s->trailers : NULL);
    if (!s->out_ended) /* the answer is complete: the rest of the request is not wanted */
        h2_reset(s, NGHTTP2_NO_ERROR);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_stream *s;
    bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    (void)user;
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        !(s = stream_of(session, frame->hd.stream_id)))
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !s->trailing)
        on_head(s, last);
    if (last && s->got_head)
        on_last(s);
    return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                    size_t len, void *user)
{
    struct h2_stream *s = stream_of(session, id);
    (void)flags;
    (void)user;
    if (!s) {
        nghttp2_session_consume_connection(session, len);
        return 0;
    }
    bool full = s->x && exchange_up_body(s->x, data, len) == EXCHANGE_FULL && s->x;
    h2_taken(s, len, full);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_stream *s = stream_of(session, id);
    char text[100];
    (void)user;
    if (!s)
        return 0;
    snprintf(text, sizeof text, "it reset the stream: %s", nghttp2_http2_strerror(code));
    fail(s, text);
    h2_stream_free(s);
    return 0;
}

static void set_callbacks(nghttp2_session_callbacks *c)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
}

static void settle(struct h2_client *c)
{
    if (c->h.dead)
        die(c, "the connection broke");
    else if (!c->h.nstreams)
        c->events->idle(c->conn);
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
    struct h2_client *c = user;
    const char *why = "";
    if (h2_receive(&c->h, data, len, &why) < 0)
        die(c, why);
    else
        settle(c);
}

static void on_eof(void *user)
{
    die(user, "it closed the connection");
}

static void on_failed(void *user, const char *reason)
{
    die(user, reason);
}

static void on_drained(void *user)
{
    struct h2_client *c = user;
    if (h2_pump(&c->h) < 0)
        die(c, "it cannot be sent to");
}

static void stream_drained(struct h2_stream *s)
{
    if (s->x)
        exchange_up_drained(s->x);
}

struct h2_client *h2_client_new(struct stream *s, const struct client_events *events, void *conn)
{
    static const struct stream_ops ops = {
        .data = on_data, .eof = on_eof, .failed = on_failed, .drained = on_drained};
    struct h2_client *c = calloc(1, sizeof *c);
    if (!c || h2_init(&c->h, s, false, set_callbacks) < 0) {
        free(c);
        return NULL;
    }
    c->h.drained = stream_drained;
    c->events = events;
    c->conn = conn;
    stream_set_ops(s, &ops, c);
    h2_pump(&c->h);
    stream_pause(s, false);
    return c;
}

void h2_client_free(struct h2_client *c)
{
    if (!c)
        return;
    c->h.dead = true;
    while (!list_empty(&c->h.streams)) {
        struct h2_stream *s = LIST_ENTRY(c->h.streams.next, struct h2_stream, link);
        fail(s, "the connection is gone");
        h2_stream_free(s);
    }
    h2_deinit(&c->h);
    free(c);
}

int h2_client_send(struct h2_client *c, struct exchange *x, bool end, void **ret_up)
{
    const struct http_head *h = exchange_request_head(x);
    nghttp2_nv nv[HEAD_FIELDS_MAX + 8];
    struct body_length length;
    if (body_length_read(&length, h) < 0 || head_request_fault(h) || !head_fields_fit(h) ||
        (end && !body_length_over(&length)))
        return -EINVAL;
    if (c->h.dead || !nghttp2_session_check_request_allowed(c->h.session))
        return -ECONNRESET;
    if (c->h.nstreams >=
        nghttp2_session_get_remote_settings(c->h.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
        return -EAGAIN;
    struct h2_stream *s = h2_stream_new(&c->h, 0);
    if (!s)
        return -ENOMEM;
    nv[0] = h2_pair(":method", head_at(h, h->method), h->method.len);
    nv[1] = h2_pair(":scheme", stream_ssl(c->h.stream) ? "https" : "http",
                    stream_ssl(c->h.stream) ? 5 : 4);
    nv[2] = h2_pair(":authority", head_at(h, h->authority), h->authority.len);
    nv[3] = h2_pair(":path", head_at(h, h->target), h->target.len);
    size_t n = h2_fields(h, nv, 4);
    nghttp2_data_provider p = h2_provider(s);
    s->out_ended = end;
    s->length = length;
    s->id = nghttp2_submit_request(c->h.session, NULL, nv, n, end ? NULL : &p, s);
    if (s->id < 0) {
        h2_stream_free(s);
        return -EAGAIN;
    }
    s->x = x;
    *ret_up = s;
    h2_pump(&c->h);
    return 0;
}

/* ---- up ops ---- */

/* The stream ends broken, or its peer would take it for a whole request. */
static void violate(struct h2_stream *s, const char *reason)
{
    struct exchange *x = STEAL_PTR(s->x);
    h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    if (x)
        exchange_up_failed(x, 502, reason);
}

static int up_body(void *up, const uint8_t *data, size_t len)
{
    struct h2_stream *s = up;
    if (body_length_take(&s->length, len))
        return h2_write(s, data, len);
    violate(s, "the request's body is longer than it was declared");
    return EXCHANGE_OK;
}

static void up_end(void *up, const struct http_head *trailers)
{
    struct h2_stream *s = up;
    if (body_length_over(&s->length))
        h2_end(s, trailers);
    else
        violate(s, "the request's body is shorter than it was declared");
}

static void up_cancel(void *up)
{
    struct h2_stream *s = up;
    s->x = NULL;
    h2_reset(s, NGHTTP2_CANCEL);
}

static void up_pause(void *up, bool paused)
{
    h2_pause(up, paused);
}

const struct exchange_up_ops h2_client_ops = {up_body, up_end, up_cancel, up_pause};
