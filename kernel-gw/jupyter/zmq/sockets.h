/*
 * The five ZeroMQ sockets of one kernel on the libuv loop: the only code that knows libzmq.
 *
 * libzmq's descriptor is edge-triggered and covers both directions: after every wake-up and after
 * every send the events are asked for again until nothing is left. Sends mark the socket; a prepare
 * handle looks again before the loop sleeps.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "kernel-gw/jupyter/wire/message.h"
#include "sandbox/base/err.h"

struct zmq_node;    /* one per process: libzmq context, loop */
struct zmq_sockets; /* one per served kernel */

struct zmq_events {
    /* Frames are valid during the call. Never for HB, which echoes by itself, nor for IOPUB. */
    void (*message)(void *user, enum channel ch, const struct slice *frames, size_t n);
    /* A subscription arrived on iopub: its topic. */
    void (*subscribed)(void *user, struct slice topic);
    /* iopub, which had refused a message, takes some again. */
    void (*writable)(void *user);
    void *user;
};

struct zmq_address {
    char transport[8];  /* "tcp" or "ipc" */
    char ip[108];       /* address, or path prefix for ipc */
    int port[CHANNELS]; /* 0: any; filled in after binding (tcp only) */
    /* CurveZMQ: the server's keys as 40 characters of Z85; empty: no encryption. */
    char curve_public[41], curve_secret[41];
};

int zmq_node_new(uv_loop_t *loop, struct zmq_node **ret);
void zmq_node_free(struct zmq_node *n);

/* A new pair of keys. -ENOSYS: this libzmq has no CurveZMQ. */
int zmq_curve_keys(struct zmq_address *a);

/*
 * Sends one message to a peer (tcp://ip:port) and hands its answer, or NULL when none came within
 * timeout_ms, to `done`, once, from the loop. Cancelled by closing: then `done` is not called.
 */
struct zmq_errand;
int zmq_errand_send(struct zmq_node *n, const char *ip, int port, const struct slice *frames,
                    size_t nframes, unsigned timeout_ms,
                    void (*done)(void *user, const struct slice *frames, size_t n), void *user,
                    struct zmq_errand **ret, struct err *err);
void zmq_errand_close(struct zmq_errand *e); /* NULL is fine; also after done */

/* Binds all five or none; -EADDRINUSE and others with a sentence. */
int zmq_sockets_bind(struct zmq_node *n, struct zmq_address *address,
                     const struct zmq_events *events, struct zmq_sockets **ret, struct err *err);
void zmq_sockets_close(
    struct zmq_sockets *s); /* NULL is fine; not from inside its own callbacks' loops: deferred */

/*
 * Sends one message of several frames, whole or not at all. -EAGAIN: the socket is full (iopub:
 * `writable` will tell). -EHOSTUNREACH: no peer with that identity (shell, control, stdin).
 */
int zmq_sockets_send(struct zmq_sockets *s, enum channel ch, const struct slice *frames, size_t n);
/* iopub: false (default): a full subscriber blocks the channel; true: it loses messages instead. */
void zmq_sockets_set_lossy(struct zmq_sockets *s, bool lossy);
