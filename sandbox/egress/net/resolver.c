#include "sandbox/egress/net/resolver.h"

#include <ares.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/list.h"

enum { TIMEOUT_MS = 2000, TRIES = 3, TICK_MS = 250 };

struct socket_watch {
    struct list link;
    uv_poll_t poll;
    ares_socket_t fd;
    struct resolver *resolver;
};

struct resolution {
    struct resolver *resolver;
    resolved_fn *done;
    void *user;
    uint16_t port;
    bool asking; /* inside ares_getaddrinfo */
    union socket_address addrs[RESOLVED_MAX];
    size_t n;
    const char *reason;
    uv_timer_t later;
};

struct resolver {
    uv_loop_t *loop;
    ares_channel channel;
    struct list sockets;
    uv_timer_t tick;
};

static void on_socket(uv_poll_t *h, int status, int events)
{
    struct socket_watch *w = h->data;
    bool in = status < 0 || (events & UV_READABLE), out = status < 0 || (events & UV_WRITABLE);
    ares_process_fd(w->resolver->channel, in ? w->fd : ARES_SOCKET_BAD,
                    out ? w->fd : ARES_SOCKET_BAD);
}

static void on_tick(uv_timer_t *t)
{
    struct resolver *r = t->data;
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    if (list_empty(&r->sockets))
        uv_timer_stop(t);
}

static void watch_closed(uv_handle_t *h)
{
    free(h->data);
}

static struct socket_watch *find(struct resolver *r, ares_socket_t fd)
{
    LIST_FOREACH (it, &r->sockets) {
        struct socket_watch *w = LIST_ENTRY(it, struct socket_watch, link);
        if (w->fd == fd)
            return w;
    }
    return NULL;
}

static void on_state(void *user, ares_socket_t fd, int in, int out)
{
    struct resolver *r = user;
    struct socket_watch *w = find(r, fd);
    if (!in && !out) {
        if (w) {
            list_remove(&w->link);
            uv_poll_stop(&w->poll);
            uv_close((uv_handle_t *)&w->poll, watch_closed);
        }
        return;
    }
    if (!w) {
        w = calloc(1, sizeof *w);
        if (!w || uv_poll_init(r->loop, &w->poll, fd) < 0) {
            free(w);
            return; /* the question ends by its timeout */
        }
        w->fd = fd;
        w->resolver = r;
        w->poll.data = w;
        list_append(&r->sockets, &w->link);
    }
    uv_poll_start(&w->poll, (in ? UV_READABLE : 0) | (out ? UV_WRITABLE : 0), on_socket);
    if (!uv_is_active((uv_handle_t *)&r->tick))
        uv_timer_start(&r->tick, on_tick, TICK_MS, TICK_MS);
}

int resolver_new(uv_loop_t *loop, const char *servers, struct resolver **ret)
{
    struct resolver *r = calloc(1, sizeof *r);
    struct ares_options o = {
        .sock_state_cb = on_state, .sock_state_cb_data = r, .timeout = TIMEOUT_MS, .tries = TRIES};
    if (!r)
        return -ENOMEM;
    r->loop = loop;
    list_init(&r->sockets);
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS ||
        ares_init_options(&r->channel, &o,
                          ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) !=
            ARES_SUCCESS) {
        free(r);
        return -ENOMEM;
    }
    if (*servers && ares_set_servers_ports_csv(r->channel, servers) != ARES_SUCCESS) {
        ares_destroy(r->channel);
        free(r);
        return -EINVAL;
    }
    uv_timer_init(loop, &r->tick);
    r->tick.data = r;
    *ret = r;
    return 0;
}

static void resolution_closed(uv_handle_t *h)
{
    free(h->data);
}

static void finish(struct resolution *q)
{
    if (q->done)
        q->done(q->user, q->addrs, q->n, q->reason);
    q->done = NULL;
    uv_close((uv_handle_t *)&q->later, resolution_closed);
}

static void on_later(uv_timer_t *t)
{
    finish(t->data);
}

static void on_answer(void *user, int status, int timeouts, struct ares_addrinfo *found)
{
    struct resolution *q = user;
    (void)timeouts;
    for (struct ares_addrinfo_node *a = found ? found->nodes : NULL; a && q->n < RESOLVED_MAX;
         a = a->ai_next) {
        if (a->ai_addrlen > sizeof *q->addrs)
            continue;
        memcpy(&q->addrs[q->n], a->ai_addr, a->ai_addrlen);
        if (a->ai_family == AF_INET)
            q->addrs[q->n].v4.sin_port = htons(q->port);
        else
            q->addrs[q->n].v6.sin6_port = htons(q->port);
        q->n++;
    }
    if (found)
        ares_freeaddrinfo(found);
    q->reason = q->n ? NULL
                : status == ARES_ENOTFOUND || status == ARES_ENODATA || status == ARES_SUCCESS
                    ? "the name does not exist"
                : status == ARES_ETIMEOUT ? "name servers do not answer"
                                          : ares_strerror(status);
    if (q->asking)
        uv_timer_start(&q->later, on_later, 0, 0);
    else
        finish(q);
}

struct resolution *resolver_ask(struct resolver *r, const char *host, uint16_t port,
                                resolved_fn *done, void *user)
{
    struct ares_addrinfo_hints hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT};
    struct resolution *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->resolver = r;
    q->done = done;
    q->user = user;
    q->port = port;
    uv_timer_init(r->loop, &q->later);
    q->later.data = q;
    q->asking = true;
    ares_getaddrinfo(r->channel, host, NULL, &hints, on_answer, q);
    q->asking = false;
    return q;
}

void resolution_cancel(struct resolution *q)
{
    if (q)
        q->done = NULL;
}
