#include "kernel-gw/api/box/probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernel-gw/api/box/box.h"
#include "sandbox/base/fd.h"

enum { ATTEMPT_MS = 5000, ANSWER_MAX = 64 };

struct probe {
    struct gateway *gw;
    char sandbox[64];
    struct probe_spec spec;
    void (*ready)(void *user, int status);
    void *user;
    uv_timer_t timer; /* until the next attempt, or until this one is given up */
    uv_poll_t poll;
    int fd;      /* of an attempt; -1 */
    bool asking; /* init has not answered */
    bool stopped;
    unsigned handles; /* open ones of libuv */
    char answer[ANSWER_MAX];
    size_t len;
};

static void attempt(struct probe *p);

static void maybe_free(struct probe *p)
{
    if (p->stopped && !p->handles && !p->asking)
        free(p);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct probe *p = h->data;
    p->handles--;
    maybe_free(p);
}

static void hang_up(struct probe *p)
{
    if (p->fd < 0)
        return;
    uv_poll_stop(&p->poll);
    p->fd = fd_close(p->fd);
    uv_close((uv_handle_t *)&p->poll, on_handle_closed);
}

void probe_stop(struct probe *p)
{
    if (!p || p->stopped)
        return;
    p->stopped = true;
    hang_up(p);
    uv_close((uv_handle_t *)&p->timer, on_handle_closed);
}

static void succeed(struct probe *p, int status)
{
    void (*ready)(void *, int) = p->ready;
    void *user = p->user;
    probe_stop(p);
    ready(user, status);
}

static void on_timer(uv_timer_t *t)
{
    struct probe *p = t->data;
    hang_up(p);
    /* The handle of the last attempt is closed by the loop first. */
    if (p->handles > 1)
        uv_timer_start(t, on_timer, 1, 0);
    else
        attempt(p);
}

static void again(struct probe *p)
{
    hang_up(p);
    uv_timer_start(&p->timer, on_timer, p->spec.interval_ms, 0);
}

/* "HTTP/1.1 200 ..." */
static void look(struct probe *p)
{
    enum { STATUS_AT = sizeof "HTTP/1.1 " - 1 };
    p->answer[p->len] = 0;
    bool http = !strncmp(p->answer, "HTTP/1.", 7) && p->answer[STATUS_AT - 1] == ' ';
    long status = http ? strtol(p->answer + STATUS_AT, NULL, 10) : 0;
    if (status >= 100 && status >= p->spec.status_min && status <= p->spec.status_max)
        succeed(p, (int)status);
    else
        again(p);
}

static void on_answer(uv_poll_t *poll, int status, int events)
{
    struct probe *p = poll->data;
    (void)events;
    ssize_t n = status < 0
                    ? -1
                    : recv(p->fd, p->answer + p->len, sizeof p->answer - 1 - p->len, MSG_DONTWAIT);
    if (n < 0 && status == 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        p->len += (size_t)n;
    if (n <= 0 || p->len == sizeof p->answer - 1 || memchr(p->answer, '\n', p->len))
        look(p);
}

static void ask(struct probe *p)
{
    char request[PROBE_PATH_MAX + 128];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: localhost:%u\r\nUser-Agent: cellbox\r\n"
                     "Accept: */*\r\nConnection: close\r\n\r\n",
                     p->spec.path, p->spec.port);
    /* A fresh connection has room for this. */
    if (uv_poll_init(p->gw->loop, &p->poll, p->fd) < 0) {
        p->fd = fd_close(p->fd);
        again(p);
        return;
    }
    p->poll.data = p;
    p->handles++;
    p->len = 0;
    if (send(p->fd, request, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) != n) {
        again(p);
        return;
    }
    uv_poll_start(&p->poll, UV_READABLE, on_answer);
    uv_timer_start(&p->timer, on_timer, ATTEMPT_MS, 0);
}

static void on_connected(void *user, const struct err *error, const struct wire_message *m)
{
    struct probe *p = user;
    p->asking = false;
    if (p->stopped) {
        maybe_free(p);
        return;
    }
    if (error->code || m->nfds < 1) {
        again(p);
    } else if (!p->spec.http) {
        succeed(p, 0);
    } else {
        p->fd = STEAL_FD(m->fds[0]);
        ask(p);
    }
}

static void attempt(struct probe *p)
{
    struct sandbox *sb = sandbox_get(p->gw->manager, p->sandbox);
    struct wire_link *init = sb ? sandbox_init(sb) : NULL;
    if (!init) {
        again(p);
        return;
    }
    p->asking = true;
    process_link_connect(init, p->spec.port, ATTEMPT_MS, on_connected, p);
}

struct probe *probe_start(struct gateway *gw, const char *sandbox, const struct probe_spec *spec,
                          void (*ready)(void *user, int status), void *user)
{
    struct probe *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (struct probe){.gw = gw, .spec = *spec, .ready = ready, .user = user, .fd = -1};
    box_copy(p->sandbox, sizeof p->sandbox, sandbox);
    uv_timer_init(gw->loop, &p->timer);
    p->timer.data = p;
    p->handles = 1;
    attempt(p);
    return p;
}
