/* Compression of single messages (RFC 7692, no context takeover): raw deflate without its final
 * empty block. */
#pragma once

#include "kernel-gw/net/websocket/codec.h"

struct deflater;
struct deflater *deflater_new(void); /* NULL: out of memory */
void deflater_free(struct deflater *d);
/* *ret is the deflater's own, valid until the next call. -ENOMEM. */
int deflater_deflate(struct deflater *d, const struct ws_part *parts, unsigned n, struct buf **ret);
/* -EMSGSIZE over max bytes, -EINVAL when malformed, -ENOMEM. */
int deflater_inflate(struct deflater *d, const void *data, size_t len, size_t max,
                     struct buf **ret);
