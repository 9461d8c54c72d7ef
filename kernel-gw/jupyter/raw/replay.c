/*
 * A signed message is good once: who can read a socket but has no key must not have a cell run
 * again. Two tables take turns; a signature is random to whoever has no key, so its first 64 bits
 * stand for it.
 */
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/raw/private.h"

static uint64_t digest(const struct slice *signature)
{
    uint64_t v = 0;
    for (size_t i = 0; i < 16 && i < signature->len; i++) {
        uint8_t c = signature->data[i];
        v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return v ? v : 1;
}

/* The slot that holds it, or the free one where it belongs. */
static uint64_t *slot(uint64_t *table, uint64_t v)
{
    size_t i = v % REPLAY_SLOTS;
    while (table[i] && table[i] != v)
        i = (i + 1) % REPLAY_SLOTS;
    return &table[i];
}

bool replay_is_new(struct replay *r, const struct slice *signature)
{
    uint64_t v = digest(signature);
    if (!r->now)
        r->now = calloc(REPLAY_SLOTS, sizeof *r->now);
    if (!r->before)
        r->before = calloc(REPLAY_SLOTS, sizeof *r->before);
    if (!r->now || !r->before || *slot(r->now, v) || *slot(r->before, v))
        return false;
    if (r->n == REPLAY_KEPT) {
        uint64_t *old = r->before;
        r->before = r->now;
        r->now = old;
        r->n = 0;
        memset(r->now, 0, REPLAY_SLOTS * sizeof *r->now);
    }
    *slot(r->now, v) = v;
    r->n++;
    return true;
}

void replay_deinit(struct replay *r)
{
    free(r->now);
    free(r->before);
}
