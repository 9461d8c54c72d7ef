/*
 * Browser sessions. A session is a random id that a browser holds in a cookie; the server keeps its
 * digest, in memory and in the registry, so that a restart signs nobody out and a stolen registry
 * signs nobody in. Signing out ends the session wherever its cookie was copied to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "kernel-gw/store/store.h"

enum {
    SESSION_ID = 65,   /* 256 random bits as hexadecimal text, with the NUL */
    SESSION_XSRF = 65, /* the word that requests repeat, with the NUL */
    SESSION_DAYS = 30,
};

struct auth_sessions;
/*
 * token: sessions that were begun with another one are over. store: NULL keeps sessions in memory
 * only. NULL: out of memory.
 */
struct auth_sessions *auth_sessions_new(struct store *store, const char *token);
void auth_sessions_free(struct auth_sessions *s);
/* -ENOMEM. When there are too many, the oldest one ends. */
int auth_sessions_begin(struct auth_sessions *s, char ret_id[SESSION_ID]);
bool auth_sessions_known(struct auth_sessions *s, const char *id);
void auth_sessions_end(struct auth_sessions *s, const char *id);
/* The word that belongs to this session and to no other. */
void auth_sessions_xsrf(const char *id, char out[SESSION_XSRF]);
