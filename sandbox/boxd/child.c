#include "sandbox/boxd/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/list.h"
#include "sandbox/base/log.h"
#include "sandbox/base/oom.h"
#include "sandbox/cgroup/cgroup.h"
#include "sandbox/fs/jail.h"
#include "sandbox/seccomp/filter.h"
#include "sandbox/wire/wire.h"

enum {
    LINK_FD = 3,
    QUEUE_MAX = 100000,
    QUEUE_BYTES_MAX = 256 << 20,
    RESTART_MS = 20,
    RESTART_SLOW_MS = 1000,
    EARLY_DEATHS_MAX = 5
};

struct queued {
    struct list link;
    size_t len, nfds;
    int fds[FD_MSG_MAX_FDS];
    uint8_t data[];
};

struct child {
    struct child_config config;
    uv_loop_t *loop;
    pid_t pid;
    int fd, binary;
    uv_poll_t poll;
    bool poll_open, writing, stopping;
    struct list queue;
    size_t queued, queued_bytes;
    uv_timer_t restart;
    uint64_t started_at;
    unsigned early_deaths; /* in a row */
};

static void start(struct child *c);
static void on_ready(uv_poll_t *h, int status, int events);

static void drop_queue(struct child *c)
{
    LIST_FOREACH_SAFE (it, &c->queue) {
        struct queued *q = LIST_ENTRY(it, struct queued, link);
        for (size_t i = 0; i < q->nfds; i++)
            fd_close(q->fds[i]);
        free(q);
    }
    list_init(&c->queue);
    c->queued = c->queued_bytes = 0;
}

static void on_restart(uv_timer_t *t)
{
    start(t->data);
}

/* One that dies as soon as it starts is not started in a tight loop. */
static void poll_closed(uv_handle_t *h)
{
    struct child *c = h->data;
    c->poll_open = false;
    c->fd = fd_close(c->fd);
    drop_queue(c);
    uv_update_time(c->loop);
    uint64_t lived = uv_now(c->loop) - c->started_at;
    c->early_deaths = lived < RESTART_SLOW_MS ? c->early_deaths + 1 : 0;
    if (c->early_deaths == EARLY_DEATHS_MAX)
        c->config.ops->hopeless(c->config.owner);
    if (!c->stopping)
        uv_timer_start(&c->restart, on_restart,
                       lived < RESTART_SLOW_MS ? RESTART_SLOW_MS / 4 : RESTART_MS, 0);
}

static void lose_link(struct child *c)
{
    if (!c->poll_open || uv_is_closing((uv_handle_t *)&c->poll))
        return;
    if (c->pid > 0)
        kill(c->pid, SIGKILL);
    uv_close((uv_handle_t *)&c->poll, poll_closed);
}

static void set_writing(struct child *c, bool on)
{
    if (c->writing == on)
        return;
    c->writing = on;
    uv_poll_start(&c->poll, UV_READABLE | UV_DISCONNECT | (on ? UV_WRITABLE : 0), on_ready);
}

static int enqueue(struct child *c, const void *msg, size_t len, const int *fds, size_t nfds)
{
    bool full = c->queued >= QUEUE_MAX || c->queued_bytes + len > QUEUE_BYTES_MAX;
    struct queued *q = full ? NULL : malloc(sizeof *q + len);
    if (!q) {
        log_error(c->config.module, "does_not_read", "messages=%zu bytes=%zu", c->queued,
                  c->queued_bytes);
        lose_link(c);
        return -ENOBUFS;
    }
    q->len = len;
    q->nfds = 0;
    memcpy(q->data, msg, len);
    for (size_t i = 0; i < nfds; i++)
        q->fds[q->nfds++] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
    list_append(&c->queue, &q->link);
    c->queued++;
    c->queued_bytes += len;
    set_writing(c, true);
    return 0;
}

int child_send(struct child *c, const void *msg, size_t len, const int *fds, size_t nfds)
{
    if (!c || !c->poll_open || uv_is_closing((uv_handle_t *)&c->poll))
        return -ENOTCONN;
    if (!list_empty(&c->queue))
        return enqueue(c, msg, len, fds, nfds);
    ssize_t n = fd_send(c->fd, msg, len, fds, nfds);
    if (n == -EAGAIN)
        return enqueue(c, msg, len, fds, nfds);
    return n < 0 ? (int)n : 0;
}

static void flush(struct child *c)
{
    while (!list_empty(&c->queue)) {
        struct queued *q = LIST_ENTRY(c->queue.next, struct queued, link);
        if (fd_send(c->fd, q->data, q->len, q->fds, q->nfds) == -EAGAIN)
            return;
        for (size_t i = 0; i < q->nfds; i++)
            fd_close(q->fds[i]);
        list_remove(&q->link);
        c->queued--;
        c->queued_bytes -= q->len;
        free(q);
    }
    set_writing(c, false);
}

/* At most so many messages; true: the peer has gone and nothing of it is left. */
static bool read_messages(struct child *c, unsigned most)
{
    static uint8_t message[WIRE_MSG_MAX] __attribute__((aligned(16)));
    for (unsigned n_read = 0; n_read < most; n_read++) {
        int fds[FD_MSG_MAX_FDS];
        size_t nfds = FD_MSG_MAX_FDS;
        ssize_t n = fd_recv(c->fd, message, sizeof message, fds, &nfds);
        if (n == -EAGAIN)
            return false;
        if (n <= 0)
            return true;
        c->config.ops->message(c->config.owner, message, (size_t)n, fds, nfds);
        for (size_t i = 0; i < nfds; i++)
            fd_close(fds[i]);
    }
    return false;
}

