/*
 * What one box may take of counters that the kernel keeps for a user, and that boxes would
 * otherwise share: most are charged to the user, then to the owner of each user namespace above it.
 * So the sums must have no bound that one box could reach (bounds_lift, and the host's own limits
 * in sandbox/boxd/host.c), and each box must have its own (bounds_enter).
 */
#pragma once

#include "sandbox/base/err.h"

enum {
    BOUND_INOTIFY_INSTANCES = 512,
    BOUND_INOTIFY_WATCHES = 131072,
    BOUND_SIGNALS = 16384, /* pending ones and POSIX timers */
    BOUND_MESSAGE_QUEUES = 819200,
    BOUND_LOCKED = 8 << 20
};

/* B, once, before it makes a user namespace: a new one inherits these limits as bounds of the sum
 * of all that is below it. Not being able to is no error: then there is a lower sum. */
void bounds_lift(void);
/* A box's first process, root of its user namespace with all capabilities, while it still sees the
 * writable /proc of Z. Nothing in the box can raise them again. */
int bounds_enter(struct err *err);
