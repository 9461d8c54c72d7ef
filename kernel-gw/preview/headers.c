/* What of headers passes in either direction, and what is said instead. */
#include <string.h>
#include <strings.h>

#include "kernel-gw/preview/private.h"

/* Of one connection only (RFC 9110 7.6.1), or made anew here. */
static bool is_hop(const char *name)
{
    static const char *const names[] = {"connection",
                                        "keep-alive",
                                        "proxy-connection",
                                        "proxy-authorization",
                                        "proxy-authenticate",
                                        "te",
                                        "trailer",
                                        "transfer-encoding",
                                        "upgrade",
                                        "content-length",
                                        "expect",
                                        "host"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(name, names[i]))
            return true;
    }
    return false;
}

/* What "Connection: a, b" takes away beside the usual. */
static bool is_named(const char *connection, const char *name)
{
    return connection && http_has_token(connection, name);
}

static bool is_ours(const char *name)
{
    return !strncmp(name, "x-forwarded-", 12) || !strcmp(name, "x-real-ip") ||
           !strncmp(name, "x-cellbox-", 10);
}

/*
 * Cookies without those by which browsers sign in to this server: a box must never see them. By
 * host a program may have an _xsrf cookie of its own.
 */
static void put_cookies(struct buf *out, const char *value, bool by_path)
{
    bool any = false;
    for (const char *p = value; *p;) {
        p += strspn(p, "; \t");
        size_t len = strcspn(p, ";"), name = strcspn(p, "=;");
        bool secret = cookie_is_session(p, name) || (by_path && cookie_is_xsrf(p, name)) ||
                      (name == strlen(PORT_COOKIE) && !strncmp(p, PORT_COOKIE, name));
        if (len && !secret) {
            buf_puts(out, any ? "; " : "cookie: ");
            buf_put(out, p, len);
            any = true;
        }
        p += len;
    }
    if (any)
        buf_puts(out, "\r\n");
}

/* The server's own token in a header is not for the box. */
static bool holds_token(struct gateway *gw, const char *value)
{
    size_t word = strcspn(value, " ");
    return value[word] && auth_token_is(&gw->auth, value + word + strspn(value + word, " "));
}

/* Programs compare Origin with Host, which they see as localhost. */
static bool own_origin(const char *origin, const char *host)
{
    const char *rest = strstr(origin, "://");
    return rest && host && !strcasecmp(rest + 3, host);
}

static void put_one(struct buf *out, struct gateway *gw, const struct http_request *r,
                    const struct preview_target *t, const char *name, const char *value)
{
    if (!strcmp(name, "cookie"))
        put_cookies(out, value, t->by_path);
    else if (!strcmp(name, "authorization") && holds_token(gw, value))
        return;
    else if (!strcmp(name, "origin") && own_origin(value, http_header(r, "host")))
        buf_printf(out, "origin: http://localhost:%u\r\n", t->label.port);
    else
        buf_printf(out, "%s: %s\r\n", name, value);
}

int preview_put_request(struct buf *out, struct gateway *gw, const struct http_request *r,
                        const struct preview_target *t, bool upgrade)
{
    const char *connection = http_header(r, "connection"), *host = http_header(r, "host");
    buf_printf(out, "%s %s%s%s%s HTTP/1.1\r\nhost: localhost:%u\r\n", r->method_name,
               *t->rest == '/' ? "" : "/", t->rest, *r->query ? "?" : "", r->query, t->label.port);
    for (size_t i = 0; i < r->nheaders; i++) {
        const char *name = r->headers[i].name;
        if (!is_hop(name) && !is_ours(name) && !is_named(connection, name))
            put_one(out, gw, r, t, name, r->headers[i].value);
    }
    buf_printf(out, "x-forwarded-host: %s\r\nx-forwarded-proto: %s\r\n", host ? host : "",
               cookie_over_tls(r) ? "https" : "http");
    if (t->by_path)
        buf_printf(out, "x-forwarded-prefix: /preview/%u-%s-%s\r\n", t->label.port,
                   t->label.sandbox, t->label.token);
    if (upgrade)
        buf_printf(out, "connection: Upgrade\r\nupgrade: %s\r\n", http_header(r, "upgrade"));
    else if (r->has_body && r->body_length == UINT64_MAX)
        buf_puts(out, "transfer-encoding: chunked\r\n");
    else if (r->has_body)
        buf_printf(out, "content-length: %llu\r\n", (unsigned long long)r->body_length);
    else if (r->method != HTTP_GET && r->method != HTTP_HEAD)
        buf_puts(out, "content-length: 0\r\n");
    return buf_puts(out, "\r\n");
}

