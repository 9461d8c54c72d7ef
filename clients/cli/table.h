/* Rows of text in aligned columns. Control characters in cells are replaced: names come from
 * others. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#define TABLE_COLUMNS 8

struct table {
    size_t columns, n, cap;
    char **cells; /* n rows of columns */
};

/* Takes one string for each column (const char *); NULL shows as "-". */
void table_row(struct table *t, ...);
void table_print(struct table *t); /* and frees it */
/* "3s", "5m", "2h", "4d" for a duration in milliseconds; caller frees. */
char *duration_text(long long ms);
/* Milliseconds since a time given as ISO 8601 UTC text or as a number of (milli)seconds since 1970;
 * -1 when unknown. */
long long age_ms(const json_t *time);
