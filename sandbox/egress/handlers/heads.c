/* Heads of messages as the JSON of frames, and back. What comes back is checked as what a box sends
 * is: it becomes a message on a connection that others share. */
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "sandbox/egress/handlers/private.h"

/* A field's bytes are the characters that JavaScript sees (a ByteString). */
static json_t *to_json(const char *p, size_t n)
{
    CLEANUP_BUF struct buf b = {0};
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c >= 0x80)
            buf_putc(&b, (char)(0xc0 | c >> 6));
        buf_putc(&b, (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c));
    }
    return json_stringn(buf_str(&b), b.len);
}

static int from_json(const char *p, size_t n, struct buf *out)
{
    buf_reset(out);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 0x80) {
            if (c == '\r' || c == '\n' || c == 0)
                return -EINVAL;
            buf_putc(out, (char)c);
        } else if ((c & 0xfc) == 0xc0 && i + 1 < n) {
            buf_putc(out, (char)(c << 6 | (p[++i] & 0x3f)));
        } else {
            return -EINVAL;
        }
    }
    return out->err;
}

json_t *fields_to_json(const struct http_head *h)
{
    json_t *list = json_array();
    for (uint16_t i = 0; i < h->nfields; i++) {
        const struct head_field *f = &h->fields[i];
        json_t *pair = json_array();
        json_array_append_new(pair, json_stringn(head_at(h, f->name), f->name.len));
        json_array_append_new(pair, to_json(head_at(h, f->value), f->value.len));
        json_array_append_new(list, pair);
    }
    return list;
}

/* RFC 9110 5.6.2; a name that is none could frame the message anew. */
bool is_token(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)p[i]) && (!p[i] || !strchr("!#$%&'*+-.^_`|~", p[i])))
            return false;
    return n > 0;
}

/* As visible ASCII, so that nothing of it ends a line or a word of the request line. */
static bool is_graphic(const char *p)
{
    for (; *p; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return false;
    return true;
}

int fields_from_json(const json_t *list, struct http_head *h)
{
    CLEANUP_BUF struct buf value = {0};
    size_t i;
    json_t *pair;
    json_array_foreach (list, i, pair) {
        const json_t *n = json_array_get(pair, 0), *v = json_array_get(pair, 1);
        if (!json_is_string(n) || !json_is_string(v) ||
            !is_token(json_string_value(n), json_string_length(n)) ||
            from_json(json_string_value(v), json_string_length(v), &value) < 0)
            return -EINVAL;
        int r =
            head_add(h, json_string_value(n), json_string_length(n), buf_str(&value), value.len);
        if (r < 0)
            return r;
    }
    static const char *const hop[] = {"connection", "keep-alive", "transfer-encoding",
                                      "upgrade",    "host",       "te"};
    for (i = 0; i < sizeof hop / sizeof *hop; i++)
        head_remove(h, hop[i]);
    return 0;
}

/* What is not ASCII goes as the escapes that a URL parser would make of its bytes. */
json_t *url_to_json(const struct http_head *h)
{
    CLEANUP_BUF struct buf url = {0};
    buf_puts(&url, h->https ? "https://" : "http://");
    buf_put(&url, head_at(h, h->authority), h->authority.len);
    const char *p = head_at(h, h->target);
    for (uint32_t i = 0; i < h->target.len; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c > 0x20 && c < 0x7f)
            buf_putc(&url, (char)c);
        else
            buf_printf(&url, "%%%02X", c);
    }
    return json_stringn(buf_str(&url), url.len);
}

int url_split(const char *url, struct http_head *head, struct exchange_origin *o,
              struct authority_text *space)
{
    size_t scheme = !strncmp(url, "https://", 8) ? 8 : !strncmp(url, "http://", 7) ? 7 : 0;
    if (!scheme || !is_graphic(url))
        return -EINVAL;
    const char *authority = url + scheme, *path = authority + strcspn(authority, "/?#");
    size_t len = strcspn(path, "#");
    head->https = o->https = scheme == 8;
    if (authority_split(authority, (size_t)(path - authority), space) < 0)
        return -EINVAL;
    o->port = space->port ? space->port : o->https ? 443 : 80;
    if (authority_put(head, space, o->port, o->https) < 0)
        return -EINVAL;
    o->host = space->host;
    o->by_address = space->is_address;
    o->addr = o->by_address ? &space->addr.sa : NULL;
    if (*path != '/') {
        CLEANUP_BUF struct buf b = {0};
        buf_putc(&b, '/');
        buf_put(&b, path, len);
        return head_put(head, buf_str(&b), b.len, &head->target);
    }
    return head_put(head, path, len, &head->target);
}
