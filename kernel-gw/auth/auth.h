/* Who may ask: one token for the whole server. */
#pragma once

#include <stdbool.h>

#include "kernel-gw/net/http.h"

struct auth {
    char *token; /* "" = everyone may (not the default) */
};

enum auth_result { AUTH_OK, AUTH_MISSING, AUTH_WRONG };

/* Authorization: Bearer T | token T, or ?token=T. The comparison takes the same time whatever
 * differs. */
enum auth_result auth_check(const struct auth *a, const struct http_request *r);
