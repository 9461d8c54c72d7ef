#include "sandbox/egress/http/upstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/egress.h"
#include "sandbox/egress/http/client.h"
#include "sandbox/egress/net/dial.h"
#include "sandbox/egress/net/stream.h"
#include "sandbox/egress/tls/upstream.h"

enum { IDLE_MS = 60000, HANDSHAKE_MS = 15000, PENDING_MAX = 1 << 20, KEY_MAX = 300 };

enum state { DIALLING, SECURING, READY };

/* One connection. */
struct upstream {
    struct list link; /* of the box */
    struct egress_box *box;
    char key[KEY_MAX]; /* scheme, host, port */
    char host[256];
    bool https, h2, closing;
    bool wants_h2; /* asked with h2: others may wait for it */
    enum state state;
    struct dial *dial;
    struct stream *stream;
    struct h1_client *h1;
    struct h2_client *client2;
    struct list waiting;        /* struct request: until it is ready */
    bool busy;                  /* h1: carries a request */
    bool reused;                /* has carried one before */
    struct request *repeatable; /* what it carries, while nothing but its head is lost with it */
    union socket_address addr;  /* that it is connected to */
    uint16_t port;
    bool by_address;
    char address[64];
    uint64_t deadline;
};

/* The up side of an exchange until a connection has it. */
struct request {
    struct list link; /* of upstream.waiting */
    struct exchange *x;
    struct egress_box *box;
    union socket_address addr;
    char host[256];
    uint16_t port;
    bool has_addr, https, want_h2, upgrade, end, replay, paused;
    struct buf pending; /* body that came before the connection was there */
};

static void upstream_free(struct upstream *u);
static void forget_repeatable(struct upstream *u);
static int find_connection(struct request *q);

static struct policy_target target_of(const struct request *q)
{
    return (struct policy_target){.host = q->has_addr ? "" : q->host,
                                  .addr = q->has_addr ? &q->addr.sa : NULL,
                                  .port = q->port};
}

static void request_free(struct request *q)
{
    list_remove(&q->link);
    buf_deinit(&q->pending);
    free(q);
}

static void request_fail(struct request *q, uint16_t status, const char *reason)
{
    struct exchange *x = q->x;
    request_free(q);
    exchange_up_failed(x, status, reason);
}

/* ---- up ops ---- */

static int on_body(void *up, const uint8_t *data, size_t len)
{
    struct request *q = up;
    q->replay = false;
    buf_put(&q->pending, data, len); /* more than its bound is told when it would be sent */
    return EXCHANGE_FULL;
}

static void on_end(void *up, const struct http_head *trailers)
{
    struct request *q = up;
    (void)trailers; /* of a body as short as this nobody has any */
    q->end = true;
}

static void on_pause(void *up, bool paused)
{
    struct request *q = up;
    q->paused = paused;
}

static void on_cancel(void *up)
{
    request_free(up);
}

static const struct exchange_up_ops request_ops = {on_body, on_end, on_cancel, on_pause};

/* ---- giving a request to a connection ---- */

static void send_pending(const struct request *q, const struct exchange_up_ops *ops, void *up)
{
    int full = EXCHANGE_OK;
    if (q->paused)
        ops->pause(up, true);
    if (q->pending.len)
        full = ops->body(up, q->pending.data, q->pending.len);
    if (q->end)
        ops->end(up, NULL);
    else if (full == EXCHANGE_OK)
        exchange_up_drained(q->x);
}

/* A pooled connection may have died meanwhile: then a request that can be repeated is (see
 * on_closed). */
static int give(struct upstream *u, struct request *q)
{
    bool head_only = q->end && !q->pending.len;
    const struct exchange_up_ops *ops = u->h2 ? &h2_client_ops : &h1_client_ops;
    void *up = u->h1;
    int r = q->pending.err;
    if (r == 0)
        r = u->h2 ? h2_client_send(u->client2, q->x, head_only, &up)
                  : h1_client_send(u->h1, q->x, head_only, q->upgrade);
    if (r < 0)
        return r;
    u->busy = !u->h2;
    u->deadline = 0;
    exchange_set_up(q->x, ops, up, u->address);
    if (!head_only)
        send_pending(q, ops, up);
    else if (q->paused)
        ops->pause(up, true);
    list_remove(&q->link);
    if (u->reused && !u->h2 && q->replay)
        u->repeatable = q;
    else
        request_free(q);
    return 0;
}

