#include "kernel-gw/auth/failures.h"

#include <stdlib.h>
#include <string.h>

#include "sandbox/base/log.h"
#include "sandbox/base/map.h"

enum {
    FREE_TRIES = 5,      /* within a window, answered at once */
    WINDOW_MS = 60000,   /* after the last wrong token */
    DELAY_MS = 1000,     /* of each further answer */
    ADDRESSES_MAX = 4096 /* remembered; the oldest is forgotten */
};

struct failures_entry {
    uint64_t last_ms, logged_ms;
    unsigned count;
};

struct failures {
    struct map *by_address;
    unsigned long long total;
};

struct failures *failures_new(void)
{
    struct failures *f = calloc(1, sizeof *f);
    if (f && (f->by_address = map_new()))
        return f;
    free(f);
    return NULL;
}

void failures_free(struct failures *f)
{
    size_t cursor = 0;
    if (!f)
        return;
    for (void *e; (e = map_next(f->by_address, &cursor, NULL));)
        free(e);
    map_free(f->by_address);
    free(f);
}

static struct failures_entry *failures_entry(struct failures *f, const char *address)
{
    struct failures_entry *e = map_get(f->by_address, address);
    size_t cursor = 0;
    const char *oldest;
    if (e)
        return e;
    if (map_count(f->by_address) >= ADDRESSES_MAX && map_next(f->by_address, &cursor, &oldest))
        free(map_remove(f->by_address, oldest));
    e = calloc(1, sizeof *e);
    if (e && map_add(f->by_address, address, e) < 0) {
        free(e);
        return NULL;
    }
    return e;
}

uint32_t failures_note(struct failures *f, const char *address, uint64_t now_ms)
{
    struct failures_entry *e = failures_entry(f, address);
    f->total++;
    if (!e)
        return DELAY_MS;
    if (now_ms - e->last_ms > WINDOW_MS)
        e->count = 0;
    e->last_ms = now_ms;
    e->count++;
    if (e->count == 1 || now_ms - e->logged_ms > WINDOW_MS / 6) {
        e->logged_ms = now_ms;
        log_warn("auth", "wrong token", "address=%s count=%u", address, e->count);
    }
    return e->count > FREE_TRIES ? DELAY_MS : 0;
}

unsigned long long failures_total(const struct failures *f)
{
    return f->total;
}
