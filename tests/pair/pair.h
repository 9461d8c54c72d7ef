/*
 * Both ends of the egress process in one program: bytes of a box in, through the real server, the
 * exchange, the pool and the real client, and what an origin would read is taken apart again by
 * strict parsers that share no code with ours. Streams, dialling and the log are doubles.
 *
 * Input: sixteen control bytes, then what the box sends; after a line "====" what an origin answers
 * where the control bytes say so.
 *   0      bit 0: the box speaks HTTP/2, bit 1: so does the origin, bit 2: small socket buffers
 *   1..7   how the origin answers its n-th request (see origin.c)
 *   8..15  lengths of the pieces that the box's bytes come in; 0: the rest
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum { PAIR_CONTROL = 16, PAIR_SEEN_MAX = 256 };

/* NULL: the origin saw the requests that were judged, with the credential, and nothing else; or
 * what is wrong. */
const char *pair_run(const uint8_t *data, size_t size);
/* Of the last run, for tests: how many requests were allowed, and answered by the origin. */
unsigned pair_allowed(void);
unsigned pair_answered(void);

/* ---- between pair.c and the origin ---- */

#define PAIR_KEY "the-injected-key"

struct seen {
    char method[32], path[1100]; /* as the log writes it: query values left out */
    uint64_t body;
    bool whole, answered, switched; /* switched: what follows is no HTTP */
};

/* What one origin says next; the bytes are appended to out. */
struct origin_says {
    struct buf out;
    bool end; /* and then nothing more */
};

struct origin;
struct origin *origin_new(bool h2, const uint8_t *control, const uint8_t *raw, size_t raw_len,
                          unsigned *counter);
void origin_free(struct origin *o);
/* Bytes from our client. The text of what is wrong with them, or NULL. */
const char *origin_feed(struct origin *o, const uint8_t *data, size_t len,
                        struct origin_says *says);
const struct seen *origin_seen(const struct origin *o, size_t *ret_n);
/* "/a?b=c&d" -> "/a?b=&d" */
void pair_loggable(const char *target, size_t len, char out[1100]);
