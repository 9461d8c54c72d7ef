#include "kernel-gw/net/server.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernel-gw/net/private.h"
#include "sandbox/base/log.h"

enum {
    BACKLOG = 1024,
    TICK_MS = 1000,
    KEEPALIVE_S = 60,
    DISCARD_MS = 10000,
    QUEUE_MAX = 256 << 20
};

/* A response may be long under way; a connection without one may not. */
static void check_deadline(struct conn *c, uint64_t now)
{
    const struct http_server_config *cfg = &c->server->config;
    if (c->tunnel.open || c->closing)
        return;
    if (!admission_trusted(c) && !c->active && c->body != BODY_DISCARD &&
        now - (c->head_since_ms ? c->head_since_ms : c->progress_ms) > cfg->head_timeout_ms) {
        conn_timed_out(c);
        return;
    }
    if (c->body == BODY_DISCARD
            ? now - c->discard_since_ms > DISCARD_MS
            : c->body == BODY_READING && now - c->progress_ms > cfg->idle_timeout_ms) {
        conn_timed_out(c);
        return;
    }
    if (c->active || c->body == BODY_DISCARD)
        return;
    bool in_head = c->parser.in_message && !c->parser.headers_done;
    if (in_head && c->head_since_ms && now - c->head_since_ms > cfg->head_timeout_ms)
        conn_timed_out(c);
    else if (now - c->progress_ms > cfg->idle_timeout_ms)
        conn_timed_out(c);
}

static void on_tick(uv_timer_t *t)
{
    struct http_server *s = t->data;
    uint64_t now = uv_now(s->loop);
    LIST_FOREACH_SAFE (it, &s->conns)
        check_deadline(LIST_ENTRY(it, struct conn, item), now);
}

struct http_server *http_server_new(uv_loop_t *loop, const struct http_server_config *config,
                                    http_handler_fn *handler, void *user)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->loop = loop;
    s->config = *config;
    s->handler = handler;
    s->user = user;
    list_init(&s->conns);
    list_init(&s->listeners);
    list_init(&s->held);
    if (admission_init(&s->admission) < 0) {
        free(s);
        return NULL;
    }
    uv_timer_init(loop, &s->tick);
    s->tick.data = s;
    uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    return s;
}

static void on_refused_closed(uv_handle_t *h)
{
    free(h);
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *l = stream->data;
    struct http_server *s = l->server;
    if (status < 0) {
        log_warn("net", "accept", "error=%s", uv_err_name(status));
        return;
    }
    bool room = s->nconns < s->config.connections_max || admission_make_room(s);
    struct conn *c = room && !s->draining ? calloc(1, sizeof *c) : NULL;
    if (!c) {
        uv_tcp_t *drop = calloc(1, sizeof *drop);
        if (!drop)
            return;
        uv_tcp_init(s->loop, drop);
        uv_accept(stream, (uv_stream_t *)drop);
        uv_close((uv_handle_t *)drop, on_refused_closed);
        return;
    }
    c->server = s;
    uv_tcp_init(s->loop, &c->tcp);
    c->tcp.data = c;
    http_parser_init(&c->parser, &s->config.limits);
    c->parser.stop_at_head = s->config.judge != NULL;
    buf_init(&c->in, 4 << 20);
    c->out.max = c->sending.max = c->chunk.max = QUEUE_MAX;
    c->progress_ms = uv_now(s->loop);
    list_init(&c->entry.item);
    list_init(&c->held_item);
    list_append(&s->conns, &c->item);
    s->nconns++;
    if (uv_accept(stream, (uv_stream_t *)&c->tcp) < 0 || admission_enter(c) < 0) {
        conn_close(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, KEEPALIVE_S);
    conn_read_start(c);
}

static void on_listener_closed(uv_handle_t *h)
{
    free(h->data);
}

int http_server_listen(struct http_server *s, int take_fd)
{
    struct listener *l = calloc(1, sizeof *l);
    if (!l) {
        close(take_fd);
        return -ENOMEM;
    }
    l->server = s;
    uv_tcp_init(s->loop, &l->tcp);
    l->tcp.data = l;
    list_append(&s->listeners, &l->item);
    int r = uv_tcp_open(&l->tcp, take_fd);
    if (r < 0)
        close(take_fd);
    else
        r = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
    if (r < 0) {
        list_remove(&l->item);
        uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
    }
    return r;
}

void http_server_drain(struct http_server *s)
{
    s->draining = true;
    LIST_FOREACH_SAFE (it, &s->listeners) {
        struct listener *l = LIST_ENTRY(it, struct listener, item);
        list_remove(&l->item);
        uv_close((uv_handle_t *)&l->tcp, on_listener_closed);
    }
    LIST_FOREACH_SAFE (it, &s->conns) {
        struct conn *c = LIST_ENTRY(it, struct conn, item);
        if (!c->active && !c->tunnel.open)
            conn_close(c);
    }
}

void http_server_written(struct http_server *s, uint64_t number, bool written)
{
    struct list due; /* a release may begin another request, which may be held again */
    list_init(&due);
    LIST_FOREACH_SAFE (it, &s->held) {
        if (LIST_ENTRY(it, struct conn, held_item)->held <= number) {
            list_remove(it);
            list_append(&due, it);
        }
    }
    while (!list_empty(&due))
        conn_release(LIST_ENTRY(due.next, struct conn, held_item), written);
}

unsigned http_server_connections(const struct http_server *s)
{
    return s->nconns;
}

unsigned http_server_untrusted(const struct http_server *s)
{
    return s->admission.count;
}

unsigned long long http_server_evicted(const struct http_server *s)
{
    return s->admission.evicted;
}
