#include "sandbox/egress/secrets/inject.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/secrets/encode.h"
#include "sandbox/egress/secrets/sigv4.h"

static const char unsigned_payload[] = "UNSIGNED-PAYLOAD";

static const struct secret *find(const struct policy_inject *i, const struct inject_context *ctx,
                                 char reason[208], int *ret)
{
    const struct secret *s = secrets_find(ctx->secrets, i->secret);
    if (!s) {
        snprintf(reason, 208, "there is no secret \"%.64s\"", i->secret);
        *ret = INJECT_E_NO_SECRET;
        return NULL;
    }
    if (!secret_allows(s, ctx->box_name, ctx->host)) {
        snprintf(reason, 208, "secret \"%.64s\" may not be sent to %.80s from this sandbox",
                 i->secret, ctx->host);
        *ret = INJECT_E_NOT_ALLOWED;
        return NULL;
    }
    return s;
}

/* "{secret}" in the format, each time. */
static int put_formatted(struct buf *out, const char *format, const char *value)
{
    static const char mark[] = "{secret}";
    const char *at;
    while (format && (at = strstr(format, mark))) {
        buf_put(out, format, (size_t)(at - format));
        buf_puts(out, value);
        format = at + strlen(mark);
    }
    return buf_puts(out, format ? format : value);
}

static int basic(struct http_head *h, const struct policy_inject *i, const struct secret *s)
{
    CLEANUP_BUF struct buf pair = {0}, header = {0};
    const char *user = i->user ? i->user : secret_get(s, "username");
    const char *password = secret_get(s, "password");
    buf_printf(&pair, "%s:%s", user ? user : "", password ? password : secret_get(s, "value"));
    buf_puts(&header, "Basic ");
    int r = pair.err ? pair.err : encode_base64(&header, buf_str(&pair), pair.len);
    if (pair.data)
        OPENSSL_cleanse(pair.data, pair.cap);
    if (r == 0)
        r = head_set(h, "authorization", buf_str(&header), header.len);
    if (header.data)
        OPENSSL_cleanse(header.data, header.cap);
    return r;
}

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* Is that the name, however the box has encoded it? */
static bool is_name(const char *p, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        char c = p[i] == '+' ? ' ' : p[i];
        if (c == '%' && i + 2 < n && isxdigit((unsigned char)p[i + 1]) &&
            isxdigit((unsigned char)p[i + 2])) {
            c = (char)(hex_digit(p[i + 1]) << 4 | hex_digit(p[i + 2]));
            i += 2;
        }
        if (!c || c != *name++)
            return false;
    }
    return !*name;
}

/* A parameter of that name which the box has put there goes. */
static int query(struct http_head *h, const char *name, const char *value)
{
    CLEANUP_BUF struct buf out = {0}, want = {0};
    const char *target = head_at(h, h->target), *end = target + h->target.len;
    const char *mark = memchr(target, '?', h->target.len);
    char sep = '?';
    encode_percent(&want, name, strlen(name));
    buf_put(&out, target, mark ? (size_t)(mark - target) : h->target.len);
    for (const char *p = mark ? mark + 1 : end; p < end;) {
        const char *amp = memchr(p, '&', (size_t)(end - p)), *stop = amp ? amp : end;
        const char *eq = memchr(p, '=', (size_t)(stop - p));
        size_t n = (size_t)((eq ? eq : stop) - p);
        if (!is_name(p, n, name)) {
            buf_putc(&out, sep);
            buf_put(&out, p, (size_t)(stop - p));
            sep = '&';
        }
        p = stop + 1;
    }
    buf_putc(&out, sep);
    buf_put(&out, want.data, want.len);
    buf_putc(&out, '=');
    encode_percent(&out, value, strlen(value));
    int r = want.err ? want.err : out.err;
    return r < 0 ? r : head_put(h, buf_str(&out), out.len, &h->target);
}

/* The scope that the client signed for, "Credential=ID/date/region/service/aws4_request". */
static bool client_scope(const struct http_head *h, char region[64], char service[64])
{
    char text[512];
    const struct head_field *f = head_find(h, "authorization");
    if (!f)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)(f->value.len < 511 ? f->value.len : 511),
             head_at(h, f->value));
    const char *at = strstr(text, "Credential=");
    return at && sscanf(at, "Credential=%*[^/]/%*[^/]/%63[^/]/%63[^/]/aws4_request", region,
                        service) == 2;
}

static bool is_hash(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)s[i]))
            return false;
    return n == 64;
}

