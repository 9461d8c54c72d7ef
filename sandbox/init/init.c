#include "sandbox/init/init.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/init/context.h"
#include "sandbox/init/helper.h"
#include "sandbox/init/requests.h"
#include "sandbox/init/trust.h"

struct init {
    int link, signals, epoll;
    int files_program; /* negative: the runtime has none */
    int watches;       /* a set of its own: what it hands back are struct init_watch */
    const struct interpreter_ops *ops;
    struct list contexts;
    struct processes processes;
    struct connects connects;
    struct init_requests requests;
    uint8_t message[WIRE_MSG_MAX];
};

static void reply(struct init *in, const struct wire_head *to, const struct err *err, int64_t value)
{
    struct wire_reply r = {.h = {.type = WIRE_REPLY, .seq = to->seq, .box = to->box},
                           .value = value};
    if (err)
        r.err = *err;
    /* The gateway reads its link whenever it lives; while it is being restarted replies have nobody
     * to want them. */
    (void)fd_send_wait(in->link, &r, sizeof r, NULL, 0, 1000);
}

static void pump(struct init_context *c)
{
    if (output_pump(c))
        context_free(c);
}

static void handle_start(struct init *in, const uint8_t *m, size_t n, int *fds, size_t nfds)
{
    const struct wire_context_start *req = (const void *)m;
    struct err err = {0};
    int r = -EINVAL;

    if (n <= sizeof *req || nfds != 1)
        err_set(&err, -EINVAL, "start context", "malformed request");
    else
        r = context_start(&in->contexts, in->epoll, in->ops, req, (const char *)m + sizeof *req,
                          n - sizeof *req, STEAL_FD(fds[0]), &err);
    reply(in, &req->h, r < 0 ? &err : NULL, r);
}

static void handle_context(struct init *in, const struct wire_head *h, const uint8_t *m, size_t n)
{
    const struct wire_context *req = (const void *)m;
    struct init_context *c = n >= sizeof *req ? context_find(&in->contexts, req->context) : NULL;
    struct err err = {0};

    if (!c)
        err_set(&err, -ESRCH, "find context", "no such context in this box");
    else if (h->type == WIRE_CONTEXT_KILL)
        context_kill(c);
    else if (n >= sizeof(struct wire_context_signal))
        context_signal(c, (const void *)m);
    reply(in, h, err.code ? &err : NULL, 0);
}

static void handle_files(struct init *in, const uint8_t *m, size_t n, int *fds, size_t nfds)
{
    const struct wire_files_open *req = (const void *)m;
    struct err err = {0};
    int r = -EINVAL;

    if (n < sizeof *req || nfds != 1)
        err_set(&err, -EINVAL, "start file helper", "malformed request");
    else
        r = helper_start(in->files_program, fds[0], req->root, &err);
    reply(in, &req->h, r < 0 ? &err : NULL, r);
}

static void handle_setup(struct init *in, const struct wire_head *h, const uint8_t *m, size_t n)
{
    struct err err = {0};
    const char *name = (const char *)m + sizeof *h;
    size_t room = n - sizeof *h;
    size_t len = strnlen(name, room);
    if (len == 0 || len == room || sethostname(name, len) < 0)
        err_set(&err, len && len < room ? -errno : -EINVAL, "set host name", NULL);
    reply(in, h, err.code ? &err : NULL, 0);
}

/* Not worth a box: programs then say that a certificate is not trusted. */
static void handle_trust(struct init *in, const struct wire_head *h, const uint8_t *m, size_t n)
{
    struct err err = {0};
    trust_install((const char *)m + sizeof *h, n - sizeof *h, &err);
    reply(in, h, err.code ? &err : NULL, 0);
}

/* Returns -1 when the link is gone for good. */
static int handle_link(struct init *in)
{
    for (;;) {
        int fds[FD_MSG_MAX_FDS];
        size_t nfds = FD_MSG_MAX_FDS;
        ssize_t n = fd_recv(in->link, in->message, sizeof in->message, fds, &nfds);
        if (n == -EAGAIN)
            return 0;
        if (n <= 0)
            return -1;
        const struct wire_head *h = (const void *)in->message;
        if ((size_t)n < sizeof *h)
            return -1;
        switch (h->type) {
        case WIRE_CONTEXT_START:
            handle_start(in, in->message, (size_t)n, fds, nfds);
            break;
        case WIRE_CONTEXT_SIGNAL:
        case WIRE_CONTEXT_KILL:
            handle_context(in, h, in->message, (size_t)n);
            break;
        case WIRE_FILES_OPEN:
            handle_files(in, in->message, (size_t)n, fds, nfds);
            break;
        case WIRE_INIT_TRUST:
            handle_trust(in, h, in->message, (size_t)n);
            break;
        case WIRE_INIT_SETUP:
            handle_setup(in, h, in->message, (size_t)n);
            break;
        default: {
            struct err err = {0};
            if (requests_handle(&in->requests, in->message, (size_t)n, fds, nfds))
                break;
            err_set(&err, -ENOSYS, "read request", "unknown request %u", h->type);
            reply(in, h, &err, 0);
        }
        }
        for (size_t i = 0; i < nfds; i++)
            fd_close(fds[i]);
    }
}

