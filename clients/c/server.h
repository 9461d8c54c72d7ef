/* Which server to talk to: CELLBOX_URL and CELLBOX_TOKEN, else the record that a local server
 * leaves. */
#pragma once

#include <stdbool.h>

#include "clients/c/text.h"

#define SERVER_RECORD "/run/cellbox/server.json"

struct server {
    char *url; /* without a slash at the end */
    char *token;
};

enum {
    SERVER_E_NONE = 1, /* there is none to be found */
    SERVER_E_SETTINGS, /* what was given makes no sense */
};

/*
 * url and token may be NULL: then they come from the environment, else from the record. 0, -ENOMEM,
 * or SERVER_E_* and what to do about it in *ret_why.
 */
int server_locate(const char *url, const char *token, struct server *ret, struct str *ret_why);
void server_deinit(struct server *s);
/* The server is on this machine: no proxy stands between. */
bool server_is_local(const char *url);
