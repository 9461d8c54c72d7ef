#include "clients/c/text.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void free_pointer(void *pp)
{
    free(*(void **)pp);
}

void free_json(json_t **j)
{
    json_decref(*j);
}

int text_add(struct str *s, const void *data, size_t len)
{
    if (len >= SIZE_MAX / 4 - s->len)
        return -ENOMEM;
    if (s->len + len + 1 > s->cap) {
        size_t cap = s->cap ? s->cap : 256;
        while (cap < s->len + len + 1)
            cap *= 2;
        char *grown = realloc(s->data, cap);
        if (!grown)
            return -ENOMEM;
        s->data = grown;
        s->cap = cap;
    }
    if (len)
        memcpy(s->data + s->len, data, len);
    s->len += len;
    s->data[s->len] = 0;
    return 0;
}

int text_addv(struct str *s, const char *format, va_list ap)
{
    char *text = NULL;
    int n = vasprintf(&text, format, ap);
    if (n < 0)
        return -ENOMEM;
    int r = text_add(s, text, (size_t)n);
    free(text);
    return r;
}

int text_addf(struct str *s, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int r = text_addv(s, format, ap);
    va_end(ap);
    return r;
}

void str_clear(struct str *s)
{
    s->len = 0;
    if (s->data)
        s->data[0] = 0;
}

void str_deinit(struct str *s)
{
    free(s->data);
    *s = (struct str){0};
}

const char *str_text(const struct str *s)
{
    return s->data ? s->data : "";
}

static int base64_value(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int text_base64(const void *data, size_t len, struct str *ret)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;
    size_t before = ret->len;
    for (size_t i = 0; i < len; i += 3) {
        unsigned v = (unsigned)p[i] << 16;
        v |= i + 1 < len ? (unsigned)p[i + 1] << 8 : 0;
        v |= i + 2 < len ? p[i + 2] : 0;
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                        i + 1 < len ? digits[v >> 6 & 63] : '=',
                        i + 2 < len ? digits[v & 63] : '='};
        if (text_add(ret, four, sizeof four) < 0) {
            ret->len = before;
            return -ENOMEM;
        }
    }
    return 0;
}

int text_unbase64(const char *text, size_t len, struct str *ret)
{
    unsigned int bits = 0, have = 0, digits = 0;
    size_t i = 0, n = 0;
    CLEANUP_FREE unsigned char *out = malloc(len / 4 * 3 + 4);
    if (!out)
        return -ENOMEM;
    for (; i < len && text[i] != '='; i++) {
        if (strchr(" \t\r\n", text[i]))
            continue;
        int v = base64_value((unsigned char)text[i]);
        if (v < 0)
            return -EINVAL;
        bits = bits << 6 | (unsigned int)v;
        have += 6;
        digits++;
        if (have >= 8) {
            have -= 8;
            out[n++] = (unsigned char)(bits >> have);
        }
    }
    for (; i < len; i++)
        if (!strchr("= \t\r\n", text[i]))
            return -EINVAL;
    if (digits % 4 == 1)
        return -EINVAL;
    return text_add(ret, out, n);
}

const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static int add_escaped(struct str *s, const char *text, const char *also)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        int r = strchr(plain, *p) || strchr(also, *p) ? text_add(s, p, 1)
                                                      : text_addf(s, "%%%02X", (unsigned int)*p);
        if (r < 0)
            return r;
    }
    return 0;
}

int text_add_path(struct str *s, const char *path)
{
    return add_escaped(s, path, "/");
}

int text_addressv(struct str *s, const char *pattern, va_list ap)
{
    int r = text_add(s, "", 0);
    for (const char *p = pattern; *p && r == 0; p++) {
        if (p[0] != '%' || p[1] != 's') {
            r = text_add(s, p, 1);
            continue;
        }
        r = add_escaped(s, va_arg(ap, const char *), "");
        p++;
    }
    return r;
}

int text_address(struct str *s, const char *pattern, ...)
{
    va_list ap;
    va_start(ap, pattern);
    int r = text_addressv(s, pattern, ap);
    va_end(ap);
    return r;
}

long long monotonic_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}
