#include "kernel-gw/auth/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

/* Digests are compared, so that not even the length of the token shows. */
static bool auth_same(const char *a, const char *b)
{
    unsigned char x[SHA256_DIGEST_LENGTH], y[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)a, strlen(a), x);
    SHA256((const unsigned char *)b, strlen(b), y);
    return CRYPTO_memcmp(x, y, sizeof x) == 0;
}

static const char *auth_from_header(const struct http_request *r)
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
    return auth_same(given, a->token);
}

static enum auth_result auth_check_cookie(const struct auth *a, const struct http_request *r)
{
    char id[SESSION_ID];
    if (!cookie_session(a->sessions, r, id))
        return AUTH_MISSING;
    bool changes = r->method != HTTP_GET && r->method != HTTP_HEAD;
    if (!cookie_from_own_page(r) || (changes && !cookie_repeats_xsrf(r, id)))
        return AUTH_CROSS_SITE;
    return AUTH_OK;
}

enum auth_result auth_check(const struct auth *a, const struct http_request *r)
{
    char query[512];
    const char *given = auth_from_header(r);
    if (!*a->token)
        return AUTH_OK;
    if (!given && http_query(r, "token", query, sizeof query))
        given = query;
    if (!given)
        return auth_check_cookie(a, r);
    return auth_same(given, a->token) ? AUTH_OK : AUTH_WRONG;
}

bool auth_by_cookie(const struct auth *a, const struct http_request *r)
{
    char query[512];
    return *a->token && !auth_from_header(r) && !http_query(r, "token", query, sizeof query);
}
