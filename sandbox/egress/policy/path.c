#include "sandbox/egress/policy/path.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unreserved(int c)
{
    return c < 0x80 && (isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~');
}

/* The byte that an encoding at in[0..2] stands for, or -1. */
static int encoded(const char *in, size_t left)
{
    if (left < 3 || in[0] != '%' || hex(in[1]) < 0 || hex(in[2]) < 0)
        return -1;
    return hex(in[1]) << 4 | hex(in[2]);
}

static size_t decode_unreserved(const char *in, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int c = encoded(in + i, len - i);
        if (c < 0) {
            out[n++] = in[i];
        } else if (unreserved(c)) {
            out[n++] = (char)c;
            i += 2;
        } else {
            out[n++] = '%';
            out[n++] = (char)toupper((unsigned char)in[++i]);
            out[n++] = (char)toupper((unsigned char)in[++i]);
        }
    }
    return n;
}

/* In place; true if anything was decoded. */
static bool decode_all(char *s, size_t *len)
{
    size_t n = 0;
    bool any = false;
    for (size_t i = 0; i < *len; i++) {
        int c = encoded(s + i, *len - i);
        if (c >= 0) {
            any = true;
            i += 2;
        } else {
            c = (unsigned char)s[i];
        }
        if (c >= 0x20 && c != 0x7f)
            s[n++] = (char)c;
    }
    *len = n;
    return any;
}

static void drop_parameters(char *s, size_t *len)
{
    size_t n = 0;
    bool skip = false;
    for (size_t i = 0; i < *len; i++) {
        char c = s[i] == '\\' ? '/' : s[i];
        if (c == '/')
            skip = false;
        else if (c == ';')
            skip = true;
        if (!skip)
            s[n++] = c;
    }
    *len = n;
}

/* Dot segments and empty segments, in place; what is left begins with / if the input did. */
static size_t remove_segments(char *s, size_t len)
{
    size_t n = 0, i = 0;
    while (i < len) {
        size_t end = i + (s[i] == '/');
        bool slash = end > i;
        while (end < len && s[end] != '/')
            end++;
        const char *segment = s + i + slash;
        size_t size = end - i - slash;
        bool last = end == len;
        if (size == 2 && segment[0] == '.' && segment[1] == '.') {
            while (n > 0 && s[--n] != '/')
                ;
            if (last)
                s[n++] = '/';
        } else if ((size == 1 && segment[0] == '.') || (size == 0 && slash)) {
            if (last)
                s[n++] = '/';
        } else {
            memmove(s + n, s + i, end - i);
            n += end - i;
        }
        i = end;
    }
    return n;
}

size_t path_plain(const char *in, size_t len, char *out)
{
    return remove_segments(out, decode_unreserved(in, len, out));
}

size_t path_loose(const char *in, size_t len, char *out)
{
    memmove(out, in, len);
    /* each round shortens what it decodes; three are more than any chain of servers undoes */
    for (int i = 0; i < 3 && decode_all(out, &len); i++)
        ;
    drop_parameters(out, &len);
    return remove_segments(out, len);
}

int path_forms_init(struct path_forms *f, const char *target, size_t len)
{
    size_t n = 0;
    while (n < len && target[n] != '?' && target[n] != '#')
        n++;
    f->big = NULL;
    char *at = f->small;
    if (2 * (n + 2) > sizeof f->small) {
        at = f->big = malloc(2 * (n + 2));
        if (!at)
            return -ENOMEM;
    }
    f->plain = at;
    f->plain_len = path_plain(target, n, f->plain);
    f->loose = at + n + 2;
    f->loose_len = path_loose(target, n, f->loose);
    if (f->plain_len == f->loose_len && !memcmp(f->plain, f->loose, f->plain_len))
        f->loose = f->plain;
    return 0;
}

void path_forms_deinit(struct path_forms *f)
{
    free(f->big);
    f->big = NULL;
}
