#include "kernel-gw/preview/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/preview/private.h"
#include "sandbox/base/fd.h"

enum {
    IDLE_MAX = 256,
    IDLE_PER_PORT = 16,
    IDLE_MS = 2500,
    QUEUE_LOW = 64 << 10,
    OUT_MAX = 16 << 20
};

struct upstream {
    struct list item; /* in the idle list, or in none */
    struct gateway *gw;
    uint64_t box, idle_since_ms;
    uint32_t port;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uv_shutdown_t shutdown;
    const struct upstream_ops *ops;
    void *user;
    int other; /* the IPv6 socket, for when nobody listens on IPv4; -1 */
    bool open, asked, reused, reading, above_low, finish, freed, broken;
    struct buf out, sending;
};

struct upstreams {
    struct list idle;
    unsigned n;
    uv_timer_t tick;
    char scratch[64 << 10];
};

static void release(uv_handle_t *h)
{
    struct upstream *u = h->data;
    fd_close(u->other);
    buf_deinit(&u->out);
    buf_deinit(&u->sending);
    free(u);
}

static void unlist(struct upstream *u)
{
    if (!list_empty(&u->item))
        u->gw->previews->upstreams->n--;
    list_remove(&u->item);
}

void upstream_free(struct upstream *u)
{
    if (!u || u->freed)
        return;
    u->freed = true;
    unlist(u);
    if (u->asked)
        sandbox_forget(u->gw->manager, u);
    u->tcp.data = u;
    if (!u->open)
        release((uv_handle_t *)&u->tcp);
    else if (!uv_is_closing((uv_handle_t *)&u->tcp)) /* else on_first_closed does it */
        uv_close((uv_handle_t *)&u->tcp, release);
}

/* ---- writing ---- */

static void flush(struct upstream *u);

static void on_shutdown(uv_shutdown_t *r, int status)
{
    (void)r;
    (void)status;
}

static void on_written(uv_write_t *w, int status)
{
    struct upstream *u = w->data;
    buf_reset(&u->sending);
    if (u->freed)
        return;
    if (status < 0) {
        u->broken = true; /* the reading side tells */
        return;
    }
    flush(u);
    if (u->above_low && upstream_queued(u) <= QUEUE_LOW) {
        u->above_low = false;
        u->ops->drained(u->user);
    }
}

static void flush(struct upstream *u)
{
    if (!u->open || u->broken || u->sending.len)
        return;
    if (u->out.len) {
        uv_buf_t b = uv_buf_init((char *)u->out.data, (unsigned)u->out.len);
        int n = uv_try_write((uv_stream_t *)&u->tcp, &b, 1);
        if (n < 0 && n != UV_EAGAIN) {
            u->broken = true;
            return;
        }
        if (n > 0)
            buf_consume(&u->out, (size_t)n);
    }
    if (u->out.len) {
        struct buf swap = u->sending;
        u->sending = u->out;
        u->out = swap;
        uv_buf_t b = uv_buf_init((char *)u->sending.data, (unsigned)u->sending.len);
        u->write.data = u;
        u->broken = uv_write(&u->write, (uv_stream_t *)&u->tcp, &b, 1, on_written) < 0;
        return;
    }
    buf_reset(&u->out);
    if (u->finish) {
        u->finish = false;
        uv_shutdown(&u->shutdown, (uv_stream_t *)&u->tcp, on_shutdown);
    }
}

void upstream_write(struct upstream *u, const void *data, size_t len)
{
    buf_put(&u->out, data, len);
    flush(u);
    if (upstream_queued(u) > QUEUE_LOW)
        u->above_low = true;
}

size_t upstream_queued(const struct upstream *u)
{
    return u->out.len + u->sending.len;
}

void upstream_finish(struct upstream *u)
{
    u->finish = true;
    flush(u);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct upstream *u = h->data;
    struct upstreams *s = u->gw->previews->upstreams;
    (void)suggested;
    *ret = uv_buf_init(s->scratch, sizeof s->scratch);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct upstream *u = stream->data;
    if (n == 0)
        return;
    if (!u->ops) { /* idle: it closes, or says what nobody asked for */
        upstream_free(u);
        return;
    }
    if (n < 0) {
        uv_read_stop(stream);
        u->reading = false;
        u->ops->ended(u->user);
    } else {
        u->ops->received(u->user, b->base, (size_t)n);
    }
}

void upstream_read(struct upstream *u, bool on)
{
    if (u->reading == on || !u->open || u->freed)
        return;
    u->reading = on;
    if (on)
        uv_read_start((uv_stream_t *)&u->tcp, on_alloc, on_read);
    else
        uv_read_stop((uv_stream_t *)&u->tcp);
}

/* ---- opening ---- */

static void on_connect(uv_connect_t *r, int status);

