/*
 * An unprivileged process that B runs for as long as it lives itself: its own uid, no privilege, a
 * seccomp filter, a root file system with only what it needs, pid and ipc namespaces, an empty
 * environment, one SEQPACKET link at descriptor 3; started again when it ends. Messages that the
 * link has no room for wait in a queue; the child reads all the time, so one whose queue is full is
 * broken: it is ended and started again.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "sandbox/base/err.h"

struct cgroup;
struct jail;
struct child;

struct child_ops {
    /* It has just been started: send it what it stands on. */
    void (*started)(void *owner);
    void (*message)(void *owner, const uint8_t *msg, size_t len, int *fds, size_t nfds);
    /* It dies again and again while it starts. */
    void (*hopeless)(void *owner);
};

struct child_config {
    const char *name;    /* "cbx-gateway": process name, first argument */
    const char *module;  /* for the log */
    const char *program; /* path */
    uid_t uid;
    int filter; /* seccomp program */
    const struct jail *jail;
    struct cgroup *cgroup; /* NULL: none */
    const struct child_ops *ops;
    void *owner;
};

/* The configuration is copied, its strings are not. NULL + *err: nothing was started. */
struct child *child_start(uv_loop_t *loop, const struct child_config *config, struct err *err);
void child_stop(struct child *c); /* SIGTERM, and no start after it; NULL is fine */
/* Some child of B ended; true: it was this one. */
pid_t child_pid(const struct child *c); /* -1: does not run; NULL is fine */
bool child_reaped(struct child *c, pid_t pid, int status);
/* fds are borrowed. -ENOTCONN while it is being started again. */
int child_send(struct child *c, const void *msg, size_t len, const int *fds, size_t nfds);
