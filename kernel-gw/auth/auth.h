/*
 * Who may ask: one token for the whole server, in a header, in the address, or as the cookie that a
 * browser got for it. With the cookie, a request that changes something must repeat the _xsrf
 * cookie, and a WebSocket must come from a page of this server: other sites can make a browser send
 * cookies, but cannot read them.
 */
#pragma once

#include <stdbool.h>

#include "kernel-gw/net/http.h"

#define AUTH_COOKIE "cellbox-auth"
enum { AUTH_COOKIE_MAX = 256 };

struct auth {
    char *token; /* "" = everyone may (not the default) */
};

enum auth_result { AUTH_OK, AUTH_MISSING, AUTH_WRONG, AUTH_CROSS_SITE };

/* Authorization: Bearer T | token T, ?token=T, or the cookie. Comparisons take the same time
 * whatever differs. */
enum auth_result auth_check(const struct auth *a, const struct http_request *r);
bool auth_token_is(const struct auth *a, const char *given);
/* Values for Set-Cookie: the proof that the token was known, and the word to repeat. */
void auth_put_cookie(const struct auth *a, char *out, size_t cap);
void auth_put_xsrf(char *out, size_t cap);
