/*
 * Placeholders that stand for secrets in what a handler sends: filled in on the way out, for hosts
 * that the secret is for, over TLS alone. In the values of fields, inside the base64 of Basic, and
 * in the query. Pure. Runs in E.
 */
#pragma once

#include "sandbox/egress/secrets/inject.h"

enum { FILL_PLACEHOLDER = 48 };

struct fill {
    char placeholder[FILL_PLACEHOLDER]; /* letters, digits and hyphens: every encoding keeps them */
    const char *secret;
};

/*
 * Results and ret_reason as of inject_apply. ret_used: the names of secrets that were filled in are
 * appended. A placeholder that does not occur asks for nothing.
 */
int fill_apply(struct http_head *head, const struct fill *fills, size_t n,
               const struct inject_context *ctx, struct buf *ret_used, char ret_reason[208]);
/* Does one of them occur where it would be filled in? */
bool fill_occurs(const struct http_head *head, const struct fill *fills, size_t n);
