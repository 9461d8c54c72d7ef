/* Intrusive doubly linked circular list. A head is a struct list initialised by list_init. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

#define LIST_ENTRY(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define LIST_FOREACH(it, head)        for (struct list *it = (head)->next; it != (head); it = it->next)
#define LIST_FOREACH_SAFE(it, head)                                        \
    for (struct list *it = (head)->next, *it##_n = it->next; it != (head); \
         it = it##_n, it##_n = it->next)

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}
static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_append(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}
static inline size_t list_count(const struct list *head)
{
    size_t n = 0;
    LIST_FOREACH (it, head)
        n++;
    return n;
}
/* Leaves the item linked to itself, so removing twice is harmless. */
static inline void list_remove(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}
