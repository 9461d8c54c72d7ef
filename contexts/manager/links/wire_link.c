#include "contexts/manager/links/wire_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/list.h"

enum { QUEUE_MAX = 4096, READS_PER_WAKEUP = 64, TURN_NS = 300000 };

struct call {
    struct list item;
    uint32_t seq;
    wire_reply_fn *reply;
    void *user;
};

struct unsent {
    struct list item;
    size_t len, nfds;
    int fds[4];
    uint8_t data[];
};

struct wire_link {
    uv_poll_t poll;
    uv_idle_t later; /* runs once to report a failed send from the loop */
    int fd, handles;
    bool freed, dead;
    uint32_t seq;
    struct list calls, queue;
    size_t queued;
    const struct wire_link_ops *ops;
    void *user;
    uint8_t buffer[WIRE_MSG_MAX] __attribute__((aligned(16)));
};

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_later(uv_idle_t *idle);

struct wire_link *wire_link_new(uv_loop_t *loop, int take_fd, const struct wire_link_ops *ops,
                                void *user)
{
    CLEANUP_FD int fd = take_fd;
    struct wire_link *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->ops = ops;
    l->user = user;
    list_init(&l->calls);
    list_init(&l->queue);
    /* A peer that answers with guessed numbers must not hit a call of another kind. */
    id_random(&l->seq, sizeof l->seq);
    if (fd_set_nonblock(fd, 1) < 0 || uv_poll_init(loop, &l->poll, fd) < 0) {
        free(l);
        return NULL;
    }
    l->fd = STEAL_FD(fd);
    l->poll.data = l;
    uv_idle_init(loop, &l->later);
    l->later.data = l;
    l->handles = 2;
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
    return l;
}

static void on_closed(uv_handle_t *h)
{
    struct wire_link *l = h->data;
    if (--l->handles)
        return;
    close(l->fd);
    free(l);
}

static void unsent_free(struct unsent *u)
{
    for (size_t i = 0; i < u->nfds; i++)
        close(u->fds[i]);
    free(u);
}

void wire_link_free(struct wire_link *l)
{
    if (!l || l->freed)
        return;
    l->freed = true;
    LIST_FOREACH_SAFE (it, &l->calls)
        free(LIST_ENTRY(it, struct call, item));
    list_init(&l->calls);
    LIST_FOREACH_SAFE (it, &l->queue)
        unsent_free(LIST_ENTRY(it, struct unsent, item));
    list_init(&l->queue);
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->later, on_closed);
}

void wire_link_set_ops(struct wire_link *l, const struct wire_link_ops *ops, void *user)
{
    l->ops = ops;
    l->user = user;
}

static void die(struct wire_link *l)
{
    struct err gone = {0};
    err_set(&gone, -ECONNRESET, "link", "the other side has gone");
    uv_poll_stop(&l->poll);
    l->dead = true;
    while (!l->freed && !list_empty(&l->calls)) {
        struct call *c = LIST_ENTRY(l->calls.next, struct call, item);
        list_remove(&c->item);
        if (c->reply)
            c->reply(c->user, &gone, NULL);
        free(c);
    }
    if (!l->freed && l->ops && l->ops->closed)
        l->ops->closed(l->user);
}

void wire_link_abandon(struct wire_link *l)
{
    if (!l || l->freed)
        return;
    l->ops = NULL;
    die(l);
    wire_link_free(l);
}

static void on_later(uv_idle_t *idle)
{
    uv_idle_stop(idle);
    die(idle->data);
}

static void fail_later(struct wire_link *l)
{
    l->dead = true;
    uv_idle_start(&l->later, on_later);
}

static void answer(struct wire_link *l, struct call *c, const struct wire_message *m)
{
    struct err none = {0};
    const struct wire_reply *r = (const struct wire_reply *)m->head;

    list_remove(&c->item);
    if (c->reply) {
        bool failed = m->head->type == WIRE_REPLY && r->err.code != 0;
        struct err e = failed ? r->err : none;
        e.step[sizeof e.step - 1] = e.text[sizeof e.text - 1] = 0;
        c->reply(c->user, &e, failed ? NULL : m);
    }
    free(c);
    (void)l;
}

