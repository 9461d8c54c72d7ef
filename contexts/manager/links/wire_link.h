/*
 * One SEQPACKET socket with typed messages (sandbox/wire/wire.h), non-blocking on a libuv loop:
 * calls with replies matched by seq, and messages that nobody asked for. The base of the links to B
 * and to the init of a box. An init is as hostile as its box: short messages and replies with an
 * unknown seq are dropped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "sandbox/wire/wire.h"

struct wire_link;

/* fds are the link's and closed after the callback; take one by setting its slot to -1. msg is the
 * whole message. */
struct wire_message {
    const struct wire_head *head;
    size_t len;
    int *fds;
    size_t nfds;
};

struct wire_link_ops {
    void (*message)(void *user, const struct wire_message *m); /* not a reply */
    void (*closed)(void *user); /* the peer has gone; every pending call was answered with
                                   -ECONNRESET before */
};

/* error->code 0: m is the reply; else m is NULL. */
typedef void wire_reply_fn(void *user, const struct err *error, const struct wire_message *m);

/* Takes fd, also on failure (NULL: out of memory or a bad fd). */
struct wire_link *wire_link_new(uv_loop_t *loop, int take_fd, const struct wire_link_ops *ops,
                                void *user);
void wire_link_free(struct wire_link *l); /* no callback is called any more; NULL is fine */
/* The peer is known to have gone: pending calls are answered as if its end had been read, then it
 * is freed. */
void wire_link_abandon(struct wire_link *l);
/* ops NULL: nobody's; replies come, anything else is dropped. */
void wire_link_set_ops(struct wire_link *l, const struct wire_link_ops *ops, void *user);

/*
 * Sends head (its seq is set here) + tail + fds (borrowed). With a reply function the call stays
 * pending until it is answered; a failure to send is answered later from the loop, never from
 * inside. The queue of unsent messages is bounded: over 4096 the link counts as dead.
 */
void wire_link_call(struct wire_link *l, struct wire_head *head, size_t len, const void *tail,
                    size_t tail_len, const int *fds, size_t nfds, wire_reply_fn *reply, void *user);
/* Takes all that has come already, as the loop would. */
void wire_link_drain(struct wire_link *l);
/* Replies for user are swallowed from now on. */
void wire_link_forget(struct wire_link *l, void *user);
