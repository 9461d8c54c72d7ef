/* What the files of zmq/ share; nobody else includes this. */
#pragma once

#include "kernel-gw/jupyter/zmq/sockets.h"
#include "sandbox/base/list.h"

struct zmq_node {
    uv_loop_t *loop;
    void *context;
    uv_prepare_t prepare;
    uv_idle_t again; /* keeps the loop from sleeping while a burst was cut short */
    bool again_active;
    struct list dirty; /* sockets to look at before the loop sleeps */
};
