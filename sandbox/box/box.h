/*
 * One sandbox in B, from parts to death. The order of a creation, each step an event, none of them
 * blocking:
 *
 *   parts -> CLONE sent to Z -> pid known, limits set, attached to its cgroup -> GO -> init reports
 * READY -> running
 *
 * Any failure, the child's included, ends in box_events.created with the step that failed and
 * nothing left behind.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "sandbox/base/list.h"
#include "sandbox/box/parts.h"
#include "sandbox/wire/wire.h"

struct box;

/* Sends WIRE_CLONE to the zygote; later calls box_cloned with its answer (or an error) exactly
 * once. Takes no fds. */
typedef int (*box_clone_fn)(void *owner, struct box *b, const struct wire_clone *req,
                            const int *fds, size_t nfds);

struct box_events {
    void (*created)(void *owner, struct box *b,
                    const struct err *err); /* err NULL: running. else: b is freed next */
    void (*gone)(void *owner, struct box *b,
                 int status); /* was running, has ended; b is freed next */
    box_clone_fn clone;
};

struct box_config {
    uv_loop_t *loop;
    struct disks *disks;
    int filter; /* seccomp program */
    const struct box_events *events;
    void *owner;
};

enum box_state { BOX_CLONING, BOX_BUILDING, BOX_RUNNING, BOX_DYING };

struct box {
    struct list link; /* free for the owner */
    uint64_t number;
    const struct box_config *config;
    enum box_state state;
    struct box_parts parts;
    char image[WIRE_NAME];
    struct cgroup_limits limits;
    uint64_t disk_limit;            /* 0 = none */
    uint64_t cpu_ns, memory_mib_ms; /* as of the last box_usage, in the end of its whole life */
    uint64_t sampled_ms, sampled_memory;
    uint32_t request_seq; /* of the BOX_CREATE, DESTROY being answered; owner's */
    bool held;            /* running, not told to G yet; owner's */
    int remove_disk;      /* what happens to the disk when it dies: 0 keep, 1 remove */
    pid_t pid;
    int pidfd, sync,
        init_link; /* init_link: the outer end, handed to G and kept for its successor */
    int status;
    struct err failure;
    uv_poll_t sync_poll, exit_poll;
    int sync_open, exit_open, handles;
    uint8_t *blob; /* what G asked to keep about this box */
    size_t blob_len;
    struct list contexts; /* struct kept_context */
    void *user;
};

/* A context's socket that B keeps for G. */
struct kept_context {
    struct list link;
    uint32_t number;
    int frame;
    uint8_t *blob;
    size_t blob_len;
};

/* Takes the parts. disk_limit 0: none. NULL + *err on failure to even begin (parts are undone). */
struct box *box_create(const struct box_config *config, struct box_parts *take_parts,
                       const char *image, const struct cgroup_limits *limits, uint64_t disk_limit,
                       struct err *err);
/* The zygote's answer: pid and pidfd (taken), or err. */
void box_cloned(struct box *b, pid_t pid, int take_pidfd, const struct err *err);
/* Its process has ended, and the caller has reaped it: the end of the box, as when its pidfd says
 * so. b is freed. */
void box_reaped(struct box *b, int status);
/* Kills everything in it; `gone` follows. */
void box_kill(struct box *b, int remove_disk);
/* Of a running box. On failure some may be set. */
int box_set_limits(struct box *b, const struct cgroup_limits *limits, struct err *err);
/* What it uses; samples its memory, so this should be called every now and then. Negative errno. */
int box_usage(struct box *b, struct cgroup_usage *ret);
/* -EOPNOTSUPP: its disk can have no limit. Call when it has its parts; 0 is no change. */
int box_limit_disk(struct box *b, uint64_t bytes, struct err *err);
struct kept_context *box_find_context(struct box *b, uint32_t number);
void box_drop_context(struct kept_context *c);
