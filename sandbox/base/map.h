/* Hash map from string to pointer: keyed hash (random per process) against collision floods,
 * insertion order kept. */
#pragma once

#include <stddef.h>

struct map;

struct map *map_new(void);    /* NULL: out of memory */
void map_free(struct map *m); /* values are the caller's */
void *map_get(const struct map *m, const char *key);
/* Copies the key. -ENOMEM, -EEXIST. value must not be NULL. */
int map_add(struct map *m, const char *key, void *value);
void *map_remove(struct map *m, const char *key); /* the removed value or NULL */
size_t map_count(const struct map *m);
/* Iteration in insertion order: *cursor starts at 0; returns NULL at the end. Removing while
 * iterating is allowed. */
void *map_next(const struct map *m, size_t *cursor, const char **ret_key);
