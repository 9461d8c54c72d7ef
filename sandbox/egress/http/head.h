/*
 * The head of one HTTP message, the same for HTTP/1.1 and HTTP/2, request and response: what the
 * policy looks at and what injection changes. One arena holds all text; fields name offsets in it,
 * so that adding never moves what a caller still needs by offset. No I/O. Runs in E.
 *
 * Field names are stored in lower case; connection-specific fields (RFC 9110 7.6.1) never stand in
 * a head that passes between two connections.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum { HEAD_TEXT_MAX = 65536, HEAD_FIELDS_MAX = 128 };

struct head_slice {
    uint32_t at, len;
};

struct head_field {
    struct head_slice name, value;
};

struct http_head {
    struct buf text;                             /* at most HEAD_TEXT_MAX bytes */
    struct head_slice method, target, authority; /* request; target is origin form ("/a?b") */
    bool https;                                  /* request: scheme */
    uint16_t status;                             /* response */
    uint16_t nfields;
    struct head_field fields[HEAD_FIELDS_MAX];
};

void head_init(struct http_head *h);
void head_deinit(struct http_head *h);
void head_reset(struct http_head *h); /* empty again, memory kept */
int head_copy(struct http_head *to, const struct http_head *from);

/* Pointer into the arena, not NUL-terminated; good until the next put. */
static inline const char *head_at(const struct http_head *h, struct head_slice s)
{
    return (const char *)h->text.data + s.at;
}
/* Appends text to the arena. -ENOMEM, -EMSGSIZE (over a cap). */
int head_put(struct http_head *h, const char *text, size_t len, struct head_slice *ret);
/* Appends a field; the name is put in lower case. -EMSGSIZE when there are too many. */
int head_add(struct http_head *h, const char *name, size_t name_len, const char *value, size_t len);
/* Removes every field of that (lower-case) name, then adds it. */
int head_set(struct http_head *h, const char *name, const char *value, size_t len);
void head_remove(struct http_head *h, const char *name); /* every field of that lower-case name */
/* First field of that lower-case name; NULL if absent. */
const struct head_field *head_find(const struct http_head *h, const char *name);
/* Is value, ignoring case, one of the comma-separated tokens of all fields of that name? */
bool head_has_token(const struct http_head *h, const char *name, const char *token);
bool head_slice_is(const struct http_head *h, struct head_slice s, const char *text);

/*
 * Why no request line or pseudo field may be made of it: method and target must be what they look
 * like to every parser. NULL: it is fine. CONNECT and PRI (RFC 9113 3.4) are no requests here.
 */
const char *head_request_fault(const struct http_head *h);
/* Could every field stand on a line of its own, a token and a value without control characters? */
bool head_fields_fit(const struct http_head *h);
/* Drops from trailers what would frame, route or authenticate a message that merges them into its
 * head (RFC 9110 6.5.1). */
void head_clean_trailers(struct http_head *trailers);

/*
 * What is left of the body that a head declares: whoever sends a message counts, because the peer
 * takes what is too much for the next message and what is missing from it.
 */
struct body_length {
    int64_t left; /* -1: no length is declared */
};
/* -EINVAL: its Content-Length is no number, or is there twice. */
int body_length_read(struct body_length *b, const struct http_head *h);
bool body_length_take(struct body_length *b, size_t n); /* false: more than was declared */
static inline bool body_length_over(const struct body_length *b)
{
    return b->left <= 0; /* nothing is missing */
}
