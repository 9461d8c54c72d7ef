/*
 * G as B sees it: an unprivileged child on a SEQPACKET link, started again when it ends, handed
 * everything that lives. Messages that the link has no room for wait in a queue; G reads all the
 * time, so the queue's bound is only a guard.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/boxd/server.h"
#include "sandbox/seccomp/filter.h"

enum {
    LINK_FD = 3,
    QUEUE_MAX = 100000,
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

struct gateway {
    struct server *server;
    pid_t pid;
    int fd, binary;
    uv_poll_t poll;
    bool poll_open, writing;
    struct list queue;
    size_t queued;
    uv_timer_t restart;
    uint64_t started_at;
    unsigned early_deaths; /* in a row */
};

static void start(struct gateway *g);
static void on_ready(uv_poll_t *h, int status, int events);

static void drop_queue(struct gateway *g)
{
    LIST_FOREACH_SAFE (it, &g->queue) {
        struct queued *q = LIST_ENTRY(it, struct queued, link);
        for (size_t i = 0; i < q->nfds; i++)
            fd_close(q->fds[i]);
        free(q);
    }
    list_init(&g->queue);
    g->queued = 0;
}

static void on_restart(uv_timer_t *t)
{
    start(t->data);
}

/* A gateway that dies as soon as it starts is not started in a tight loop. */
static void poll_closed(uv_handle_t *h)
{
    struct gateway *g = h->data;
    g->poll_open = false;
    g->fd = fd_close(g->fd);
    drop_queue(g);
    uv_update_time(&g->server->loop);
    uint64_t lived = uv_now(&g->server->loop) - g->started_at;
    g->early_deaths = lived < RESTART_SLOW_MS ? g->early_deaths + 1 : 0;
    if (!g->server->announced && g->early_deaths == EARLY_DEATHS_MAX) {
        server_give_up(g->server, "start gateway", "it dies while starting; see the log above");
        return;
    }
    if (!g->server->stopping)
        uv_timer_start(&g->restart, on_restart,
                       lived < RESTART_SLOW_MS ? RESTART_SLOW_MS / 4 : RESTART_MS, 0);
}

static void lose_link(struct gateway *g)
{
    if (!g->poll_open || uv_is_closing((uv_handle_t *)&g->poll))
        return;
    if (g->pid > 0)
        kill(g->pid, SIGKILL);
    uv_close((uv_handle_t *)&g->poll, poll_closed);
}

static void set_writing(struct gateway *g, bool on)
{
    if (g->writing == on)
        return;
    g->writing = on;
    uv_poll_start(&g->poll, UV_READABLE | UV_DISCONNECT | (on ? UV_WRITABLE : 0), on_ready);
}

static int enqueue(struct gateway *g, const void *msg, size_t len, const int *fds, size_t nfds)
{
    struct queued *q = g->queued < QUEUE_MAX ? malloc(sizeof *q + len) : NULL;
    if (!q)
        return -ENOBUFS;
    q->len = len;
    q->nfds = 0;
    memcpy(q->data, msg, len);
    for (size_t i = 0; i < nfds; i++)
        q->fds[q->nfds++] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
    list_append(&g->queue, &q->link);
    g->queued++;
    set_writing(g, true);
    return 0;
}

int gateway_send(struct server *s, const void *msg, size_t len, const int *fds, size_t nfds)
{
    struct gateway *g = s->gateway;
    if (!g || !g->poll_open || uv_is_closing((uv_handle_t *)&g->poll))
        return -ENOTCONN;
    if (!list_empty(&g->queue))
        return enqueue(g, msg, len, fds, nfds);
    ssize_t n = fd_send(g->fd, msg, len, fds, nfds);
    if (n == -EAGAIN)
        return enqueue(g, msg, len, fds, nfds);
    return n < 0 ? (int)n : 0;
}

void gateway_reply(struct server *s, const struct wire_head *to, const struct err *err,
                   int64_t value)
{
    struct wire_reply r = {.h = {.type = WIRE_REPLY, .seq = to->seq, .box = to->box},
                           .value = value};
    if (err)
        r.err = *err;
    gateway_send(s, &r, sizeof r, NULL, 0);
}

static void flush(struct gateway *g)
{
    while (!list_empty(&g->queue)) {
        struct queued *q = LIST_ENTRY(g->queue.next, struct queued, link);
        if (fd_send(g->fd, q->data, q->len, q->fds, q->nfds) == -EAGAIN)
            return;
        for (size_t i = 0; i < q->nfds; i++)
            fd_close(q->fds[i]);
        list_remove(&q->link);
        free(q);
        g->queued--;
    }
    set_writing(g, false);
}

