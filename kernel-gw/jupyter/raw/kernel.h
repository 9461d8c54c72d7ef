/*
 * One context served as a Jupyter kernel over ZeroMQ: five sockets in front of contexts/manager. It
 * translates and signs; order, counters, busy and idle are the manager's. Only what never waits for
 * a cell is answered here: kernel_info, connect, interrupt, shutdown.
 */
#pragma once

#include "kernel-gw/jupyter/port/port.h"
#include "kernel-gw/jupyter/zmq/sockets.h"

struct kernel;

struct kernel_config {
    uv_loop_t *loop;
    struct zmq_node *node;
    struct context *context;
    struct zmq_address address; /* ports 0: any */
    const char *key;            /* "" = unsigned */
    /*
     * Taken over after a restart of the gateway: clients need a moment to reconnect, so events wait
     * for the first subscriber and replies for their peer, for a few seconds.
     */
    bool adopted;
    struct port_counters *counters; /* shared by all kernels of the process */
    /* A client asked to shut down (restart: and to begin again). Called from the loop, after the
     * reply was sent. */
    void (*shutdown)(void *user, bool restart);
    void *user;
};

int kernel_open(const struct kernel_config *config, struct kernel **ret, struct err *err);
void kernel_close(struct kernel *k); /* NULL is fine */
/* A reply or input request of a cell whose asker was forgotten by a restart of the gateway. */
void kernel_orphan(struct kernel *k, const struct context_event *ev);
/* The connection file: a JSON object. */
int kernel_put_connection(const struct kernel *k, struct buf *out);
const struct zmq_address *kernel_address(const struct kernel *k);
