#include "kernel-gw/auth/session.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sandbox/base/id.h"
#include "sandbox/base/map.h"

#define KIND "browser-session"
enum { SESSIONS_MAX = 10000, MAC_BYTES = 32 };

struct auth_session {
    time_t expires;
};

struct auth_sessions {
    struct map *by_digest; /* oldest first */
    struct store *store;
    char bound[2 * MAC_BYTES + 1]; /* to this token */
};

/* HMAC-SHA256 of a constant text under a secret, as hexadecimal text. */
static void session_mac(const char *secret, const char *text, char out[2 * MAC_BYTES + 1])
{
    unsigned char mac[EVP_MAX_MD_SIZE] = {0};
    unsigned n = 0;
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, strlen(text), mac,
         &n);
    for (unsigned i = 0; i < MAC_BYTES; i++)
        snprintf(out + (size_t)2 * i, 3, "%02x", mac[i]);
}

static void session_drop(struct auth_sessions *s, const char *digest)
{
    free(map_remove(s->by_digest, digest));
    if (s->store)
        store_put_document(s->store, KIND, digest, NULL, STORE_NOW);
}

static void session_load(void *user, const char *digest, const char *json)
{
    struct auth_sessions *s = user;
    json_t *o = json_loads(json, 0, NULL);
    const char *bound = json_string_value(json_object_get(o, "token"));
    struct auth_session *loaded = calloc(1, sizeof *loaded);
    if (loaded)
        loaded->expires = (time_t)json_integer_value(json_object_get(o, "expires"));
    if (!loaded || !bound || strcmp(bound, s->bound) != 0 || loaded->expires <= time(NULL) ||
        map_add(s->by_digest, digest, loaded) < 0) {
        free(loaded);
        store_put_document(s->store, KIND, digest, NULL, STORE_NOW);
    }
    json_decref(o);
}

struct auth_sessions *auth_sessions_new(struct store *store, const char *token)
{
    struct auth_sessions *s = calloc(1, sizeof *s);
    if (!s || !(s->by_digest = map_new())) {
        free(s);
        return NULL;
    }
    session_mac(token, "cellbox session of a token 1", s->bound);
    s->store = store;
    if (store)
        store_each_document(store, KIND, session_load, s);
    return s;
}

void auth_sessions_free(struct auth_sessions *s)
{
    size_t cursor = 0;
    if (!s)
        return;
    for (struct auth_session *each; (each = map_next(s->by_digest, &cursor, NULL));)
        free(each);
    map_free(s->by_digest);
    free(s);
}

static void session_drop_oldest(struct auth_sessions *s)
{
    size_t cursor = 0;
    const char *digest;
    if (map_next(s->by_digest, &cursor, &digest)) {
        char copy[2 * MAC_BYTES + 1];
        snprintf(copy, sizeof copy, "%s", digest);
        session_drop(s, copy);
    }
}

int auth_sessions_begin(struct auth_sessions *s, char ret_id[SESSION_ID])
{
    char digest[2 * MAC_BYTES + 1], json[160];
    struct auth_session *made = calloc(1, sizeof *made);
    if (!made)
        return -ENOMEM;
    if (map_count(s->by_digest) >= SESSIONS_MAX)
        session_drop_oldest(s);
    id_hex(ret_id, (SESSION_ID - 1) / 2);
    made->expires = time(NULL) + (time_t)SESSION_DAYS * 86400;
    session_mac(ret_id, "cellbox session digest 1", digest);
    if (map_add(s->by_digest, digest, made) < 0) {
        free(made);
        return -ENOMEM;
    }
    snprintf(json, sizeof json, "{\"expires\":%lld,\"token\":\"%s\"}", (long long)made->expires,
             s->bound);
    if (s->store)
        store_put_document(s->store, KIND, digest, json, STORE_NOW);
    return 0;
}

bool auth_sessions_known(struct auth_sessions *s, const char *id)
{
    char digest[2 * MAC_BYTES + 1];
    session_mac(id, "cellbox session digest 1", digest);
    const struct auth_session *found = map_get(s->by_digest, digest);
    if (found && found->expires <= time(NULL)) {
        session_drop(s, digest);
        return false;
    }
    return found != NULL;
}

void auth_sessions_end(struct auth_sessions *s, const char *id)
{
    char digest[2 * MAC_BYTES + 1];
    session_mac(id, "cellbox session digest 1", digest);
    if (map_get(s->by_digest, digest))
        session_drop(s, digest);
}

void auth_sessions_xsrf(const char *id, char out[SESSION_XSRF])
{
    session_mac(id, "cellbox xsrf word 1", out);
}
