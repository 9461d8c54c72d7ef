#include "sandbox/egress/http/redact.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/secrets/encode.h"

struct redact_needle {
    char *text;
    size_t len;
    uint16_t next; /* index + 1 of the next that begins with the same byte */
};

void redact_init(struct redact *r)
{
    memset(r, 0, sizeof *r);
    buf_init(&r->held, 0);
}

void redact_deinit(struct redact *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        explicit_bzero(r->needles[i].text, r->needles[i].len);
        free(r->needles[i].text);
    }
    free(r->needles);
    buf_deinit(&r->held);
    r->needles = NULL;
    r->n = r->room = 0;
}

static bool redact_has(const struct redact *r, const char *needle, size_t len)
{
    for (unsigned i = 0; i < r->n; i++)
        if (r->needles[i].len == len && !memcmp(r->needles[i].text, needle, len))
            return true;
    return false;
}

int redact_add(struct redact *r, const char *needle, size_t len)
{
    if (len < REDACT_NEEDLE_MIN || redact_has(r, needle, len))
        return 0;
    if (len > REDACT_NEEDLE_MAX || r->n == REDACT_NEEDLES)
        return -E2BIG;
    if (r->n == r->room) {
        unsigned room = r->room ? 2 * r->room : 16;
        struct redact_needle *more = realloc(r->needles, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        r->needles = more;
        r->room = room;
    }
    char *copy = malloc(len);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, needle, len);
    uint16_t *first = &r->first[(unsigned char)*needle];
    r->needles[r->n++] = (struct redact_needle){copy, len, *first};
    *first = (uint16_t)r->n;
    return 0;
}

/* Of the base64 of something that ends in value, `before` bytes into a group of three, what value
 * alone decides. */
static int redact_add_base64(struct redact *r, const char *value, size_t len, size_t before)
{
    CLEANUP_BUF struct buf plain = {0}, text = {0};
    size_t skip = before ? before + 1 : 0, end = 8 * (before + len) / 6;
    buf_put(&plain, "\0\0", before);
    buf_put(&plain, value, len);
    int e = plain.err ? plain.err : encode_base64(&text, plain.data, plain.len);
    if (e == 0 && end > skip)
        e = redact_add(r, buf_str(&text) + skip, end - skip);
    for (size_t i = 0; e == 0 && i < text.len; i++) /* the alphabet of URLs */
        text.data[i] = text.data[i] == '+' ? '-' : text.data[i] == '/' ? '_' : text.data[i];
    if (e == 0 && end > skip)
        e = redact_add(r, buf_str(&text) + skip, end - skip);
    if (plain.data)
        OPENSSL_cleanse(plain.data, plain.cap);
    if (text.data)
        OPENSSL_cleanse(text.data, text.cap);
    return e;
}

static int redact_add_hex(struct redact *r, const char *value, size_t len, const char *format)
{
    CLEANUP_BUF struct buf text = {0};
    for (size_t i = 0; i < len; i++) {
        buf_putc(&text, format[(unsigned char)value[i] >> 4]);
        buf_putc(&text, format[value[i] & 15]);
    }
    int e = text.err ? text.err : redact_add(r, buf_str(&text), text.len);
    if (text.data)
        OPENSSL_cleanse(text.data, text.cap);
    return e;
}

int redact_add_value(struct redact *r, const char *value, size_t len)
{
    if (len < REDACT_NEEDLE_MIN)
        return 0;
    int e = redact_add(r, value, len);
    for (size_t before = 0; e == 0 && before < 3; before++)
        e = redact_add_base64(r, value, len, before);
    if (e == 0)
        e = redact_add_hex(r, value, len, "0123456789abcdef");
    return e == 0 ? redact_add_hex(r, value, len, "0123456789ABCDEF") : e;
}

/* ---- looking for them ---- */

