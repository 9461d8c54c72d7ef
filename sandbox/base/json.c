#include "sandbox/base/json.h"

#include <errno.h>
#include <string.h>

/*
 * Length of the well-formed UTF-8 character at p, 0 if it is malformed. *ret_bad gets the length of
 * the maximal invalid prefix, *ret_cut whether the end cut it off.
 */
static size_t utf8_char(const uint8_t *p, size_t len, size_t *ret_bad, bool *ret_cut)
{
    uint8_t c = p[0], lo = 0x80, hi = 0xbf;
    size_t need;

    *ret_bad = 1;
    *ret_cut = false;
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf) {
        need = 1;
    } else if (c >= 0xe0 && c <= 0xef) {
        need = 2;
        if (c == 0xe0)
            lo = 0xa0;
        if (c == 0xed)
            hi = 0x9f;
    } else if (c >= 0xf0 && c <= 0xf4) {
        need = 3;
        if (c == 0xf0)
            lo = 0x90;
        if (c == 0xf4)
            hi = 0x8f;
    } else {
        return 0;
    }
    for (size_t i = 1; i <= need; i++) {
        *ret_bad = i;
        if (i >= len) {
            *ret_cut = true;
            return 0;
        }
        if (p[i] < lo || p[i] > hi)
            return 0;
        lo = 0x80;
        hi = 0xbf;
    }
    return need + 1;
}

bool utf8_valid(const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len) {
        size_t bad;
        bool cut;
        size_t n = utf8_char(p, len, &bad, &cut);
        if (!n)
            return false;
        p += n;
        len -= n;
    }
    return true;
}

size_t utf8_incomplete_tail(const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        uint8_t c = p[len - back];
        if (c < 0x80)
            return 0;
        if (c >= 0xc0) {
            size_t bad;
            bool cut;
            if (!utf8_char(p + len - back, back, &bad, &cut) && cut)
                return back;
            return 0;
        }
    }
    return 0;
}

/* Bytes of a string that need no escape: everything but quote, backslash, controls and multi-byte.
 */
static inline bool plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

int json_put_string(struct buf *b, const void *data, size_t len)
{
    const uint8_t *p = data, *end = p + len;
    buf_reserve(b, len + 2);
    buf_putc(b, '"');
    while (p < end) {
        const uint8_t *run = p;
        while (p < end && plain(*p))
            p++;
        buf_put(b, run, (size_t)(p - run));
        if (p == end)
            break;
        uint8_t c = *p;
        if (c >= 0x80) {
            size_t bad;
            bool cut;
            size_t n = utf8_char(p, (size_t)(end - p), &bad, &cut);
            if (n)
                buf_put(b, p, n);
            else
                buf_puts(b, "\xef\xbf\xbd");
            p += n ? n : bad;
            continue;
        }
        p++;
        switch (c) {
        case '"':
            buf_puts(b, "\\\"");
            break;
        case '\\':
            buf_puts(b, "\\\\");
            break;
        case '\n':
            buf_puts(b, "\\n");
            break;
        case '\r':
            buf_puts(b, "\\r");
            break;
        case '\t':
            buf_puts(b, "\\t");
            break;
        default:
            buf_printf(b, "\\u%04x", c);
        }
    }
    return buf_putc(b, '"');
}

int json_put_cstring(struct buf *b, const char *s)
{
    return json_put_string(b, s, strlen(s));
}