/* "aws-chunked,gzip": what else the body is encoded with stays. */
static int drop_aws_chunked(struct http_head *h)
{
    CLEANUP_BUF struct buf rest = {0};
    const struct head_field *f = head_find(h, "content-encoding");
    const char *p = f ? head_at(h, f->value) : NULL;
    for (size_t i = 0, n; f && i < f->value.len; i += n + 1) {
        n = 0;
        while (i + n < f->value.len && p[i + n] != ',')
            n++;
        if (memmem(p + i, n, "aws-chunked", 11))
            continue;
        if (rest.len)
            buf_putc(&rest, ',');
        buf_put(&rest, p + i, n);
    }
    head_remove(h, "content-encoding");
    return rest.len ? head_set(h, "content-encoding", buf_str(&rest), rest.len) : rest.err;
}

static int aws(struct http_head *h, const struct policy_inject *i, const struct secret *secret,
               const struct inject_context *ctx, bool *ret_chunked)
{
    char region[64] = "us-east-1", service[64] = "s3", payload[80];
    const struct head_field *f = head_find(h, "x-amz-content-sha256");
    snprintf(payload, sizeof payload, "%s", unsigned_payload);
    if (f && is_hash(head_at(h, f->value), f->value.len))
        snprintf(payload, sizeof payload, "%.*s", (int)f->value.len, head_at(h, f->value));
    else if (f && f->value.len > 9 && !memcmp(head_at(h, f->value), "STREAMING", 9))
        *ret_chunked = true;
    if (!client_scope(h, region, service))
        sigv4_guess(ctx->host, service, region);
    head_remove(h, "authorization");
    head_remove(h, "x-amz-security-token");
    int r = 0;
    if (*ret_chunked) { /* the framing goes, and with it what speaks of it */
        head_remove(h, "x-amz-trailer");
        r = drop_aws_chunked(h);
    }
    const char *wanted = i->service ? i->service : service;
    if (r == 0 && (f || !strcmp(wanted, "s3")))
        r = head_set(h, "x-amz-content-sha256", payload, strlen(payload));
    else if (!f)
        snprintf(payload, sizeof payload, "%s", unsigned_payload);
    struct sigv4 s = {.key_id = secret_get(secret, "accessKeyId"),
                      .secret = secret_get(secret, "secretAccessKey"),
                      .token = secret_get(secret, "sessionToken"),
                      .region = i->region ? i->region : region,
                      .service = wanted,
                      .now = ctx->now,
                      .payload = payload};
    return r < 0 ? r : sigv4_sign(h, &s);
}

/* What a kind of injection takes from its secret. */
static bool fits(const struct policy_inject *i, const struct secret *s)
{
    switch (i->kind) {
    case INJECT_SIGV4:
        return secret_get(s, "secretAccessKey") != NULL;
    case INJECT_BASIC:
        return secret_get(s, "password") || secret_get(s, "value");
    default:
        return secret_get(s, "value") != NULL;
    }
}

static int apply(struct http_head *h, const struct policy_inject *i, const struct secret *s,
                 const struct inject_context *ctx, bool *ret_chunked)
{
    CLEANUP_BUF struct buf value = {0};
    const char *format = i->kind == INJECT_BEARER && !i->format ? "Bearer {secret}" : i->format;
    int r = 0;
    switch (i->kind) {
    case EDIT_SET:
        return head_set(h, i->name, i->format, strlen(i->format));
    case EDIT_REMOVE:
        head_remove(h, i->name);
        return 0;
    case INJECT_BASIC:
        return basic(h, i, s);
    case INJECT_SIGV4:
        return aws(h, i, s, ctx, ret_chunked);
    default:
        r = put_formatted(&value, format, secret_get(s, "value"));
        if (r == 0)
            r = i->kind == INJECT_QUERY
                    ? query(h, i->name, buf_str(&value))
                    : head_set(h, i->kind == INJECT_BEARER ? "authorization" : i->name,
                               buf_str(&value), value.len);
        if (value.data)
            OPENSSL_cleanse(value.data, value.cap);
        return r;
    }
}

/* Signatures come last: they cover what the others have put there. */
int inject_apply(struct http_head *head, const struct policy_inject *injects, size_t n,
                 const struct inject_context *ctx, struct buf *ret_used, bool *ret_aws_chunked,
                 char ret_reason[208])
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t k = 0; k < n; k++) {
            const struct policy_inject *i = &injects[k];
            const struct secret *s = NULL;
            int r = 0;
            if ((i->kind == INJECT_SIGV4) != pass)
                continue;
            if (i->secret && !(s = find(i, ctx, ret_reason, &r)))
                return r;
            if (s && !fits(i, s)) {
                snprintf(ret_reason, 208,
                         "secret \"%.64s\" has not the members that this injection needs",
                         i->secret);
                return INJECT_E_BAD_SECRET;
            }
            if ((r = apply(head, i, s, ctx, ret_aws_chunked)) < 0)
                return r;
            if (s)
                buf_printf(ret_used, "%s%s", ret_used->len ? "," : "", i->secret);
        }
    }
    return ret_used->err;
}