/* At most so many requests; true: the peer has gone and nothing of it is left. */
static bool read_requests(struct gateway *g, unsigned most)
{
    static uint8_t message[WIRE_MSG_MAX] __attribute__((aligned(16)));
    for (unsigned n_read = 0; n_read < most; n_read++) {
        int fds[FD_MSG_MAX_FDS];
        size_t nfds = FD_MSG_MAX_FDS;
        ssize_t n = fd_recv(g->fd, message, sizeof message, fds, &nfds);
        if (n == -EAGAIN)
            return false;
        if (n <= 0)
            return true;
        request_dispatch(g->server, message, (size_t)n, fds, nfds);
        for (size_t i = 0; i < nfds; i++)
            fd_close(fds[i]);
    }
    return false;
}

static void on_ready(uv_poll_t *h, int status, int events)
{
    struct gateway *g = h->data;
    (void)status;
    if (events & UV_WRITABLE)
        flush(g);
    if (read_requests(g, 64))
        lose_link(g);
}

/* The child: its own uid, no privilege, no descriptor but the link, an environment of its own. */
static void run(struct gateway *g, int link)
{
    char level[32];
    const char *log = getenv("CELLBOX_LOG");
    snprintf(level, sizeof level, "CELLBOX_LOG=%.15s", log ? log : "info");
    char *env[] = {level, (char *)"PATH=/usr/bin:/bin", (char *)"LANG=C.UTF-8", NULL};
    char *argv[] = {(char *)"cbx-gateway", NULL};
    uid_t uid = g->server->config.uid_base + 1;
    sigset_t none;

    int high = fcntl(link, F_DUPFD, 16);
    dup2(high, LINK_FD);
    int binary = fcntl(g->binary, F_DUPFD_CLOEXEC, 16);
    int filter = fcntl(g->server->gateway_filter, F_DUPFD_CLOEXEC, 16);
    dup3(binary, LINK_FD + 1, O_CLOEXEC);
    dup3(filter, LINK_FD + 2, O_CLOEXEC);
    syscall(SYS_close_range, LINK_FD + 3, ~0u, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (chdir("/") < 0 || setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
        setresuid(uid, uid, uid) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) {
        dprintf(STDERR_FILENO, "cellbox: cannot drop privileges for the gateway: %s\n",
                strerror(errno));
        _exit(1);
    }
    struct err err = {0};
    if (filter_load(LINK_FD + 2, &err) < 0) {
        dprintf(STDERR_FILENO, "cellbox: %s: %s\n", err.step, err.text);
        _exit(1);
    }
    fexecve(LINK_FD + 1, argv, env);
    dprintf(STDERR_FILENO, "cellbox: cannot execute the gateway: %s\n", strerror(errno));
    _exit(1);
}

static int try_start(struct gateway *g)
{
    int pair[2];
    int r = fd_seqpacket_pair(pair);
    if (r < 0)
        return r;
    g->pid = fork();
    if (g->pid < 0) {
        r = -errno;
        fd_close(pair[0]);
        fd_close(pair[1]);
        return r;
    }
    if (g->pid == 0)
        run(g, pair[1]);
    fd_close(pair[1]);
    g->fd = pair[0];
    g->writing = false;
    g->started_at = uv_now(&g->server->loop);
    r = uv_poll_init(&g->server->loop, &g->poll, g->fd);
    if (r < 0)
        return r;
    g->poll.data = g;
    g->poll_open = true;
    uv_poll_start(&g->poll, UV_READABLE | UV_DISCONNECT, on_ready);
    request_hand_over(g->server);
    return 0;
}

static void start(struct gateway *g)
{
    int r = try_start(g);
    if (r < 0) {
        log_error("gateway", "start_failed", "reason=%s", log_quote(strerror(-r)));
        uv_timer_start(&g->restart, on_restart, RESTART_SLOW_MS, 0);
    }
}

int gateway_start(struct server *s, struct err *err)
{
    struct gateway *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(err, -ENOMEM, "start gateway", NULL);
    s->gateway = g;
    g->server = s;
    g->fd = -1;
    list_init(&g->queue);
    uv_timer_init(&s->loop, &g->restart);
    g->restart.data = g;
    g->binary = open(s->config.gateway, O_PATH | O_CLOEXEC);
    if (g->binary < 0)
        return err_set(err, -errno, "start gateway", "%s: %s", s->config.gateway, strerror(errno));
    int r = try_start(g);
    return r < 0 ? err_set(err, r, "start gateway", NULL) : 0;
}

void gateway_reaped(struct server *s, pid_t pid, int status)
{
    struct gateway *g = s->gateway;
    if (!g || g->pid != pid)
        return;
    log_warn("gateway", "ended", "pid=%d status=%d", (int)pid, status);
    g->pid = -1;
    /* What it asked for before it died still counts: above all the sockets of contexts that it
     * wanted kept. */
    if (g->poll_open && !uv_is_closing((uv_handle_t *)&g->poll))
        read_requests(g, UINT32_MAX);
    lose_link(g);
}

void gateway_stop(struct server *s)
{
    if (s->gateway && s->gateway->pid > 0)
        kill(s->gateway->pid, SIGTERM);
}
