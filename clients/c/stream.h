/* A stream of events over as many connections as it takes. */
#pragma once

#include "clients/c/client.h"
#include "clients/c/sse.h"

enum { STREAM_ON = 0, STREAM_OVER = 1 };

struct stream {
    struct cellbox_client *client;
    /* STREAM_ON, STREAM_OVER, or CELLBOX_E_* after error_set(). */
    int (*on_event)(void *user, const char *type, const json_t *event, struct cellbox_error *error);
    void *user;
    struct request first;
    bool idempotent;
    /* Where a connection that broke off is taken up, with Last-Event-ID; empty: it is not. */
    struct str again;
};

/* Until on_event says that it is over. Frees nothing but what it made; s->again is the caller's. */
int stream_run(struct stream *s, struct cellbox_error *error);

/* The bytes of a piece of output {data, encoding}, in *hold where they had to be decoded. */
int stream_piece(const json_t *event, const char *key, const char *encoding_key, struct str *hold,
                 const char **ret, size_t *ret_len);
