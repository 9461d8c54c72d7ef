#include "sandbox/init/context.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/oom.h"
#include "sandbox/base/title.h"
#include "sandbox/init/init.h"

enum { PIPE_BYTES = 256 * 1024 };

/* Descriptors of a new context before its process exists. */
struct parts {
    int frame, ring_memfd, doorbell;
    int out[2], err[2];
    struct outring_shared *shared;
};

static void parts_free(struct parts *p)
{
    fd_close(p->ring_memfd);
    fd_close(p->doorbell);
    for (int i = 0; i < 2; i++) {
        fd_close(p->out[i]);
        fd_close(p->err[i]);
    }
    if (p->shared)
        munmap(p->shared, sizeof *p->shared);
}

static int parts_make(struct parts *p, struct err *err)
{
    p->ring_memfd = memfd_create("cellbox-output", MFD_CLOEXEC);
    if (p->ring_memfd < 0 || ftruncate(p->ring_memfd, sizeof *p->shared) < 0)
        return err_set(err, -errno, "make output ring", NULL);
    void *m = mmap(NULL, sizeof *p->shared, PROT_READ | PROT_WRITE, MAP_SHARED, p->ring_memfd, 0);
    if (m == MAP_FAILED)
        return err_set(err, -errno, "map output ring", NULL);
    p->shared = m;
    p->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->doorbell < 0 || pipe2(p->out, O_CLOEXEC) < 0 || pipe2(p->err, O_CLOEXEC) < 0)
        return err_set(err, -errno, "make output pipes", NULL);
    fd_set_nonblock(p->out[0], 1);
    fd_set_nonblock(p->err[0], 1);
    fcntl(p->out[0], F_SETPIPE_SZ, PIPE_BYTES); /* only throughput depends on it */
    return 0;
}

/* Puts the parts on the numbers that boot.h fixes and closes everything else. */
static void child_fds(struct parts *p)
{
    int null = open("/dev/null", O_RDONLY);
    int src[] = {null, p->out[1], p->err[1], p->frame, p->ring_memfd, p->doorbell};
    enum { N = sizeof src / sizeof *src };
    for (int i = 0; i < N; i++) /* out of the way of the targets */
        src[i] = fcntl(src[i], F_DUPFD, 64);
    for (int i = 0; i < N; i++)
        dup2(src[i], i);
    syscall(SYS_close_range, N, ~0u, 0);
    for (int i = CONTEXT_FD_FRAME; i < N; i++)
        fcntl(i, F_SETFD, FD_CLOEXEC);
    fd_set_nonblock(CONTEXT_FD_FRAME, 0);
}

