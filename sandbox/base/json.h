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
