/*
 * Memory of what the library gives out: a struct, the JSON that its strings stand in, and whatever
 * else it points to, freed together by cellbox_free().
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* Zeroed; takes the reference to owner (may be NULL) even on failure. NULL: no memory. */
void *held_new(size_t size, json_t *take_owner);
/* Zeroed memory that lives as long as held does. NULL: no memory. */
void *held_more(void *held, size_t size);
/* len bytes that live as long as held does, a NUL behind them. NULL: no memory. */
char *held_copy(void *held, const void *data, size_t len);
