/* HTTP/2 towards the box: every stream is an exchange. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/http/authority.h"
#include "sandbox/egress/http/h1.h"
#include "sandbox/egress/http/h2.h"
#include "sandbox/egress/net/conn.h"

enum { IDLE_MS = 300000 };

struct h2_server {
    struct h2 h; /* first */
    struct conn *conn;
};

static void tell_gone(struct h2_stream *s)
{
    struct exchange *x = STEAL_PTR(s->x);
    if (x)
        exchange_down_gone(x);
}

static void release(void *self)
{
    struct h2_server *v = self;
    v->h.dead = true;
    while (!list_empty(&v->h.streams)) {
        struct h2_stream *s = LIST_ENTRY(v->h.streams.next, struct h2_stream, link);
        tell_gone(s);
        h2_stream_free(s);
    }
    stream_close(v->h.stream);
    h2_deinit(&v->h);
    free(v);
}

static void end(struct h2_server *v)
{
    struct conn *c = v->conn;
    if (v->h.busy) {
        v->h.dead = true; /* on_data sees it, or the next sweep */
        conn_limit(c, 1);
        return;
    }
    stream_close_sent(STEAL_PTR(v->h.stream));
    release(v);
    conn_finish(c);
}

static void touch(struct h2_server *v)
{
    conn_limit(v->conn, v->h.nstreams ? 0 : IDLE_MS);
}

/* ---- what the exchange does to a stream ---- */

static int respond(void *down, const struct http_head *head, bool last)
{
    struct h2_stream *s = down;
    nghttp2_nv nv[HEAD_FIELDS_MAX + 8];
    char status[8];
    int n = snprintf(status, sizeof status, "%03u", head->status % 1000u);
    nv[0] = h2_pair(":status", status, (size_t)n);
    size_t count = h2_fields(head, nv, 1);
    if (head->status < 200) {
        nghttp2_submit_headers(s->h->session, NGHTTP2_FLAG_NONE, s->id, NULL, nv, count, NULL);
    } else if (last) {
        nghttp2_submit_response(s->h->session, s->id, nv, count, NULL);
    } else {
        nghttp2_data_provider p = h2_provider(s);
        nghttp2_submit_response(s->h->session, s->id, nv, count, &p);
    }
    if (!last ||
        head->status < 200) /* else `end` follows, and the stream must not be over before it */
        h2_pump(s->h);
    return EXCHANGE_OK;
}

static int body(void *down, const uint8_t *data, size_t len)
{
    return h2_write(down, data, len);
}

/* An answer before the end of the request: the rest of it is not wanted (RFC 9113 8.1). */
static void finish_answer(void *down, const struct http_head *trailers)
{
    struct h2_stream *s = down;
    s->x = NULL;
    if (!s->in_ended)
        h2_pause(s, false);
    h2_end(s, trailers);
}

static void abort_answer(void *down)
{
    struct h2_stream *s = down;
    s->x = NULL;
    h2_reset(s, NGHTTP2_INTERNAL_ERROR);
}

static void pause_request(void *down, bool paused)
{
    h2_pause(down, paused);
}

static const struct exchange_down_ops down_ops = {respond,      body,          finish_answer,
                                                  abort_answer, pause_request, NULL};

/* ---- nghttp2's events ---- */

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_server *v = user;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        struct h2_stream *s = stream_of(session, frame->hd.stream_id);
        if (s)
            s->trailing = true;
        return 0;
    }
    struct h2_stream *s = h2_stream_new(&v->h, frame->hd.stream_id);
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(session, s->id, s);
    touch(v);
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

static void refuse(struct h2_server *v, struct h2_stream *s, uint16_t status, const char *reason)
{
    struct conn *c = v->conn;
    struct http_head h;
    struct egress_record r = {.kind = "http",
                              .id = c->id,
                              .scheme = c->https ? "https" : "http",
                              .host = c->host,
                              .port = c->port,
                              .protocol = "HTTP/2",
                              .decision = "deny",
                              .reason = reason,
                              .status = status,
                              .start_us = egress_clock_us()};
    box_record(c->box, &r);
    head_init(&h);
    h.status = status;
    if (head_set(&h, "x-cellbox-egress-reason", reason, strlen(reason)) == 0)
        respond(s, &h, true);
    h2_end(s, NULL);
    head_deinit(&h);
}

static void begin(struct h2_server *v, struct h2_stream *s, bool last)
{
    struct origin_space space;
    struct exchange_origin origin;
    struct http_head *h = &s->head;
    const struct head_field *host = head_find(h, "host");
    const char *why;
    if (s->too_large || h2_join_cookies(h) < 0) {
        refuse(v, s, 431, "the head is too large");
        return;
    }
    if ((why = head_request_fault(h))) {
        refuse(v, s, 400, why);
        return;
    }
    if (!h->authority.len && host)
        h->authority = host->value;
    head_remove(h, "host");
    h1_strip_hop_by_hop(h, false);
    if ((why = authority_origin(v->conn, h, &space, &origin))) {
        refuse(v, s, 421, why);
        return;
    }
    origin.protocol = "HTTP/2";
    s->x = exchange_new(&origin, h, last, &down_ops, s);
    if (!s->x)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_server *v = user;
    struct h2_stream *s;
    bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        !(s = stream_of(session, frame->hd.stream_id)))
        return 0;
    if (last)
        s->in_ended = true;
    if (frame->hd.type == NGHTTP2_HEADERS && !s->got_head) {
        s->got_head = true;
        begin(v, s, last);
    } else if (last && s->x) {
        head_clean_trailers(&s->trailers);
        exchange_request_end(s->x, s->trailers.nfields ? &s->trailers : NULL);
    }
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
    bool full = s->x && exchange_request_body(s->x, data, len) == EXCHANGE_FULL && s->x;
    h2_taken(s, len, full);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_server *v = user;
    struct h2_stream *s = stream_of(session, id);
    (void)code;
    if (!s)
        return 0;
    tell_gone(s);
    h2_stream_free(s);
    touch(v);
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

/* ---- the connection ---- */

static void on_data(void *user, const uint8_t *data, size_t len)
{
    struct h2_server *v = user;
    const char *why;
    int r = h2_receive(&v->h, data, len, &why);
    if (r < 0 || v->h.dead) {
        v->h.dead = true;
        end(v);
    }
}

static void on_eof(void *user)
{
    end(user);
}

static void on_failed(void *user, const char *reason)
{
    (void)reason;
    end(user);
}

static void on_drained(void *user)
{
    struct h2_server *v = user;
    if (h2_pump(&v->h) < 0)
        end(v);
}

static void stream_drained(struct h2_stream *s)
{
    if (s->x)
        exchange_down_drained(s->x);
}

int h2_server_start(struct conn *c)
{
    static const struct stream_ops ops = {
        .data = on_data, .eof = on_eof, .failed = on_failed, .drained = on_drained};
    static const struct conn_protocol protocol = {release};
    struct h2_server *v = calloc(1, sizeof *v);
    if (!v)
        return -ENOMEM;
    v->conn = c;
    v->h.drained = stream_drained;
    if (h2_init(&v->h, c->stream, true, set_callbacks) < 0) {
        free(v);
        return -ENOMEM;
    }
    stream_set_ops(c->stream, &ops, v);
    c->protocol = &protocol;
    c->self = v;
    touch(v);
    h2_pump(&v->h);
    stream_pause(c->stream, false);
    return 0;
}
