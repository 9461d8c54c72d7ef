/*
 * A WebSocket connection of the HTTP server: codec over a tunnel, with pings and a bounded queue.
 * Runs in G.
 */
#pragma once

#include "kernel-gw/net/server.h"
#include "kernel-gw/net/websocket/codec.h"

struct websocket;

enum websocket_compression { WEBSOCKET_AUTO, WEBSOCKET_NEVER, WEBSOCKET_ALWAYS };

struct websocket_config {
    uv_loop_t *loop;
    size_t message_max;      /* bytes, of a message of the client */
    const char *subprotocol; /* chosen one, NULL: none */
    /* AUTO: where the client offers it, for messages of 1 KiB and more to another machine. */
    enum websocket_compression compression;
    void (*message)(void *user, bool binary, const uint8_t *data, size_t len);
    void (*drained)(void *user); /* room again after websocket_queued was over HTTP_QUEUE_HIGH */
    void (*closed)(void *user);  /* gone, whoever closed it; the last call */
    void *user;
};

/*
 * Answers the handshake. NULL with *ret_status (400, 426, 503) and a sentence: not answered yet,
 * the caller refuses.
 */
struct websocket *websocket_accept(struct exchange *x, const struct websocket_config *config,
                                   int *ret_status, const char **ret_why);
/* Whether a request wants to become a WebSocket at all. */
bool websocket_wanted(const struct http_request *r);
/* Negative errno: it is broken or closing, `closed` follows from the loop. */
int websocket_send(struct websocket *ws, bool binary, const struct ws_part *parts, unsigned n);
size_t websocket_queued(const struct websocket *ws);
/* With the close handshake; `closed` follows. */
void websocket_close(struct websocket *ws, unsigned code, const char *reason);
