#include "clients/c/held.h"

#include <stdlib.h>
#include <string.h>

#include "clients/c/include/cellbox.h"

struct block {
    struct block *next;
    max_align_t data[];
};

struct held {
    json_t *owner;
    struct block *blocks;
    max_align_t data[];
};

static struct held *held_of(const void *result)
{
    return (struct held *)((char *)(uintptr_t)result - offsetof(struct held, data));
}

void *held_new(size_t size, json_t *take_owner)
{
    struct held *h = calloc(1, sizeof *h + size);
    if (!h) {
        json_decref(take_owner);
        return NULL;
    }
    h->owner = take_owner;
    return h->data;
}

void *held_more(void *held, size_t size)
{
    struct held *h = held_of(held);
    struct block *b = calloc(1, sizeof *b + size);
    if (!b)
        return NULL;
    b->next = h->blocks;
    h->blocks = b;
    return b->data;
}

char *held_copy(void *held, const void *data, size_t len)
{
    char *copy = held_more(held, len + 1);
    if (copy && len)
        memcpy(copy, data, len);
    return copy;
}

void cellbox_free(void *result)
{
    if (!result)
        return;
    struct held *h = held_of(result);
    for (struct block *b = h->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    json_decref(h->owner);
    free(h);
}

char *cellbox_json(const void *result)
{
    const json_t *owner = result ? held_of(result)->owner : NULL;
    char *text = json_dumps(owner, JSON_COMPACT | JSON_ENCODE_ANY);
    size_t len = text ? strlen(text) : 0;
    char *held = text ? held_new(len + 1, NULL) : NULL;
    if (held)
        memcpy(held, text, len);
    free(text);
    return held;
}
