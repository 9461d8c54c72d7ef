/*
 * Previews that want more than their address: a browser that opens the address with the key gets a
 * cookie for that host, and whoever has the cookie may go on. Only for the host form, where each
 * preview is a site of its own.
 */
#include <openssl/crypto.h>
#include <string.h>

#include "kernel-gw/preview/private.h"

static bool is_key(const char *text, size_t len, const char *key)
{
    return len == PORT_KEY - 1 && CRYPTO_memcmp(text, key, len) == 0;
}

static bool has_cookie(const char *cookies, const char *key)
{
    static const char name[] = PORT_COOKIE "=";
    for (const char *p = cookies ? cookies : ""; *p; p += strcspn(p, ";")) {
        p += strspn(p, "; \t");
        size_t n = strcspn(p, ";");
        if (n > sizeof name - 1 && !strncmp(p, name, sizeof name - 1) &&
            is_key(p + sizeof name - 1, n - (sizeof name - 1), key))
            return true;
    }
    return false;
}

/* The query without the key. */
static void put_query(struct buf *out, const char *query)
{
    static const char name[] = PORT_LOGIN "=";
    char between = '?';
    for (const char *p = query; *p;) {
        size_t n = strcspn(p, "&");
        if (n && strncmp(p, name, sizeof name - 1) != 0) {
            buf_putc(out, between);
            buf_put(out, p, n);
            between = '&';
        }
        p += n + (p[n] == '&');
    }
}

static void let_in(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const char *key)
{
    CLEANUP_BUF struct buf where = {0}, cookie = {0};
    const char *proto = http_header(r, "x-forwarded-proto");
    /* "//host" would lead elsewhere */
    const char *path = r->path + (strspn(r->path, "/\\") ? strspn(r->path, "/\\") - 1 : 0);
    buf_puts(&where, *path == '/' ? path : "/");
    put_query(&where, r->query);
    buf_printf(&cookie, PORT_COOKIE "=%s; Path=/; HttpOnly; SameSite=Lax%s", key,
               proto && !strcmp(proto, "https") ? "; Secure" : "");
    exchange_header(x, "Location", buf_str(&where));
    exchange_header(x, "Set-Cookie", buf_str(&cookie));
    exchange_header(x, "Cache-Control", "no-store");
    exchange_header(x, "Referrer-Policy", "no-referrer");
    api_empty(gw, x, 303);
}

bool preview_login(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct preview_target *t)
{
    char given[PORT_KEY + 1];
    const char *key = ports_key(gw, &t->label);
    if (!key)
        return true;
    if (t->by_path)
        preview_page(gw, x, 401, "LOGIN_REQUIRED", "Not by this address",
                     "This preview wants a login, which it can only have under its own host.");
    else if (http_query(r, PORT_LOGIN, given, sizeof given) && is_key(given, strlen(given), key))
        let_in(gw, x, r, key);
    else if (has_cookie(http_header(r, "cookie"), key))
        return true;
    else
        preview_page(gw, x, 401, "LOGIN_REQUIRED", "Please log in",
                     "Open the address that came with the key (loginUrl) once in this browser.");
    return false;
}
