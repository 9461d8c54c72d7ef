/*
 * I: pid 1 of a box. Reaps, starts contexts from its own (cold) copy of the warm interpreter or by
 * exec, reads what they write to fd 1/2 and to the output ring, and tells how they ended.
 * Single-threaded epoll loop; runs as root of the box's user namespace with a container's
 * capabilities, under the box's seccomp filter. Never trusts user code: all it shares with it are
 * pipes and the ring.
 *
 * Speaks WIRE_INIT_* and WIRE_CONTEXT_* on its link (sandbox/wire/wire.h).
 */
#pragma once

#include "sandbox/init/boot.h"

/* What init finds open beside its link: how many of the box were killed for memory. */
enum { INIT_OOM_FD = 4 };

/* Uid and gid that contexts run as, inside the box. */
enum { INIT_BOX_UID = 1000 };

/* Never returns before the link closes for good or the loop fails; the value is the exit status of
 * the box. */
int init_main(int link_fd, const struct interpreter_ops *ops);
