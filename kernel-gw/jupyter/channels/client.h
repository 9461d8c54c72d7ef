/* One session of one kernel over WebSocket. Shared by the files of channels/. */
#pragma once

#include "kernel-gw/jupyter/channels/channels.h"
#include "kernel-gw/jupyter/channels/frames.h"
#include "kernel-gw/net/websocket/websocket.h"

enum { SESSION_MAX = 128, DEATHS_MAX = 5 };

/* A reply that came while the client was away. */
struct missed {
    struct list link;
    enum channel channel;
    char msg_type[32];
    uint64_t request;
    struct buf parent, content;
};

/* Between a WebSocket and its client, so that a session can change its connection. */
struct connection {
    struct client *client; /* NULL: replaced, or its kernel has gone */
    struct websocket *ws;
};

struct client {
    struct list link; /* door->clients */
    struct door *door;
    struct context *context;
    char kernel[37];
    char session[SESSION_MAX];
    char own[37];     /* session of the messages that we send */
    uint64_t counter; /* of messages sent: makes their ids */
    struct port port;
    struct subscription *subscription;
    struct connection *connection; /* NULL: away */
    enum channels_form form;
    struct list missed;
    size_t nmissed, missed_bytes;
    uint64_t lost_bytes; /* of output, while away: the client is told when it comes back */
    unsigned lost_replies;
    uint64_t deaths[DEATHS_MAX]; /* when the interpreter died, by the loop's clock */
    unsigned ndeaths;
    uv_timer_t away;
    uv_idle_t later; /* what must not happen inside of a callback: restart, shutdown */
    unsigned handles;
    bool closing, restart_wanted, end_wanted;
};

/* client.c */
struct client *client_new(struct door *d, struct context *c, const char *session);
void client_free(struct client *cl);
void client_attach(struct client *cl, struct connection *cn, enum channels_form form);
void client_detach(struct client *cl); /* its connection is gone */
/* -EPIPE and the like are not worth a word: the connection's end follows. */
void client_send(struct client *cl, enum channel ch, const struct jupyter_parts *parts);
void client_message(struct client *cl, bool binary, const uint8_t *data, size_t len);
void client_route(const struct client *cl, struct slice *ret, char *room, size_t cap);
/* The session in a route; NULL: not a WebSocket client's. */
const char *client_route_session(struct slice route, char *room, size_t cap);

/* events.c */
int client_event(void *user, const struct context_event *ev);
void client_lost(void *user, uint64_t bytes);
void client_say_lost(struct client *cl);
