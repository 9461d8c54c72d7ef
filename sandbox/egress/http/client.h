/* The two protocols of a connection to the world, behind upstream.c. Runs in E. */
#pragma once

#include "sandbox/egress/http/exchange.h"
#include "sandbox/egress/net/stream.h"

struct h1_client;
struct h2_client;

/* Told by a client to the connection that it serves. */
struct client_events {
    void (*idle)(void *conn); /* may carry another request */
    void (*closed)(void *conn,
                   const char *reason); /* of no use any more: free it. Exchanges that had part of
                                           an answer have been told; see h1_client_take_back */
};

/* The stream is borrowed and its ops are set. send: the exchange's request (its head is read now).
 */
struct h1_client *h1_client_new(struct stream *s, const struct client_events *events, void *conn);
void h1_client_free(struct h1_client *c);
int h1_client_send(struct h1_client *c, struct exchange *x, bool end, bool upgrade);
extern const struct exchange_up_ops h1_client_ops; /* up = the client */
/* When it is closed: the exchange of which no byte of an answer has come, to be told by the caller.
 * NULL: none. */
struct exchange *h1_client_take_back(struct h1_client *c);

struct h2_client *h2_client_new(struct stream *s, const struct client_events *events, void *conn);
void h2_client_free(struct h2_client *c);
/* -EAGAIN: no stream is free; -ECONNRESET: it takes no new ones. */
int h2_client_send(struct h2_client *c, struct exchange *x, bool end, void **ret_up);
extern const struct exchange_up_ops h2_client_ops; /* up = *ret_up */
unsigned h2_client_streams(const struct h2_client *c);
