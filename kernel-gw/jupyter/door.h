/* The Jupyter door as a whole: what its transports and routes share. Private to kernel-gw/jupyter.
 */
#pragma once

#include "kernel-gw/gateway.h"
#include "kernel-gw/jupyter/port/port.h"
#include "sandbox/base/list.h"

struct zmq_node;

struct door {
    struct gateway *gw;
    struct port_counters counters;
    struct zmq_node *node;
    struct list served;   /* raw/: kernels behind a connection file */
    struct list clients;  /* channels/: sessions of WebSocket clients */
    struct list sessions; /* rest/: notebooks and their kernels */
    uv_timer_t settle;    /* after adoption: throws away records whose context is gone */
    uv_timer_t cull;
    uint32_t cull_idle_ms; /* 0 = never */
    int compression;       /* enum websocket_compression */
};

/* The kernel is shut down: its context goes, and its sandbox if that was made for it alone. Frees
 * what hangs on it. */
void door_end_kernel(struct door *d, struct context *c);
/*
 * The named sandbox, made if it is missing, or a new one for a kernel alone (name NULL: *ret_own).
 * language: what it will run first, for the choice of a warm box. NULL: answered.
 */
struct sandbox *door_sandbox(struct gateway *gw, struct exchange *x, const char *name,
                             const char *language, bool *ret_own);