/* Takes fd. */
static int connect_by(struct upstream *u, int take_fd, bool v6)
{
    struct sockaddr_in a4;
    struct sockaddr_in6 a6;
    uv_ip4_addr("127.0.0.1", (int)u->port, &a4);
    uv_ip6_addr("::1", (int)u->port, &a6);
    uv_tcp_init(u->gw->loop, &u->tcp);
    u->tcp.data = u;
    u->open = true;
    int r = uv_tcp_open(&u->tcp, take_fd);
    if (r < 0) {
        fd_close(take_fd);
        return r;
    }
    uv_tcp_nodelay(&u->tcp, 1);
    u->connect.data = u;
    return uv_tcp_connect(&u->connect, &u->tcp,
                          v6 ? (const struct sockaddr *)&a6 : (const struct sockaddr *)&a4,
                          on_connect);
}

static void on_first_closed(uv_handle_t *h)
{
    struct upstream *u = h->data;
    u->open = false;
    if (u->freed) {
        release(h);
        return;
    }
    int r = connect_by(u, STEAL_FD(u->other), true);
    if (r < 0)
        u->ops->connected(u->user, r);
}

static void on_connect(uv_connect_t *c, int status)
{
    struct upstream *u = c->data;
    if (u->freed)
        return;
    if (status == UV_ECONNREFUSED && u->other >= 0) {
        uv_close((uv_handle_t *)&u->tcp, on_first_closed);
        return;
    }
    if (status == 0)
        flush(u);
    u->ops->connected(u->user, status);
}

static void on_sockets(void *user, const struct err *error, const struct wire_message *m)
{
    struct upstream *u = user;
    u->asked = false;
    if (error->code || m->nfds < 1) {
        u->ops->connected(u->user, error->code ? error->code : -EPROTO);
        return;
    }
    if (m->nfds > 1)
        u->other = STEAL_FD(m->fds[1]);
    int r = connect_by(u, STEAL_FD(m->fds[0]), false);
    if (r < 0)
        u->ops->connected(u->user, r);
}

static struct upstream *take_idle(struct gateway *gw, uint64_t box, uint32_t port)
{
    struct upstreams *s = gw->previews->upstreams;
    for (struct list *it = s->idle.prev; it != &s->idle; it = it->prev) { /* the warmest */
        struct upstream *u = LIST_ENTRY(it, struct upstream, item);
        if (u->box == box && u->port == port) {
            unlist(u);
            return u;
        }
    }
    return NULL;
}

struct upstream *upstream_open(struct gateway *gw, struct sandbox *sb, uint32_t port, bool reuse,
                               const struct upstream_ops *ops, void *user)
{
    struct upstream *u = reuse ? take_idle(gw, sandbox_box(sb), port) : NULL;
    if (u) {
        u->reused = true;
        u->ops = ops;
        u->user = user;
        return u;
    }
    u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    *u = (struct upstream){
        .gw = gw, .box = sandbox_box(sb), .port = port, .ops = ops, .user = user, .other = -1};
    list_init(&u->item);
    buf_init(&u->out, OUT_MAX);
    buf_init(&u->sending, OUT_MAX);
    u->asked = sandbox_sockets(sb, on_sockets, u) == 0;
    if (!u->asked) {
        upstream_free(u);
        return NULL;
    }
    return u;
}

bool upstream_reused(const struct upstream *u)
{
    return u->reused;
}

void upstream_keep(struct upstream *u)
{
    struct upstreams *s = u->gw->previews->upstreams;
    unsigned same = 0;
    LIST_FOREACH (it, &s->idle) {
        const struct upstream *o = LIST_ENTRY(it, struct upstream, item);
        same += o->box == u->box && o->port == u->port;
    }
    if (s->n >= IDLE_MAX || same >= IDLE_PER_PORT || u->broken || upstream_queued(u)) {
        upstream_free(u);
        return;
    }
    u->ops = NULL;
    u->above_low = false;
    u->idle_since_ms = uv_now(u->gw->loop);
    list_append(&s->idle, &u->item);
    s->n++;
    upstream_read(u, true); /* to hear that it closes */
}

static void on_tick(uv_timer_t *t)
{
    struct upstreams *s = t->data;
    LIST_FOREACH_SAFE (it, &s->idle) {
        struct upstream *u = LIST_ENTRY(it, struct upstream, item);
        if (uv_now(u->gw->loop) - u->idle_since_ms > IDLE_MS)
            upstream_free(u);
    }
}

int upstreams_init(struct gateway *gw)
{
    struct upstreams *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    list_init(&s->idle);
    uv_timer_init(gw->loop, &s->tick);
    s->tick.data = s;
    uv_timer_start(&s->tick, on_tick, 1000, 1000);
    gw->previews->upstreams = s;
    return 0;
}
