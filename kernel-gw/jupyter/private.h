/* What the files of a served kernel share. Private to kernel-gw/jupyter. */
#pragma once

#include "kernel-gw/jupyter/kernel.h"
#include "sandbox/base/list.h"

/* A request in the manager whose reply goes to one peer. */
struct ask {
    struct list link;
    struct kernel *kernel;
    struct request *request;
};

/* A kernel_info request that waits for the interpreter to say hello, or a reply that waits for its
 * peer. */
struct parked {
    struct list link;
    struct kernel *kernel;
    enum channel channel;
    char msg_type[32];
    struct buf route, parent, content;
    uint64_t deadline; /* ms of the loop's clock */
};

struct kernel {
    struct kernel_config config;
    struct zmq_sockets *sockets;
    struct jupyter_key *key;
    char key_text[128];
    char session[37];
    char topic[64];
    uint64_t counter; /* of messages sent: makes their ids */
    struct subscription *subscription;
    struct list asks, infos, unsent;

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

/* Headers and frames of one message to send. */
struct outgoing_parts {
    const char *msg_type;
    struct slice parent, metadata, content;
    const struct proto_section *buffers;
    unsigned nbuffers;
};

/* send.c */
int kernel_send(struct kernel *k, enum channel ch, const struct slice *idents, unsigned nidents,
                const struct outgoing_parts *parts);
/* To the peer that the route names; waits for it a while when the kernel was adopted. */
void kernel_reply(struct kernel *k, enum channel ch, struct slice route, struct slice parent,
                  const char *msg_type, struct slice content);
void kernel_retry_unsent(struct kernel *k);

/* iopub.c */
int iopub_event(void *user, const struct context_event *ev);
void iopub_publish(struct kernel *k, const struct outgoing_parts *parts);
void iopub_status(struct kernel *k, struct slice parent, const char *state);
void iopub_subscribed(void *user, struct slice topic);
void iopub_writable(void *user);
void iopub_on_stall(uv_timer_t *t);
void iopub_drop_queue(struct kernel *k);

/* requests.c */
void kernel_on_message(void *user, enum channel ch, const struct slice *frames, size_t n);
void kernel_event_reply(void *user, const struct context_event *ev);
void kernel_event_stdin(void *user, const struct context_event *ev);
void ask_free(struct ask *a);
void parked_free(struct parked *p);
struct parked *parked_new(struct kernel *k, enum channel ch, struct slice route,
                          struct slice parent, const char *msg_type, struct slice content);

/* kernel.c */
void kernel_ask_shutdown(struct kernel *k, bool restart);
