/* One question to a peer and its answer: a DEALER of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "kernel-gw/jupyter/zmq/node.h"

enum { FRAMES_MAX = 16 };

struct zmq_errand {
    void *socket;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles;
    bool closing;
    void (*done)(void *user, const struct slice *frames, size_t n);
    void *user;
};

static void on_handle_closed(uv_handle_t *h)
{
    struct zmq_errand *e = h->data;
    if (--e->handles)
        return;
    zmq_close(e->socket);
    free(e);
}

void zmq_errand_close(struct zmq_errand *e)
{
    if (!e || e->closing)
        return;
    e->closing = true;
    uv_close((uv_handle_t *)&e->poll, on_handle_closed);
    uv_close((uv_handle_t *)&e->timer, on_handle_closed);
}

static void finish(struct zmq_errand *e, const struct slice *frames, size_t n)
{
    uv_poll_stop(&e->poll);
    uv_timer_stop(&e->timer);
    e->done(e->user, frames, n);
}

static void on_timeout(uv_timer_t *t)
{
    finish(t->data, NULL, 0);
}

static bool has_message(void *socket)
{
    int ev = 0;
    size_t n = sizeof ev;
    return zmq_getsockopt(socket, ZMQ_EVENTS, &ev, &n) == 0 && (ev & ZMQ_POLLIN);
}

static void on_readable(uv_poll_t *h, int status, int events)
{
    struct zmq_errand *e = h->data;
    zmq_msg_t msgs[FRAMES_MAX];
    struct slice frames[FRAMES_MAX];
    size_t n = 0;
    (void)status;
    (void)events;
    if (!has_message(e->socket))
        return;
    for (bool more = true; more && n < FRAMES_MAX; n++) {
        zmq_msg_init(&msgs[n]);
        if (zmq_msg_recv(&msgs[n], e->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&msgs[n]);
            break;
        }
        frames[n] = (struct slice){zmq_msg_data(&msgs[n]), zmq_msg_size(&msgs[n])};
        more = zmq_msg_more(&msgs[n]);
    }
    finish(e, frames, n);
    for (size_t i = 0; i < n; i++)
        zmq_msg_close(&msgs[i]);
}

static int open_socket(struct zmq_errand *e, struct zmq_node *n, const char *ip, int port,
                       struct err *err)
{
    char where[160];
    int linger = 0;
    int64_t max = 1 << 20;
    e->socket = zmq_socket(n->context, ZMQ_DEALER);
    if (!e->socket)
        return err_set(err, -errno, "open ZeroMQ socket", "%s", zmq_strerror(errno));
    zmq_setsockopt(e->socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(e->socket, ZMQ_MAXMSGSIZE, &max, sizeof max);
    snprintf(where, sizeof where, strchr(ip, ':') ? "tcp://[%s]:%d" : "tcp://%s:%d", ip, port);
    if (zmq_connect(e->socket, where) < 0)
        return err_set(err, -errno, "connect to registration", "%s: %s", where,
                       zmq_strerror(errno));
    return 0;
}

int zmq_errand_send(struct zmq_node *n, const char *ip, int port, const struct slice *frames,
                    size_t nframes, unsigned timeout_ms,
                    void (*done)(void *user, const struct slice *frames, size_t n), void *user,
                    struct zmq_errand **ret, struct err *err)
{
    struct zmq_errand *e = calloc(1, sizeof *e);
    uv_os_sock_t fd;
    size_t size = sizeof fd;
    if (!e)
        return err_set(err, -ENOMEM, "registration", NULL);
    e->done = done;
    e->user = user;
    int r = open_socket(e, n, ip, port, err);
    for (size_t i = 0; i < nframes && r == 0; i++)
        if (zmq_send(e->socket, frames[i].data, frames[i].len,
                     ZMQ_DONTWAIT | (i + 1 < nframes ? ZMQ_SNDMORE : 0)) < 0)
            r = err_set(err, -errno, "send registration", "%s", zmq_strerror(errno));
    if (r == 0 && zmq_getsockopt(e->socket, ZMQ_FD, &fd, &size) < 0)
        r = err_set(err, -errno, "watch ZeroMQ socket", NULL);
    if (r == 0 && (r = uv_poll_init(n->loop, &e->poll, fd)) < 0)
        err_set(err, r, "watch ZeroMQ socket", NULL);
    if (r < 0) {
        if (e->socket)
            zmq_close(e->socket);
        free(e);
        return r;
    }
    uv_timer_init(n->loop, &e->timer);
    e->poll.data = e->timer.data = e;
    e->handles = 2;
    uv_timer_start(&e->timer, on_timeout, timeout_ms, 0);
    uv_poll_start(&e->poll, UV_READABLE, on_readable);
    *ret = e;
    return 0;
}
