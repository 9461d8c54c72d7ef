#include "sandbox/init/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/oom.h"
#include "sandbox/init/init.h"

enum { STACK = 32 << 10, CHANNEL_FD = 3 };

struct start {
    int socket, root, failed;
};

/*
 * Shares init's memory until it executes (as vfork does: init's heap is large, copying its page
 * tables would take longer than all the rest), so it does nothing but system calls, and those of
 * identity directly: the library's would tell threads that there are none of.
 */
static int child(void *arg)
{
    struct start *s = arg;
    char *argv[] = {(char *)"cbx-files", NULL};
    char *env[] = {(char *)"HOME=/home/user",
                   (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                   (char *)"LANG=C.UTF-8", NULL};
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    gid_t group = INIT_BOX_UID;
    sigset_t none;
    for (int n = 1; n < 32; n++)
        if (n != SIGKILL && n != SIGSTOP)
            sigaction(n, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (oom_set_child(OOM_CONTEXT) < 0)
        goto fail;
    if ((s->socket != CHANNEL_FD && dup2(s->socket, CHANNEL_FD) < 0) ||
        fcntl(CHANNEL_FD, F_SETFD, 0) < 0 ||
        fcntl(CHANNEL_FD, F_SETFL, 0) < 0) /* the helper waits in it */
        goto fail;
    syscall(SYS_close_range, CHANNEL_FD + 1, ~0u, 0);
    if (!s->root &&
        (syscall(SYS_setgroups, 1, &group) < 0 || syscall(SYS_setresgid, group, group, group) < 0 ||
         syscall(SYS_setresuid, INIT_BOX_UID, INIT_BOX_UID, INIT_BOX_UID) < 0))
        goto fail;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        goto fail;
    /* A box that has lost its /workspace still has a root. */
    if (chdir("/workspace") < 0 && chdir("/") < 0)
        goto fail;
    execve("/opt/cellbox/bin/cbx-files", argv, env);
fail:
    s->failed = errno;
    _exit(127);
}

int helper_start(int socket, int root, struct err *err)
{
    static char stack[STACK] __attribute__((aligned(16)));
    struct start s = {.socket = socket, .root = root};
    pid_t pid = clone(child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &s);
    if (pid < 0 || s.failed)
        return err_set(err, pid < 0 ? -errno : -s.failed, "start file helper", NULL);
    return (int)pid;
}
