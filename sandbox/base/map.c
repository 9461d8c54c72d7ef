#include "sandbox/base/map.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Entries live in an append-only array (order, stable cursors); `slots` is open addressing into it.
 */
struct entry {
    char *key; /* NULL: removed */
    void *value;
    uint64_t hash;
};

struct map {
    struct entry *entries;
    size_t used, live, cap;
    uint32_t *slots; /* entry index + 1; 0 = free */
    size_t nslots;   /* power of two */
    uint64_t seed;
};

static uint64_t hash_key(const struct map *m, const char *s)
{
    uint64_t h = m->seed ^ 0x9e3779b97f4a7c15u;
    for (; *s; s++) {
        h ^= (unsigned char)*s;
        h *= 0xff51afd7ed558ccdu;
        h ^= h >> 29;
    }
    h ^= m->seed >> 7;
    h *= 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 32);
}

struct map *map_new(void)
{
    struct map *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    if (getrandom(&m->seed, sizeof m->seed, 0) != sizeof m->seed) {
        free(m);
        return NULL;
    }
    return m;
}

void map_free(struct map *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->used; i++)
        free(m->entries[i].key);
    free(m->entries);
    free(m->slots);
    free(m);
}

static struct entry *find(const struct map *m, const char *key, uint64_t h)
{
    if (!m->nslots)
        return NULL;
    for (size_t i = h & (m->nslots - 1); m->slots[i]; i = (i + 1) & (m->nslots - 1)) {
        struct entry *e = &m->entries[m->slots[i] - 1];
        if (e->key && e->hash == h && !strcmp(e->key, key))
            return e;
    }
    return NULL;
}

/* Makes room for one more entry: compacts the array when half of it is dead, rebuilds the slots. */
static int grow(struct map *m)
{
    size_t cap = m->live * 2 + 16, nslots = 32;
    while (nslots < cap * 2)
        nslots *= 2;
    struct entry *entries = calloc(cap, sizeof *entries);
    uint32_t *slots = calloc(nslots, sizeof *slots);
    if (!entries || !slots) {
        free(entries);
        free(slots);
        return -ENOMEM;
    }
    size_t n = 0;
    for (size_t i = 0; i < m->used; i++) {
        if (!m->entries[i].key)
            continue;
        entries[n] = m->entries[i];
        size_t s = entries[n].hash & (nslots - 1);
        while (slots[s])
            s = (s + 1) & (nslots - 1);
        slots[s] = (uint32_t)++n;
    }
    free(m->entries);
    free(m->slots);
    m->entries = entries;
    m->slots = slots;
    m->used = n;
    m->cap = cap;
    m->nslots = nslots;
    return 0;
}

void *map_get(const struct map *m, const char *key)
{
    struct entry *e = find(m, key, hash_key(m, key));
    return e ? e->value : NULL;
}

int map_add(struct map *m, const char *key, void *value)
{
    uint64_t h = hash_key(m, key);
    if (find(m, key, h))
        return -EEXIST;
    if (m->used == m->cap && grow(m) < 0)
        return -ENOMEM;
    char *copy = strdup(key);
    if (!copy)
        return -ENOMEM;
    m->entries[m->used++] = (struct entry){.key = copy, .value = value, .hash = h};
    size_t s = h & (m->nslots - 1);
    while (m->slots[s])
        s = (s + 1) & (m->nslots - 1);
    m->slots[s] = (uint32_t)m->used;
    m->live++;
    return 0;
}

void *map_remove(struct map *m, const char *key)
{
    struct entry *e = find(m, key, hash_key(m, key));
    if (!e)
        return NULL;
    void *v = e->value;
    free(e->key);
    e->key = NULL;
    e->value = NULL;
    m->live--;
    return v;
}

size_t map_count(const struct map *m)
{
    return m->live;
}

void *map_next(const struct map *m, size_t *cursor, const char **ret_key)
{
    while (*cursor < m->used) {
        const struct entry *e = &m->entries[(*cursor)++];
        if (e->key) {
            if (ret_key)
                *ret_key = e->key;
            return e->value;
        }
    }
    return NULL;
}
