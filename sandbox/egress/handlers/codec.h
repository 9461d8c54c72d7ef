/*
 * Frames between E and a handler worker on a stream socket: u32 length of the payload, u8 type,
 * three zero bytes, u32 stream, all little endian, then the payload: JSON for what is described,
 * raw bytes for DATA. Calls (E asks a handler) have even streams, fetches (a handler asks the
 * world) odd ones. Each direction of a stream's body has a window of HANDLER_BODY_WINDOW bytes,
 * opened again by WINDOW (payload: u32). Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum handler_frame_type {
    HANDLER_LOAD = 1, /* E: {name, version, source, env} */
    HANDLER_UNLOAD,   /* E: {name} */
    HANDLER_LOADED,   /* W: {name, version, error?} */
    HANDLER_CALL,     /* E: {handler, params, method, url, headers, body, sandbox} */
    HANDLER_HEAD,     /* both: answer to a call or a fetch: {status, headers} */
    HANDLER_DATA,     /* both: bytes of a body */
    HANDLER_END,      /* both: end of a body; W, of a call: a byte 1: the call goes on (DONE) */
    HANDLER_ERROR,    /* both: {message}: the stream is over */
    HANDLER_CANCEL,   /* both: the stream is wanted no more */
    HANDLER_WINDOW,   /* both */
    HANDLER_FETCH,    /* W: {call, method, url, headers, body} */
    HANDLER_PING,     /* E */
    HANDLER_PONG,     /* W */
    HANDLER_LOG,      /* W: text */
    HANDLER_DONE,     /* W: what a call's waitUntil waited for is over, too */
};

enum { HANDLER_FRAME_HEAD = 12, HANDLER_PAYLOAD_MAX = 4 << 20, HANDLER_BODY_WINDOW = 256 << 10 };

struct handler_frame {
    enum handler_frame_type type;
    uint32_t stream, len;
    const uint8_t *data;
};

int handler_frame_put(struct buf *out, enum handler_frame_type type, uint32_t stream,
                      const void *data, size_t len);
/*
 * The first frame of in. 1: there, *ret points into in and takes *ret_size bytes; 0: more bytes are
 * needed; -EPROTO.
 */
int handler_frame_take(const uint8_t *in, size_t len, struct handler_frame *ret, size_t *ret_size);
