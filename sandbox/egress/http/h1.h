/* What the two sides of HTTP/1.1 share: heads from llhttp's events, heads to text. Runs in E. */
#pragma once

#include <llhttp.h>

#include "sandbox/egress/http/head.h"

/* Collects a head, or trailers, from llhttp's callbacks. */
struct h1_collect {
    struct http_head *into;
    struct buf name, value;
    bool in_value;
    int err; /* -EMSGSIZE: too large */
};

void h1_collect_init(struct h1_collect *c, struct http_head *into);
void h1_collect_deinit(struct h1_collect *c);
void h1_collect_name(struct h1_collect *c, const char *at, size_t len);
void h1_collect_value(struct h1_collect *c, const char *at, size_t len);
void h1_collect_done(struct h1_collect *c); /* the last field is complete */

/* Drops what is meant for one connection alone (RFC 9110 7.6.1), naming "connection" last. Upgrade
 * stays if keep_upgrade. */
void h1_strip_hop_by_hop(struct http_head *h, bool keep_upgrade);
/* Is there no transfer coding, or "chunked" alone, as llhttp has understood it? What is taken off
 * without a word would be lost on the way. */
bool h1_coding_fits(const struct http_head *h, bool chunked);
int h1_put_fields(struct buf *out, const struct http_head *h);
int h1_put_chunk(struct buf *out, size_t len);       /* its head */
int h1_put_status(struct buf *out, uint16_t status); /* the status line */
