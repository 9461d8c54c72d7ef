#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "sandbox/egress/secrets/inject.h"

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER };

void inject_unchunk_init(struct inject_unchunk *u)
{
    memset(u, 0, sizeof *u);
}

static int digit(uint8_t c)
{
    return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

/* "size;chunk-signature=…\r\n data \r\n", a chunk of no bytes at the end, trailers after it. */
static int step(struct inject_unchunk *u, uint8_t c)
{
    switch (u->state) {
    case SIZE:
        if (c == ';' || c == '\r') {
            u->state = c == ';' ? EXTENSION : SIZE_LF;
            return 0;
        }
        if (digit(c) < 0 || u->size > UINT32_MAX)
            return -EPROTO;
        u->size = u->size << 4 | (unsigned)digit(c);
        return 0;
    case EXTENSION:
        if (c == '\r')
            u->state = SIZE_LF;
        return c == '\n' ? -EPROTO : 0;
    case SIZE_LF:
        if (c != '\n')
            return -EPROTO;
        u->left = u->size;
        u->state = u->size ? DATA : TRAILER;
        u->size = 0;
        return 0;
    case DATA_CR:
        u->state = DATA_LF;
        return c == '\r' ? 0 : -EPROTO;
    case DATA_LF:
        u->state = SIZE;
        return c == '\n' ? 0 : -EPROTO;
    default: /* trailers are signed by the client's key: they go */
        return 0;
    }
}

int inject_unchunk_feed(struct inject_unchunk *u, const uint8_t *data, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len;) {
        if (u->state == DATA) {
            size_t n = len - i < u->left ? len - i : (size_t)u->left;
            int r = buf_put(out, data + i, n);
            if (r < 0)
                return r;
            i += n;
            u->left -= n;
            if (!u->left)
                u->state = DATA_CR;
            continue;
        }
        int r = step(u, data[i++]);
        if (r < 0)
            return r;
    }
    return 0;
}

bool inject_unchunk_done(const struct inject_unchunk *u)
{
    return u->state == TRAILER;
}
