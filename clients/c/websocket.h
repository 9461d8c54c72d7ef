/* A WebSocket to the server: libcurl for the connection (and its TLS), wslay for the frames. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/c/server.h"
#include "clients/c/text.h"

struct websocket;

struct websocket_handler {
    void (*message)(void *user, bool binary, const uint8_t *data, size_t len);
    void *user;
};

/*
 * Connects and shakes hands. NULL: *ret_status is the server's HTTP status, 0 = there was no
 * answer, and *ret_why its answer or what went wrong. No memory: status 0, *ret_why is empty.
 */
struct websocket *websocket_open(const struct server *s, const char *path,
                                 const struct websocket_handler *handler, long *ret_status,
                                 struct str *ret_why);
void websocket_close(struct websocket *ws); /* NULL is fine */
/* Descriptor to wait for; websocket_wants_write: also until it can be written. */
int websocket_fd(const struct websocket *ws);
bool websocket_wants_write(const struct websocket *ws);
size_t websocket_queued(const struct websocket *ws); /* bytes that wait to be written */
/* Reads and writes what is possible now. false: the connection has ended. */
bool websocket_step(struct websocket *ws);
/* false: the connection has ended, or there is no memory. */
bool websocket_send(struct websocket *ws, bool binary, const void *data, size_t len);
