#include "sandbox/egress/secrets/sigv4.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHA = 32, SIGNED_MAX = HEAD_FIELDS_MAX + 1 };

static void hex(const uint8_t *in, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", in[i]);
    out[2 * n] = 0;
}

static void hmac(const uint8_t *key, size_t key_len, const char *text, size_t len, uint8_t out[SHA])
{
    unsigned n = SHA;
    HMAC(EVP_sha256(), key, (int)key_len, (const uint8_t *)text, len, out, &n);
}

/* Unreserved characters as they are, an encoding that is there stays one (never twice for S3). */
static void put_encoded(struct buf *out, const char *p, size_t n, bool keep_slash)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c == '%' && i + 2 < n && isxdigit((unsigned char)p[i + 1]) &&
            isxdigit((unsigned char)p[i + 2])) {
            buf_printf(out, "%%%c%c", toupper((unsigned char)p[i + 1]),
                       toupper((unsigned char)p[i + 2]));
            i += 2;
        } else if (isalnum(c) || strchr("-._~", c) || (c == '/' && keep_slash)) {
            buf_putc(out, (char)c);
        } else {
            buf_printf(out, "%%%02X", c);
        }
    }
}

/* Outside S3 each segment is encoded once more. */
static void put_path(struct buf *out, const char *path, size_t n, bool s3)
{
    if (n == 0) {
        buf_putc(out, '/');
        return;
    }
    if (s3) {
        put_encoded(out, path, n, true);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)path[i];
        if (isalnum(c) || strchr("-._~/", c))
            buf_putc(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

/* "name<end>value", by name and then by value: "a-b:" comes behind "a:", though - is before :. */
static int by_name(const char *a, const char *b, char end)
{
    while (*a && *a == *b && *a != end)
        a++, b++;
    if (*a == *b)
        return strcmp(a, b);
    if (*a == end || *b == end)
        return *a == end ? -1 : 1;
    return (unsigned char)*a - (unsigned char)*b;
}

static int by_parameter(const void *a, const void *b)
{
    return by_name(*(char *const *)a, *(char *const *)b, '=');
}

static int by_field(const void *a, const void *b)
{
    return by_name(*(char *const *)a, *(char *const *)b, ':');
}

static int put_query(struct buf *out, const char *query, size_t n)
{
    enum { PARAMETERS_MAX = 256 };
    char *items[PARAMETERS_MAX] = {NULL};
    size_t count = 0;
    int r = 0;
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && query[end] != '&')
            end++;
        const char *eq = memchr(query + i, '=', end - i);
        CLEANUP_BUF struct buf one = {0};
        size_t name = eq ? (size_t)(eq - query) - i : end - i;
        put_encoded(&one, query + i, name, false);
        buf_putc(&one, '=');
        if (eq)
            put_encoded(&one, eq + 1, (size_t)(query + end - eq - 1), false);
        if (end > i) {
            if (count == PARAMETERS_MAX || one.err) {
                r = -EMSGSIZE;
                break;
            }
            items[count++] = (char *)buf_steal(&one, NULL);
        }
        i = end + 1;
    }
    qsort(items, count, sizeof *items, by_parameter);
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_putc(out, '&');
        buf_puts(out, items[i]);
        free(items[i]);
    }
    return r;
}

static bool is_signed(const struct http_head *h, const struct head_field *f)
{
    const char *name = head_at(h, f->name);
    return (f->name.len > 6 && !memcmp(name, "x-amz-", 6)) ||
           head_slice_is(h, f->name, "content-type") || head_slice_is(h, f->name, "content-md5");
}

static void put_trimmed(struct buf *out, const char *p, size_t n)
{
    bool space = false;
    while (n && (*p == ' ' || *p == '\t'))
        p++, n--;
    for (size_t i = 0; i < n; i++) {
        bool blank = p[i] == ' ' || p[i] == '\t';
        if (!blank && space)
            buf_putc(out, ' ');
        if (!blank)
            buf_putc(out, p[i]);
        space = blank;
    }
}

