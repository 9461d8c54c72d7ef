/*
 * HTTP/1.1 responses of a program in a box: bytes in, one response after the other. No I/O, no
 * clock. Grammar by llhttp; the caps are here. What comes is as hostile as the box.
 */
#pragma once

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum { RESPONSE_HEADERS_MAX = 128, RESPONSE_HEAD_MAX = 64 << 10 };

struct response {
    llhttp_t parser;
    llhttp_settings_t settings;
    struct buf head; /* strings, each with its NUL: reason, then names and values */
    size_t offsets[1 + 2 * RESPONSE_HEADERS_MAX], nstrings, trailer;
    int field;
    bool no_body; /* of a HEAD request; set before feeding */
    bool at_head, at_piece, headers_done, done, keep_alive;
    int status;
    int64_t length; /* -1: chunked or until the end of the connection; -2: there is none */
    const char *piece;
    size_t piece_len;
};

/* Points into itself: must not move. */
void response_init(struct response *r);
void response_deinit(struct response *r);
void response_next(struct response *r); /* before the bytes of another response */

enum { RESPONSE_MORE, RESPONSE_HEAD, RESPONSE_PIECE, RESPONSE_DONE };
/*
 * 0: all was used. HEAD: status, reason and headers are there; feed on. PIECE: of the body; feed
 * on, even if no byte is left. DONE: complete (status 101: what follows is no HTTP). Negative:
 * malformed or over the caps. Responses 100..199 but 101 are left out.
 */
int response_feed(struct response *r, const char *data, size_t len, size_t *ret_used);
/* The connection has ended: DONE if that is how this body ends. */
int response_end(struct response *r);
const char *response_reason(const struct response *r);
/* Headers in order, names in lower case; false: no more. */
bool response_header(const struct response *r, size_t i, const char **ret_name,
                     const char **ret_value);
