/*
 * Who may ask: one token for the whole server, in a header or in the address, or a browser session
 * that was begun with it (auth/session.h). With a session, a request that changes something must
 * come from a page of this server and repeat the session's word in X-XSRFToken: other sites can
 * make a browser send cookies, but can neither read them nor forge its Origin.
 */
#pragma once

#include <stdbool.h>

#include "kernel-gw/auth/cookie.h"
#include "kernel-gw/auth/failures.h"
#include "kernel-gw/auth/session.h"
#include "kernel-gw/net/http.h"

struct auth {
    char *token; /* "" = everyone may (not the default) */
    struct auth_sessions *sessions;
    struct failures *failures;
};

enum auth_result { AUTH_OK, AUTH_MISSING, AUTH_WRONG, AUTH_CROSS_SITE };

/* Authorization: Bearer T | token T, ?token=T, or the cookie of a session. Comparisons take the
 * same time whatever differs. */
enum auth_result auth_check(const struct auth *a, const struct http_request *r);
bool auth_token_is(const struct auth *a, const char *given);
/* Whether the request relies on a cookie: it carries no token. */
bool auth_by_cookie(const struct auth *a, const struct http_request *r);
