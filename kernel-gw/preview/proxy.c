/*
 * One request of a preview: head and body to the box, response back, both as they come, each side
 * waiting for the other; after 101 bytes both ways.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/preview/private.h"

struct proxy {
    struct gateway *gw;
    struct exchange *x; /* NULL once upgraded, or when the client has gone */
    struct tunnel *tunnel;
    struct upstream *up;
    struct preview_target target;
    struct response in;
    struct sandbox_hold hold;
    bool waiting; /* for the sandbox */
    bool upgrade, begun, sent_any, received_any, body_chunked, feeding, over;
};

static void connect_up(struct proxy *p, bool reuse);

static void proxy_free(struct proxy *p)
{
    sandbox_release(&p->hold);
    upstream_free(p->up);
    response_deinit(&p->in);
    free(p);
}

/* The end. While bytes are being fed, the feeder frees. */
static void finish(struct proxy *p)
{
    p->over = true;
    if (!p->feeding)
        proxy_free(p);
}

static struct exchange *let_go(struct proxy *p)
{
    struct exchange *x = p->x;
    p->x = NULL;
    exchange_set_ops(x, NULL, NULL);
    return x;
}

static void fail(struct proxy *p, int status, const char *code, const char *title, const char *text)
{
    struct gateway *gw = p->gw;
    if (p->tunnel) {
        struct tunnel *t = p->tunnel;
        p->tunnel = NULL;
        tunnel_close(t);
    }
    if (p->x) {
        struct exchange *x = let_go(p);
        if (p->begun)
            exchange_abort(x);
        else
            preview_page(gw, x, status, code, title, text);
    }
    finish(p);
}

static void fail_broken(struct proxy *p)
{
    fail(p, 502, "BAD_GATEWAY", "No proper answer",
         "The program in the sandbox closed the connection or did not speak HTTP.");
}

/* ---- the client ---- */

static void on_client_gone(void *user)
{
    struct proxy *p = user;
    p->x = NULL;
    if (p->waiting)
        sandbox_forget(p->gw->manager, p);
    finish(p);
}

static void on_client_drained(void *user)
{
    struct proxy *p = user;
    upstream_read(p->up, true);
}

