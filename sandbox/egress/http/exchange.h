/*
 * One request and its answer on the way through E, whatever protocols its two sides speak. The
 * *down* side made it: the box's connection (HTTP/1.1 or HTTP/2), or a handler's own fetch(). The
 * *up* side answers it: a connection to the world, a handler, or E itself. Between them stand
 * policy, injection and log.
 *
 * Bodies stream both ways with back-pressure: a side that has been fed more than it can take says
 * so (its `*_body` op returns EXCHANGE_FULL) and calls exchange_*_drained later; until then the
 * other side is paused. All calls happen on the loop thread; every op may end the exchange, so a
 * caller touches nothing of its own message state after an op without looking (exchange_alive, or
 * its own pointer which `detached` clears).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/egress/http/head.h"

struct exchange;
struct egress_box;
struct fill;

enum { EXCHANGE_OK = 0, EXCHANGE_FULL = 1 };

/* What the exchange does to the side that made it. */
struct exchange_down_ops {
    /* A response head; 1xx heads may come before it (status 100..199, not 101). end: no body
     * follows. */
    int (*respond)(void *down, const struct http_head *head, bool end);
    int (*body)(void *down, const uint8_t *data, size_t len); /* EXCHANGE_OK or EXCHANGE_FULL */
    void (*end)(
        void *down,
        const struct http_head *trailers); /* trailers may be NULL; last call but detached */
    /* The answer cannot be completed: reset the stream or close the connection. Last call but
     * detached. */
    void (*abort)(void *down);
    void (*pause)(void *down, bool paused); /* stop or go on delivering request body */
    /* 101: from now on bytes both ways, no message any more. Gets what was `body`. NULL: not
     * possible here. */
    int (*upgrade)(void *down, const struct http_head *head);
};

/* What the exchange does to the side that answers. */
struct exchange_up_ops {
    int (*body)(void *up, const uint8_t *data,
                size_t len); /* request body: EXCHANGE_OK or EXCHANGE_FULL */
    void (*end)(void *up, const struct http_head *trailers);
    void (*cancel)(void *up);             /* nobody waits any more; the exchange forgets `up` */
    void (*pause)(void *up, bool paused); /* stop or go on delivering response body */
};

struct exchange_origin {
    struct egress_box *box;
    const char *host; /* authority's host: lower case, copied */
    uint16_t port;
    bool https, by_address; /* by_address: the box dialled an address, no name is known */
    const char *protocol;   /* "HTTP/1.1", "HTTP/2": for the log */
    bool from_handler;
    const struct fill *fills; /* from_handler: placeholders of its module; for the call */
    size_t nfills;
    /* Original destination when by_address. */
    const struct sockaddr *addr;
};

/*
 * down: begins. Takes a copy of the head. end: the request has no body. Policy is asked at once,
 * the up side is chosen; answers never come from inside this call. Returns NULL only for lack of
 * memory.
 */
struct exchange *exchange_new(const struct exchange_origin *o, const struct http_head *head,
                              bool end, const struct exchange_down_ops *ops, void *down);
int exchange_request_body(struct exchange *x, const uint8_t *data, size_t len); /* OK or FULL */
void exchange_request_end(struct exchange *x, const struct http_head *trailers);
void exchange_down_drained(struct exchange *x); /* after body returned FULL: there is room again */
void exchange_down_gone(struct exchange *x);    /* the maker went away; it is not called again */

/* up: what it calls. After exchange_up_end / _failed the exchange does not call up any more. */
void exchange_up_head(struct exchange *x, const struct http_head *head, bool end);
int exchange_up_body(struct exchange *x, const uint8_t *data, size_t len); /* OK or FULL */
void exchange_up_end(struct exchange *x, const struct http_head *trailers);
/* status: what the box gets if no head was sent yet (502, 504, 520...); reason: one sentence. */
void exchange_up_failed(struct exchange *x, uint16_t status, const char *reason);
void exchange_up_drained(struct exchange *x);

/* The up side hands the exchange on to another that goes on in its place; upstream: address, for
 * the log. */
void exchange_set_up(struct exchange *x, const struct exchange_up_ops *ops, void *up,
                     const char *upstream);

const struct http_head *exchange_request_head(const struct exchange *x);
struct egress_box *exchange_box(const struct exchange *x);
/* Its record names these secrets, too: comma-separated. */
void exchange_note_secrets(struct exchange *x, const char *names);
uint64_t exchange_id(const struct exchange *x);
