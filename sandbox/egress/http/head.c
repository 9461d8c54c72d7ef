#include "sandbox/egress/http/head.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

void head_init(struct http_head *h)
{
    buf_init(&h->text, HEAD_TEXT_MAX);
    h->nfields = 0;
    head_reset(h);
}

void head_deinit(struct http_head *h)
{
    buf_deinit(&h->text);
    h->nfields = 0;
}

void head_reset(struct http_head *h)
{
    buf_reset(&h->text);
    h->method = h->target = h->authority = (struct head_slice){0, 0};
    h->https = false;
    h->status = 0;
    h->nfields = 0;
}

int head_copy(struct http_head *to, const struct http_head *from)
{
    buf_reset(&to->text);
    int r = buf_put(&to->text, from->text.data, from->text.len);
    if (r < 0)
        return r;
    to->method = from->method;
    to->target = from->target;
    to->authority = from->authority;
    to->https = from->https;
    to->status = from->status;
    to->nfields = from->nfields;
    memcpy(to->fields, from->fields, from->nfields * sizeof *from->fields);
    return 0;
}

int head_put(struct http_head *h, const char *text, size_t len, struct head_slice *ret)
{
    struct head_slice s = {(uint32_t)h->text.len, (uint32_t)len};
    int r = buf_put(&h->text, text, len);
    if (r < 0)
        return r;
    *ret = s;
    return 0;
}

int head_add(struct http_head *h, const char *name, size_t name_len, const char *value, size_t len)
{
    struct head_field f;
    if (h->nfields == HEAD_FIELDS_MAX)
        return -EMSGSIZE;
    int r = head_put(h, name, name_len, &f.name);
    if (r < 0 || (r = head_put(h, value, len, &f.value)) < 0)
        return r;
    for (char *p = (char *)h->text.data + f.name.at, *end = p + name_len; p < end; p++)
        *p = (char)tolower((unsigned char)*p);
    h->fields[h->nfields++] = f;
    return 0;
}

int head_set(struct http_head *h, const char *name, const char *value, size_t len)
{
    head_remove(h, name);
    return head_add(h, name, strlen(name), value, len);
}

void head_remove(struct http_head *h, const char *name)
{
    uint16_t kept = 0;
    for (uint16_t i = 0; i < h->nfields; i++)
        if (!head_slice_is(h, h->fields[i].name, name))
            h->fields[kept++] = h->fields[i];
    h->nfields = kept;
}

const struct head_field *head_find(const struct http_head *h, const char *name)
{
    for (uint16_t i = 0; i < h->nfields; i++)
        if (head_slice_is(h, h->fields[i].name, name))
            return &h->fields[i];
    return NULL;
}

static bool list_holds(const char *list, size_t len, const char *token)
{
    size_t want = strlen(token);
    for (size_t i = 0; i < len;) {
        size_t end = i;
        while (end < len && list[end] != ',')
            end++;
        size_t from = i, to = end;
        while (from < to && (list[from] == ' ' || list[from] == '\t'))
            from++;
        while (to > from && (list[to - 1] == ' ' || list[to - 1] == '\t'))
            to--;
        if (to - from == want && !strncasecmp(list + from, token, want))
            return true;
        i = end + 1;
    }
    return false;
}

bool head_has_token(const struct http_head *h, const char *name, const char *token)
{
    for (uint16_t i = 0; i < h->nfields; i++)
        if (head_slice_is(h, h->fields[i].name, name) &&
            list_holds(head_at(h, h->fields[i].value), h->fields[i].value.len, token))
            return true;
    return false;
}

bool head_slice_is(const struct http_head *h, struct head_slice s, const char *text)
{
    return s.len == strlen(text) && !memcmp(head_at(h, s), text, s.len);
}

static bool head_token_char(unsigned char c)
{
    return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool head_token(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!head_token_char((unsigned char)p[i]))
            return false;
    return n > 0;
}

const char *head_request_fault(const struct http_head *h)
{
    const char *target = head_at(h, h->target), *method = head_at(h, h->method);
    for (uint32_t i = 0; i < h->method.len; i++) /* a spelling that servers read differently */
        if (!isupper((unsigned char)method[i]) && method[i] != '-')
            return "its method is none: methods are capital letters";
    if (!h->method.len)
        return "it has no method";
    if (head_slice_is(h, h->method, "CONNECT"))
        return "CONNECT is not needed: connect to the host itself";
    if (head_slice_is(h, h->method, "PRI"))
        return "PRI is no method of a request";
    if (!h->target.len || (*target != '/' && !head_slice_is(h, h->target, "*")))
        return "its target cannot be understood";
    for (uint32_t i = 0; i < h->target.len; i++)
        if ((unsigned char)target[i] <= 0x20 || (unsigned char)target[i] >= 0x7f)
            return "its target holds a byte that has to be percent-encoded";
    return NULL;
}

bool head_fields_fit(const struct http_head *h)
{
    for (uint16_t i = 0; i < h->nfields; i++) {
        const char *value = head_at(h, h->fields[i].value);
        if (!head_token(head_at(h, h->fields[i].name), h->fields[i].name.len))
            return false;
        for (uint32_t k = 0; k < h->fields[i].value.len; k++)
            if (((unsigned char)value[k] < 0x20 && value[k] != '\t') || value[k] == 0x7f)
                return false;
    }
    return true;
}

void head_clean_trailers(struct http_head *trailers)
{
    static const char *const names[] = {"transfer-encoding",
                                        "content-length",
                                        "host",
                                        "te",
                                        "trailer",
                                        "upgrade",
                                        "connection",
                                        "keep-alive",
                                        "content-encoding",
                                        "content-type",
                                        "content-range",
                                        "expect",
                                        "authorization",
                                        "proxy-connection",
                                        "cookie",
                                        "set-cookie",
                                        "max-forwards",
                                        "cache-control",
                                        "range",
                                        "location",
                                        "proxy-authorization"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        head_remove(trailers, names[i]);
}

int body_length_read(struct body_length *b, const struct http_head *h)
{
    bool found = false;
    b->left = -1;
    for (uint16_t i = 0; i < h->nfields; i++) {
        const char *p = head_at(h, h->fields[i].value);
        uint32_t n = h->fields[i].value.len;
        if (!head_slice_is(h, h->fields[i].name, "content-length"))
            continue;
        if (found || n == 0 || n > 18)
            return -EINVAL;
        found = true;
        b->left = 0;
        for (uint32_t k = 0; k < n; k++) {
            if (!isdigit((unsigned char)p[k]))
                return -EINVAL;
            b->left = b->left * 10 + (p[k] - '0');
        }
    }
    return 0;
}

bool body_length_take(struct body_length *b, size_t n)
{
    if (b->left < 0)
        return true;
    if (n > (uint64_t)b->left)
        return false;
    b->left -= (int64_t)n;
    return true;
}