/* A redirect to what the program takes for its own address stays within the preview. */
static void put_location(struct buf *out, const char *value, const struct preview_target *t)
{
    static const char *const own[] = {"localhost", "127.0.0.1", "[::1]", "0.0.0.0"};
    char start[64];
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        int n = snprintf(start, sizeof start, "http://%s:%u", own[i], t->label.port);
        if (!strncmp(value, start, (size_t)n) && (!value[n] || strchr("/?#", value[n]))) {
            value += n;
            value = *value ? value : "/";
            break;
        }
    }
    buf_puts(out, "Location: ");
    if (t->by_path && *value == '/' && value[1] != '/')
        buf_printf(out, "/preview/%u-%s-%s", t->label.port, t->label.sandbox, t->label.token);
    buf_printf(out, "%s\r\n", value);
}

static bool is_listed(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(name, names[i]))
            return true;
    }
    return false;
}

/*
 * By path, the answer comes from this server's own origin: only what says how to read the body
 * passes, and nothing that a browser would keep for the origin (reports, other addresses, storage).
 */
static bool passes_by_path(const char *name)
{
    static const char *const names[] = {"accept-ranges",
                                        "age",
                                        "allow",
                                        "cache-control",
                                        "content-disposition",
                                        "content-encoding",
                                        "content-language",
                                        "content-range",
                                        "content-security-policy",
                                        "content-type",
                                        "date",
                                        "etag",
                                        "expires",
                                        "last-modified",
                                        "pragma",
                                        "retry-after",
                                        "server",
                                        "vary",
                                        "sec-websocket-accept",
                                        "sec-websocket-extensions",
                                        "sec-websocket-protocol",
                                        "x-content-type-options",
                                        "x-frame-options"};
    return is_listed(name, names, sizeof names / sizeof *names) ||
           !strncmp(name, "access-control-", 15) ||
           (!strncmp(name, "x-", 2) && strncmp(name, "x-cellbox-", 10) != 0);
}

/* By host, a preview has an origin of its own, but these reach its siblings or outlive it. */
static bool passes_by_host(const char *name)
{
    static const char *const names[] = {
        "alt-svc",   "clear-site-data",     "nel",       "public-key-pins",
        "report-to", "reporting-endpoints", "expect-ct", "strict-transport-security"};
    return !is_listed(name, names, sizeof names / sizeof *names);
}

/*
 * A cookie of a preview belongs to its own host: Domain would give it to other previews and to this
 * server, or, as localhost, make the browser drop it. Names of ours are not for boxes.
 */
static void put_set_cookie(struct buf *out, const char *value)
{
    bool first = true;
    if (cookie_is_session(value, strcspn(value, "=; \t")))
        return;
    buf_puts(out, "set-cookie: ");
    for (const char *p = value; *p; p += *p == ';') {
        size_t n = strcspn(p, ";"), space = strspn(p, " \t");
        bool domain = !first && n - (space < n ? space : n) >= 6 &&
                      !strncasecmp(p + space, "domain", 6) && strchr("=; \t", p[space + 6]);
        if (!domain) {
            buf_puts(out, first ? "" : ";");
            buf_put(out, p, n);
        }
        first = false;
        p += n;
    }
    buf_puts(out, "\r\n");
}

/* The address of a preview is its key, so pages of other sites must not learn it as a referrer. */
static void put_referrer_policy(struct buf *out, const char *own)
{
    bool strict = own && (!strcmp(own, "no-referrer") || !strcmp(own, "same-origin"));
    buf_printf(out, "referrer-policy: %s\r\n", strict ? own : "same-origin");
}

int preview_put_response(struct buf *out, const struct response *in, const struct http_request *r,
                         const struct preview_target *t, bool upgrade)
{
    const char *name, *value, *connection = NULL, *referrer = NULL;
    (void)r;
    for (size_t i = 0; response_header(in, i, &name, &value); i++) {
        if (!strcmp(name, "connection"))
            connection = value;
    }
    for (size_t i = 0; response_header(in, i, &name, &value); i++) {
        if (upgrade && !strcmp(name, "upgrade"))
            buf_printf(out, "upgrade: %s\r\n", value);
        if (is_hop(name) || (!upgrade && is_named(connection, name)))
            continue;
        if (!strcmp(name, "location"))
            put_location(out, value, t);
        else if (!strcmp(name, "referrer-policy"))
            referrer = value;
        else if (!strcmp(name, "set-cookie") && !t->by_path)
            put_set_cookie(out, value);
        else if (t->by_path ? passes_by_path(name) : passes_by_host(name))
            buf_printf(out, "%s: %s\r\n", name, value);
    }
    put_referrer_policy(out, referrer);
    /* By path, the page comes from this server's own origin: it runs in one that is nobody's. */
    if (t->by_path && !upgrade)
        buf_puts(out, "content-security-policy: sandbox allow-scripts allow-forms allow-popups "
                      "allow-modals allow-downloads\r\n");
    return out->err;
}
