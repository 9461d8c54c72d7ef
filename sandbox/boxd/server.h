/* B: what its files share. Private to sandbox/boxd. */
#pragma once

#include <uv.h>

#include "sandbox/base/buf.h"
#include "sandbox/base/list.h"
#include "sandbox/box/box.h"
#include "sandbox/boxd/config.h"
#include "sandbox/fs/jail.h"
#include "sandbox/image/store.h"
#include "sandbox/wire/wire.h"

struct zygotes; /* zygotes.c: warm interpreters, one per image in use */
struct child;   /* child.c: G's or E's process and link */

/* Uids of the server's own processes, from own_uids on, which lie in the first UID_RANGE of
 * uid_base; boxes come after that. */
enum { UID_GATEWAY = 1, UID_ZYGOTE = 2, UID_EGRESS = 3, SERVER_UIDS = 8 };

struct server {
    uv_loop_t loop;
    struct config config;
    char token[128];
    int listen_fd;
    char listen_text[160]; /* "http://127.0.0.1:8888" */
    int filter, gateway_filter, egress_filter, zygote_userns;
    char runtime_path[300]; /* where the interpreter host's image is mounted, in B's mount namespace
                             */
    int uids;               /* box/uids.h: locks of the host's uids */
    uint32_t own_uids;      /* first of the server's own */
    struct cgroup_root *cgroups;
    struct disks *disks;
    struct list boxes;
    uint64_t next_box;
    struct box_config box_config;
    struct zygotes *zygotes;
    struct child *gateway, *egress;
    uv_signal_t sigterm, sigint, sigchld;
    uv_timer_t sampler;
    unsigned fuse_tasks;  /* fuse.c: children that mount */
    struct list measures; /* usage.c: disks being measured, and those that wait for it */
    char gateway_state[64], egress_state[64]; /* their directories as G and E see them */
    char handlers[64];                        /* the worker's files, the same */
    char jail_root[64];                       /* where G and E make their roots, each for itself */
    const char *gateway_writable[2], *egress_writable[2], *egress_readable[32];
    struct jail gateway_jail, egress_jail;
    struct cgroup *gateway_group, *egress_group;
    uint8_t egress_ca_key[32], egress_secrets_key[32], registry_key[32];
    int egress_policy_fd, egress_ca_fd; /* what the options' files held; -1: not given */
    bool stopping, announced, gateway_up, egress_up;
    int exit_status;
};

/* zygotes.c */
int zygotes_start(struct server *s,
                  struct err *err); /* begins to warm the default image's interpreter */
void zygotes_stop(struct server *s);
/*
 * Makes a box of that image as soon as its interpreter is warm. The answer comes through
 * box_events; on early failure (no such image, ...) returns negative with *err and nothing follows.
 */
struct box_request {
    struct list link;
    uint32_t seq; /* of the gateway's request */
    char disk[DISK_ID];
    struct cgroup_limits limits;
    uint64_t disk_limit; /* 0 = none */
};
int zygotes_create_box(struct server *s, const char *image, const struct box_request *req,
                       struct err *err);
int zygotes_clone(void *owner, struct box *b, const struct wire_clone *req, const int *fds,
                  size_t nfds);
void zygotes_each_parts(struct server *s,
                        void (*visit)(struct server *s, const struct box_parts *p));
struct box_parts *zygotes_find_parts(struct server *s, uint64_t number); /* made in advance */
void zygotes_forget_requests(
    struct server *s); /* creations that have not begun: nobody waits for them */
void zygotes_reaped(struct server *s, pid_t pid, int status);

/* gateway.c */
int gateway_start(struct server *s, struct err *err);
int gateway_send(struct server *s, const void *msg, size_t len, const int *fds, size_t nfds);
void gateway_reply(struct server *s, const struct wire_head *to, const struct err *err,
                   int64_t value);

/* egress_files.c: before anything starts; negative with file, place and reason: do not start */
int egress_read_files(struct server *s, struct err *err);

/* egress.c */
int egress_start(struct server *s, struct err *err);
/* A box's network exists: E gets its listeners, and gives a CA certificate for it. */
void egress_open(struct server *s, const struct box_parts *p);
void egress_close(struct server *s, uint64_t box);
void egress_link_gateway(struct server *s); /* a fresh link between G and E, to both */

/* fuse.c: answered with WIRE_REPLY, later */
void fuse_begin_mount(struct server *s, const struct box *b, const struct wire_box_fuse *m);
void fuse_begin_unmount(struct server *s, const struct box *b, const struct wire_box_fuse *m);

/* usage.c: memory of all boxes sampled over time, disks measured */
void usage_start(struct server *s);
/* Answers with struct wire_disk_usage, or an error. */
void usage_measure(struct server *s, const struct wire_head *to, const char *disk);

/* requests.c: the monitor's table */
void request_dispatch(struct server *s, const uint8_t *msg, size_t len, int *fds, size_t nfds);
void request_box_created(void *owner, struct box *b, const struct err *err);
void request_box_trusted(struct server *s, struct box *b); /* its certificate has come */
void request_box_used(struct server *s, struct box *b);    /* before the gateway ends */
void request_box_gone(void *owner, struct box *b, int status);
void request_box_failed(struct server *s, uint32_t seq, const struct err *err);
void request_hand_over(struct server *s); /* HELLO and everything that lives, to a new gateway */

/* server.c */
struct box *server_find_box(struct server *s, uint64_t number);
void server_gateway_ready(struct server *s);
void server_egress_ready(struct server *s); /* it can use its configuration */
/* The server cannot go on: says so on stderr and ends the loop. */
void server_give_up(struct server *s, const char *step, const char *text);
