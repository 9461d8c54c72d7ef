#include "sandbox/init/offspring.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { STACK = 64 << 10, PATIENCE_S = 5, LAST_PATIENCE_S = 1 };

struct offspring {
    int (*run)(void *);
    void *arg;
    pid_t pid;  /* written by the kernel before the child runs */
    int thread; /* cleared by the kernel when the thread has ended */
    int result;
    char thread_stack[STACK] __attribute__((aligned(16)));
    char child_stack[STACK] __attribute__((aligned(16)));
};

/* It shares everything with init, also errno; init does nothing but wait meanwhile. */
static int offspring_thread(void *arg)
{
    struct offspring *o = arg;
    int pid = clone(o->run, o->child_stack + STACK,
                    CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD, o->arg, &o->pid);
    o->result = pid < 0 ? -errno : pid;
    return 0;
}

/* Whether the thread has ended by then. */
static bool offspring_wait(struct offspring *o, time_t seconds)
{
    struct timespec now, end;
    int thread;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    while ((thread = __atomic_load_n(&o->thread, __ATOMIC_ACQUIRE)) != 0) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec))
            return false;
        struct timespec left = {end.tv_sec - now.tv_sec, end.tv_nsec - now.tv_nsec};
        if (left.tv_nsec < 0)
            left = (struct timespec){left.tv_sec - 1, left.tv_nsec + 1000000000};
        syscall(SYS_futex, &o->thread, FUTEX_WAIT, thread, &left, NULL, 0);
    }
    return true;
}

pid_t offspring_start(int (*run)(void *), void *arg)
{
    struct offspring *o = malloc(sizeof *o);
    if (!o)
        return -ENOMEM;
    o->run = run;
    o->arg = arg;
    o->pid = -1;
    o->result = -EAGAIN;
    o->thread = 1;
    if (clone(offspring_thread, o->thread_stack + STACK,
              CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                  CLONE_CHILD_CLEARTID,
              o, NULL, NULL, &o->thread) < 0) {
        int r = -errno;
        free(o);
        return r;
    }
    bool ended = offspring_wait(o, PATIENCE_S);
    if (!ended && o->pid > 0) {
        kill(o->pid, SIGKILL);
        if (offspring_wait(o, LAST_PATIENCE_S))
            free(o);
        return -ETIMEDOUT; /* else its stacks are still in use, and stay */
    }
    pid_t r = ended ? o->result : -ETIMEDOUT;
    if (ended)
        free(o);
    return r;
}
