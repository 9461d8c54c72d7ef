/* What the files of a served kernel share. Private to kernel-gw/jupyter/raw. */
#pragma once

#include "kernel-gw/jupyter/raw/kernel.h"
#include "sandbox/base/list.h"

/* A reply that waits for its peer. */
struct parked {
    struct list link;
    struct kernel *kernel;
    enum channel channel;
    char msg_type[32];
    struct buf route, parent, content;
    uint64_t request;
    uint64_t deadline; /* ms of the loop's clock */
};

/* Signatures of the last messages: at least REPLAY_KEPT of them, at most twice as many. */
enum { REPLAY_KEPT = 4096, REPLAY_SLOTS = 2 * REPLAY_KEPT };
struct replay {
    uint64_t *now, *before; /* hash tables of REPLAY_SLOTS, 0 = free; allocated when needed */
    unsigned n;             /* in now */
};

struct kernel {
    struct kernel_config config;
    struct replay replay;
    struct port port;
    struct zmq_sockets *sockets;
    struct jupyter_key *key;
    char key_text[128];
    char session[37];
    char topic[64];
    uint64_t counter; /* of messages sent: makes their ids */
    struct subscription *subscription;
    struct list unsent;

    /* iopub */
    struct list queue; /* struct outgoing: composed, refused by the socket */
    unsigned queued;
    bool held, lossy;
    uv_timer_t stall, retry;
    unsigned handles;

    bool closing, shutdown_restart;
    uv_idle_t shutdown_later;
    bool shutdown_asked;
};

/* send.c */
int kernel_send(struct kernel *k, enum channel ch, const struct slice *idents, unsigned nidents,
                const struct jupyter_parts *parts);
/* To the peer that the route names; waits for it a while when the kernel was adopted. */
void kernel_reply(struct kernel *k, enum channel ch, struct slice route,
                  const struct jupyter_parts *parts);
void kernel_retry_unsent(struct kernel *k);
void kernel_drop_unsent(struct kernel *k);

/* replay.c */
/* false: a message with this signature came before, or there is no memory to know. */
bool replay_is_new(struct replay *r, const struct slice *signature);
void replay_deinit(struct replay *r);

/* iopub.c */
int iopub_event(void *user, const struct context_event *ev);
void iopub_publish(struct kernel *k, const struct jupyter_parts *parts);
void iopub_subscribed(void *user, struct slice topic);
void iopub_writable(void *user);
void iopub_on_stall(uv_timer_t *t);
void iopub_drop_queue(struct kernel *k);
