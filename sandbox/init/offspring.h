/*
 * A child of init that shares its memory until it executes: init is a clone of a big interpreter,
 * and copying its page tables would take longer than all the rest. The kernel holds up whoever
 * makes such a child, and the box can keep the child from getting on (a stop signal, a directory
 * whose server does not answer). So a thread of its own is held up, and init waits for that with a
 * bound.
 */
#pragma once

#include <sys/types.h>

/*
 * run(arg) in the child; it ends in execve or _exit and makes only system calls. Returns its pid
 * once it has executed or ended, or -ETIMEDOUT: it was killed. Then it may still be in a call, so
 * what it works on (arg) has to stay. Another negative errno: there was none.
 */
pid_t offspring_start(int (*run)(void *), void *arg);
