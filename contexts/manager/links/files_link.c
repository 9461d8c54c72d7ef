#include "contexts/manager/links/files_link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"

enum { MESSAGES_PER_WAKEUP = 16, SEND_BUFFER = 1 << 20 };

struct files_link {
    uv_poll_t poll;
    int fd;
    bool reading, full, freed;
    const struct files_link_ops *ops;
    void *user;
    uint8_t in[FILES_MSG_MAX] __attribute__((aligned(16)));
};

struct files_link *files_link_new(uv_loop_t *loop, int take_fd, const struct files_link_ops *ops,
                                  void *user)
{
    CLEANUP_FD int fd = take_fd;
    struct files_link *l = calloc(1, sizeof *l);
    int size = SEND_BUFFER;
    if (!l || uv_poll_init(loop, &l->poll, fd) < 0) {
        free(l);
        return NULL;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size); /* only throughput depends on it */
    l->fd = STEAL_FD(fd);
    l->ops = ops;
    l->user = user;
    l->poll.data = l;
    return l;
}

static void on_closed(uv_handle_t *h)
{
    struct files_link *l = h->data;
    close(l->fd);
    free(l);
}

void files_link_free(struct files_link *l)
{
    if (!l || l->freed)
        return;
    l->freed = true;
    uv_close((uv_handle_t *)&l->poll, on_closed);
}

void files_link_set_ops(struct files_link *l, const struct files_link_ops *ops, void *user)
{
    l->ops = ops;
    l->user = user;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void update(struct files_link *l)
{
    int events = (l->reading ? UV_READABLE : 0) | (l->full ? UV_WRITABLE : 0);
    if (l->freed)
        return;
    if (events)
        uv_poll_start(&l->poll, events, on_poll);
    else
        uv_poll_stop(&l->poll);
}

static void broken(struct files_link *l)
{
    uv_poll_stop(&l->poll);
    l->reading = l->full = false;
    l->ops->closed(l->user);
}

static void receive(struct files_link *l)
{
    for (int i = 0; i < MESSAGES_PER_WAKEUP && l->reading && !l->freed; i++) {
        ssize_t n = recv(l->fd, l->in, sizeof l->in, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < (ssize_t)sizeof(struct files_head) || n > (ssize_t)sizeof l->in) {
            broken(l);
            return;
        }
        const struct files_head *head = (const void *)l->in;
        l->ops->message(l->user, head, l->in + sizeof *head, (size_t)n - sizeof *head);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct files_link *l = poll->data;
    if (status < 0) {
        broken(l);
        return;
    }
    if (events & UV_READABLE)
        receive(l);
    if ((events & UV_WRITABLE) && l->full && !l->freed) {
        l->full = false;
        update(l);
        l->ops->writable(l->user);
    }
}

int files_link_send(struct files_link *l, const void *head, size_t head_len, const void *data,
                    size_t len)
{
    struct iovec iov[2] = {{(void *)head, head_len}, {(void *)data, len}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = len ? 2 : 1};
    if (sendmsg(l->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return 0;
    if (errno != EAGAIN && errno != ENOBUFS)
        return -errno;
    l->full = true;
    update(l);
    return -EAGAIN;
}

void files_link_read(struct files_link *l, bool on)
{
    if (l->reading == on)
        return;
    l->reading = on;
    update(l);
}
