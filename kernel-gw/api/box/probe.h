/* Asks again and again whether a port of a box answers: connected, or an HTTP status in a range.
 * Runs in G on its loop; the connection is made by the box's init. */
#pragma once

#include "kernel-gw/gateway.h"

enum { PROBE_PATH_MAX = 1024 };

struct probe_spec {
    uint16_t port;
    bool http;
    char path[PROBE_PATH_MAX];
    int status_min, status_max;
    unsigned interval_ms;
};

struct probe;
/* ready: it answers; status 0: no HTTP was asked for. The last call. */
struct probe *probe_start(struct gateway *gw, const char *sandbox, const struct probe_spec *spec,
                          void (*ready)(void *user, int status), void *user);
void probe_stop(struct probe *p); /* no call any more; NULL is fine */
