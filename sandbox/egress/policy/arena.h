/* Memory of one compiled policy: allocated piece by piece, freed at once. */
#pragma once

#include <stddef.h>

struct arena {
    struct arena_chunk *chunks; /* newest first */
};

void arena_deinit(struct arena *a);
void *arena_alloc(struct arena *a, size_t n, size_t size); /* zeroed; NULL: out of memory */
char *arena_text(struct arena *a, const char *text, size_t len);
