#include "kernel-gw/jupyter/zmq/sockets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "kernel-gw/jupyter/zmq/node.h"

/* Most messages per wake-up and socket, so that one busy client cannot keep the loop. */
enum { BURST = 100, IOPUB_HWM = 128 };

/* A message of a client, which may be anybody who reaches the socket: heartbeats and topics are
 * short. */
enum { MESSAGE_MAX = 64 << 20, SHORT_MAX = 4096 };

static const char *const channel_names[] = {"shell", "control", "stdin", "iopub", "hb"};

struct one {
    struct zmq_sockets *owner;
    enum channel channel;
    void *socket;
    uv_poll_t poll;
    bool poll_open;
    struct list dirty;
};

struct zmq_sockets {
    struct zmq_node *node;
    struct zmq_events events;
    struct one ones[CHANNELS];
    bool blocked; /* iopub refused a message */
    bool closing;
    unsigned depth, open_polls; /* inside callbacks; polls whose close has not come back */
};

static void mark(struct one *o)
{
    if (list_empty(&o->dirty))
        list_append(&o->owner->node->dirty, &o->dirty);
}

static int socket_events(void *socket)
{
    int ev = 0;
    size_t n = sizeof ev;
    return zmq_getsockopt(socket, ZMQ_EVENTS, &ev, &n) < 0 ? 0 : ev;
}

/* Receives one whole message. Returns frames, 0 = nothing there. Too many frames: the rest is
 * thrown away, n = max. */
