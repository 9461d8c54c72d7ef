/*
 * One way into a context for clients that speak Jupyter messages: the sockets of a connection file
 * (raw/) or a WebSocket (channels/). It takes checked messages, submits what the interpreter must
 * answer, answers the rest itself, and hands back messages to send. Order, counters, busy and idle
 * are the manager's. No I/O of its own.
 */
#pragma once

#include "contexts/manager/manager.h"
#include "kernel-gw/jupyter/wire/message.h"
#include "sandbox/base/list.h"

struct port_counters {
    uint64_t messages, bad_signature, bad_frames, unknown, replies_lost;
};

struct port_ops {
    /* To the client that asked; route as it was given with the request. parts are valid during the
     * call. */
    void (*reply)(void *user, enum channel ch, struct slice route,
                  const struct jupyter_parts *parts);
    /* To iopub of this way in alone: about requests that are answered here. */
    void (*publish)(void *user, const struct jupyter_parts *parts);
    /* A client asked to shut down (restart: and to begin again). The port may be freed after the
     * call, not in it. */
    void (*shutdown)(void *user, bool restart);
    /* Content of a connect_reply; NULL: there are no sockets to tell of. */
    int (*put_connect)(void *user, struct buf *out);
};

struct port {
    const struct port_ops *ops;
    void *user;
    struct context *context;
    struct port_counters *counters; /* shared by all of the process */
    struct list asks, infos;
};

void port_init(struct port *p, const struct port_ops *ops, void *user, struct context *c,
               struct port_counters *counters);
/* Requests under way go on; nobody is told of their end. */
void port_deinit(struct port *p);
/* A message of a client on shell, control or stdin. route: opaque, at most 64 KiB, comes back with
 * the reply. */
void port_message(struct port *p, enum channel ch, const struct jupyter_message *m,
                  struct slice route);
/* REPLY or STDIN of a request that outlived the gateway that took it. */
void port_orphan(struct port *p, const struct context_event *ev);

/* An event as an iopub message. parts point into ev, content and the request. false: it is none. */
enum { PORT_BUFFERS_MAX = JUPYTER_BUFFERS_MAX };
struct port_event {
    struct jupyter_parts parts;
    struct buf content; /* port_event_deinit */
    struct slice buffers[PORT_BUFFERS_MAX];
};
bool port_event_init(struct port_event *pe, const struct context_event *ev);
void port_event_deinit(struct port_event *pe);
