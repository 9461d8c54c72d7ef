#include "sandbox/init/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/oom.h"
#include "sandbox/init/init.h"
#include "sandbox/init/offspring.h"

/* Written by the child while the parent waits: they share memory. */
struct attempt {
    const struct spawn *s;
    const char *step;
    int error;
    char path[PATH_MAX];
};

static void default_signals(void)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int s = 1; s <= SIGRTMAX; s++)
        if (s != SIGKILL && s != SIGSTOP)
            sigaction(s, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int place_fds(const struct spawn *s)
{
    int src[5], n = s->extra[0] < 0 ? 3 : s->extra[1] < 0 ? 4 : 5;
    for (int i = 0; i < n; i++) { /* out of the way of the targets */
        src[i] = fcntl(i < 3 ? s->fds[i] : s->extra[i - 3], F_DUPFD, 64);
        if (src[i] < 0)
            return -errno;
    }
    for (int i = 0; i < n; i++)
        if (dup2(src[i], i) < 0)
            return -errno;
    syscall(SYS_close_range, n, ~0u, 0);
    return 0;
}

/* The calls themselves: libc's wrappers look for other threads of the memory that we share. */
static int become_box_user(void)
{
    gid_t group = INIT_BOX_UID;
    if (syscall(SYS_setgroups, 1, &group) < 0 || syscall(SYS_setresgid, group, group, group) < 0 ||
        syscall(SYS_setresuid, INIT_BOX_UID, INIT_BOX_UID, INIT_BOX_UID) < 0)
        return -errno;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static const char *path_of(char *const *envp)
{
    for (; *envp; envp++)
        if (!strncmp(*envp, "PATH=", 5))
            return *envp + 5;
    return "/usr/local/bin:/usr/bin:/bin";
}

/* Tries each directory of the request's own PATH. Returns only with an error. */
static int execute(struct attempt *a, const char *name)
{
    const struct spawn *s = a->s;
    int seen = ENOENT;
    if (strchr(name, '/')) {
        execve(name, s->argv, s->envp);
        return -errno;
    }
    for (const char *dir = path_of(s->envp);; dir++) {
        size_t n = strcspn(dir, ":"), len = strlen(name);
        if (n + len + 2 < sizeof a->path) {
            memcpy(a->path, dir, n);
            a->path[n] = '/';
            memcpy(a->path + n + (n > 0), name, len + 1);
            execve(a->path, s->argv, s->envp);
            if (errno != ENOENT && errno != ENOTDIR)
                seen = errno;
            if (seen != ENOENT && seen != EACCES)
                return -seen;
        }
        dir += n;
        if (!*dir)
            return -seen;
    }
}

static int child(void *arg)
{
    struct attempt *a = arg;
    const struct spawn *s = a->s;

    a->step = "prepare descriptors";
    a->error = setsid() < 0 ? -errno : place_fds(s);
    if (a->error == 0 && s->terminal && ioctl(0, TIOCSCTTY, 0) < 0)
        a->error = -errno;
    if (a->error < 0)
        _exit(126);
    a->step = "take its place for the memory killer";
    if ((a->error = oom_set_child(OOM_COMMAND)) < 0)
        _exit(126);
    a->step = "become the box user";
    if (s->as_box_user && (a->error = become_box_user()) < 0)
        _exit(126);
    a->step = SPAWN_STEP_CWD;
    if (s->cwd[0] && chdir(s->cwd) < 0) {
        a->error = -errno;
        _exit(126);
    }
    umask(022);
    default_signals();
    a->step = SPAWN_STEP_EXECUTE;
    a->error = execute(a, s->argv[0]);
    if (a->error == -ENOENT && s->any_shell)
        a->error = execute(a, "/bin/sh");
    _exit(127);
}

int spawn_run(const struct spawn *s, pid_t *ret, struct err *err)
{
    CLEANUP_FREE struct attempt *a = calloc(1, sizeof *a);
    if (!a || !s->argv[0] || !s->argv[0][0])
        return err_set(err, !a ? -ENOMEM : -EINVAL, SPAWN_STEP_EXECUTE, NULL);
    a->s = s;
    pid_t pid = offspring_start(child, a);
    if (pid == -ETIMEDOUT) {
        err_set(err, pid, a->step,
                "it does not get on: it was stopped, or a directory does not answer");
        a = NULL;
        return pid;
    }
    if (pid < 0)
        return err_set(err, pid, "make a process", NULL);
    /* A successful execve leaves the last step without an error. */
    if (a->error < 0)
        return err_set(err, a->error, a->step, NULL);
    *ret = pid;
    return 0;
}
