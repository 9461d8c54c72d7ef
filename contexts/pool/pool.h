/*
 * Warm boxes: made in advance with the default image and limits, one context in each, its first
 * cells run: Python's, or Node's, which can still become JavaScript or TypeScript. A create then
 * costs no more than handing one over. Refilled one at a time, and only when no request has come
 * for a moment, so that refilling does not slow the requests that emptied it. Runs in G, on the
 * loop.
 */
#pragma once

#include "contexts/manager/links/boxes.h"
#include "contexts/manager/links/runner_link.h"
#include "contexts/manager/links/wire_link.h"

struct pool;

enum pool_kind { POOL_PYTHON, POOL_NODE, POOL_KINDS };

struct pool_box {
    uint64_t box;
    struct wire_box_created created;
    struct wire_link *init;     /* the taker owns it; without ops until it sets them */
    struct runner_link *runner; /* same; between two messages, nothing under way */
    uint32_t context;           /* its number in the box; greater ones are free */
    uint64_t next_request;      /* numbers from here on are unused */
    enum pool_kind kind;
    char *hello; /* info JSON, malloc'ed; Node's comes once it knows its language: NULL */
};

/* warm: how many of each kind. NULL: out of memory. */
struct pool *pool_new(uv_loop_t *loop, struct boxes *boxes, const unsigned warm[POOL_KINDS]);
void pool_free(struct pool *p);
void pool_start(struct pool *p);
bool pool_take(struct pool *p, enum pool_kind kind, struct pool_box *ret); /* false: none ready */
void pool_activity(struct pool *p);           /* a request came: refill later */
bool pool_gone(struct pool *p, uint64_t box); /* true: it was one of its boxes */
void pool_count(const struct pool *p, unsigned *ret_ready, unsigned *ret_starting);
/* Destroys what a pool_box holds and asks B to destroy the box. */
void pool_box_discard(struct boxes *b, struct pool_box *pb);

/* Environment block of WIRE_CONTEXT_START with the defaults of every context, e.g. PATH and HOME;
 * more may be added. */
int pool_put_environ(struct buf *out, const char *cwd);
