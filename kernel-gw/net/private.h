/* Bodies shared by server.c and conn.c. */
#pragma once

#include <stdio.h>

#include "kernel-gw/net/admission.h"
#include "kernel-gw/net/server.h"
#include "sandbox/base/list.h"

/* How the body of the running request is read. */
enum body_mode {
    BODY_WHOLE,   /* it is complete, or being collected before the handler is called */
    BODY_PAUSED,  /* in pieces; the handler wants none now */
    BODY_READING, /* in pieces */
    BODY_DISCARD, /* the response is out, what the client still sends is dropped for a while */
};

struct exchange {
    const struct exchange_ops *ops;
    void *user;
    bool chunked;
};

struct tunnel {
    const struct tunnel_ops *ops; /* NULL: closed by its owner */
    void *user;
    bool open;
};

struct conn {
    struct list item;
    struct admission_entry entry;
    struct http_server *server;
    uv_tcp_t tcp;
    uv_write_t write;
    struct http_parser parser;
    struct exchange x;
    struct tunnel tunnel;
    enum body_mode body;
    bool active;     /* the handler has the exchange */
    bool processing; /* inside process(): the connection must not be freed or re-entered */
    bool broken;     /* to be closed as soon as that is safe */
    bool closing, paused, close_after, close_when_sent, above_low, refused;
    struct buf in;          /* received, not parsed yet */
    struct buf out;         /* to be sent */
    struct buf sending;     /* libuv has it */
    struct buf chunk;       /* chunk under construction */
    struct buf extra;       /* header lines of the response to come */
    uint64_t head_since_ms; /* first byte of the current request, 0 = none */
    uint64_t progress_ms, discard_since_ms;
    size_t discarded;
    struct list held_item;
    uint64_t held; /* number of the change that the output from held_from on waits for, 0 = none */
    size_t held_from; /* in out */
};

struct listener {
    struct list item;
    uv_tcp_t tcp;
    struct http_server *server;
};

struct http_server {
    uv_loop_t *loop;
    struct http_server_config config;
    http_handler_fn *handler;
    void *user;
    struct list conns, listeners, held;
    struct admission admission;
    unsigned nconns;
    bool draining;
    uv_timer_t tick;
    char scratch[64 << 10];
};

void conn_close(struct conn *c);
void conn_read_start(struct conn *c);
void conn_timed_out(struct conn *c);
void conn_flush(struct conn *c);
void conn_release(struct conn *c, bool written);
/* Text of the peer's address; of IPv6 its /64. */
void conn_address(const struct conn *c, char *out, size_t cap);

/* tunnel.c: what happens to a connection that was upgraded */
void tunnel_received(struct conn *c, const void *data, size_t len);
void tunnel_sent(struct conn *c);
void tunnel_closed(struct conn *c);
