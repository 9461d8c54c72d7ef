/* The worker process: started when there is a module to run, killed when it does not answer,
 * started again. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/base/parent.h"
#include "sandbox/egress/handlers/confine.h"
#include "sandbox/egress/handlers/private.h"

enum { WORKER_FD = 3, LOG_FD = 4, DATA_MAX = 1 << 30 };

static void on_restart(uv_timer_t *t);

static void log_console(const struct handler_frame *f)
{
    char text[501];
    snprintf(text, sizeof text, "%.*s", (int)(f->len < 500 ? f->len : 500), (const char *)f->data);
    log_debug("handler", "console", "text=%s", log_quote(text));
}

static void dispatch(struct handlers *h, const struct handler_frame *f)
{
    json_t *o;
    switch (f->type) {
    case HANDLER_PONG:
        h->pinging = false;
        h->backoff_ms = 0;
        break;
    case HANDLER_LOADED:
        o = json_loadb((const char *)f->data, f->len, 0, NULL);
        modules_loaded(h, o);
        json_decref(o);
        break;
    case HANDLER_LOG:
        log_console(f);
        break;
    default:
        calls_frame(h, f);
    }
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
    struct handlers *h = user;
    struct stream *s = h->stream;
    size_t at = 0, size;
    int r = buf_put(&h->in, data, len);
    struct handler_frame f;
    while (r >= 0 && (r = handler_frame_take(h->in.data + at, h->in.len - at, &f, &size)) == 1) {
        dispatch(h, &f);
        if (h->stream != s) /* it was killed */
            return;
        at += size;
    }
    buf_consume(&h->in, at);
    if (r < 0)
        worker_kill(h, 502, "the handler's worker broke its protocol");
}

static void on_eof(void *user)
{
    worker_kill(user, 502, "the handler's worker has crashed");
}

static void on_timer(uv_timer_t *t);

/* It may come from within a write, whose callers still hold what the end of the worker frees. */
static void on_failed(void *user, const char *reason)
{
    struct handlers *h = user;
    (void)reason;
    h->broken = true;
    uv_timer_start(&h->timer, on_timer, 0, PING_MS);
}

/* SIGKILL takes a moment when much memory is to be given back: nobody waits for it here. */
static void bury(struct handlers *h)
{
    if (h->corpse && waitpid(h->corpse, NULL, WNOHANG) != 0)
        h->corpse = 0;
}

static void restart_later(struct handlers *h)
{
    h->backoff_ms = h->backoff_ms ? h->backoff_ms * 2 : RESTART_MIN_MS;
    if (h->backoff_ms > RESTART_MAX_MS)
        h->backoff_ms = RESTART_MAX_MS;
    uv_timer_start(&h->restart, on_restart, h->backoff_ms, 0);
}

static void on_restart(uv_timer_t *t)
{
    struct handlers *h = t->data;
    bury(h);
    if (h->corpse || (map_count(h->modules) && worker_start(h) < 0))
        restart_later(h);
}

void worker_kill(struct handlers *h, uint16_t status, const char *reason)
{
    if (!h->stream)
        return;
    log_warn("handler", "worker_ended", "pid=%d reason=%s", (int)h->pid, log_quote(reason));
    kill(h->pid, SIGKILL);
    bury(h);
    if (h->corpse)
        waitpid(h->corpse, NULL, 0);
    h->corpse = h->pid;
    h->pid = -1;
    h->broken = false;
    stream_close(STEAL_PTR(h->stream));
    buf_reset(&h->in);
    uv_timer_stop(&h->timer);
    calls_fail(h, status, reason);
    modules_failed(h, reason);
    if (!h->stream) /* else somebody who was told has started it */
        restart_later(h);
}

