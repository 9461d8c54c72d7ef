/*
 * A connection that a program in a box has made: from accept, through a look at its first bytes, to
 * the protocol that serves it. Runs in E.
 */
#pragma once

#include <uv.h>

#include "sandbox/base/list.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/http/exchange.h"
#include "sandbox/egress/net/stream.h"
#include "sandbox/egress/tls/hello.h"

/* What serves a connection once it is known what it speaks. */
struct conn_protocol {
    void (*close)(void *self); /* now, without a word; conn goes away right after */
};

struct conn {
    struct list link;
    struct egress_box *box;
    uint64_t id, start_us;
    int fd; /* while nobody knows what it is: -1 from the stream on */
    uv_poll_t poll;
    bool poll_open, gone;
    union socket_address dst; /* what the program dialled */
    uint16_t port;
    char host[256]; /* the name behind it: of TLS, else of DNS; "" = dialled by address */
    bool https;
    struct stream *stream;
    const struct conn_protocol *protocol;
    void *self;
    uint64_t deadline; /* uv_now; 0: none */
};

void conn_accept(struct egress_box *b, int take_fd);
void conn_close(struct conn *c); /* with everything; frees */
void conn_finish(
    struct conn *c); /* its protocol is over and gone; what was written is still sent */
void conn_deny(struct conn *c, const char *kind, const char *rule,
               const char *reason); /* record, reset */
struct policy_target conn_target(const struct conn *c);
void conn_limit(struct conn *c, uint64_t ms); /* deadline from now; 0: none */

/* The protocols; each takes over c->stream (paused) and sets c->protocol. 0 or -ENOMEM. */
int h1_server_start(struct conn *c);
int h2_server_start(struct conn *c);
int relay_start(struct conn *c, const char *kind, const char *rule);
int dns_stream_start(struct conn *c);
