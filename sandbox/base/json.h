/*
 * JSON without a tree (RFC 8259): big outputs are checked and forwarded as the bytes they came as.
 * Requests, which are small, are parsed with jansson.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum { JSON_DEPTH_MAX = 256 };

/* Checks that bytes are exactly one JSON value in well-formed UTF-8 (no NaN, no lone surrogate
 * bytes). -EINVAL. */
int json_check(const void *data, size_t len);
/* Same, and the value is an object. */
int json_check_object(const void *data, size_t len);
/*
 * The same check of bytes that come in pieces, cut anywhere. _feed: -EINVAL once no end could make
 * it well-formed; _end: -EINVAL unless it is exactly one whole value.
 */
struct json_checker {
    uint8_t objects[JSON_DEPTH_MAX / 8]; /* a bit for each open container: an object */
    uint16_t depth, code;
    uint8_t state, at, word, low, high;
    uint8_t first; /* of the value: '{' of an object */
    bool key, surrogate;
};
void json_checker_init(struct json_checker *c);
int json_checker_feed(struct json_checker *c, const void *data, size_t len);
int json_checker_end(const struct json_checker *c);
/* Appends a JSON string with quotes. Invalid UTF-8 becomes U+FFFD, one per maximal invalid prefix
 * (Unicode 3.9). */
int json_put_string(struct buf *b, const void *data, size_t len);
int json_put_cstring(struct buf *b, const char *s);
/*
 * How many bytes at the end of data are the beginning of a UTF-8 character cut off by the end
 * (0..3): keep them back and put them before the next chunk.
 */
size_t utf8_incomplete_tail(const void *data, size_t len);
bool utf8_valid(const void *data, size_t len);
