/*
 * WebSocket (RFC 6455) with permessage-deflate (RFC 7692): bytes of a client in, messages out;
 * messages in, bytes out. No I/O, no clock. Framing is wslay's, compression zlib's; limits,
 * handshake and the order of things are here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum {
    WS_CLOSE_NORMAL = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL = 1002,
    WS_CLOSE_UNSUPPORTED = 1003,
    WS_CLOSE_INVALID_DATA = 1007,
    WS_CLOSE_POLICY = 1008,
    WS_CLOSE_TOO_BIG = 1009,
    WS_CLOSE_INTERNAL = 1011,
    WS_CLOSE_TRY_LATER = 1013,
};

struct ws_codec_ops {
    /* A whole message, unmasked and inflated; text is well-formed UTF-8. Valid during the call. */
    void (*message)(void *user, bool binary, const uint8_t *data, size_t len);
    void (*pong)(void *user); /* may be NULL */
    void *user;
};

struct ws_part {
    const void *data;
    size_t len;
};

struct ws_codec;
/* out: where bytes for the client are appended; borrowed. deflate: the extension was agreed on.
 * NULL: out of memory. */
struct ws_codec *ws_codec_new(struct buf *out, size_t message_max, bool deflate,
                              const struct ws_codec_ops *ops);
void ws_codec_free(struct ws_codec *c); /* NULL is fine */
/*
 * Bytes of the client. 0: go on. 1: the connection is over: the close frame that belongs to it is
 * in out, send it and close. -ENOMEM: close without ceremony. Must not be called again after that,
 * nor freed from inside its callbacks.
 */
int ws_codec_feed(struct ws_codec *c, const void *data, size_t len);
/* A message of several parts; compress only where the extension was agreed on and it is worth it.
 * -ENOMEM, -EMSGSIZE, -EPIPE after a close. */
int ws_codec_send(struct ws_codec *c, bool binary, const struct ws_part *parts, unsigned n,
                  bool compress);
void ws_codec_ping(struct ws_codec *c);
/* Our close frame; the answer of the client ends ws_codec_feed with 1. reason at most 120 bytes. */
void ws_codec_close(struct ws_codec *c, unsigned code, const char *reason);

/* ---- handshake ---- */

/* Sec-WebSocket-Accept of a Sec-WebSocket-Key; out has room for 29 bytes. false: the key is
 * malformed. */
bool ws_accept_key(const char *key, char *out);
/*
 * Whether the client offers permessage-deflate in a form we take: without context takeover on
 * either side, so that an idle connection holds no window. header may be NULL.
 */
bool ws_offers_deflate(const char *header);
/* The answer to such an offer. */
extern const char ws_deflate_answer[];
