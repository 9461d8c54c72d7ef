/*
 * Paths as rules see them. A server may undo an encoding that another leaves alone, so each path is
 * brought into two forms:
 *   plain: percent-encoded unreserved characters decoded (RFC 3986 6.2.2.2), hex digits in upper
 * case, dot segments removed, runs of / made one. Query and fragment are no part of it. loose: also
 * every other percent-encoding decoded (again and again), `\` read as `/`, `;parameters` of
 * segments dropped, control bytes dropped. A rule that denies matches when either form does, any
 * other rule only when both do: whatever the server makes of the path, it gets less, never more.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct path_forms {
    char *plain, *loose; /* not NUL-terminated; loose == plain when they are the same */
    size_t plain_len, loose_len;
    char small[2048];
    char *big;
};

/* target: of a request line. -ENOMEM. */
int path_forms_init(struct path_forms *f, const char *target, size_t len);
void path_forms_deinit(struct path_forms *f);

/* One form into out, which has room for len + 1 bytes; returns its length. */
size_t path_plain(const char *in, size_t len, char *out);
size_t path_loose(const char *in, size_t len, char *out);