static size_t receive(void *socket, zmq_msg_t *msgs, size_t max)
{
    size_t n = 0;
    int more = 1;
    while (more) {
        zmq_msg_t scratch = {{0}}, *m = n < max ? &msgs[n] : &scratch;
        zmq_msg_init(m);
        if (zmq_msg_recv(m, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(m);
            return n;
        }
        more = zmq_msg_more(m);
        if (n < max)
            n++;
        else
            zmq_msg_close(&scratch);
    }
    return n;
}

static void deliver(struct one *o, const struct slice *frames, size_t n)
{
    struct zmq_sockets *s = o->owner;
    if (o->channel == CHANNEL_HB)
        zmq_sockets_send(s, CHANNEL_HB, frames, n);
    else if (o->channel != CHANNEL_IOPUB)
        s->events.message(s->events.user, o->channel, frames, n);
    else if (n == 1 && frames[0].len && frames[0].data[0] == 1)
        s->events.subscribed(s->events.user, (struct slice){frames[0].data + 1, frames[0].len - 1});
}

/* true: more is waiting */
static bool drain(struct one *o)
{
    struct zmq_sockets *s = o->owner;
    for (int burst = 0; burst < BURST; burst++) {
        zmq_msg_t msgs[JUPYTER_FRAMES_MAX];
        struct slice frames[JUPYTER_FRAMES_MAX];
        int ev = socket_events(o->socket);
        if (o->channel == CHANNEL_IOPUB && s->blocked && (ev & ZMQ_POLLOUT)) {
            s->blocked = false;
            s->events.writable(s->events.user);
            if (s->closing)
                return false;
            continue;
        }
        if (!(ev & ZMQ_POLLIN))
            return false;
        size_t n = receive(o->socket, msgs, JUPYTER_FRAMES_MAX);
        for (size_t i = 0; i < n; i++)
            frames[i] = (struct slice){zmq_msg_data(&msgs[i]), zmq_msg_size(&msgs[i])};
        if (n)
            deliver(o, frames, n);
        for (size_t i = 0; i < n; i++)
            zmq_msg_close(&msgs[i]);
        if (s->closing || !n)
            return false;
    }
    return true;
}

static void finish_close(struct zmq_sockets *s)
{
    if (!s->closing || s->depth || s->open_polls)
        return;
    for (int i = 0; i < CHANNELS; i++)
        if (s->ones[i].socket)
            zmq_close(s->ones[i].socket);
    free(s);
}

static void look(struct one *o)
{
    struct zmq_sockets *s = o->owner;
    list_remove(&o->dirty);
    if (s->closing)
        return;
    s->depth++;
    bool more = drain(o);
    s->depth--;
    if (more && !s->closing)
        mark(o);
    finish_close(s);
}

static void on_again(uv_idle_t *h)
{
    (void)h; /* its presence makes the loop poll without sleeping */
}

static void on_prepare(uv_prepare_t *h)
{
    struct zmq_node *n = h->data;
    struct list now;
    list_init(&now);
    while (!list_empty(&n->dirty)) {
        struct list *it = n->dirty.next;
        list_remove(it);
        list_append(&now, it);
    }
    while (!list_empty(&now))
        look(LIST_ENTRY(now.next, struct one, dirty));
    bool want = !list_empty(&n->dirty);
    if (want && !n->again_active)
        uv_idle_start(&n->again, on_again);
    else if (!want && n->again_active)
        uv_idle_stop(&n->again);
    n->again_active = want;
}

static void on_readable(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    look(h->data);
}

int zmq_node_new(uv_loop_t *loop, struct zmq_node **ret)
{
    struct zmq_node *n = calloc(1, sizeof *n);
    if (!n)
        return -ENOMEM;
    n->loop = loop;
    list_init(&n->dirty);
    n->context = zmq_ctx_new();
    if (!n->context) {
        free(n);
        return -ENOMEM;
    }
    /* The default of 1023 sockets would be 204 kernels. */
    zmq_ctx_set(n->context, ZMQ_MAX_SOCKETS, 65535);
    zmq_ctx_set(n->context, ZMQ_BLOCKY, 0);
    uv_prepare_init(loop, &n->prepare);
    n->prepare.data = n;
    uv_prepare_start(&n->prepare, on_prepare);
    uv_unref((uv_handle_t *)&n->prepare);
    uv_idle_init(loop, &n->again);
    *ret = n;
    return 0;
}

void zmq_node_free(struct zmq_node *n)
{
    if (!n)
        return;
    uv_prepare_stop(&n->prepare);
    uv_idle_stop(&n->again);
    zmq_ctx_term(n->context);
    /* The two handles are closed with the loop; the node is one per process. */
}

int zmq_curve_keys(struct zmq_address *a)
{
    return zmq_curve_keypair(a->curve_public, a->curve_secret) < 0 ? -ENOSYS : 0;
}

static void set_int(void *socket, int option, int value)
{
    zmq_setsockopt(socket, option, &value, sizeof value);
}

static void endpoint(const struct zmq_address *a, enum channel ch, char *out, size_t cap)
{
    if (!strcmp(a->transport, "ipc"))
        snprintf(out, cap, "ipc://%s-%d", a->ip, a->port[ch]);
    else if (a->port[ch])
        snprintf(out, cap, strchr(a->ip, ':') ? "tcp://[%s]:%d" : "tcp://%s:%d", a->ip,
                 a->port[ch]);
    else
        snprintf(out, cap, "tcp://%s:*", a->ip);
}

static int bind_one(struct zmq_sockets *s, enum channel ch, struct zmq_address *a, struct err *err)
{
    static const int types[CHANNELS] = {ZMQ_ROUTER, ZMQ_ROUTER, ZMQ_ROUTER, ZMQ_XPUB, ZMQ_ROUTER};
    struct one *o = &s->ones[ch];
    char where[160];
    uv_os_sock_t fd;
    size_t n = sizeof fd;

    o->owner = s;
    o->channel = ch;
    list_init(&o->dirty);
    o->socket = zmq_socket(s->node->context, types[ch]);
    if (!o->socket)
        return err_set(err, -errno, "open ZeroMQ socket", "%s", zmq_strerror(errno));
    set_int(o->socket, ZMQ_LINGER, 1000);
    set_int(o->socket, ZMQ_IPV6, strchr(a->ip, ':') != NULL);
    int64_t max = ch == CHANNEL_HB || ch == CHANNEL_IOPUB ? SHORT_MAX : MESSAGE_MAX;
    zmq_setsockopt(o->socket, ZMQ_MAXMSGSIZE, &max, sizeof max);
    if (types[ch] == ZMQ_ROUTER) {
        set_int(o->socket, ZMQ_ROUTER_MANDATORY, ch != CHANNEL_HB);
        /* A client that reconnects before its old connection is known to be dead keeps its
         * identity; but only where nobody without a key can take it. */
        set_int(o->socket, ZMQ_ROUTER_HANDOVER, *a->curve_secret != 0);
    } else {
        set_int(o->socket, ZMQ_SNDHWM, IOPUB_HWM);
        set_int(o->socket, ZMQ_XPUB_VERBOSE, 1);
        set_int(o->socket, ZMQ_XPUB_NODROP, 1);
    }
    if (*a->curve_secret) {
        set_int(o->socket, ZMQ_CURVE_SERVER, 1);
        if (zmq_setsockopt(o->socket, ZMQ_CURVE_SECRETKEY, a->curve_secret,
                           sizeof a->curve_secret) < 0)
            return err_set(err, -EINVAL, "set CurveZMQ key", "%s", zmq_strerror(errno));
    }
    endpoint(a, ch, where, sizeof where);
    if (zmq_bind(o->socket, where) < 0)
        return err_set(err, -errno, "bind ZeroMQ socket", "%s (%s): %s", where, channel_names[ch],
                       zmq_strerror(errno));
    n = sizeof where;
    if (!strcmp(a->transport, "tcp") &&
        zmq_getsockopt(o->socket, ZMQ_LAST_ENDPOINT, where, &n) == 0)
        a->port[ch] = (int)strtol(strrchr(where, ':') + 1, NULL, 10);
    n = sizeof fd;
    zmq_getsockopt(o->socket, ZMQ_FD, &fd, &n);
    int r = uv_poll_init(s->node->loop, &o->poll, fd);
    if (r < 0)
        return err_set(err, r, "watch ZeroMQ socket", NULL);
    o->poll.data = o;
    o->poll_open = true;
    uv_poll_start(&o->poll, UV_READABLE, on_readable);
    mark(o);
    return 0;
}

int zmq_sockets_bind(struct zmq_node *n, struct zmq_address *address,
                     const struct zmq_events *events, struct zmq_sockets **ret, struct err *err)
{
    struct zmq_sockets *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, -ENOMEM, "serve kernel", NULL);
    s->node = n;
    s->events = *events;
    for (int i = 0; i < CHANNELS; i++) {
        s->ones[i].owner = s;
        list_init(&s->ones[i].dirty);
    }
    for (int i = 0; i < CHANNELS; i++) {
        int r = bind_one(s, (enum channel)i, address, err);
        if (r < 0) {
            zmq_sockets_close(s);
            return r;
        }
    }
    *ret = s;
    return 0;
}