static void on_body(void *user, const char *data, size_t len)
{
    struct proxy *p = user;
    char size[24];
    p->sent_any = true;
    if (p->body_chunked)
        upstream_write(p->up, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", len));
    upstream_write(p->up, data, len);
    if (p->body_chunked)
        upstream_write(p->up, "\r\n", 2);
    if (upstream_queued(p->up) > HTTP_QUEUE_HIGH)
        exchange_body_read(p->x, false);
}

static void on_body_end(void *user)
{
    struct proxy *p = user;
    if (p->body_chunked)
        upstream_write(p->up, "0\r\n\r\n", 5);
}

static const struct exchange_ops client_ops = {.closed = on_client_gone,
                                               .drained = on_client_drained,
                                               .body = on_body,
                                               .body_end = on_body_end};

/* ---- after an upgrade ---- */

static void on_tunnel_received(void *user, const uint8_t *data, size_t len)
{
    struct proxy *p = user;
    upstream_write(p->up, data, len);
    if (upstream_queued(p->up) > HTTP_QUEUE_HIGH)
        tunnel_read(p->tunnel, false);
}

static void on_tunnel_closed(void *user)
{
    struct proxy *p = user;
    p->tunnel = NULL;
    finish(p);
}

static const struct tunnel_ops tunnel_ops = {
    .received = on_tunnel_received, .drained = on_client_drained, .closed = on_tunnel_closed};

static void to_tunnel(struct proxy *p, const char *data, size_t len)
{
    if (!len)
        return;
    buf_put(tunnel_out(p->tunnel), data, len);
    tunnel_flush(p->tunnel);
    if (tunnel_queued(p->tunnel) > HTTP_QUEUE_HIGH)
        upstream_read(p->up, false);
}

static void switch_protocols(struct proxy *p)
{
    CLEANUP_BUF struct buf headers = {0};
    preview_put_response(&headers, &p->in, exchange_request(p->x), &p->target, true);
    struct exchange *x = let_go(p);
    api_count(p->gw, 101);
    p->tunnel = exchange_upgrade(x, buf_str(&headers), &tunnel_ops, p);
}

/* ---- the box ---- */

static void begin_response(struct proxy *p)
{
    CLEANUP_BUF struct buf headers = {0};
    const struct http_request *r = exchange_request(p->x);
    p->begun = true;
    api_count(p->gw, p->in.status);
    preview_put_response(&headers, &p->in, r, &p->target, false);
    exchange_begin_foreign(p->x, p->in.status, response_reason(&p->in), buf_str(&headers),
                           p->in.length);
}

static void end_response(struct proxy *p, bool clean)
{
    bool keep = clean && p->in.keep_alive && !exchange_body_pending(p->x) && !p->upgrade;
    struct exchange *x = let_go(p);
    if (keep) {
        struct upstream *up = p->up;
        p->up = NULL;
        upstream_keep(up);
    }
    exchange_end(x);
    finish(p);
}

static void feed(struct proxy *p, const char *data, size_t len)
{
    size_t at = 0;
    while (!p->over && !p->tunnel && (at < len || p->in.at_piece || p->in.at_head)) {
        size_t used = 0;
        int r = response_feed(&p->in, data + at, len - at, &used);
        at += used;
        if (r < 0) {
            fail_broken(p);
        } else if (r == RESPONSE_HEAD && p->in.status == 101) {
            if (p->upgrade)
                switch_protocols(p);
            else
                fail_broken(p);
        } else if (r == RESPONSE_HEAD) {
            begin_response(p);
        } else if (r == RESPONSE_PIECE) {
            exchange_write(p->x, p->in.piece, p->in.piece_len);
        } else if (r == RESPONSE_DONE) {
            end_response(p, at == len);
        }
    }
    if (p->tunnel)
        to_tunnel(p, data + at, len - at);
    else if (!p->over && p->begun)
        exchange_flush(p->x); /* a head alone goes out at once */
}

static void on_received(void *user, const char *data, size_t len)
{
    struct proxy *p = user;
    p->received_any = true;
    if (p->tunnel) {
        to_tunnel(p, data, len);
        return;
    }
    p->feeding = true;
    feed(p, data, len);
    p->feeding = false;
    if (p->over)
        proxy_free(p);
    else if (p->x && exchange_queued(p->x) > HTTP_QUEUE_HIGH)
        upstream_read(p->up, false);
}

static void on_drained(void *user)
{
    struct proxy *p = user;
    if (p->tunnel)
        tunnel_read(p->tunnel, true);
    else if (p->x)
        exchange_body_read(p->x, true);
}

static void on_ended(void *user)
{
    struct proxy *p = user;
    if (p->tunnel) {
        struct tunnel *t = p->tunnel;
        p->tunnel = NULL;
        tunnel_finish(t);
        finish(p);
    } else if (!p->received_any && !p->sent_any && upstream_reused(p->up)) {
        /* It was closing when it was taken: the request was never looked at. */
        upstream_free(p->up);
        p->up = NULL;
        connect_up(p, false);
    } else if (p->begun && response_end(&p->in) == RESPONSE_DONE) {
        end_response(p, false);
    } else {
        fail_broken(p);
    }
}

static void on_connected(void *user, int error)
{
    struct proxy *p = user;
    if (error) {
        fail(p, 502, error == -ECONNREFUSED ? "SERVICE_NOT_RESPONDING" : "BAD_GATEWAY",
             "Nothing answers there",
             "No program listens on this port of the sandbox. It may not have been started yet, or "
             "have ended; reload once it runs.");
        return;
    }
    upstream_read(p->up, true);
    exchange_body_read(p->x, true);
}

static const struct upstream_ops upstream_ops = {
    .connected = on_connected, .received = on_received, .drained = on_drained, .ended = on_ended};

static void connect_up(struct proxy *p, bool reuse)
{
    CLEANUP_BUF struct buf head = {0};
    struct sandbox *sb = sandbox_get(p->gw->manager, p->target.label.sandbox);
    const struct http_request *r = exchange_request(p->x);
    if (preview_put_request(&head, p->gw, r, &p->target, p->upgrade) == 0 && sb)
        p->up = upstream_open(p->gw, sb, p->target.label.port, reuse, &upstream_ops, p);
    if (!p->up) {
        fail(p, 503, "OUT_OF_MEMORY", "Not now", "The sandbox could not be reached.");
        return;
    }
    upstream_write(p->up, head.data, head.len);
    if (upstream_reused(p->up))
        on_connected(p, 0);
}

/* Only what may be sent twice goes over a connection that may be closing right now. */
static bool may_repeat(const struct http_request *r)
{
    return !r->has_body &&
           (r->method == HTTP_GET || r->method == HTTP_HEAD || r->method == HTTP_OPTIONS);
}

static void on_running(void *user, const struct err *e)
{
    struct proxy *p = user;
    p->waiting = false;
    if (e->code)
        fail(p, 503, "SANDBOX_START_FAILED", "The sandbox did not start", "Try again in a moment.");
    else
        connect_up(p, !p->upgrade && may_repeat(exchange_request(p->x)));
}

void proxy_start(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct preview_target *t)
{
    struct sandbox *sb = sandbox_get(gw->manager, t->label.sandbox);
    struct proxy *p = sb ? calloc(1, sizeof *p) : NULL;
    if (!p) {
        preview_page(gw, x, 503, "OUT_OF_MEMORY", "Not now", "The sandbox could not be reached.");
        return;
    }
    p->gw = gw;
    p->x = x;
    p->target = *t; /* rest points into the request, which lives as long as the exchange */
    response_init(&p->in);
    p->in.no_body = r->method == HTTP_HEAD;
    p->upgrade = r->upgrade && http_header(r, "upgrade");
    p->body_chunked = r->has_body && r->body_length == UINT64_MAX;
    exchange_set_ops(x, &client_ops, p);
    p->waiting = true;
    sandbox_hold(sb, &p->hold);
    if (sandbox_when_running(sb, on_running, p) < 0)
        fail(p, 503, "OUT_OF_MEMORY", "Not now", "The sandbox could not be reached.");
}
