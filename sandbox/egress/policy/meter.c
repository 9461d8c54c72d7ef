#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/map.h"
#include "sandbox/egress/policy/model.h"

enum { HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS, BUCKETS_MAX = 4096 };

/* What a rule, or the box as a whole, has used. */
struct bucket {
    double tokens;
    uint64_t filled_ms, bytes, window_from_ms;
    bool used;
};

struct policy_meter {
    struct map *rules;
    struct bucket whole;
};

struct policy_meter *policy_meter_new(void)
{
    struct policy_meter *m = calloc(1, sizeof *m);
    if (m && !(m->rules = map_new())) {
        free(m);
        return NULL;
    }
    return m;
}

void policy_meter_free(struct policy_meter *m)
{
    size_t cursor = 0;
    if (!m)
        return;
    for (struct bucket *b; (b = map_next(m->rules, &cursor, NULL));)
        free(b);
    map_free(m->rules);
    free(m);
}

static bool is_of(const struct policy *p, const char *name)
{
    for (size_t i = 0; i < p->nrules; i++)
        if (!strcmp(p->rules[i].name, name))
            return true;
    return false;
}

/* Of ever new names only those of the policy stay: it has fewer than there may be buckets. */
static void forget(struct policy_meter *m, const struct policy *p)
{
    size_t cursor = 0;
    const char *name;
    for (struct bucket *b; (b = map_next(m->rules, &cursor, &name));)
        if (!is_of(p, name)) {
            map_remove(m->rules, name);
            free(b);
        }
}

/* NULL: out of memory. */
static struct bucket *bucket_of(struct policy_meter *m, const struct policy *p,
                                const struct policy_rule *rule)
{
    struct bucket *b = map_get(m->rules, rule->name);
    if (b)
        return b;
    if (map_count(m->rules) >= BUCKETS_MAX)
        forget(m, p);
    b = calloc(1, sizeof *b);
    if (b && map_add(m->rules, rule->name, b) < 0) {
        free(b);
        return NULL;
    }
    return b;
}

static bool take(struct bucket *b, const struct rate *r, uint64_t now_ms, uint64_t *ret_retry_ms)
{
    if (!b->used)
        b->tokens = r->burst;
    else
        b->tokens += (double)(now_ms - b->filled_ms) * r->per_ms;
    b->used = true;
    b->filled_ms = now_ms;
    if (b->tokens > r->burst)
        b->tokens = r->burst;
    if (b->tokens >= 1) {
        b->tokens--;
        return true;
    }
    *ret_retry_ms = (uint64_t)((1 - b->tokens) / r->per_ms) + 1;
    return false;
}

bool policy_meter_request(struct policy_meter *m, const struct policy *p,
                          const struct policy_rule *rule, uint64_t now_ms, const char **ret_reason,
                          uint64_t *ret_retry_ms)
{
    struct bucket *b;
    *ret_retry_ms = 1000; /* if memory is short */
    *ret_reason = "the sandbox's rate of requests is exceeded";
    if (p->rate.per_ms > 0 && !take(&m->whole, &p->rate, now_ms, ret_retry_ms))
        return false;
    if (!rule || rule->rate.per_ms <= 0)
        return true;
    *ret_reason = "the rule's rate of requests is exceeded";
    b = bucket_of(m, p, rule);
    return b && take(b, &rule->rate, now_ms, ret_retry_ms);
}

static bool add(struct bucket *b, const struct quota *q, uint64_t bytes, uint64_t now_ms)
{
    uint64_t window = q->window == QUOTA_HOUR  ? HOUR_MS
                      : q->window == QUOTA_DAY ? DAY_MS
                                               : UINT64_MAX;
    if (now_ms - b->window_from_ms >= window) {
        b->window_from_ms = now_ms;
        b->bytes = 0;
    }
    b->bytes += bytes;
    return b->bytes <= q->bytes;
}

bool policy_meter_bytes(struct policy_meter *m, const struct policy *p,
                        const struct policy_rule *rule, uint64_t bytes, uint64_t now_ms)
{
    bool ok = p->quota.window == QUOTA_NONE || add(&m->whole, &p->quota, bytes, now_ms);
    if (!rule || rule->quota.window == QUOTA_NONE)
        return ok;
    struct bucket *b = bucket_of(m, p, rule);
    return b && add(b, &rule->quota, bytes, now_ms) && ok;
}