/* Those that waited: the connection takes what it can, the others look for another. */
static void serve_waiting(struct upstream *u)
{
    struct list rest;
    list_init(&rest);
    while (!list_empty(&u->waiting)) {
        struct request *q = LIST_ENTRY(u->waiting.next, struct request, link);
        list_remove(&q->link);
        int r = (u->h2 || !u->busy) && !u->closing ? give(u, q) : -EAGAIN;
        if (r == -EAGAIN || r == -ECONNRESET)
            list_append(&rest, &q->link);
        else if (r < 0) /* no other connection would take it */
            request_fail(q, 502, "the request cannot be sent");
    }
    while (!list_empty(&rest)) {
        struct request *q = LIST_ENTRY(rest.next, struct request, link);
        list_remove(&q->link);
        if (find_connection(q) < 0)
            request_fail(q, 502, "out of memory");
    }
}

/* ---- events of the protocol ---- */

static void forget_repeatable(struct upstream *u)
{
    if (u->repeatable)
        request_free(u->repeatable);
    u->repeatable = NULL;
}

static void on_idle(void *conn)
{
    struct upstream *u = conn;
    forget_repeatable(u);
    u->busy = false;
    u->reused = true;
    u->deadline = uv_now(&u->box->egress->loop) + IDLE_MS;
}

static void on_closed(void *conn, const char *reason)
{
    struct upstream *u = conn;
    struct request *q = u->repeatable;
    struct exchange *x = u->h1 ? h1_client_take_back(u->h1) : NULL;
    u->repeatable = NULL;
    u->closing = true;
    if (q && x) {
        exchange_set_up(x, &request_ops, q, "");
        if (find_connection(q) < 0)
            request_fail(q, 502, "out of memory");
    } else if (x) {
        exchange_up_failed(x, 502, reason);
    }
    if (q && !x)
        request_free(q);
    upstream_free(u);
}

static const struct client_events client_events = {on_idle, on_closed};

static void fail_waiting(struct upstream *u, uint16_t status, const char *reason)
{
    while (!list_empty(&u->waiting))
        request_fail(LIST_ENTRY(u->waiting.next, struct request, link), status, reason);
}

static void give_up(struct upstream *u, uint16_t status, const char *reason)
{
    char text[256];
    snprintf(text, sizeof text, "%.120s: %.120s", u->host, reason);
    u->closing = true;
    fail_waiting(u, status, text);
    upstream_free(u);
}

static void upstream_free(struct upstream *u)
{
    list_remove(&u->link);
    u->box->nupstreams--;
    dial_cancel(u->dial);
    forget_repeatable(u);
    h1_client_free(u->h1);
    h2_client_free(u->client2);
    stream_close(u->stream);
    free(u);
}

/* ---- making one ---- */

static void ready(struct upstream *u)
{
    u->state = READY;
    u->deadline = 0;
    if (u->h2)
        u->client2 = h2_client_new(u->stream, &client_events, u);
    else
        u->h1 = h1_client_new(u->stream, &client_events, u);
    if (!u->h1 && !u->client2)
        give_up(u, 502, "out of memory");
    else
        serve_waiting(u);
}

static void on_open(void *user)
{
    struct upstream *u = user;
    u->h2 = upstream_chose_h2(stream_ssl(u->stream));
    ready(u);
}

static void on_failed(void *user, const char *reason)
{
    give_up(user, 502, reason);
}

static void on_eof(void *user)
{
    give_up(user, 502, "it closed the connection");
}

static void on_dialled(void *user, int fd, const union socket_address *addr, uint16_t status,
                       const char *reason)
{
    static const struct stream_ops ops = {.open = on_open, .failed = on_failed, .eof = on_eof};
    struct upstream *u = user;
    u->dial = NULL;
    if (addr) {
        u->addr = *addr;
        socket_address_text(addr, u->address);
    }
    if (fd < 0) {
        give_up(u, status, reason);
        return;
    }
    u->stream = stream_new(&u->box->egress->loop, fd, false, &ops, u);
    if (!u->stream) {
        give_up(u, 502, "out of memory");
        return;
    }
    if (!u->https) {
        u->h2 = u->wants_h2; /* prior knowledge: the box spoke it without asking, too */
        ready(u);
        return;
    }
    SSL *ssl = upstream_connect(u->box->egress->client, u->host, u->wants_h2, NULL);
    u->state = SECURING;
    u->deadline = uv_now(&u->box->egress->loop) + HANDSHAKE_MS;
    if (!ssl || stream_tls(u->stream, ssl, false) < 0)
        give_up(u, 502, "out of memory");
}

static void host_text(const struct request *q, char out[256])
{
    if (!q->has_addr)
        snprintf(out, 256, "%s", q->host);
    else if (q->addr.sa.sa_family == AF_INET)
        inet_ntop(AF_INET, &q->addr.v4.sin_addr, out, 256);
    else
        inet_ntop(AF_INET6, &q->addr.v6.sin6_addr, out, 256);
}

