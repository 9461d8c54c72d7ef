/* AES-256-GCM with a fresh nonce; the name is bound to the text. Private to the module. */
#pragma once

#include "sandbox/base/buf.h"
#include "sandbox/egress/secrets/secrets.h"

enum { SEAL_NONCE = 12, SEAL_TAG = 16 };

/* Appends nonce, text, tag. */
int seal(const uint8_t key[SECRETS_KEY], const char *name, const void *text, size_t len,
         struct buf *out);
/* -EBADMSG: not sealed under that key and name. */
int unseal(const uint8_t key[SECRETS_KEY], const char *name, const uint8_t *data, size_t len,
           struct buf *out);