static void dispatch(struct wire_link *l, const struct wire_message *m)
{
    if (m->len < sizeof(struct wire_head) ||
        (m->head->type == WIRE_REPLY && m->len < sizeof(struct wire_reply)))
        return;
    LIST_FOREACH (it, &l->calls) {
        struct call *c = LIST_ENTRY(it, struct call, item);
        if (c->seq == m->head->seq) {
            answer(l, c, m);
            return;
        }
    }
    if (m->head->type != WIRE_REPLY && l->ops && l->ops->message)
        l->ops->message(l->user, m);
}

/* Whether there may be more. */
static bool receive(struct wire_link *l)
{
    uint64_t start = uv_hrtime();
    for (int i = 0; i < READS_PER_WAKEUP && !l->freed; i++) {
        if (i && uv_hrtime() - start > TURN_NS) /* the others wait */
            return true;
        int fds[FD_MSG_MAX_FDS];
        size_t nfds = FD_MSG_MAX_FDS;
        ssize_t n = fd_recv(l->fd, l->buffer, sizeof l->buffer, fds, &nfds);
        if (n == -EAGAIN)
            return false;
        if (n == -EMSGSIZE)
            continue;
        if (n <= 0) {
            die(l);
            return false;
        }
        struct wire_message m = {(const struct wire_head *)l->buffer, (size_t)n, fds, nfds};
        dispatch(l, &m);
        for (size_t k = 0; k < nfds; k++)
            fd_close(fds[k]);
    }
    return !l->freed;
}

void wire_link_drain(struct wire_link *l)
{
    while (receive(l))
        ;
}

static void flush(struct wire_link *l)
{
    while (!list_empty(&l->queue)) {
        struct unsent *u = LIST_ENTRY(l->queue.next, struct unsent, item);
        ssize_t n = fd_send(l->fd, u->data, u->len, u->fds, u->nfds);
        if (n == -EAGAIN)
            return;
        list_remove(&u->item);
        l->queued--;
        unsent_free(u);
        if (n < 0) {
            die(l);
            return;
        }
    }
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct wire_link *l = poll->data;
    if (status < 0) {
        die(l);
        return;
    }
    if (events & UV_READABLE)
        receive(l);
    if ((events & UV_WRITABLE) && !l->freed && !l->dead)
        flush(l);
}

static int enqueue(struct wire_link *l, const void *data, size_t len, const int *fds, size_t nfds)
{
    if (l->queued == QUEUE_MAX || nfds > 4)
        return -ENOBUFS;
    struct unsent *u = calloc(1, sizeof *u + len);
    if (!u)
        return -ENOMEM;
    memcpy(u->data, data, len);
    u->len = len;
    for (size_t i = 0; i < nfds; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            int r = -errno;
            unsent_free(u);
            return r;
        }
        u->fds[u->nfds++] = fd;
    }
    list_append(&l->queue, &u->item);
    l->queued++;
    uv_poll_start(&l->poll, UV_READABLE | UV_WRITABLE, on_poll);
    return 0;
}

static int send_or_queue(struct wire_link *l, const void *data, size_t len, const int *fds,
                         size_t nfds)
{
    if (l->dead)
        return -ECONNRESET;
    if (!list_empty(&l->queue))
        return enqueue(l, data, len, fds, nfds);
    ssize_t n = fd_send(l->fd, data, len, fds, nfds);
    if (n == -EAGAIN)
        return enqueue(l, data, len, fds, nfds);
    return n < 0 ? (int)n : 0;
}

void wire_link_call(struct wire_link *l, struct wire_head *head, size_t len, const void *tail,
                    size_t tail_len, const int *fds, size_t nfds, wire_reply_fn *reply, void *user)
{
    uint8_t message[WIRE_MSG_MAX];

    if (l->freed)
        return;
    head->seq = ++l->seq;
    if (reply) {
        struct call *c = calloc(1, sizeof *c);
        if (!c) {
            fail_later(l);
            return;
        }
        *c = (struct call){.seq = head->seq, .reply = reply, .user = user};
        list_append(&l->calls, &c->item);
    }
    if (len > sizeof message || tail_len > sizeof message - len) {
        fail_later(l);
        return;
    }
    memcpy(message, head, len);
    if (tail_len)
        memcpy(message + len, tail, tail_len);
    if (send_or_queue(l, message, len + tail_len, fds, nfds) < 0)
        fail_later(l);
}

void wire_link_forget(struct wire_link *l, void *user)
{
    if (!l)
        return;
    LIST_FOREACH (it, &l->calls) {
        struct call *c = LIST_ENTRY(it, struct call, item);
        if (c->user == user)
            c->reply = NULL;
    }
}