static struct upstream *make_upstream(struct request *q, const char *key)
{
    struct upstream *u = calloc(1, sizeof *u);
    struct policy_target t = target_of(q);
    if (!u)
        return NULL;
    u->box = q->box;
    snprintf(u->key, sizeof u->key, "%s", key);
    host_text(q, u->host);
    u->https = q->https;
    u->port = q->port;
    u->by_address = q->has_addr;
    u->wants_h2 = q->want_h2 && !q->upgrade;
    list_init(&u->waiting);
    list_append(&q->box->upstreams, &u->link);
    q->box->nupstreams++;
    u->dial = dial_start(&q->box->egress->dialler, q->box->policy, &t, on_dialled, u);
    if (!u->dial) {
        upstream_free(u);
        return NULL;
    }
    return u;
}

static bool usable(const struct upstream *u, const struct request *q)
{
    if (u->closing)
        return false;
    if (u->state != READY) /* one that may become HTTP/2 is worth waiting for */
        return q->want_h2 && u->wants_h2;
    return u->h2 ? q->want_h2 && !q->upgrade : !u->busy && !(q->want_h2 && !q->https);
}

/* The most recently used first: the others may come of age. */
static int find_connection(struct request *q)
{
    char key[KEY_MAX], host[256];
    host_text(q, host);
    snprintf(key, sizeof key, "%d %s %u", q->https, host, q->port);
    for (struct list *it = q->box->upstreams.prev; it != &q->box->upstreams; it = it->prev) {
        struct upstream *u = LIST_ENTRY(it, struct upstream, link);
        if (strcmp(u->key, key) || !usable(u, q))
            continue;
        if (u->state != READY) {
            list_append(&u->waiting, &q->link);
            return 0;
        }
        int r = give(u, q);
        if (r != -EAGAIN && r != -ECONNRESET)
            return r;
    }
    if (q->box->nupstreams >= BOX_UPSTREAMS_MAX)
        return -ENOBUFS;
    struct upstream *u = make_upstream(q, key);
    if (!u)
        return -ENOMEM;
    list_append(&u->waiting, &q->link);
    return 0;
}

int upstream_start(struct exchange *x, const struct upstream_wish *wish, bool end,
                   const struct exchange_up_ops **ret_ops, void **ret_up)
{
    struct request *q = calloc(1, sizeof *q);
    if (!q)
        return -ENOMEM;
    list_init(&q->link);
    buf_init(&q->pending, PENDING_MAX);
    q->x = x;
    q->box = exchange_box(x);
    q->https = wish->https;
    q->want_h2 = wish->h2;
    q->upgrade = wish->upgrade;
    q->replay = wish->replay;
    q->end = end;
    q->port = wish->target->port;
    snprintf(q->host, sizeof q->host, "%s", wish->target->host);
    if (wish->target->addr) {
        q->has_addr = true;
        memcpy(&q->addr, wish->target->addr,
               wish->target->addr->sa_family == AF_INET ? sizeof q->addr.v4 : sizeof q->addr.v6);
    }
    *ret_ops = &request_ops;
    *ret_up = q;
    if (find_connection(q) < 0) {
        request_free(q);
        return -ENOMEM;
    }
    return 0;
}

void upstreams_sweep(struct egress_box *b, uint64_t now_ms)
{
    LIST_FOREACH_SAFE (it, &b->upstreams) {
        struct upstream *u = LIST_ENTRY(it, struct upstream, link);
        if (!u->deadline || now_ms < u->deadline)
            continue;
        if (u->state == READY)
            upstream_free(u);
        else
            give_up(u, 504, "the TLS handshake takes too long");
    }
}

/* A pooled connection is no way round a policy that came after it. */
void upstreams_check(struct egress_box *b)
{
    LIST_FOREACH_SAFE (it, &b->upstreams) {
        struct upstream *u = LIST_ENTRY(it, struct upstream, link);
        struct policy_target t = {.host = u->by_address ? "" : u->host,
                                  .addr = u->by_address ? &u->addr.sa : NULL,
                                  .port = u->port};
        const char *reason;
        if (u->state == DIALLING || policy_allows_address(b->policy, &t, &u->addr.sa, &reason))
            continue;
        struct exchange *x = u->h1 ? h1_client_take_back(u->h1) : NULL;
        u->closing = true;
        if (x)
            exchange_up_failed(x, 520, reason);
        fail_waiting(u, 520, reason);
        upstream_free(u);
    }
}

void upstreams_close(struct egress_box *b)
{
    while (!list_empty(&b->upstreams))
        upstream_free(LIST_ENTRY(b->upstreams.next, struct upstream, link));
}
