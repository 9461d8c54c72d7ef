/*
 * Takes credentials out of what comes back: an echo service, an error page or a debug header may
 * repeat the very header that was injected. Each occurrence of a needle becomes asterisks of the
 * same length, across the borders of chunks, also where characters of it are percent-encoded, form
 * encoded or escaped as in JSON. Bytes are held back only while REDACT_HOLD or more characters of a
 * needle stand at the end, so that a stream is not held up by chance; what was let go of a needle
 * that does follow is fewer than that. Pure.
 */
#pragma once

#include "sandbox/base/buf.h"

enum { REDACT_NEEDLES = 1024, REDACT_NEEDLE_MIN = 6, REDACT_NEEDLE_MAX = 65536, REDACT_HOLD = 3 };

struct redact {
    struct redact_needle *needles;
    unsigned n, room;
    uint16_t first[256]; /* index + 1 of the first needle that begins with it */
    struct buf held;
    size_t emitted; /* of held: has gone on already */
};

void redact_init(struct redact *r);
void redact_deinit(struct redact *r);
/* Shorter ones than REDACT_NEEDLE_MIN would mangle everything and are left out. -ENOMEM, -E2BIG. */
int redact_add(struct redact *r, const char *needle, size_t len);
/* The value, and what it looks like in base64 (whatever stands before it, both alphabets) and in
 * hexadecimal digits. */
int redact_add_value(struct redact *r, const char *value, size_t len);
/* Appends what can go on to out. last: nothing is held back. */
int redact_feed(struct redact *r, const uint8_t *data, size_t len, bool last, struct buf *out);
void redact_text(const struct redact *r, char *text, size_t len); /* in place, one whole text */
