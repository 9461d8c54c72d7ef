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

struct scan {
    const uint8_t *p, *end;
};

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

static int hex4(struct scan *s, unsigned *ret)
{
    if (s->end - s->p < 4)
        return -EINVAL;
    unsigned v = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = *s->p++;
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            v = v * 16 + ((c | 32) - 'a' + 10u);
        else
            return -EINVAL;
    }
    *ret = v;
    return 0;
}

/* A lone \uD800-\uDFFF escape is legal JSON text but no character; parsers downstream choke on it,
 * so it is refused. */
static int scan_escape(struct scan *s)
{
    if (s->p == s->end)
        return -EINVAL;
    uint8_t c = *s->p++;
    if (c != 'u')
        return memchr("\"\\/bfnrt", c, 8) ? 0 : -EINVAL;
    unsigned v, w;
    if (hex4(s, &v) < 0)
        return -EINVAL;
    if (v < 0xd800 || v > 0xdfff)
        return 0;
    if (v > 0xdbff || s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
        return -EINVAL;
    s->p += 2;
    if (hex4(s, &w) < 0 || w < 0xdc00 || w > 0xdfff)
        return -EINVAL;
    return 0;
}

static int scan_string(struct scan *s)
{
    s->p++;
    for (;;) {
        while (s->p < s->end && plain(*s->p))
            s->p++;
        if (s->p == s->end)
            return -EINVAL;
        uint8_t c = *s->p;
        if (c == '"') {
            s->p++;
            return 0;
        }
        if (c == '\\') {
            s->p++;
            if (scan_escape(s) < 0)
                return -EINVAL;
        } else if (c >= 0x80) {
            size_t bad;
            bool cut;
            size_t n = utf8_char(s->p, (size_t)(s->end - s->p), &bad, &cut);
            if (!n)
                return -EINVAL;
            s->p += n;
        } else {
            return -EINVAL;
        }
    }
}

static size_t digits(struct scan *s)
{
    size_t n = 0;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9') {
        s->p++;
        n++;
    }
    return n;
}

static int scan_number(struct scan *s)
{
    if (*s->p == '-')
        s->p++;
    if (s->p < s->end && *s->p == '0')
        s->p++;
    else if (!digits(s))
        return -EINVAL;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!digits(s))
            return -EINVAL;
    }
    if (s->p < s->end && (*s->p | 32) == 'e') {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (!digits(s))
            return -EINVAL;
    }
    return 0;
}

static int scan_scalar(struct scan *s)
{
    static const char *const words[] = {"true", "false", "null"};
    if (*s->p == '"')
        return scan_string(s);
    if (*s->p == '-' || (*s->p >= '0' && *s->p <= '9'))
        return scan_number(s);
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(s->end - s->p) >= n && !memcmp(s->p, words[i], n)) {
            s->p += n;
            return 0;
        }
    }
    return -EINVAL;
}

/* `"key" :` before a member. */
static int scan_key(struct scan *s)
{
    skip_space(s);
    if (s->p == s->end || *s->p != '"' || scan_string(s) < 0)
        return -EINVAL;
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return -EINVAL;
    s->p++;
    return 0;
}

/* Closes containers and eats a comma. Returns 1 when the outermost value is complete. */
static int after_value(struct scan *s, char *stack, size_t *depth)
{
    for (;;) {
        if (*depth == 0)
            return 1;
        skip_space(s);
        if (s->p == s->end)
            return -EINVAL;
        char open = stack[*depth - 1];
        if (*s->p == ',') {
            s->p++;
            return open == '{' ? scan_key(s) : 0;
        }
        if (*s->p != (open == '{' ? '}' : ']'))
            return -EINVAL;
        s->p++;
        (*depth)--;
    }
}

int json_check(const void *data, size_t len)
{
    struct scan s = {.p = data, .end = (const uint8_t *)data + len};
    char stack[JSON_DEPTH_MAX];
    size_t depth = 0;

    for (;;) {
        skip_space(&s);
        if (s.p == s.end)
            return -EINVAL;
        char c = (char)*s.p;
        if (c == '{' || c == '[') {
            if (depth == JSON_DEPTH_MAX)
                return -EINVAL;
            stack[depth++] = c;
            s.p++;
            skip_space(&s);
            bool closed = s.p < s.end && *s.p == (c == '{' ? '}' : ']');
            if (!closed) {
                if (c == '{' && scan_key(&s) < 0)
                    return -EINVAL;
                continue;
            }
        } else if (scan_scalar(&s) < 0) {
            return -EINVAL;
        }
        int r = after_value(&s, stack, &depth);
        if (r < 0)
            return r;
        if (r == 1)
            break;
    }
    skip_space(&s);
    return s.p == s.end ? 0 : -EINVAL;
}

int json_check_object(const void *data, size_t len)
{
    struct scan s = {.p = data, .end = (const uint8_t *)data + len};
    skip_space(&s);
    if (s.p == s.end || *s.p != '{')
        return -EINVAL;
    return json_check(data, len);
}
