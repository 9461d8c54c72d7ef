#include "kernel-gw/net/websocket/websocket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A client that is silent for DEAD_MS, pings included, has gone. */
enum { PING_MS = 30000, DEAD_MS = 90000, CLOSE_MS = 5000, COMPRESS_MIN = 1024 };

struct websocket {
    struct websocket_config config;
    struct tunnel *tunnel; /* NULL: gone */
    struct ws_codec *codec;
    uv_timer_t timer;
    uint64_t heard_ms;
    bool compress, closing, busy;
};

static void on_timer_closed(uv_handle_t *h)
{
    struct websocket *ws = h->data;
    ws_codec_free(ws->codec);
    free(ws);
}

/* The tunnel is gone or given up. */
static void end(struct websocket *ws)
{
    void (*closed)(void *) = ws->config.closed;
    ws->config.closed = NULL;
    ws->tunnel = NULL;
    if (closed)
        closed(ws->config.user);
    if (!uv_is_closing((uv_handle_t *)&ws->timer))
        uv_close((uv_handle_t *)&ws->timer, on_timer_closed);
}

static void on_closed(void *user)
{
    end(user);
}

static void on_drained(void *user)
{
    struct websocket *ws = user;
    if (!ws->closing && ws->config.drained)
        ws->config.drained(ws->config.user);
}

static void on_received(void *user, const uint8_t *data, size_t len)
{
    struct websocket *ws = user;
    ws->heard_ms = uv_now(ws->config.loop);
    int r = ws_codec_feed(ws->codec, data, len);
    if (!ws->tunnel)
        return;
    if (r == 0) {
        tunnel_flush(ws->tunnel);
        return;
    }
    if (r == 1)
        tunnel_finish(ws->tunnel);
    else
        tunnel_close(ws->tunnel);
    end(ws);
}

static void on_tick(uv_timer_t *t)
{
    struct websocket *ws = t->data;
    uint64_t silent = uv_now(ws->config.loop) - ws->heard_ms;
    if (ws->closing || silent > DEAD_MS) {
        tunnel_close(ws->tunnel);
        end(ws);
        return;
    }
    ws_codec_ping(ws->codec);
    tunnel_flush(ws->tunnel);
}

static void on_message(void *user, bool binary, const uint8_t *data, size_t len)
{
    struct websocket *ws = user;
    if (!ws->closing)
        ws->config.message(ws->config.user, binary, data, len);
}

bool websocket_wanted(const struct http_request *r)
{
    const char *upgrade = http_header(r, "upgrade"), *connection = http_header(r, "connection");
    return upgrade && connection && http_has_token(upgrade, "websocket") &&
           http_has_token(connection, "upgrade");
}

static const struct tunnel_ops tunnel_ops = {on_received, on_drained, on_closed};

/* NULL: fine. */
static const char *check(const struct http_request *r, char *accept, int *ret_status)
{
    const char *key = http_header(r, "sec-websocket-key"),
               *version = http_header(r, "sec-websocket-version");
    *ret_status = 400;
    if (r->method != HTTP_GET || !websocket_wanted(r)) {
        *ret_status = 426;
        return "this is a WebSocket: Upgrade: websocket is missing";
    }
    if (!version || strcmp(version, "13")) {
        *ret_status = 426;
        return "Sec-WebSocket-Version must be 13";
    }
    return key && ws_accept_key(key, accept) ? NULL : "Sec-WebSocket-Key is missing or malformed";
}

struct websocket *websocket_accept(struct exchange *x, const struct websocket_config *config,
                                   int *ret_status, const char **ret_why)
{
    const struct http_request *r = exchange_request(x);
    char accept[32], headers[400];
    *ret_why = check(r, accept, ret_status);
    if (*ret_why)
        return NULL;
    struct websocket *ws = calloc(1, sizeof *ws);
    if (!ws) {
        *ret_status = 503;
        *ret_why = "out of memory";
        return NULL;
    }
    bool deflate = config->compression != WEBSOCKET_NEVER &&
                   ws_offers_deflate(http_header(r, "sec-websocket-extensions"));
    ws->config = *config;
    snprintf(headers, sizeof headers,
             "Upgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n%s%s%s%s%s%s", accept,
             config->subprotocol ? "Sec-WebSocket-Protocol: " : "",
             config->subprotocol ? config->subprotocol : "", config->subprotocol ? "\r\n" : "",
             deflate ? "Sec-WebSocket-Extensions: " : "", deflate ? ws_deflate_answer : "",
             deflate ? "\r\n" : "");
    uv_timer_init(config->loop, &ws->timer);
    ws->timer.data = ws;
    ws->heard_ms = uv_now(config->loop);
    ws->tunnel = exchange_upgrade(x, headers, &tunnel_ops, ws);
    struct ws_codec_ops ops = {.message = on_message, .user = ws};
    ws->codec = ws_codec_new(tunnel_out(ws->tunnel), config->message_max, deflate, &ops);
    ws->compress =
        deflate && (config->compression == WEBSOCKET_ALWAYS || !tunnel_is_local(ws->tunnel));
    if (!ws->codec) {
        ws->config.closed = NULL;
        tunnel_close(ws->tunnel);
        end(ws);
        *ret_status = 0; /* answered: there is no way back from 101 */
        *ret_why = "out of memory";
        return NULL;
    }
    uv_timer_start(&ws->timer, on_tick, PING_MS, PING_MS);
    return ws;
}

int websocket_send(struct websocket *ws, bool binary, const struct ws_part *parts, unsigned n)
{
    size_t total = 0;
    if (!ws->tunnel || ws->closing)
        return -EPIPE;
    for (unsigned i = 0; i < n; i++)
        total += parts[i].len;
    int r = ws_codec_send(ws->codec, binary, parts, n, ws->compress && total >= COMPRESS_MIN);
    tunnel_flush(ws->tunnel);
    return r;
}

size_t websocket_queued(const struct websocket *ws)
{
    return ws->tunnel ? tunnel_queued(ws->tunnel) : 0;
}

void websocket_close(struct websocket *ws, unsigned code, const char *reason)
{
    if (!ws->tunnel || ws->closing)
        return;
    ws->closing = true;
    ws_codec_close(ws->codec, code, reason);
    tunnel_flush(ws->tunnel);
    uv_timer_start(&ws->timer, on_tick, CLOSE_MS, 0);
}
