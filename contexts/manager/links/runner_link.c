#include "contexts/manager/links/runner_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/list.h"

/* A flooding context must leave the loop to its neighbours now and then. */
enum { PACKETS_PER_WAKEUP = 16, QUEUE_MAX = 64 << 20 };

struct outgoing {
    struct list item;
    struct proto_encoder encoder;
};

struct runner_link {
    uv_poll_t poll;
    int fd;
    bool freed, dead, paused;
    struct list queue;
    size_t queued; /* bytes */
    const struct runner_link_ops *ops;
    void *user;
};

static void on_poll(uv_poll_t *poll, int status, int events);

/* A link without an owner is not read: what it holds is for the next one. */
static bool reads(const struct runner_link *l)
{
    return l->ops && !l->paused && !l->freed && !l->dead;
}

static void listen_again(struct runner_link *l)
{
    int events = (reads(l) ? UV_READABLE : 0) | (list_empty(&l->queue) ? 0 : UV_WRITABLE);
    if (l->freed || l->dead)
        return;
    if (events)
        uv_poll_start(&l->poll, events, on_poll);
    else
        uv_poll_stop(&l->poll);
}

struct runner_link *runner_link_new(uv_loop_t *loop, int take_fd, const struct runner_link_ops *ops,
                                    void *user)
{
    CLEANUP_FD int fd = take_fd;
    struct runner_link *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    list_init(&l->queue);
    l->ops = ops;
    l->user = user;
    if (fd_set_nonblock(fd, 1) < 0 || uv_poll_init(loop, &l->poll, fd) < 0) {
        free(l);
        return NULL;
    }
    l->fd = STEAL_FD(fd);
    l->poll.data = l;
    listen_again(l);
    return l;
}

static void outgoing_free(struct runner_link *l, struct outgoing *o)
{
    list_remove(&o->item);
    l->queued -= o->encoder.message.len;
    proto_encoder_deinit(&o->encoder);
    free(o);
}

static void on_closed(uv_handle_t *h)
{
    struct runner_link *l = h->data;
    close(l->fd);
    free(l);
}

void runner_link_free(struct runner_link *l)
{
    if (!l || l->freed)
        return;
    l->freed = true;
    LIST_FOREACH_SAFE (it, &l->queue)
        outgoing_free(l, LIST_ENTRY(it, struct outgoing, item));
    uv_close((uv_handle_t *)&l->poll, on_closed);
}

void runner_link_set_ops(struct runner_link *l, const struct runner_link_ops *ops, void *user)
{
    l->ops = ops;
    l->user = user;
    listen_again(l);
}

void runner_link_pause(struct runner_link *l, bool on)
{
    if (l->paused == on)
        return;
    l->paused = on;
    listen_again(l);
}

int runner_link_fd(const struct runner_link *l)
{
    return l->fd;
}

static void broken(struct runner_link *l, int error)
{
    uv_poll_stop(&l->poll);
    l->dead = true;
    l->ops->closed(l->user, error);
}

/* A socket that its other end closed with something unread reports that first, and once, before
 * what it still holds: the last words of an interpreter that failed to start stand behind it. */
static ssize_t receive_some(const struct runner_link *l, void *room, size_t len, int flags)
{
    for (bool again = false;; again = true) {
        /* cppcheck-suppress nullPointer ; no buffer is what asks for the length alone */
        ssize_t n = recv(l->fd, room, len, flags | MSG_DONTWAIT);
        if (n >= 0 || errno != ECONNRESET || again)
            return n;
    }
}

/*
 * The length is peeked first, so that the owner can note "a packet of n bytes comes here" before
 * the kernel copies it there: killed at any instruction between, it can tell afterwards whether the
 * packet was taken from the socket.
 */
static void receive(struct runner_link *l)
{
    for (int i = 0; i < PACKETS_PER_WAKEUP && reads(l); i++) {
        ssize_t n = receive_some(l, NULL, 0, MSG_PEEK | MSG_TRUNC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0 || n > PACKET_MAX) {
            broken(l, n < 0 ? -errno : n ? -EPROTO : 0);
            return;
        }
        uint8_t *room = l->ops->reserve(l->user, (size_t)n);
        if (!room) {
            broken(l, -ENOMEM);
            return;
        }
        ssize_t got = receive_some(l, room, (size_t)n, 0);
        if (got != n) {
            broken(l, got < 0 ? -errno : -EPROTO);
            return;
        }
        l->ops->packet(l->user, room, (size_t)n);
        if (reads(l) && l->ops->more && !l->ops->more(l->user))
            return;
    }
}

/* 1: all of it is in the socket; 0: the socket is full. */
static int push(struct runner_link *l, struct proto_encoder *e)
{
    uint8_t packet[PACKET_MAX];
    size_t n;
    while ((n = proto_encoder_next(e, packet)) > 0) {
        ssize_t sent = fd_send(l->fd, packet, n, NULL, 0);
        if (sent == -EAGAIN || sent == -ENOBUFS) {
            proto_encoder_back(e);
            return 0;
        }
        if (sent < 0)
            return 1; /* the end of file that follows says so */
    }
    return 1;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct runner_link *l = poll->data;
    if (status < 0) { /* libuv stopped it for the error; receive says whether that was the end */
        listen_again(l);
        events = UV_READABLE | UV_WRITABLE;
    }
    if (events & UV_READABLE)
        receive(l);
    if (!(events & UV_WRITABLE) || l->freed || l->dead)
        return;
    while (!list_empty(&l->queue)) {
        struct outgoing *o = LIST_ENTRY(l->queue.next, struct outgoing, item);
        if (!push(l, &o->encoder))
            return;
        outgoing_free(l, o);
    }
    listen_again(l);
}

int runner_link_send(struct runner_link *l, uint16_t type, uint32_t arg, uint64_t req,
                     const struct proto_section *sections, unsigned nsections)
{
    struct proto_encoder e;
    int r = proto_encoder_init(&e, type, arg, req, sections, nsections);
    if (r < 0)
        return r;
    if (list_empty(&l->queue) && push(l, &e)) {
        proto_encoder_deinit(&e);
        return 1;
    }
    struct outgoing *o = l->queued < QUEUE_MAX ? calloc(1, sizeof *o) : NULL;
    if (!o) {
        proto_encoder_deinit(&e);
        return l->queued < QUEUE_MAX ? -ENOMEM : -ENOBUFS;
    }
    o->encoder = e;
    l->queued += e.message.len;
    list_append(&l->queue, &o->item);
    listen_again(l);
    return 0;
}