static void on_poll_closed(uv_handle_t *h)
{
    struct one *o = h->data;
    o->owner->open_polls--;
    finish_close(o->owner);
}

void zmq_sockets_close(struct zmq_sockets *s)
{
    if (!s || s->closing)
        return;
    s->closing = true;
    for (int i = 0; i < CHANNELS; i++) {
        struct one *o = &s->ones[i];
        list_remove(&o->dirty);
        if (!o->poll_open)
            continue;
        s->open_polls++;
        uv_poll_stop(&o->poll);
        uv_close((uv_handle_t *)&o->poll, on_poll_closed);
    }
    finish_close(s);
}

int zmq_sockets_send(struct zmq_sockets *s, enum channel ch, const struct slice *frames, size_t n)
{
    struct one *o = &s->ones[ch];
    if (s->closing)
        return -ENOTCONN;
    for (size_t i = 0; i < n; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < n ? ZMQ_SNDMORE : 0);
        if (zmq_send(o->socket, frames[i].data, frames[i].len, flags) >= 0)
            continue;
        int e = errno;
        if (ch == CHANNEL_IOPUB && e == EAGAIN)
            s->blocked = true;
        mark(o);
        return -e;
    }
    mark(o);
    return 0;
}

void zmq_sockets_set_lossy(struct zmq_sockets *s, bool lossy)
{
    set_int(s->ones[CHANNEL_IOPUB].socket, ZMQ_XPUB_NODROP, !lossy);
}
