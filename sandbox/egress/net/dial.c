#include "sandbox/egress/net/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/net/own.h"

enum { WHOLE_MS = 15000, ONE_MS = 5000 };

struct dial {
    uv_loop_t *loop;
    struct own *own;
    struct policy *policy;
    char host[256];
    uint16_t port;
    struct resolution *resolution;
    union socket_address addrs[RESOLVED_MAX];
    size_t n, next;
    int fd;
    uv_poll_t poll;
    uv_timer_t timer;
    bool poll_open;
    int handles;
    uint64_t give_up_at;
    uint16_t status;
    char reason[256];
    dialled_fn *done;
    void *user;
};

void socket_address_text(const union socket_address *a, char out[64])
{
    char text[INET6_ADDRSTRLEN] = "";
    if (a->sa.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->v4.sin_addr, text, sizeof text);
        snprintf(out, 64, "%s:%u", text, ntohs(a->v4.sin_port));
    } else {
        inet_ntop(AF_INET6, &a->v6.sin6_addr, text, sizeof text);
        snprintf(out, 64, "[%s]:%u", text, ntohs(a->v6.sin6_port));
    }
}

static void on_closed(uv_handle_t *h)
{
    struct dial *d = h->data;
    if (--d->handles)
        return;
    policy_unref(d->policy);
    free(d);
}

static void poll_closed(uv_handle_t *h)
{
    struct dial *d = h->data;
    d->poll_open = false;
    on_closed(h);
}

/* The descriptor may only go once its poll is out of the loop's hands. */
static void drop_socket(struct dial *d)
{
    if (d->fd < 0)
        return;
    uv_poll_stop(&d->poll);
    d->fd = fd_close(d->fd);
}

static void end(struct dial *d)
{
    resolution_cancel(d->resolution);
    d->resolution = NULL;
    drop_socket(d);
    d->done = NULL;
    uv_close((uv_handle_t *)&d->timer, on_closed);
    if (d->poll_open && !uv_is_closing((uv_handle_t *)&d->poll))
        uv_close((uv_handle_t *)&d->poll, poll_closed);
}

static void fail(struct dial *d)
{
    dialled_fn *done = d->done;
    if (done)
        done(d->user, -1, NULL, d->status, d->reason);
    end(d);
}

static void set_reason(struct dial *d, uint16_t status, const char *text)
{
    d->status = status;
    snprintf(d->reason, sizeof d->reason, "%s", text);
}

static void try_next(struct dial *d);

static void on_connected(uv_poll_t *h, int status, int events)
{
    struct dial *d = h->data;
    int e = 0;
    socklen_t len = sizeof e;
    (void)events;
    if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &e, &len) < 0)
        e = errno;
    if (!e && status < 0)
        e = -status;
    if (e) {
        set_reason(d, 502, strerror(e));
        drop_socket(d);
        try_next(d);
        return;
    }
    uv_poll_stop(h);
    int fd = STEAL_FD(d->fd);
    dialled_fn *done = d->done;
    done(d->user, fd, &d->addrs[d->next - 1], 0, NULL);
    end(d);
}

static void on_timer(uv_timer_t *t)
{
    struct dial *d = t->data;
    bool late = uv_now(d->loop) >= d->give_up_at;
    set_reason(d, 504, "it does not answer");
    drop_socket(d);
    if (late)
        fail(d);
    else
        try_next(d);
}

/* A handle is made anew for each socket: libuv binds it to one descriptor. */
static int connect_to(struct dial *d, const union socket_address *a)
{
    socklen_t len = a->sa.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6;
    CLEANUP_FD int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, &a->sa, len) < 0 && errno != EINPROGRESS)
        return -errno;
    if (!d->poll_open && uv_poll_init(d->loop, &d->poll, fd) < 0)
        return -EIO;
    if (!d->poll_open)
        d->handles++;
    d->poll_open = true;
    d->poll.data = d;
    d->fd = STEAL_FD(fd);
    return uv_poll_start(&d->poll, UV_WRITABLE, on_connected);
}

static void retry_closed(uv_handle_t *h)
{
    struct dial *d = h->data;
    if (!d->done) { /* ended meanwhile */
        poll_closed(h);
        return;
    }
    d->poll_open = false;
    d->handles--;
    try_next(d);
}

static void try_next(struct dial *d)
{
    if (d->poll_open) { /* of the attempt before */
        if (!uv_is_closing((uv_handle_t *)&d->poll))
            uv_close((uv_handle_t *)&d->poll, retry_closed);
        return;
    }
    struct policy_target t = {.host = d->host, .addr = NULL, .port = d->port};
    while (d->next < d->n) {
        const union socket_address *a = &d->addrs[d->next++];
        const char *reason = "denied";
        t.addr = *d->host ? NULL : &a->sa;
        if (!policy_allows_address(d->policy, &t, &a->sa, &reason)) {
            if (d->status != 502 && d->status != 504)
                set_reason(d, 520, reason);
            continue;
        }
        int own = policy_names_network(d->policy, &t, &a->sa) ? 0 : own_holds(d->own, &a->sa);
        if (own) {
            set_reason(d, own > 0 ? 520 : 502,
                       own > 0 ? "its address is the host's own, and no rule names a network that "
                                 "holds it"
                               : "it is not known whether its address is the host's own");
            continue;
        }
        int r = connect_to(d, a);
        if (r == 0) {
            uv_timer_start(&d->timer, on_timer, ONE_MS, 0);
            return;
        }
        set_reason(d, 502, strerror(-r));
    }
    fail(d);
}

static void on_resolved(void *user, const union socket_address *addrs, size_t n, const char *reason)
{
    struct dial *d = user;
    d->resolution = NULL;
    if (!n)
        set_reason(d, 502, reason);
    memcpy(d->addrs, addrs, n * sizeof *addrs);
    d->n = n;
    try_next(d);
}

static void on_begin(uv_timer_t *t)
{
    try_next(t->data);
}

struct dial *dial_start(const struct dialler *with, struct policy *policy,
                        const struct policy_target *target, dialled_fn *done, void *user)
{
    uv_loop_t *loop = with->loop;
    struct dial *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->loop = loop;
    d->own = with->own;
    d->policy = policy_ref(policy);
    snprintf(d->host, sizeof d->host, "%s", target->host);
    d->port = target->port;
    d->fd = -1;
    d->done = done;
    d->user = user;
    d->give_up_at = uv_now(loop) + WHOLE_MS;
    set_reason(d, 0, "no address");
    uv_timer_init(loop, &d->timer);
    d->timer.data = d;
    d->handles = 1;
    if (*d->host) {
        uv_timer_start(&d->timer, on_timer, WHOLE_MS, 0);
        d->resolution = resolver_ask(with->resolver, d->host, d->port, on_resolved, d);
        if (!d->resolution) {
            end(d);
            return NULL;
        }
        return d;
    }
    memcpy(&d->addrs[0], target->addr,
           target->addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                              : sizeof(struct sockaddr_in6));
    if (target->addr->sa_family == AF_INET)
        d->addrs[0].v4.sin_port = htons(d->port);
    else
        d->addrs[0].v6.sin6_port = htons(d->port);
    d->n = 1;
    uv_timer_start(&d->timer, on_begin, 0, 0);
    return d;
}

void dial_cancel(struct dial *d)
{
    if (d && d->done)
        end(d);
}
