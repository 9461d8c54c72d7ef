#include "sandbox/egress/policy/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 4096 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, size;
    alignas(max_align_t) unsigned char data[];
};

void arena_deinit(struct arena *a)
{
    for (struct arena_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    a->chunks = NULL;
}

void *arena_alloc(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct arena_chunk *c = a->chunks;
    if (!c || c->size - c->used < bytes) {
        size_t room = bytes > CHUNK ? bytes : CHUNK;
        c = malloc(sizeof *c + room);
        if (!c)
            return NULL;
        *c = (struct arena_chunk){.next = a->chunks, .size = room};
        a->chunks = c;
    }
    void *p = c->data + c->used;
    c->used += bytes;
    memset(p, 0, bytes);
    return p;
}

char *arena_text(struct arena *a, const char *text, size_t len)
{
    char *s = arena_alloc(a, len + 1, 1);
    if (s)
        memcpy(s, text, len);
    return s;
}
