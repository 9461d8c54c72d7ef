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

/* Cookies without those by which browsers sign in to this server: a box must never see them. */
static void put_cookies(struct buf *out, const char *value)
{
    bool any = false;
    for (const char *p = value; *p;) {
        p += strspn(p, "; \t");
        size_t len = strcspn(p, ";"), name = strcspn(p, "=;");
        bool secret = (name == strlen(AUTH_COOKIE) && !strncmp(p, AUTH_COOKIE, name)) ||
                      (name == strlen(PORT_COOKIE) && !strncmp(p, PORT_COOKIE, name)) ||
                      (name == 5 && !strncmp(p, "_xsrf", 5));
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
        put_cookies(out, value);
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
    buf_printf(out, "x-forwarded-host: %s\r\nx-forwarded-proto: http\r\n", host ? host : "");
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

int preview_put_response(struct buf *out, const struct response *in, const struct http_request *r,
                         const struct preview_target *t, bool upgrade)
{
    const char *name, *value, *connection = NULL;
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
        else if (t->by_path && !strcmp(name, "set-cookie"))
            continue; /* it would be a cookie of this server's own host */
        else
            buf_printf(out, "%s: %s\r\n", name, value);
    }
    /* By path, the page comes from this server's own origin: it runs in one that is nobody's. */
    if (t->by_path && !upgrade)
        buf_puts(out, "content-security-policy: sandbox allow-scripts allow-forms allow-popups "
                      "allow-modals allow-downloads\r\n");
    return out->err;
}
