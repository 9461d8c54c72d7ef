#include "sandbox/init/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/oom.h"
#include "sandbox/init/init.h"
#include "sandbox/init/offspring.h"

enum { CHANNEL_FD = 3, PROGRAM_FD = 4 };

struct start {
    int socket, program, root, failed;
};

/* Shares init's memory (offspring.h), so the calls of identity are made directly: the library's
 * would tell threads that there are none of. */
static int child(void *arg)
{
    struct start *s = arg;
    int socket = fcntl(s->socket, F_DUPFD, 16), program = fcntl(s->program, F_DUPFD, 16);
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
    if (socket < 0 || program < 0 || dup2(socket, CHANNEL_FD) < 0 ||
        dup3(program, PROGRAM_FD, O_CLOEXEC) < 0 ||
        fcntl(CHANNEL_FD, F_SETFL, 0) < 0) /* the helper waits in it */
        goto fail;
    syscall(SYS_close_range, PROGRAM_FD + 1, ~0u, 0);
    if (!s->root &&
        (syscall(SYS_setgroups, 1, &group) < 0 || syscall(SYS_setresgid, group, group, group) < 0 ||
         syscall(SYS_setresuid, INIT_BOX_UID, INIT_BOX_UID, INIT_BOX_UID) < 0))
        goto fail;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        goto fail;
    /* A box that has lost its /workspace still has a root. */
    if (chdir("/workspace") < 0 && chdir("/") < 0)
        goto fail;
    syscall(SYS_execveat, PROGRAM_FD, "", argv, env, AT_EMPTY_PATH);
fail:
    s->failed = errno;
    _exit(127);
}

int helper_program(void)
{
    int fd = open("/opt/cellbox/bin/cbx-files", O_PATH | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int helper_start(int program, int socket, int root, struct err *err)
{
    CLEANUP_FREE struct start *s = malloc(sizeof *s);
    if (!s)
        return err_set(err, -ENOMEM, "start file helper", NULL);
    *s = (struct start){.socket = socket, .program = program, .root = root};
    pid_t pid = offspring_start(child, s);
    int failed = pid > 0 ? s->failed : 0;
    if (pid == -ETIMEDOUT)
        s = NULL; /* the child may still look at it */
    if (pid < 0 || failed)
        return err_set(err, pid < 0 ? pid : -failed, "start file helper", NULL);
    return (int)pid;
}
