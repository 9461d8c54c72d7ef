#include "sandbox/egress/http/h1.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

void h1_collect_init(struct h1_collect *c, struct http_head *into)
{
    memset(c, 0, sizeof *c);
    buf_init(&c->name, 1024);
    buf_init(&c->value, HEAD_TEXT_MAX);
    c->into = into;
}

void h1_collect_deinit(struct h1_collect *c)
{
    buf_deinit(&c->name);
    buf_deinit(&c->value);
}

void h1_collect_done(struct h1_collect *c)
{
    if (c->name.err || c->value.err)
        c->err = -EMSGSIZE;
    if (!c->name.len || c->err)
        return;
    size_t len = c->value.len;
    while (len && (c->value.data[len - 1] == ' ' || c->value.data[len - 1] == '\t'))
        len--;
    if (head_add(c->into, buf_str(&c->name), c->name.len, len ? (char *)c->value.data : "", len) <
        0)
        c->err = -EMSGSIZE;
    buf_reset(&c->name);
    buf_reset(&c->value);
    c->in_value = false;
}

void h1_collect_name(struct h1_collect *c, const char *at, size_t len)
{
    if (c->in_value)
        h1_collect_done(c);
    buf_put(&c->name, at, len);
}

void h1_collect_value(struct h1_collect *c, const char *at, size_t len)
{
    c->in_value = true;
    buf_put(&c->value, at, len);
}

static void drop_named(struct http_head *h, const char *list, size_t len)
{
    for (size_t i = 0; i < len;) {
        char name[64];
        size_t end = i, n = 0;
        while (end < len && list[end] != ',')
            end++;
        for (size_t k = i; k < end && n + 1 < sizeof name; k++)
            if (list[k] != ' ' && list[k] != '\t')
                name[n++] = (char)tolower((unsigned char)list[k]);
        name[n] = 0;
        /* What frames or routes the message is never dropped because a peer says so. */
        if (n && strcmp(name, "host") && strcmp(name, "content-length") &&
            strcmp(name, "upgrade") && strcmp(name, "authorization") &&
            strcmp(name, "connection") && strcmp(name, "transfer-encoding"))
            head_remove(h, name);
        i = end + 1;
    }
}

void h1_strip_hop_by_hop(struct http_head *h, bool keep_upgrade)
{
    static const char *const names[] = {"keep-alive",          "proxy-connection",
                                        "proxy-authorization", "proxy-authenticate",
                                        "transfer-encoding",   "http2-settings"};
    char list[512];
    const struct head_field *f;
    bool trailers = head_has_token(h, "te", "trailers");
    while ((f = head_find(h, "connection"))) {
        int n = snprintf(list, sizeof list, "%.*s",
                         (int)(f->value.len < sizeof list ? f->value.len : sizeof list - 1),
                         head_at(h, f->value));
        h->fields[f - h->fields] = h->fields[--h->nfields];
        drop_named(h, list, (size_t)n);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        head_remove(h, names[i]);
    if (!keep_upgrade)
        head_remove(h, "upgrade");
    head_remove(h, "te");
    if (trailers)
        head_add(h, "te", 2, "trailers", 8);
}

bool h1_coding_fits(const struct http_head *h, bool chunked)
{
    unsigned n = 0;
    for (uint16_t i = 0; i < h->nfields; i++) {
        const struct head_field *f = &h->fields[i];
        if (!head_slice_is(h, f->name, "transfer-encoding"))
            continue;
        if (n++ || f->value.len != 7 || strncasecmp(head_at(h, f->value), "chunked", 7))
            return false;
    }
    return chunked == (n == 1);
}

int h1_put_fields(struct buf *out, const struct http_head *h)
{
    for (uint16_t i = 0; i < h->nfields; i++) {
        buf_put(out, head_at(h, h->fields[i].name), h->fields[i].name.len);
        buf_put(out, ": ", 2);
        buf_put(out, head_at(h, h->fields[i].value), h->fields[i].value.len);
        buf_put(out, "\r\n", 2);
    }
    return out->err;
}

int h1_put_chunk(struct buf *out, size_t len)
{
    return buf_printf(out, "%zx\r\n", len);
}

/* llhttp's own look-up aborts for a number that it does not know. */
static const char *status_name(uint16_t status)
{
    switch (status) {
#define NAME(code, id, text) \
    case code:               \
        return #text;
        HTTP_STATUS_MAP(NAME)
#undef NAME
    default:
        return "UNKNOWN";
    }
}

int h1_put_status(struct buf *out, uint16_t status)
{
    const char *name = status == 520 ? "BLOCKED_BY_EGRESS_POLICY" : status_name(status);
    buf_printf(out, "HTTP/1.1 %u ", status);
    for (bool first = true; *name; name++) { /* "BAD_GATEWAY" -> "Bad Gateway" */
        buf_putc(out, *name == '_' ? ' ' : first ? *name : (char)tolower((unsigned char)*name));
        first = *name == '_';
    }
    return buf_puts(out, "\r\n");
}
