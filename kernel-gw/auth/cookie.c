/*
 * Previews by host are siblings of this server's own host unless they have a domain of their own,
 * so a page of a box can set cookies that arrive here, and browsers send ours with its requests. A
 * cookie therefore proves nothing but the session it names: every cookie of our name is tried, the
 * word against forgery is derived from the session and comes in a header alone, and the browser's
 * own words (Origin, Sec-Fetch-Site) decide whose page is asking.
 */
#include "kernel-gw/auth/cookie.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool cookie_over_tls(const struct http_request *r)
{
    const char *proto = http_header(r, "x-forwarded-proto");
    return proto && !strcasecmp(proto, "https");
}

/* Name of the session cookie for the host and port by which the client reached the server. */
static void cookie_name(const struct http_request *r, char *out, size_t cap)
{
    const char *host = http_header(r, "host"), *colon = host ? strrchr(host, ':') : NULL;
    bool tls = cookie_over_tls(r);
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    if (!digits || digits > 5 || colon[1 + digits])
        snprintf(out, cap, "%s%s", tls ? COOKIE_SECURE : COOKIE_PLAIN, tls ? "443" : "80");
    else
        snprintf(out, cap, "%s%s", tls ? COOKIE_SECURE : COOKIE_PLAIN, colon + 1);
}

static bool cookie_is_id(const char *value, size_t len)
{
    return len == SESSION_ID - 1 && strspn(value, "0123456789abcdef") >= len;
}

bool cookie_session(struct auth_sessions *s, const struct http_request *r, char ret_id[SESSION_ID])
{
    char name[64], id[SESSION_ID];
    cookie_name(r, name, sizeof name);
    size_t n = strlen(name);
    for (size_t i = 0; i < r->nheaders; i++) {
        if (strcmp(r->headers[i].name, "cookie") != 0)
            continue;
        for (const char *h = r->headers[i].value; *h;) {
            h += strspn(h, " ;");
            size_t len = strcspn(h, ";");
            if (len > n && h[n] == '=' && !strncmp(h, name, n) &&
                cookie_is_id(h + n + 1, len - n - 1)) {
                memcpy(id, h + n + 1, SESSION_ID - 1);
                id[SESSION_ID - 1] = 0;
                if (auth_sessions_known(s, id)) {
                    memcpy(ret_id, id, sizeof id);
                    return true;
                }
            }
            h += len;
        }
    }
    return false;
}

static void cookie_put(const struct http_request *r, const char *name, const char *value,
                       bool script, bool end, char out[COOKIE_LINE_MAX])
{
    snprintf(out, COOKIE_LINE_MAX, "%s=%s; Path=/; Max-Age=%d%s; SameSite=%s%s", name, value,
             end ? 0 : SESSION_DAYS * 86400, script ? "" : "; HttpOnly", script ? "Strict" : "Lax",
             cookie_over_tls(r) ? "; Secure" : "");
}

void cookie_put_session(const struct http_request *r, const char *id, char out[COOKIE_LINE_MAX])
{
    char name[64];
    cookie_name(r, name, sizeof name);
    cookie_put(r, name, id, false, false, out);
}

void cookie_put_xsrf(const struct http_request *r, const char *id, char out[COOKIE_LINE_MAX])
{
    char word[SESSION_XSRF];
    auth_sessions_xsrf(id, word);
    cookie_put(r, COOKIE_XSRF, word, true, false, out);
}

void cookie_put_end(const struct http_request *r, bool xsrf, char out[COOKIE_LINE_MAX])
{
    char name[64];
    cookie_name(r, name, sizeof name);
    cookie_put(r, xsrf ? COOKIE_XSRF : name, "", xsrf, true, out);
}

static bool cookie_own_origin(const struct http_request *r, const char *origin)
{
    const char *host = http_header(r, "host"), *at = strstr(origin, "://");
    if (!at || !host || strcasecmp(at + 3, host) != 0)
        return false;
    size_t scheme = (size_t)(at - origin);
    if (http_header(r, "x-forwarded-proto"))
        return cookie_over_tls(r) ? scheme == 5 && !strncasecmp(origin, "https", 5)
                                  : scheme == 4 && !strncasecmp(origin, "http", 4);
    return (scheme == 4 && !strncasecmp(origin, "http", 4)) ||
           (scheme == 5 && !strncasecmp(origin, "https", 5));
}

static bool cookie_header_is(const struct http_request *r, const char *name, const char *value)
{
    const char *h = http_header(r, name);
    return h && !strcmp(h, value);
}

bool cookie_from_own_page(const struct http_request *r)
{
    const char *origin = http_header(r, "origin"), *site = http_header(r, "sec-fetch-site");
    bool reads = (r->method == HTTP_GET || r->method == HTTP_HEAD) && !r->upgrade;
    if (origin && !cookie_own_origin(r, origin))
        return false;
    if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return reads && cookie_header_is(r, "sec-fetch-mode", "navigate") &&
               cookie_header_is(r, "sec-fetch-dest", "document");
    return reads || origin || cookie_header_is(r, "sec-fetch-site", "same-origin");
}

bool cookie_repeats_xsrf(const struct http_request *r, const char *id)
{
    char word[SESSION_XSRF];
    const char *given = http_header(r, "x-xsrftoken");
    auth_sessions_xsrf(id, word);
    return given && strlen(given) == SESSION_XSRF - 1 &&
           CRYPTO_memcmp(given, word, SESSION_XSRF - 1) == 0;
}

bool cookie_is_session(const char *name, size_t len)
{
    static const char *const prefixes[] = {COOKIE_PLAIN, COOKIE_SECURE};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t n = strlen(prefixes[i]);
        if (len >= n && !strncasecmp(name, prefixes[i], n))
            return true;
    }
    return false;
}

bool cookie_is_xsrf(const char *name, size_t len)
{
    return len == sizeof COOKIE_XSRF - 1 && !strncmp(name, COOKIE_XSRF, len);
}
