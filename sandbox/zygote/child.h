/* The child of a clone, until it is init. Private to sandbox/zygote. */
#pragma once

#include "sandbox/init/boot.h"
#include "sandbox/wire/wire.h"

/* Order of WIRE_CLONE's descriptors. */
enum { CLONE_FD_SYNC, CLONE_FD_LINK, CLONE_FD_NETNS, CLONE_FD_IMAGE, CLONE_FD_RUNTIME, CLONE_FD_DISK, CLONE_FD_FILTER,
       CLONE_FDS };

/*
 * Waits for B's word on the sync socket, builds the box round itself, reports the step that failed or that it is ready,
 * and becomes init. Never returns.
 */
void child_main(const struct wire_clone *req, const int fds[CLONE_FDS], const struct interpreter_ops *ops)
    __attribute__((noreturn));
