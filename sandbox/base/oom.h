/*
 * Whom the kernel ends first when memory runs out, of a box or of the host: commands, then what
 * holds variables, then the helpers of all, the supervisor last. Init of a box is never chosen: who
 * has it keeps memory that no process maps (files in memory), and killing init would free that
 * only together with the box.
 */
#pragma once

#include <sys/types.h>

enum {
    OOM_BOXD = -900,
    OOM_SERVICE = -600, /* gateway, egress */
    OOM_ZYGOTE = -300,
    OOM_CONTEXT = 100, /* also the least that a process of a box may choose for itself */
    OOM_COMMAND = 1000
};

/* Of the calling process; only system calls, so a child that shares memory may call it. Negative
 * errno; 0 also when the process has to be chosen sooner than a positive score says. */
int oom_set_own(int score);
/* The same in a child of init that is still its image, which nobody may look at, and whose files in
 * /proc belong to a root that the box does not know. */
int oom_set_child(int score);
/* B: pid is never chosen, and what it starts may not choose less than OOM_CONTEXT. -EACCES where
 * the server lacks CAP_SYS_RESOURCE: then it is only chosen last. */
int oom_protect_init(pid_t pid);
