#include "kernel-gw/auth/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sandbox/base/id.h"

/* Digests are compared, so that not even the length of the token shows. */
static bool same(const char *a, const char *b)
{
    unsigned char x[SHA256_DIGEST_LENGTH], y[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)a, strlen(a), x);
    SHA256((const unsigned char *)b, strlen(b), y);
    return CRYPTO_memcmp(x, y, sizeof x) == 0;
}

static const char *from_header(const struct http_request *r)
{
    static const char *const schemes[] = {"bearer ", "token "};
    const char *h = http_header(r, "authorization");
    for (size_t i = 0; h && i < sizeof schemes / sizeof *schemes; i++) {
        size_t n = strlen(schemes[i]);
        if (!strncasecmp(h, schemes[i], n))
            return h + n + strspn(h + n, " ");
    }
    return h; /* another scheme: there is something, and it is wrong */
}

bool auth_token_is(const struct auth *a, const char *given)
{
    return same(given, a->token);
}

/* ---- browsers ---- */

enum { COOKIE_DAYS = 30, PROOF = 65, XSRF = 33 };

static void proof(const struct auth *a, char *out)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    static const char what[] = "cellbox browser session 1";
    HMAC(EVP_sha256(), a->token, (int)strlen(a->token), (const unsigned char *)what,
         sizeof what - 1, mac, &n);
    for (unsigned i = 0; i < n && i < 32; i++)
        snprintf(out + (size_t)2 * i, 3, "%02x", mac[i]);
}

void auth_put_cookie(const struct auth *a, char *out, size_t cap)
{
    char value[PROOF] = "";
    proof(a, value);
    snprintf(out, cap, AUTH_COOKIE "=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax", value,
             COOKIE_DAYS * 86400);
}

void auth_put_xsrf(char *out, size_t cap)
{
    char value[XSRF];
    id_hex(value, XSRF / 2);
    snprintf(out, cap, "_xsrf=%s; Path=/; Max-Age=%d; SameSite=Lax", value, COOKIE_DAYS * 86400);
}

/* Value of a cookie; false: there is none, or it is longer than ours are. */
static bool cookie(const struct http_request *r, const char *name, char *out, size_t cap)
{
    const char *h = http_header(r, "cookie");
    size_t n = strlen(name);
    while (h && *h) {
        h += strspn(h, " ;");
        size_t len = strcspn(h, ";");
        if (len > n && h[n] == '=' && !strncmp(h, name, n) && len - n - 1 < cap) {
            memcpy(out, h + n + 1, len - n - 1);
            out[len - n - 1] = 0;
            return true;
        }
        h += len;
    }
    return false;
}

static bool repeats_xsrf(const struct http_request *r)
{
    char mine[128], query[128];
    const char *given = http_header(r, "x-xsrftoken");
    if (!given && http_query(r, "_xsrf", query, sizeof query))
        given = query;
    return given && cookie(r, "_xsrf", mine, sizeof mine) && *mine && same(mine, given);
}

/* Whether the page that asks is one of this server's. */
static bool same_origin(const struct http_request *r)
{
    const char *origin = http_header(r, "origin"), *host = http_header(r, "host");
    const char *at = origin ? strstr(origin, "://") : NULL;
    return !origin || (at && host && !strcmp(at + 3, host));
}

static enum auth_result check_cookie(const struct auth *a, const struct http_request *r)
{
    char given[PROOF], want[PROOF] = "";
    if (!cookie(r, AUTH_COOKIE, given, sizeof given))
        return AUTH_MISSING;
    proof(a, want);
    if (!same(given, want))
        return AUTH_MISSING; /* of an earlier token, or of another server on this host */
    bool reads = r->method == HTTP_GET || r->method == HTTP_HEAD;
    if (reads ? !same_origin(r) : !repeats_xsrf(r))
        return AUTH_CROSS_SITE;
    return AUTH_OK;
}

enum auth_result auth_check(const struct auth *a, const struct http_request *r)
{
    char query[512];
    const char *given = from_header(r);
    if (!*a->token)
        return AUTH_OK;
    if (!given && http_query(r, "token", query, sizeof query))
        given = query;
    if (!given)
        return check_cookie(a, r);
    return same(given, a->token) ? AUTH_OK : AUTH_WRONG;
}