static void on_timer(uv_timer_t *t)
{
    struct handlers *h = t->data;
    uint64_t now = uv_now(h->loop);
    if (h->broken) {
        worker_kill(h, 502, "the handler's worker has crashed");
        return;
    }
    calls_sweep(h, now);
    if (!h->stream)
        return;
    if (h->pinging && now - h->pinged_at >= PATIENCE_MS) {
        worker_kill(h, 504, "a handler does not let others run: an endless loop?");
        return;
    }
    if (!h->pinging) {
        h->pinging = true;
        h->pinged_at = now;
        worker_send(h, HANDLER_PING, 0, NULL, 0);
    }
}

static void limit(int what, rlim_t max)
{
    struct rlimit l = {max, max};
    setrlimit(what, &l);
}

static _Noreturn void run(const struct handlers *h, int fd, pid_t parent)
{
    struct sigaction usual = {.sa_handler = SIG_DFL};
    char read_right[420];
    const char *slash = strrchr(h->worker, '/');
    int folder = slash ? (int)(slash - h->worker) : 0;
    snprintf(read_right, sizeof read_right, "--allow-fs-read=%.*s/*", folder, h->worker);
    char *argv[] = {(char *)"cbx-handlers",
                    (char *)"--experimental-permission",
                    read_right,
                    (char *)"--experimental-vm-modules",
                    (char *)"--no-warnings",
                    (char *)"--disallow-code-generation-from-strings",
                    (char *)"--max-old-space-size=256",
                    h->worker,
                    NULL};
    char *env[] = {(char *)"PATH=/usr/bin:/bin", (char *)"LANG=C.UTF-8", NULL};
    int high = fcntl(fd, F_DUPFD, 16), log = fcntl(2, F_DUPFD, 16),
        null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2); /* what Node says of a crash quotes the module's source */
    dup2(high, WORKER_FD);
    dup3(log, LOG_FD, O_CLOEXEC);
    syscall(SYS_close_range, LOG_FD + 1, ~0u, 0);
    parent_bind(parent);
    sigaction(SIGPIPE, &usual, NULL);
    limit(RLIMIT_CORE, 0); /* secrets are in there */
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_DATA, DATA_MAX);
    if (confine_worker() == 0)
        execve(h->node, argv, env);
    dprintf(LOG_FD, "cbx-egress: cannot start %s: %s\n", h->node, strerror(errno));
    _exit(127);
}

int worker_start(struct handlers *h)
{
    static const struct stream_ops ops = {.data = on_data, .eof = on_eof, .failed = on_failed};
    int pair[2];
    if (h->stream)
        return 0;
    if (access(h->node, X_OK) < 0)
        return -errno;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    pid_t me = getpid();
    h->pid = fork();
    if (h->pid == 0)
        run(h, pair[1], me);
    fd_close(pair[1]);
    if (h->pid < 0) {
        fd_close(pair[0]);
        return -EAGAIN;
    }
    h->stream = stream_new(h->loop, pair[0], false, &ops, h);
    if (!h->stream) {
        kill(h->pid, SIGKILL);
        waitpid(h->pid, NULL, 0);
        h->pid = -1;
        return -ENOMEM;
    }
    uv_timer_stop(&h->restart);
    stream_pause(h->stream, false);
    h->pinging = h->broken = false;
    uv_timer_start(&h->timer, on_timer, PING_MS, PING_MS);
    modules_load(h);
    return 0;
}

int worker_send(struct handlers *h, enum handler_frame_type type, uint32_t stream, const void *data,
                size_t len)
{
    CLEANUP_BUF struct buf out = {0};
    int r = handler_frame_put(&out, type, stream, data, len);
    if (r == 0 && h->stream)
        stream_write(h->stream, out.data, out.len);
    return r;
}

int worker_send_json(struct handlers *h, enum handler_frame_type type, uint32_t stream,
                     json_t *take)
{
    char *text = take ? json_dumps(take, JSON_COMPACT) : NULL;
    int r = text ? worker_send(h, type, stream, text, strlen(text)) : -ENOMEM;
    if (text)
        explicit_bzero(text, strlen(text)); /* LOAD carries secrets */
    free(text);
    json_decref(take);
    return r;
}
