/*
 * Parser of text/event-stream: bytes in, events out; no I/O. Bytes may be cut anywhere. Comments
 * (heartbeats) and unknown fields are dropped. An event larger than SSE_MAX, or no memory for one,
 * ends the parser: that feed and every later one return the reason.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "clients/c/text.h"

#define SSE_MAX ((size_t)256 << 20)

struct sse_event {
    const char *type; /* "message" when the stream names none */
    const char *id;   /* id of this or an earlier event; "" when none came yet */
    const char *data; /* lines joined by \n */
    size_t len;
};

struct sse {
    void (*on_event)(void *user, const struct sse_event *event);
    void *user;
    struct str line, data, type, next_id;
    struct str id;        /* of the last whole event */
    unsigned long events; /* so far */
    bool has_data, after_cr, broken;
    int error; /* why it is broken */
};

int sse_feed(struct sse *s, const char *bytes, size_t len); /* 0, -EMSGSIZE, -ENOMEM */
void sse_restart(struct sse *s); /* a new connection: forgets a half event, keeps the id */
void sse_deinit(struct sse *s);
