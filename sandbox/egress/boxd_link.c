#include "sandbox/egress/boxd_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/gateway_link.h"
#include "sandbox/egress/start.h"

struct boxd_link {
    struct egress *egress;
    uv_poll_t poll;
    int fd;
};

static void on_open(struct boxd_link *l, const uint8_t *msg, size_t len, int *fds, size_t nfds)
{
    struct wire_egress_open m;
    if (len != sizeof m || nfds != NETNS_LISTENERS)
        return;
    memcpy(&m, msg, sizeof m);
    m.disk[sizeof m.disk - 1] = 0;
    int r = box_open(l->egress, m.h.box, m.disk, fds);
    if (r < 0)
        log_error("egress", "open_failed", "box=%llu reason=%s", (unsigned long long)m.h.box,
                  log_quote(strerror(-r)));
}

static void tell_ready(const struct boxd_link *l)
{
    const struct wire_head h = {.type = WIRE_EGRESS_HELLO};
    if (fd_send_wait(l->fd, &h, sizeof h, NULL, 0, 1000) < 0)
        log_error("egress", "ready_not_sent", NULL);
}

static void dispatch(struct boxd_link *l, const uint8_t *msg, size_t len, int *fds, size_t nfds)
{
    const struct wire_head *h = (const void *)msg;
    struct egress_box *b;
    if (len < sizeof *h)
        return;
    switch (h->type) {
    case WIRE_EGRESS_HELLO:
        egress_configure(l->egress, msg, len, nfds ? fds[0] : -1);
        tell_ready(l);
        break;
    case WIRE_EGRESS_OPEN:
        on_open(l, msg, len, fds, nfds);
        break;
    case WIRE_EGRESS_CLOSE:
        if ((b = box_find(l->egress, h->box)))
            box_close(b);
        break;
    case WIRE_EGRESS_LINK:
        if (nfds == 1)
            gateway_link_replace(l->egress, STEAL_FD(fds[0]));
        break;
    default:
        log_error("egress", "unknown_message", "type=%u", h->type);
    }
}

static void on_ready(uv_poll_t *h, int status, int events)
{
    static uint8_t message[WIRE_MSG_MAX] __attribute__((aligned(16)));
    struct boxd_link *l = h->data;
    (void)status;
    (void)events;
    for (;;) {
        int fds[FD_MSG_MAX_FDS];
        size_t nfds = FD_MSG_MAX_FDS;
        ssize_t n = fd_recv(l->fd, message, sizeof message, fds, &nfds);
        if (n == -EAGAIN)
            return;
        if (n <= 0) { /* B has gone, and everything with it */
            uv_poll_stop(h);
            egress_stop(l->egress);
            return;
        }
        dispatch(l, message, (size_t)n, fds, nfds);
        for (size_t i = 0; i < nfds; i++)
            fd_close(fds[i]);
    }
}

/* B reads all the time; what it has no room for now waits a moment. */
void boxd_link_opened(struct boxd_link *l, const struct egress_box *b)
{
    CLEANUP_BUF struct buf m = {0};
    struct wire_head h = {.type = WIRE_EGRESS_OPENED, .box = b->number};
    buf_put(&m, &h, sizeof h);
    if (authority_pem(b->authority, &m) < 0 ||
        fd_send_wait(l->fd, m.data, m.len, NULL, 0, 1000) < 0)
        log_error("egress", "certificate_not_sent", "box=%llu", (unsigned long long)b->number);
}

struct boxd_link *boxd_link_new(struct egress *e, int take_fd)
{
    struct boxd_link *l = calloc(1, sizeof *l);
    if (!l || fd_set_nonblock(take_fd, 1) < 0 || uv_poll_init(&e->loop, &l->poll, take_fd) < 0) {
        free(l);
        return NULL;
    }
    l->egress = e;
    l->fd = take_fd;
    l->poll.data = l;
    uv_poll_start(&l->poll, UV_READABLE, on_ready);
    return l;
}
