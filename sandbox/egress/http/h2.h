/*
 * What the two sides of HTTP/2 share, on top of nghttp2: sending with back-pressure, bodies with
 * flow control in both directions, heads. Windows are opened only by what the other side of the
 * exchange has taken. Runs in E.
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stdbool.h>

#include "sandbox/base/list.h"
#include "sandbox/egress/http/exchange.h"
#include "sandbox/egress/net/stream.h"

enum {
    H2_STREAMS = 128,
    H2_WINDOW = 1 << 20,
    H2_CONNECTION_WINDOW = 8 << 20,
    H2_OUT_HIGH = 256 << 10,
    H2_OUT_LOW = 64 << 10,
};

struct h2_stream;

/* One connection; the first member of its owner. */
struct h2 {
    nghttp2_session *session;
    struct stream *stream;
    struct list streams; /* struct h2_stream */
    unsigned nstreams;
    bool busy; /* inside nghttp2: what wants to be sent waits until it is out again */
    bool dead; /* only its memory is left */
    void (*drained)(struct h2_stream *s); /* the stream's queue has room again */
};

struct h2_stream {
    struct list link;
    struct h2 *h;
    int32_t id;
    struct exchange *x;
    struct http_head head, trailers; /* coming in */
    bool got_head, trailing, in_ended, too_large;
    struct buf out; /* body going out */
    size_t out_at;
    bool out_ended, out_full, waiting; /* waiting: nghttp2 is told when there is more */
    struct http_head out_trailers;
    bool has_trailers;
    struct body_length length; /* client: of what is sent */
    size_t owed; /* bytes that came in while the exchange was full: not yet credited */
    bool paused;
};

int h2_init(struct h2 *h, struct stream *s, bool server,
            void (*set_callbacks)(nghttp2_session_callbacks *c));
void h2_deinit(struct h2 *h); /* its streams must be gone */
struct h2_stream *h2_stream_new(struct h2 *h, int32_t id);
void h2_stream_free(struct h2_stream *s);
/* Sends what is there and there is room for. Negative: the connection is broken. */
int h2_pump(struct h2 *h);
/* Bytes from the peer; pumps. Negative: the connection is broken; *ret_why says how. */
int h2_receive(struct h2 *h, const uint8_t *data, size_t len, const char **ret_why);

int h2_write(struct h2_stream *s, const uint8_t *data, size_t len); /* EXCHANGE_OK or _FULL */
void h2_end(struct h2_stream *s, const struct http_head *trailers);
void h2_reset(struct h2_stream *s, uint32_t code);
/* A DATA chunk has come in and went to the exchange, which said `full`. */
void h2_taken(struct h2_stream *s, size_t len, bool full);
void h2_pause(struct h2_stream *s, bool paused);
nghttp2_data_provider h2_provider(struct h2_stream *s);

/* One field of a head or of trailers into the stream. */
void h2_collect(struct h2_stream *s, const uint8_t *name, size_t name_len, const uint8_t *value,
                size_t len);
/* Cookies that came one by one become one field again (RFC 9113 8.2.3). */
int h2_join_cookies(struct http_head *h);
/* Fields, after npseudo entries that are set already, into nv of HEAD_FIELDS_MAX + 8. Returns how
 * many in all. */
size_t h2_fields(const struct http_head *h, nghttp2_nv *nv, size_t npseudo);
nghttp2_nv h2_pair(const char *name, const char *value, size_t len);