static void on_ready(uv_poll_t *h, int status, int events)
{
    struct child *c = h->data;
    (void)status;
    if (events & UV_WRITABLE)
        flush(c);
    if (read_messages(c, 64))
        lose_link(c);
}

static _Noreturn void give_up(const struct child *c, const char *step, const char *text)
{
    dprintf(STDERR_FILENO, "cellbox: %s: %s: %s\n", c->config.name, step, text);
    _exit(1);
}

/* The child: its own uid, no privilege, no descriptor but the link, an environment of its own. */
/* It sees no number of its parent's from inside its pid namespace. */
static bool parent_is_gone(void)
{
    struct pollfd p = {.fd = LINK_FD, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}

static _Noreturn void run(const struct child *c, int link)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    char level[32];
    const char *log = getenv("CELLBOX_LOG");
    snprintf(level, sizeof level, "CELLBOX_LOG=%.15s", log ? log : "info");
    char *env[] = {level, (char *)"PATH=/usr/bin:/bin", (char *)"LANG=C.UTF-8", NULL};
    char *argv[] = {(char *)c->config.name, NULL};
    uid_t uid = c->config.uid;
    sigset_t none;

    int high = fcntl(link, F_DUPFD, 16);
    dup2(high, LINK_FD);
    int binary = fcntl(c->binary, F_DUPFD_CLOEXEC, 16);
    int filter = fcntl(c->config.filter, F_DUPFD_CLOEXEC, 16);
    dup3(binary, LINK_FD + 1, O_CLOEXEC);
    dup3(filter, LINK_FD + 2, O_CLOEXEC);
    syscall(SYS_close_range, LINK_FD + 3, ~0u, 0);
    sigaction(SIGPIPE, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    oom_set_own(OOM_SERVICE);
    struct err err = {0};
    if (jail_enter(c->config.jail, &err) < 0)
        give_up(c, err.step, err.text);
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        give_up(c, "drop privileges", strerror(errno));
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || parent_is_gone())
        _exit(1);
    if (filter_load(LINK_FD + 2, &err) < 0)
        give_up(c, err.step, err.text);
    fexecve(LINK_FD + 1, argv, env);
    give_up(c, "execute", strerror(errno));
}

static int try_start(struct child *c)
{
    int pair[2];
    int r = fd_seqpacket_pair(pair);
    if (r < 0)
        return r;
    c->pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | SIGCHLD, NULL,
                            NULL, NULL, NULL);
    if (c->pid < 0) {
        r = -errno;
        fd_close(pair[0]);
        fd_close(pair[1]);
        return r;
    }
    if (c->pid == 0)
        run(c, pair[1]);
    fd_close(pair[1]);
    struct err err = {0};
    if (c->config.cgroup && cgroup_attach(c->config.cgroup, c->pid, &err) < 0)
        log_warn(c->config.module, "unlimited", "reason=%s", log_quote(err.text));
    c->fd = pair[0];
    c->writing = false;
    c->started_at = uv_now(c->loop);
    r = uv_poll_init(c->loop, &c->poll, c->fd);
    if (r < 0)
        return r;
    c->poll.data = c;
    c->poll_open = true;
    uv_poll_start(&c->poll, UV_READABLE | UV_DISCONNECT, on_ready);
    c->config.ops->started(c->config.owner);
    return 0;
}

static void start(struct child *c)
{
    int r = try_start(c);
    if (r < 0) {
        log_error(c->config.module, "start_failed", "reason=%s", log_quote(strerror(-r)));
        uv_timer_start(&c->restart, on_restart, RESTART_SLOW_MS, 0);
    }
}

static void on_first_start(uv_timer_t *t)
{
    start(t->data);
}

struct child *child_start(uv_loop_t *loop, const struct child_config *config, struct err *err)
{
    struct child *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(err, -ENOMEM, "start process", "%s", config->name);
        return NULL;
    }
    c->config = *config;
    c->loop = loop;
    c->fd = -1;
    c->pid = -1;
    list_init(&c->queue);
    c->binary = open(config->program, O_PATH | O_CLOEXEC);
    if (c->binary < 0) {
        err_set(err, -errno, "start process", "%s: %s", config->program, strerror(errno));
        free(c);
        return NULL;
    }
    uv_timer_init(loop, &c->restart);
    c->restart.data = c;
    /* From the loop, so that the owner has this pointer before `started` is called. */
    uv_timer_start(&c->restart, on_first_start, 0, 0);
    return c;
}

pid_t child_pid(const struct child *c)
{
    return c ? c->pid : -1;
}

bool child_reaped(struct child *c, pid_t pid, int status)
{
    if (!c || c->pid != pid)
        return false;
    log_warn(c->config.module, "ended", "pid=%d status=%d", (int)pid, status);
    c->pid = -1;
    /* What it asked for before it died still counts: above all the sockets of contexts that the
     * gateway wanted kept. */
    if (c->poll_open && !uv_is_closing((uv_handle_t *)&c->poll))
        read_messages(c, UINT32_MAX);
    lose_link(c);
    return true;
}

void child_stop(struct child *c)
{
    if (!c)
        return;
    c->stopping = true;
    uv_timer_stop(&c->restart);
    if (c->pid > 0)
        kill(c->pid, SIGTERM);
}
