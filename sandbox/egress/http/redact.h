/*
 * Takes credentials out of what comes back: an echo service, an error page or a debug header may
 * repeat the very header that was injected. Each occurrence of a needle becomes asterisks of the
 * same length, across the borders of chunks; bytes are held back only while they could be the
 * beginning of one. Pure.
 */
#pragma once

#include "sandbox/base/buf.h"

enum { REDACT_NEEDLES = 8, REDACT_NEEDLE_MIN = 6, REDACT_NEEDLE_MAX = 8192 };

struct redact {
    char *needles[REDACT_NEEDLES];
    size_t lens[REDACT_NEEDLES];
    unsigned n;
    struct buf held;
};

void redact_init(struct redact *r);
void redact_deinit(struct redact *r);
/* Shorter ones than REDACT_NEEDLE_MIN would mangle everything and are left out. */
int redact_add(struct redact *r, const char *needle, size_t len);
/* Appends what can go on to out. last: nothing is held back. */
int redact_feed(struct redact *r, const uint8_t *data, size_t len, bool last, struct buf *out);
void redact_text(const struct redact *r, char *text, size_t len); /* in place, one whole text */
