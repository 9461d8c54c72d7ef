/* Configuration of the server: command line over config file over environment over defaults. Runs
 * in B. */
#pragma once

#include <stdint.h>

#include "sandbox/base/err.h"

struct config {
    char listen[128];           /* "127.0.0.1:8888" */
    char token[128];            /* "" = generated, kept in STATE/token */
    char token_file[256];       /* file that holds it */
    char preview_domain[128];   /* previews by host have hosts of this domain, "" = of any */
    char state_dir[256];        /* default /var/lib/cellbox */
    char key_dir[256];          /* keys that seal secrets and the registry, "" = state_dir */
    char image_dir[256];        /* default build/images beside a build tree, else STATE/images */
    char gateway[256];          /* path of cbx-gateway */
    char egress[256];           /* path of cbx-egress */
    char handlers[256];         /* folder of the handler worker's files */
    char egress_resolver[128];  /* "ADDR:PORT[,...]", "" = what the host uses */
    char egress_policy[256];    /* file: policy of sandboxes without one of their own, "" = {} */
    char egress_ca[256];        /* PEM file of CAs that servers may have beside the host's */
    char runtime[256];          /* erofs image of what is mounted at /opt/cellbox */
    uint32_t uid_base;          /* first host uid of the server's ranges */
    uint32_t pool_warm;         /* warm boxes with Python kept by G */
    uint32_t pool_node;         /* with Node */
    uint32_t parts_ready;       /* prepared sets of parts kept by B */
    uint32_t zygote_clones;     /* a zygote is replaced after so many clones */
    uint32_t cull_idle;         /* seconds until an idle Jupyter kernel is ended, 0 = never */
    char kernel_launchers[256]; /* addresses beside loopback that kernels may register at */
    char ws_compression[16];    /* auto, never or always */
    uint64_t memory, disk;      /* default limits of a box */
    uint32_t cpu, pids;
    int quiet;
};

/* Returns 0; 1 when help or version was printed (exit 0); negative with *err for a bad option. */
int config_load(struct config *c, int argc, char **argv, struct err *err);
const char *config_key_dir(const struct config *c);