static int redact_digit(uint8_t c)
{
    return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

/* The number that so many digits stand for; -1: they are none; -2: the text ends before them. */
static int redact_number(const uint8_t *p, size_t n, size_t digits)
{
    int v = 0;
    for (size_t i = 0; i < digits; i++) {
        if (i == n)
            return -2;
        int d = redact_digit(p[i]);
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/*
 * Does an escaped spelling of c stand at p? Its length; 0: no; -1: the text may end in the middle
 * of one.
 */
static int redact_escape(const uint8_t *p, size_t n, uint8_t c)
{
    static const char names[] = "nrtbf", values[] = "\n\r\t\b\f";
    int v;
    if (*p == '+')
        return c == ' ';
    if (*p == '%') {
        v = redact_number(p + 1, n - 1, 2);
        return v == -2 ? -1 : v == c ? 3 : 0;
    }
    if (*p != '\\')
        return 0;
    if (n == 1)
        return -1;
    if (p[1] == 'u') {
        v = redact_number(p + 2, n - 2, 4);
        return v == -2 ? -1 : v == c ? 6 : 0;
    }
    const char *name = p[1] ? strchr(names, p[1]) : NULL;
    return (name ? (uint8_t)values[name - names] : p[1]) == c ? 2 : 0;
}

/* *ret_used: bytes of text that are the needle. False: not here; *ret_partial: characters of it
 * that stand at the end of the text, if it ends first. */
static bool redact_match(const uint8_t *p, size_t n, const struct redact_needle *needle,
                         size_t *ret_used, size_t *ret_partial)
{
    size_t at = 0;
    for (size_t i = 0; i < needle->len; i++) {
        uint8_t c = (uint8_t)needle->text[i];
        if (at == n) {
            *ret_partial = i;
            return false;
        }
        int step = redact_escape(p + at, n - at, c);
        if (step < 0 && p[at] != c) {
            *ret_partial = i ? i : 1;
            return false;
        }
        if (step <= 0 && p[at] != c)
            return false;
        at += step > 0 ? (size_t)step : 1;
    }
    *ret_used = at;
    return true;
}

/* The longest needle at p, or the most of one. */
static size_t redact_at(const struct redact *r, const uint8_t *p, size_t n, size_t *ret_partial)
{
    bool escaped = *p == '%' || *p == '\\' || *p == '+';
    size_t longest = 0;
    *ret_partial = 0;
    if (!escaped && !r->first[*p])
        return 0;
    for (unsigned i = escaped ? r->n : r->first[*p]; i;
         i = escaped ? i - 1 : r->needles[i - 1].next) {
        size_t used = 0, partial = 0;
        redact_match(p, n, &r->needles[i - 1], &used, &partial);
        longest = used > longest ? used : longest;
        *ret_partial = partial > *ret_partial ? partial : *ret_partial;
    }
    return longest;
}

/*
 * Masks from `from` on. Where the end of the text may be the beginning of a needle: its place, and
 * how many characters of it are there; else the length.
 */
static size_t redact_scan(const struct redact *r, uint8_t *text, size_t len, size_t from,
                          size_t *ret_partial)
{
    size_t tail = len, partial;
    *ret_partial = 0;
    for (size_t i = 0; i < len;) {
        size_t n = redact_at(r, text + i, len - i, &partial);
        if (partial && tail == len) {
            tail = i;
            *ret_partial = partial;
        }
        if (n == 0) {
            i++;
            continue;
        }
        size_t mask = i > from ? i : from;
        if (i + n > mask)
            memset(text + mask, '*', i + n - mask);
        i += n;
        if (tail < len && tail < i) { /* what might have begun there has been covered */
            tail = len;
            *ret_partial = 0;
        }
    }
    return tail;
}

void redact_text(const struct redact *r, char *text, size_t len)
{
    size_t partial;
    redact_scan(r, (uint8_t *)text, len, 0, &partial);
}

int redact_feed(struct redact *r, const uint8_t *data, size_t len, bool last, struct buf *out)
{
    size_t partial;
    int e = buf_put(&r->held, data, len);
    if (e < 0)
        return e;
    if (!r->held.len)
        return 0;
    size_t tail = redact_scan(r, r->held.data, r->held.len, r->emitted, &partial);
    size_t go = last || partial < REDACT_HOLD ? r->held.len : tail;
    if (go > r->emitted)
        e = buf_put(out, r->held.data + r->emitted, go - r->emitted);
    else
        go = r->emitted;
    tail = last ? r->held.len : tail;
    buf_consume(&r->held, tail);
    r->emitted = go > tail ? go - tail : 0;
    return e;
}
