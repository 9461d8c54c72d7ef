/* New namespaces by every door. A user namespace would hand out capabilities over a world of mounts
 * and sockets. */
#include "lib/attack.h"
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

static void *thread(void *arg)
{
    return arg;
}

static long raw_clone(unsigned long flags)
{
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        waitpid((pid_t)pid, NULL, 0);
    return pid;
}

static long raw_clone3(uint64_t flags)
{
    struct clone_args a = {.flags = flags, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &a, sizeof a);
    if (pid == 0)
        _exit(0);
    return pid;
}

int main(void)
{
    static const struct {
        unsigned long flag;
        const char *name;
    } kinds[] = {{CLONE_NEWUSER, "user"},     {CLONE_NEWNS, "mnt"},   {CLONE_NEWPID, "pid"},
                 {CLONE_NEWNET, "net"},       {CLONE_NEWIPC, "ipc"},  {CLONE_NEWUTS, "uts"},
                 {CLONE_NEWCGROUP, "cgroup"}, {CLONE_NEWTIME, "time"}};
    char what[64], path[64];
    pthread_t t;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(what, sizeof what, "unshare %s", kinds[i].name);
        REFUSED(EPERM, what, unshare((int)kinds[i].flag));
        snprintf(what, sizeof what, "unshare user+%s", kinds[i].name);
        REFUSED(EPERM, what, unshare((int)(kinds[i].flag | CLONE_NEWUSER)));
        if (kinds[i].flag != CLONE_NEWTIME) { /* clone has no bit for it */
            snprintf(what, sizeof what, "clone %s", kinds[i].name);
            REFUSED(EPERM, what, raw_clone(kinds[i].flag));
            snprintf(what, sizeof what, "clone user+%s", kinds[i].name);
            REFUSED(EPERM, what, raw_clone(kinds[i].flag | CLONE_NEWUSER));
        }
        snprintf(what, sizeof what, "clone3 %s", kinds[i].name);
        REFUSED(ENOSYS, what, raw_clone3(kinds[i].flag));
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i].name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        snprintf(what, sizeof what, "setns own %s", kinds[i].name);
        check("open own namespace must work", fd >= 0, fd, errno);
        REFUSED(EPERM, what, setns(fd, 0));
        close(fd);
    }
    /* Bits above 32 must not hide the ones below. */
    REFUSED(EPERM, "unshare user with high bits",
            syscall(SYS_unshare, 0xffffffff00000000ul | CLONE_NEWUSER));
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    check("pidfd_open must work", self >= 0, self, errno);
    REFUSED(EPERM, "setns by pidfd", setns(self, CLONE_NEWUSER | CLONE_NEWNS));
    REFUSED(ENOSYS, "clone3 without namespaces",
            raw_clone3(0)); /* flags sit in memory, out of a filter's sight */

    WORKS("clone", raw_clone(0));
    WORKS("unshare of files", unshare(CLONE_FILES | CLONE_FS));
    check("threads must work",
          pthread_create(&t, NULL, thread, NULL) == 0 && pthread_join(t, NULL) == 0, 0, 0);
    return done();
}
