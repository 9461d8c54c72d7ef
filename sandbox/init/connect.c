#include "sandbox/init/connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/init/process.h"

enum { CONNECTS_MAX = 64 };

struct attempt {
    struct init_watch watch; /* first: cast */
    struct list item;
    struct connects *set;
    uint32_t seq;
    uint16_t port;
    int fd, family;
    int64_t due;
};

void connects_init(struct connects *c, int epoll, int link)
{
    *c = (struct connects){.epoll = epoll, .link = link};
    list_init(&c->list);
}

static void answer(struct connects *c, uint32_t seq, int fd, int error)
{
    struct wire_reply r = {.h = {.type = WIRE_REPLY, .seq = seq}};
    if (error)
        err_set(&r.err, error, "connect", NULL);
    (void)fd_send_wait(c->link, &r, sizeof r, &fd, fd >= 0, 1000);
}

static void attempt_free(struct attempt *a)
{
    watch_remove(&a->watch);
    fd_close(a->fd);
    list_remove(&a->item);
    a->set->count--;
    free(a);
}

static void end(struct attempt *a, int error)
{
    answer(a->set, a->seq, error ? -1 : a->fd, error);
    attempt_free(a);
}

static void on_ready(struct init_watch *w, uint32_t events);

/* 0: under way. */
static int begin(struct attempt *a, int family)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET,
                              .sin_port = htons(a->port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(a->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool v4 = family == AF_INET;
    watch_remove(&a->watch);
    a->fd = fd_close(a->fd);
    a->family = family;
    a->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (a->fd < 0)
        return -errno;
    if (connect(a->fd, v4 ? (void *)&in4 : (void *)&in6, v4 ? sizeof in4 : sizeof in6) < 0 &&
        errno != EINPROGRESS)
        return -errno;
    return watch_add(&a->watch, a->set->epoll, a->fd, EPOLLOUT, on_ready);
}

static void on_ready(struct init_watch *w, uint32_t events)
{
    struct attempt *a = (struct attempt *)w;
    int error = 0;
    socklen_t len = sizeof error;
    (void)events;
    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error && a->family == AF_INET) {
        int r = begin(a, AF_INET6);
        if (r == 0)
            return;
    }
    end(a, -error);
}

void connects_start(struct connects *c, uint32_t seq, uint16_t port, uint32_t timeout_ms)
{
    struct attempt *a = c->count < CONNECTS_MAX ? calloc(1, sizeof *a) : NULL;
    if (!a) {
        answer(c, seq, -1, -EAGAIN);
        return;
    }
    *a = (struct attempt){.watch = {.fd = -1},
                          .set = c,
                          .seq = seq,
                          .port = port,
                          .fd = -1,
                          .due = process_now_us() + (int64_t)timeout_ms * 1000};
    list_append(&c->list, &a->item);
    c->count++;
    int r = begin(a, AF_INET);
    if (r < 0)
        r = begin(a, AF_INET6);
    if (r < 0)
        end(a, r);
}

int64_t connects_tick(struct connects *c, int64_t now)
{
    int64_t next = -1;
    LIST_FOREACH_SAFE (it, &c->list) {
        struct attempt *a = LIST_ENTRY(it, struct attempt, item);
        if (a->due <= now)
            end(a, -ETIMEDOUT);
        else if (next < 0 || a->due - now < next)
            next = a->due - now;
    }
    return next;
}