static void child_signals(void)
{
    sigset_t none;
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int s = 1; s < 32; s++)
        if (s != SIGKILL && s != SIGSTOP)
            sigaction(s, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_identity(void)
{
    gid_t group = INIT_BOX_UID;
    if (setsid() < 0 || setgroups(1, &group) < 0 || setresgid(group, group, group) < 0 ||
        setresuid(INIT_BOX_UID, INIT_BOX_UID, INIT_BOX_UID) < 0)
        return -errno;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return -errno;
    title_set("cbx-python");
    return 0;
}

/* cwd and environment: "cwd\0K=V\0K=V\0", checked by the parent to end with NUL. */
static int child_environment(const char *tail, size_t len)
{
    const char *end = tail + len, *p = tail + strlen(tail) + 1;
    if (*tail && chdir(tail) < 0) {
        dprintf(STDERR_FILENO, "cellbox: cannot enter the working directory %s: %s\n", tail,
                strerror(errno));
        return -errno;
    }
    clearenv();
    for (; p < end; p += strlen(p) + 1)
        putenv((char *)p);
    return 0;
}

/* program: NULL = go on in this image. */
static void child_run(struct parts *p, const struct interpreter_ops *ops,
                      const struct context_program *program, const char *tail, size_t len)
{
    child_fds(p);
    child_signals();
    int r = oom_set_child(OOM_CONTEXT);
    if (r == 0)
        r = child_identity();
    if (r < 0)
        dprintf(STDERR_FILENO, "cellbox: cannot become the box user: %s\n", strerror(-r));
    if (r == 0)
        r = child_environment(tail, len);
    if (r < 0)
        _exit(126);
    if (!program) {
        struct context_boot boot = {.frame_fd = CONTEXT_FD_FRAME,
                                    .ring = {.shared = p->shared, .doorbell = CONTEXT_FD_DOORBELL}};
        _exit(ops->context_main(&boot));
    }
    for (int i = CONTEXT_FD_FRAME; i <= CONTEXT_FD_DOORBELL; i++)
        fcntl(i, F_SETFD, 0);
    execv(program->path, (char *const *)program->argv);
    dprintf(STDERR_FILENO, "cellbox: cannot execute %s: %s\n", program->path, strerror(errno));
    _exit(127);
}

struct init_context *context_find(struct list *contexts, uint32_t number)
{
    LIST_FOREACH (it, contexts) {
        struct init_context *c = LIST_ENTRY(it, struct init_context, link);
        if (c->number == number)
            return c;
    }
    return NULL;
}

/* The parent's half: keeps the read ends, the ring and a copy of the frame socket. */
static struct init_context *adopt(struct parts *p, uint32_t number, pid_t pid, int epoll,
                                  int frame_fd)
{
    struct init_context *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    list_init(&c->link);
    c->number = number;
    c->pid = pid;
    c->epoll = epoll;
    c->frame = frame_fd;
    c->pipe[0] = STEAL_FD(p->out[0]);
    c->pipe[1] = STEAL_FD(p->err[0]);
    c->mapped = STEAL_PTR(p->shared);
    c->ring = (struct outring){.shared = c->mapped, .doorbell = STEAL_FD(p->doorbell)};
    return c;
}

int context_start(struct list *contexts, int epoll, const struct interpreter_ops *ops,
                  const struct wire_context_start *req, const char *tail, size_t tail_len,
                  int frame_fd, struct err *err)
{
    CLEANUP_FD int frame = frame_fd;
    struct parts p = {
        .frame = frame, .ring_memfd = -1, .doorbell = -1, .out = {-1, -1}, .err = {-1, -1}};

    if (context_find(contexts, req->context))
        return err_set(err, -EEXIST, "start context", "context %u is already running",
                       req->context);
    const struct context_program *program = context_program_find(req->program);
    if (!program && req->program != WIRE_PROGRAM_FORK)
        return err_set(err, -EINVAL, "start context", "unknown program");
    if (!tail_len || tail[tail_len - 1])
        return err_set(err, -EINVAL, "start context", "malformed environment");
    int r = parts_make(&p, err);
    if (r == 0) {
        if (!program)
            ops->before_fork();
        pid_t pid = fork();
        if (pid == 0)
            child_run(&p, ops, program, tail, tail_len);
        int saved = errno;
        if (!program)
            ops->after_fork_parent();
        if (pid < 0) {
            r = err_set(err, -saved, "fork context", NULL);
        } else {
            struct init_context *c = adopt(&p, req->context, pid, epoll, STEAL_FD(frame));
            if (!c || output_watch(c) < 0) {
                kill(pid, SIGKILL);
                context_free(c);
                r = err_set(err, -ENOMEM, "watch context", NULL);
            } else {
                list_append(contexts, &c->link);
                r = (int)pid;
            }
        }
    }
    parts_free(&p);
    return r;
}

void context_signal(struct init_context *c, const struct wire_context_signal *req)
{
    if (c->pid <= 0)
        return;
    union sigval v = {.sival_int = (int)req->value};
    sigqueue(c->pid, req->signo, v);
    /* Children share its process group unless they left it. The runner ignores this second,
     * unvalued copy. */
    if (req->group)
        kill(-c->pid, req->signo);
}

static int kill_session_once(pid_t session)
{
    int killed = 0;
    DIR *d = opendir("/proc");
    if (!d)
        return 0;
    for (struct dirent *e; (e = readdir(d));) {
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
        if (pid > 1 && getsid(pid) == session && kill(pid, SIGKILL) == 0)
            killed++;
    }
    closedir(d);
    return killed;
}

/* Every process whose session is the context's: what it started and did not daemonise. Twice, for
 * forks in between. */
static void kill_session(pid_t session)
{
    for (int pass = 0; pass < 4 && kill_session_once(session); pass++)
        ;
}

void context_kill(struct init_context *c)
{
    if (c->pid > 0)
        kill_session(c->pid);
}

void context_reaped(struct init_context *c, int status)
{
    kill_session(c->pid);
    c->status = status;
    c->exited = true;
    c->pid = -1;
}

void context_free(struct init_context *c)
{
    if (!c)
        return;
    output_unwatch(c);
    if (c->ring.shared)
        outring_close(&c->ring);
    list_remove(&c->link);
    fd_close(c->frame);
    fd_close(c->pipe[0]);
    fd_close(c->pipe[1]);
    fd_close(c->ring.doorbell);
    if (c->mapped)
        munmap(c->mapped, sizeof *c->mapped);
    free(c->held[0]);
    free(c->held[1]);
    free(c->pending);
    free(c);
}
