#include "sandbox/egress/http/redact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void redact_init(struct redact *r)
{
    memset(r, 0, sizeof *r);
    buf_init(&r->held, 0);
}

void redact_deinit(struct redact *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        explicit_bzero(r->needles[i], r->lens[i]);
        free(r->needles[i]);
    }
    buf_deinit(&r->held);
    r->n = 0;
}

int redact_add(struct redact *r, const char *needle, size_t len)
{
    if (len < REDACT_NEEDLE_MIN || len > REDACT_NEEDLE_MAX || r->n == REDACT_NEEDLES)
        return 0;
    char *copy = malloc(len);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, needle, len);
    r->needles[r->n] = copy;
    r->lens[r->n++] = len;
    return 0;
}

void redact_text(const struct redact *r, char *text, size_t len)
{
    for (unsigned i = 0; i < r->n; i++) {
        char *at = text, *end = text + len;
        while ((at = memmem(at, (size_t)(end - at), r->needles[i], r->lens[i]))) {
            memset(at, '*', r->lens[i]);
            at += r->lens[i];
        }
    }
}

/* Length of the longest end of text that is a beginning of a needle. */
static size_t partial(const struct redact *r, const char *text, size_t len)
{
    size_t longest = 0;
    for (unsigned i = 0; i < r->n; i++) {
        size_t most = r->lens[i] - 1 < len ? r->lens[i] - 1 : len;
        const char *from = text + len - most;
        while (most > longest) {
            const char *at = memchr(from, r->needles[i][0], most);
            if (!at)
                break;
            size_t left = (size_t)(text + len - at);
            if (!memcmp(at, r->needles[i], left)) {
                if (left > longest)
                    longest = left;
                break;
            }
            from = at + 1;
            most = left - 1;
        }
    }
    return longest;
}

int redact_feed(struct redact *r, const uint8_t *data, size_t len, bool last, struct buf *out)
{
    int e = buf_put(&r->held, data, len);
    if (e < 0)
        return e;
    if (!r->held.len)
        return 0;
    redact_text(r, (char *)r->held.data, r->held.len);
    size_t keep = last ? 0 : partial(r, (const char *)r->held.data, r->held.len);
    e = buf_put(out, r->held.data, r->held.len - keep);
    buf_consume(&r->held, r->held.len - keep);
    return e;
}
