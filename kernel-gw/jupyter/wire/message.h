/*
 * Jupyter's wire protocol over ZeroMQ (messaging spec 5.5): frames to a checked message and back.
 * No I/O, no clock.
 *
 *   identities..., "<IDS|MSG>", HMAC-SHA256 as hex over the next four, header, parent, metadata,
 * content, buffers...
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum {
    JUPYTER_FRAMES_MAX = 96,
    JUPYTER_IDENTS_MAX = 16,
    JUPYTER_BUFFERS_MAX = 60,
    JUPYTER_ID_MAX = 128
};

enum channel { CHANNEL_SHELL, CHANNEL_CONTROL, CHANNEL_STDIN, CHANNEL_IOPUB, CHANNEL_HB, CHANNELS };

struct slice {
    const uint8_t *data;
    size_t len;
};
#define SLICE_STR(s) ((struct slice){(const uint8_t *)(s), sizeof(s) - 1})

struct jupyter_message {
    unsigned nidents, nbuffers;
    struct slice idents[JUPYTER_IDENTS_MAX];
    struct slice header, parent, metadata, content; /* each one well-formed JSON object */
    struct slice buffers[JUPYTER_BUFFERS_MAX];
    char msg_id[JUPYTER_ID_MAX], msg_type[64], session[JUPYTER_ID_MAX]; /* of the header */
    char subshell[40]; /* header's subshell_id (JEP 91); "" = the main shell, or one that cannot be
                        */
    bool names_subshell;
};

/* Headers and frames of one message to send. */
struct jupyter_parts {
    const char *msg_type;
    struct slice parent, metadata, content;
    unsigned nbuffers;
    const struct slice *buffers;
    uint64_t request; /* of an input_request: told apart by it when the answer comes; 0 = none */
};

/*
 * Why a message was refused; for logs and counters. The message is dropped, the connection stays: a
 * bad client must not disturb the others.
 */
enum jupyter_parse {
    JUPYTER_OK,
    JUPYTER_E_FRAMES = 1, /* no delimiter, too few or too many frames */
    JUPYTER_E_SIGNATURE,
    JUPYTER_E_JSON,
    JUPYTER_E_HEADER, /* msg_id or msg_type missing, too long or of the wrong type */
};

/* The key of a connection, ready for use. NULL stands for "messages are not signed" everywhere. */
struct jupyter_key;
/* *ret = NULL for an empty text. -ENOMEM. */
int jupyter_key_new(const char *text, struct jupyter_key **ret);
void jupyter_key_free(struct jupyter_key *k);

/* The result points into the frames. Signatures are compared in constant time. */
enum jupyter_parse jupyter_parse(const struct slice *frames, size_t n, struct jupyter_key *key,
                                 struct jupyter_message *ret);

enum { JUPYTER_SIGNATURE = 64 };
/* Hex signature of the four parts; empty string for an empty key. out has room for
 * JUPYTER_SIGNATURE + 1. */
void jupyter_sign(struct jupyter_key *key, const struct slice parts[4], char *out);

/* Id of the n-th message of a session; jupyter_request_of reads the request back. */
void jupyter_message_id(char *out, size_t cap, const char *session, uint64_t n, uint64_t request);
uint64_t jupyter_request_of(const char *msg_id); /* 0 = none */

/* Checks the four JSON parts and reads the header; for transports without signatures. idents stay
 * as they are. */
enum jupyter_parse jupyter_check(struct jupyter_message *m);

/* Appends a header object. user is "kernel"; date is the clock's, given in microseconds since 1970.
 */
int jupyter_put_header(struct buf *b, const char *msg_id, const char *msg_type, const char *session,
                       uint64_t time_us);

/*
 * The two messages of a registration (JEP 66) have one part: delimiter, signature, content. false:
 * not signed with key, or no JSON object.
 */
enum { JUPYTER_SINGLE_FRAMES = 3 };
void jupyter_put_single(struct jupyter_key *key, struct slice content, char *signature,
                        struct slice ret[JUPYTER_SINGLE_FRAMES]);
bool jupyter_get_single(struct jupyter_key *key, const struct slice *frames, size_t n,
                        struct slice *ret_content);

/* Identities as opaque bytes and back, so that a reply finds its way after a restart. */
int jupyter_put_route(struct buf *b, const struct slice *idents, unsigned n);
int jupyter_get_route(const uint8_t *data, size_t len, struct slice *ret_idents, unsigned *ret_n);
