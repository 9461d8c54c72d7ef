#include "sandbox/egress/secrets/fill.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sandbox/egress/secrets/encode.h"

/* Appends text with each placeholder replaced; how often. value NULL: only counts. */
static unsigned fill_text(const char *text, size_t len, const char *placeholder, const char *value,
                          struct buf *out)
{
    size_t n = strlen(placeholder);
    const char *end = text + len, *at;
    unsigned count = 0;
    for (; (at = memmem(text, (size_t)(end - text), placeholder, n)); text = at + n, count++) {
        if (value) {
            buf_put(out, text, (size_t)(at - text));
            buf_puts(out, value);
        }
    }
    if (value)
        buf_put(out, text, (size_t)(end - text));
    return count;
}

/* "Basic dXNlcjpwYXNz" -> "user:pass" in out. */
static bool fill_decode_basic(const char *value, size_t len, struct buf *out)
{
    size_t pad = 0;
    if (len < 10 || strncasecmp(value, "basic ", 6) != 0)
        return false;
    value += 6;
    len -= 6;
    while (len && *value == ' ') {
        value++;
        len--;
    }
    while (pad < len && value[len - pad - 1] == '=')
        pad++;
    if (!len || len % 4 || pad > 2 || buf_reserve(out, len) < 0)
        return false;
    int n = EVP_DecodeBlock(out->data, (const uint8_t *)value, (int)len);
    if (n < 0)
        return false;
    out->len = (size_t)n - pad;
    return true;
}

static void fill_wipe(struct buf *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->cap);
    buf_deinit(b);
}

/* How often it occurs in the field; with a value, it is replaced. Negative: -errno. */
static int fill_field(struct http_head *h, struct head_field *f, const char *placeholder,
                      const char *value)
{
    __attribute__((cleanup(fill_wipe))) struct buf plain = {0}, filled = {0};
    const char *text = head_at(h, f->value);
    bool basic = fill_decode_basic(text, f->value.len, &plain);
    unsigned n = basic ? fill_text(buf_str(&plain), plain.len, placeholder, NULL, NULL) : 0;
    if (n && value) {
        __attribute__((cleanup(fill_wipe))) struct buf pair = {0};
        fill_text(buf_str(&plain), plain.len, placeholder, value, &pair);
        buf_puts(&filled, "Basic ");
        if (pair.err || encode_base64(&filled, pair.data, pair.len) < 0)
            return -ENOMEM;
    } else if (!n) {
        n = fill_text(text, f->value.len, placeholder, value, &filled);
    }
    if (!n || !value)
        return (int)n;
    int r = filled.err ? filled.err : head_put(h, buf_str(&filled), filled.len, &f->value);
    return r < 0 ? r : (int)n;
}

static int fill_query(struct http_head *h, const char *placeholder, const char *value)
{
    __attribute__((cleanup(fill_wipe))) struct buf escaped = {0}, filled = {0};
    const char *target = head_at(h, h->target), *mark = memchr(target, '?', h->target.len);
    if (!mark)
        return 0;
    size_t path = (size_t)(mark - target);
    if (value) {
        encode_percent(&escaped, value, strlen(value));
        buf_put(&filled, target, path);
    }
    unsigned n = fill_text(mark, h->target.len - path, placeholder,
                           value ? buf_str(&escaped) : NULL, &filled);
    if (!n || !value)
        return (int)n;
    int r = escaped.err ? escaped.err : filled.err;
    if (r == 0)
        r = head_put(h, buf_str(&filled), filled.len, &h->target);
    return r < 0 ? r : (int)n;
}

/* In all places. */
static int fill_one(struct http_head *h, const char *placeholder, const char *value)
{
    int n = fill_query(h, placeholder, value);
    for (uint16_t i = 0; i < h->nfields && n >= 0; i++) {
        int k = fill_field(h, &h->fields[i], placeholder, value);
        n = k < 0 ? k : n + k;
    }
    return n;
}

bool fill_occurs(const struct http_head *head, const struct fill *fills, size_t n)
{
    struct http_head *h = (struct http_head *)(uintptr_t)head; /* is not changed without a value */
    for (size_t i = 0; i < n; i++)
        if (fill_one(h, fills[i].placeholder, NULL) > 0)
            return true;
    return false;
}

static int fill_secret(const struct fill *f, bool https, const struct inject_context *ctx,
                       const char **ret_value, char reason[208])
{
    const struct secret *s = secrets_find(ctx->secrets, f->secret);
    if (!s) {
        snprintf(reason, 208, "there is no secret \"%.64s\"", f->secret);
        return INJECT_E_NO_SECRET;
    }
    if (!secret_allows(s, ctx->box_name, ctx->host)) {
        snprintf(reason, 208, "secret \"%.64s\" may not be sent to %.80s from this sandbox",
                 f->secret, ctx->host);
        return INJECT_E_NOT_ALLOWED;
    }
    if (!https) {
        snprintf(reason, 208, "secret \"%.64s\" is sent over TLS alone", f->secret);
        return INJECT_E_NOT_ALLOWED;
    }
    *ret_value = secret_get(s, "value");
    if (!*ret_value)
        *ret_value = secret_get(s, "password");
    if (*ret_value)
        return 0;
    snprintf(reason, 208, "secret \"%.64s\" has no value that could be filled in", f->secret);
    return INJECT_E_BAD_SECRET;
}

int fill_apply(struct http_head *head, const struct fill *fills, size_t n,
               const struct inject_context *ctx, struct buf *ret_used, char ret_reason[208])
{
    for (size_t i = 0; i < n; i++) {
        const char *value;
        int r = fill_one(head, fills[i].placeholder, NULL);
        if (r == 0)
            continue;
        if (r > 0)
            r = fill_secret(&fills[i], head->https, ctx, &value, ret_reason);
        if (r == 0)
            r = fill_one(head, fills[i].placeholder, value);
        else
            return r;
        if (r < 0)
            return r;
        buf_printf(ret_used, "%s%s", ret_used->len ? "," : "", fills[i].secret);
    }
    return ret_used->err;
}