/* "name:value\n" of each signed field, in order, then their names. */
static int put_fields(const struct http_head *h, struct buf *fields, struct buf *names)
{
    char *lines[SIGNED_MAX];
    size_t n = 0;
    CLEANUP_BUF struct buf host = {0};
    buf_puts(&host, "host:");
    buf_put(&host, head_at(h, h->authority), h->authority.len);
    if (host.err)
        return host.err;
    lines[n++] = (char *)buf_steal(&host, NULL);
    for (uint16_t i = 0; i < h->nfields; i++) {
        CLEANUP_BUF struct buf one = {0};
        if (!is_signed(h, &h->fields[i]))
            continue;
        buf_put(&one, head_at(h, h->fields[i].name), h->fields[i].name.len);
        buf_putc(&one, ':');
        put_trimmed(&one, head_at(h, h->fields[i].value), h->fields[i].value.len);
        if (!one.err)
            lines[n++] = (char *)buf_steal(&one, NULL);
    }
    qsort(lines, n, sizeof *lines, by_field);
    for (size_t i = 0; i < n; i++) {
        buf_puts(fields, lines[i]);
        buf_putc(fields, '\n');
        if (i)
            buf_putc(names, ';');
        buf_put(names, lines[i], strcspn(lines[i], ":"));
        free(lines[i]);
    }
    return fields->err ? fields->err : names->err;
}

static void signing_key(const struct sigv4 *s, const char date[9], uint8_t out[SHA])
{
    char first[4 + 256];
    int n = snprintf(first, sizeof first, "AWS4%.250s", s->secret);
    hmac((uint8_t *)first, (size_t)n, date, 8, out);
    hmac(out, SHA, s->region, strlen(s->region), out);
    hmac(out, SHA, s->service, strlen(s->service), out);
    hmac(out, SHA, "aws4_request", 12, out);
    OPENSSL_cleanse(first, sizeof first);
}

static int canonical(const struct http_head *h, const struct sigv4 *s, struct buf *out,
                     struct buf *names)
{
    CLEANUP_BUF struct buf fields = {0};
    const char *target = head_at(h, h->target);
    const char *mark = memchr(target, '?', h->target.len);
    size_t path = mark ? (size_t)(mark - target) : h->target.len;
    buf_put(out, head_at(h, h->method), h->method.len);
    buf_putc(out, '\n');
    put_path(out, target, path, !strcmp(s->service, "s3"));
    buf_putc(out, '\n');
    int r = mark ? put_query(out, mark + 1, h->target.len - path - 1) : 0;
    buf_putc(out, '\n');
    if (r == 0)
        r = put_fields(h, &fields, names);
    buf_put(out, fields.data, fields.len);
    buf_printf(out, "\n%s\n%s", buf_str(names), s->payload);
    return r < 0 ? r : out->err;
}

int sigv4_sign(struct http_head *h, const struct sigv4 *s)
{
    CLEANUP_BUF struct buf request = {0}, names = {0}, text = {0}, header = {0};
    char stamp[20], date[9], digest_hex[2 * SHA + 1], scope[256];
    uint8_t digest[SHA], key[SHA];
    unsigned n = SHA;
    struct tm tm;
    gmtime_r(&s->now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
    memcpy(date, stamp, 8);
    date[8] = 0;
    int r = head_set(h, "x-amz-date", stamp, strlen(stamp));
    if (r == 0 && s->token)
        r = head_set(h, "x-amz-security-token", s->token, strlen(s->token));
    if (r == 0)
        r = canonical(h, s, &request, &names);
    if (r < 0)
        return r;
    EVP_Digest(request.data, request.len, digest, &n, EVP_sha256(), NULL);
    hex(digest, SHA, digest_hex);
    snprintf(scope, sizeof scope, "%s/%.60s/%.60s/aws4_request", date, s->region, s->service);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", stamp, scope, digest_hex);
    signing_key(s, date, key);
    hmac(key, SHA, buf_str(&text), text.len, digest);
    OPENSSL_cleanse(key, sizeof key);
    hex(digest, SHA, digest_hex);
    buf_printf(&header, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
               s->key_id, scope, buf_str(&names), digest_hex);
    return header.err ? header.err : head_set(h, "authorization", buf_str(&header), header.len);
}

bool sigv4_guess(const char *host, char service[64], char region[64])
{
    static const char domain[] = ".amazonaws.com";
    size_t n = strlen(host);
    const char *labels[8];
    size_t lens[8], count = 0;
    if (n <= strlen(domain) || strcmp(host + n - strlen(domain), domain))
        return false;
    n -= strlen(domain);
    for (size_t end = n; end && count < 8;) { /* from the right */
        size_t at = end;
        while (at && host[at - 1] != '.')
            at--;
        labels[count] = host + at;
        lens[count++] = end - at;
        end = at ? at - 1 : 0;
    }
    bool has_region = count > 1 && memchr(labels[0], '-', lens[0]) &&
                      isdigit((unsigned char)labels[0][lens[0] - 1]);
    snprintf(region, 64, "%.*s", has_region ? (int)lens[0] : 9,
             has_region ? labels[0] : "us-east-1");
    size_t at = has_region ? 1 : 0;
    snprintf(service, 64, "%.*s", (int)lens[at], labels[at]);
    return true;
}