static void reap(struct init *in)
{
    struct signalfd_siginfo si;
    while (read(in->signals, &si, sizeof si) > 0)
        ;
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            break;
        if (processes_reaped(&in->processes, pid, status))
            continue;
        LIST_FOREACH_SAFE (it, &in->contexts) {
            struct init_context *c = LIST_ENTRY(it, struct init_context, link);
            if (c->pid == pid) {
                context_reaped(c, status);
                pump(c);
                break;
            }
        }
    }
    processes_settle(&in->processes);
}

/* Whether the watch still belongs to a living context: the tick before may have freed it. */
static bool context_watched(struct list *contexts, const struct context_watch *w)
{
    LIST_FOREACH (it, contexts) {
        const struct init_context *c = LIST_ENTRY(it, struct init_context, link);
        if (w >= c->watch && w < c->watch + SOURCES)
            return true;
    }
    return false;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Pumps contexts whose time has come. Returns microseconds until the next one, -1 = none waits. */
static int64_t tick(struct init *in)
{
    int64_t next = -1, now = output_now_us();
    LIST_FOREACH_SAFE (it, &in->contexts) {
        struct init_context *c = LIST_ENTRY(it, struct init_context, link);
        if (c->due_us && c->due_us <= now && output_pump(c)) {
            context_free(c);
            continue;
        }
        int64_t wait = c->due_us > now ? c->due_us - now : 0;
        if (c->due_us && (next < 0 || wait < next))
            next = wait;
    }
    next = sooner(next, processes_tick(&in->processes, now));
    return sooner(next, connects_tick(&in->connects, now));
}

static int watch(struct init *in, int fd, void *tag)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = tag};
    return epoll_ctl(in->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int loop(struct init *in)
{
    for (;;) {
        struct epoll_event ev;
        int64_t wait = tick(in);
        struct timespec ts = {wait / 1000000, wait % 1000000 * 1000};
        /* One event at a time: handling one may free the context of the next. */
        int n = epoll_pwait2(in->epoll, &ev, 1, wait < 0 ? NULL : &ts, NULL);
        if (n < 0 && errno != EINTR)
            return 1;
        if (n <= 0)
            continue;
        if (ev.data.ptr == &in->link) {
            if (handle_link(in) < 0)
                return 0;
        } else if (ev.data.ptr == &in->signals) {
            reap(in);
        } else if (context_watched(&in->contexts, ev.data.ptr)) {
            const struct context_watch *w = ev.data.ptr;
            if (output_event(w->context, w->source))
                context_free(w->context);
        } else if (ev.data.ptr == &in->watches) {
            if (epoll_wait(in->watches, &ev, 1, 0) == 1)
                ((struct init_watch *)ev.data.ptr)->ready(ev.data.ptr, ev.events);
        }
    }
}

int init_main(int link_fd, const struct interpreter_ops *ops)
{
    struct init *in = calloc(1, sizeof *in);
    sigset_t all;

    if (!in)
        return 1;
    in->link = link_fd;
    in->ops = ops;
    in->files_program = helper_program();
    list_init(&in->contexts);
    fd_set_nonblock(link_fd, 1);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&all);
    sigaddset(&all, SIGCHLD);
    in->signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    in->epoll = epoll_create1(EPOLL_CLOEXEC);
    in->watches = epoll_create1(EPOLL_CLOEXEC);
    if (in->signals < 0 || in->epoll < 0 || in->watches < 0 || watch(in, link_fd, &in->link) < 0 ||
        watch(in, in->signals, &in->signals) < 0 || watch(in, in->watches, &in->watches) < 0)
        return 1;
    processes_init(&in->processes, in->watches, true);
    in->processes.oom_fd = INIT_OOM_FD;
    connects_init(&in->connects, in->watches, link_fd);
    in->requests = (struct init_requests){&in->processes, &in->connects, link_fd};
    return loop(in);
}
