/*
 * HTTP server on libuv: listeners, connections with bounded buffers, one exchange (request and its
 * response) at a time per connection; pipelined requests wait. Runs in G.
 */
#pragma once

#include <uv.h>

#include "kernel-gw/net/http.h"

struct http_server;
struct exchange;

struct http_server_config {
    struct http_limits limits;
    unsigned connections_max;
    uint32_t head_timeout_ms; /* from the first byte of a request to the end of its headers */
    uint32_t idle_timeout_ms; /* between requests, and between pieces of a body; a client without a
                                 credential has head_timeout_ms for each whole request */
    const char *headers;      /* further lines in every response, e.g. CORS */
    /*
     * Judges a request that announces a body, before any of it is read: the most bytes to collect,
     * or HTTP_BODY_STREAM: the handler is called at once and reads the body in pieces, or answers
     * without it. May call exchange_trust. NULL: every body is collected up to limits.body_max.
     */
    int64_t (*judge)(void *user, struct exchange *x, const struct http_request *request);
    /*
     * Asked when a response begins: number of the change that must be on disk before any of it is
     * sent; 0 or NULL: it is sent at once. Meanwhile it counts as queued.
     */
    uint64_t (*pending)(void *user, const struct http_request *request);
};

/* request: valid until the exchange is finished. The handler may answer at once or later. */
typedef void http_handler_fn(void *user, struct exchange *x, struct http_request *request);

struct http_server *http_server_new(uv_loop_t *loop, const struct http_server_config *config,
                                    http_handler_fn *handler, void *user);
/* Takes a listening TCP socket. Negative errno. */
int http_server_listen(struct http_server *s, int take_fd);
/* No new connections; idle ones are closed, busy ones after their response. */
void http_server_drain(struct http_server *s);
/* All changes up to this number are on disk: the responses that waited for them are sent. written
 * false: they are not, and a 507 takes their place. */
void http_server_written(struct http_server *s, uint64_t number, bool written);
unsigned http_server_connections(const struct http_server *s);
/* Connections that have shown no credential: how many there are, and how many were closed for want
 * of room (net/admission.h). */
unsigned http_server_untrusted(const struct http_server *s);
unsigned long long http_server_evicted(const struct http_server *s);

/* ---- an exchange. After _respond or _end it is gone for its handler ---- */

/*
 * closed: the client has gone before the response was finished; the exchange is gone after it.
 * drained: what was queued with _write is (almost) sent. Not called from inside _write. body: a
 * piece of a streamed body, valid during the call. body_end: there is no more of it.
 */
struct exchange_ops {
    void (*closed)(void *user);
    void (*drained)(void *user);
    void (*body)(void *user, const char *data, size_t len);
    void (*body_end)(void *user);
};
/* The client has shown a credential: the bounds of net/admission.h end for its connection. */
void exchange_trust(struct exchange *x);
/* Text of the client's address; of IPv6 its /64. */
void exchange_address(const struct exchange *x, char *out, size_t cap);
void exchange_set_ops(struct exchange *x, const struct exchange_ops *ops, void *user);
/*
 * A streamed body (see http_server_config.streams) starts paused: the client waits once the buffers
 * are full. Turning it on may call body and body_end, or even closed, before it returns. A response
 * that ends before the body does closes the connection afterwards.
 */
void exchange_body_read(struct exchange *x, bool on);
/* The request announced a body whose end has not been read. */
bool exchange_body_pending(const struct exchange *x);
/* A header line of the response to come, without CRLF. */
void exchange_header(struct exchange *x, const char *name, const char *value);
void exchange_respond(struct exchange *x, int status, const char *content_type, const void *body,
                      size_t len);
/* A response of unknown length. */
void exchange_begin(struct exchange *x, int status, const char *content_type);
/* A response of known length: exactly that many bytes are to be written, or _abort called. */
void exchange_begin_sized(struct exchange *x, int status, const char *content_type,
                          uint64_t length);
/*
 * The response of somebody else, passed on: headers (each with CRLF, without those of framing and
 * connection) as they are, and none of the server's own. length: -1 = unknown, -2 = no body at all.
 */
void exchange_begin_foreign(struct exchange *x, int status, const char *reason, const char *headers,
                            int64_t length);
/* Queues bytes and sends what fits at once. Bounded by the caller: stop while exchange_queued is
 * over HTTP_QUEUE_HIGH. */
void exchange_write(struct exchange *x, const void *data, size_t len);
/* Appends to the chunk under construction without sending; exchange_write or exchange_end sends it.
 */
struct buf *exchange_chunk(struct exchange *x);
void exchange_flush(struct exchange *x);
void exchange_end(struct exchange *x);
void exchange_abort(
    struct exchange *x); /* closes the connection: the response cannot be completed */
size_t exchange_queued(const struct exchange *x);
const struct http_request *exchange_request(const struct exchange *x);

/* ---- an upgraded connection: bytes both ways, until one side closes ---- */

struct tunnel;

/* closed: gone, the last call. received: the bytes are valid during the call; calling any function
 * of the tunnel from it is allowed. drained: what was queued is (almost) sent. */
struct tunnel_ops {
    void (*received)(void *user, const uint8_t *data, size_t len);
    void (*drained)(void *user);
    void (*closed)(void *user);
};
/* Answers 101 with these header lines (each with CRLF); the exchange becomes the tunnel. */
struct tunnel *exchange_upgrade(struct exchange *x, const char *headers,
                                const struct tunnel_ops *ops, void *user);
/* What is to be sent next: append, then flush. */
struct buf *tunnel_out(struct tunnel *t);
void tunnel_flush(struct tunnel *t);
size_t tunnel_queued(const struct tunnel *t);
void tunnel_read(struct tunnel *t, bool on);  /* back-pressure: off, the peer waits */
bool tunnel_is_local(const struct tunnel *t); /* the peer is on this machine */
void tunnel_finish(struct tunnel *t);         /* closes once everything is sent */
/* Closes now. `closed` is not called any more. */
void tunnel_close(struct tunnel *t);

enum { HTTP_QUEUE_HIGH = 256 << 10 };
