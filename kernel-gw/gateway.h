/* What every door of G shares: the manager, the registry, routes and the token. One per process. */
#pragma once

#include <uv.h>

#include "contexts/manager/manager.h"
#include "kernel-gw/auth/auth.h"
#include "kernel-gw/net/router.h"
#include "kernel-gw/net/server.h"
#include "kernel-gw/store/store.h"

struct gateway {
    uv_loop_t *loop;
    struct boxes *boxes;
    struct manager *manager;
    struct store *store;
    struct http_server *server;
    struct router *router;
    struct auth auth;
    char *version, *state_dir;
    char *preview_domain; /* "" = previews by host have none of their own */
    struct {
        uint32_t cull_idle_s; /* 0 = never */
        int compression;      /* enum websocket_compression */
        char *launchers;      /* "ADDR,...": where kernels may register beside loopback */
    } options;
    bool ready; /* adoption is over: requests are served */
    uint64_t started_us;
    struct {
        uint64_t requests, by_class[6]; /* responses by first digit of their status */
    } http;
    /* kernel-gw/preview: whether a request is for a port of a box, by its host or path; then it has
     * been taken. */
    bool (*preview)(struct gateway *gw, struct exchange *x, const struct http_request *r);
    bool (*preview_streams)(struct gateway *gw, const struct http_request *r);
    struct egress *egress;         /* kernel-gw/egress */
    struct buckets *buckets;       /* kernel-gw/api/bucket */
    struct git_grants *git_grants; /* kernel-gw/api/git */
    struct ports *ports;           /* kernel-gw/api/ports.c */
    struct previews *previews;     /* kernel-gw/preview */
    void *jupyter;                 /* struct door of kernel-gw/jupyter */
    void (*put_metrics)(struct gateway *gw,
                        struct buf *out); /* of the Jupyter door, for /metrics */
    struct watches *watches;              /* kernel-gw/api/watch.c */
    struct files_calls *files;            /* kernel-gw/api/files_call.c */
    struct stream_set *streams;           /* kernel-gw/api/stream.c */
};

/*
 * Adds the Jupyter door: its routes (router_add), its hooks (manager_set_hooks). Defined in
 * kernel-gw/jupyter; called by main once the configuration is known and before contexts are
 * adopted. Returns 0 or a negative errno.
 */
int jupyter_attach(struct gateway *gw);
int preview_attach(struct gateway *gw); /* kernel-gw/preview; -ENOMEM */
