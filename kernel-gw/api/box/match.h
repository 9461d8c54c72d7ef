/*
 * Looks for a text or a pattern in lines as they come. Both the pattern, which a client wrote, and
 * the lines, which a box wrote, are hostile: lines are cut at MATCH_LINE_MAX, and a match that
 * takes too many steps is none. No I/O.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sandbox/base/buf.h"

enum { MATCH_LINE_MAX = 16 << 10, MATCH_PATTERN_MAX = 4096, MATCH_GROUPS = 16 };

struct match;

/* text: looked for as it is. NULL; *ret_why: what is wrong with the pattern. */
struct match *match_text(const char *text, size_t len);
struct match *match_pattern(const char *pattern, char *ret_why, size_t cap);
void match_free(struct match *m);
/* Bytes of one of two streams (0, 1). true: found; the rest is not looked at. */
bool match_feed(struct match *m, int stream, const void *data, size_t len);
/* The line, and the groups of the pattern (0: all of the match). NULL: there is no such group. */
const char *match_line(const struct match *m, size_t *ret_len);
const char *match_group(const struct match *m, unsigned group, size_t *ret_len);
