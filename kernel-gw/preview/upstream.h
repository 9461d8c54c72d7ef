/*
 * A TCP connection into the network of one box, to one port of it: opened through B, written with a
 * bound, read on demand, kept for a moment after a response that allows it.
 */
#pragma once

#include "kernel-gw/gateway.h"

struct upstream;

struct upstream_ops {
    void (*connected)(void *user, int error); /* 0, or a negative errno; free it then */
    void (*received)(void *user, const char *data, size_t len);
    void (*drained)(void *user); /* what was written is (almost) sent */
    void (*ended)(void *user);   /* the peer has closed, or the connection broke */
};

/* Opens, or takes one that is idle and open (reuse): `connected` may come from inside. NULL: out of
 * memory. */
struct upstream *upstream_open(struct gateway *gw, struct sandbox *sb, uint32_t port, bool reuse,
                               const struct upstream_ops *ops, void *user);
bool upstream_reused(const struct upstream *u);
void upstream_write(struct upstream *u, const void *data, size_t len);
size_t upstream_queued(const struct upstream *u);
void upstream_read(struct upstream *u, bool on);
void upstream_finish(struct upstream *u); /* no more is written: the peer sees the end */
void upstream_free(struct upstream *u);   /* closes; no callback any more */
void upstream_keep(struct upstream *u);   /* instead: for the next request */

int upstreams_init(struct gateway *gw);
