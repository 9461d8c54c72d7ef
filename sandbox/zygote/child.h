/* The child of a clone, until it is init. Private to sandbox/zygote. */
#pragma once

#include "sandbox/init/boot.h"
#include "sandbox/wire/wire.h"

/* Order of WIRE_CLONE's descriptors. */
enum {
    CLONE_FD_SYNC,
    CLONE_FD_LINK,
    CLONE_FD_NETNS,
    CLONE_FD_IMAGE,
    CLONE_FD_RUNTIME,
    CLONE_FD_DISK,
    CLONE_FD_FILTER,
    CLONE_FD_OOM,
    CLONE_FDS
};

/*
 * Waits until Z has written the id maps (one read from mapped_fd), builds the box round itself,
 * waits for B's word that its cgroups are set, reports the step that failed or that it is ready,
 * and becomes init. Never returns. B attaches while the root is being built: the two take about as
 * long.
 */
void child_main(const struct wire_clone *req, const int fds[CLONE_FDS], int mapped_fd,
                const struct interpreter_ops *ops) __attribute__((noreturn));
