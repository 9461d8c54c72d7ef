/*
 * What is kept at rest and must not be read there: AES-256-GCM with a fresh nonce; the name is
 * bound to the text. Runs in the gateway (registry) and in egress (secrets).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum { SEAL_KEY = 32, SEAL_NONCE = 12, SEAL_TAG = 16 };

/* Appends nonce, text, tag. */
int seal(const uint8_t key[SEAL_KEY], const char *name, const void *text, size_t len,
         struct buf *out);
/* -EBADMSG: not sealed under that key and name. */
int unseal(const uint8_t key[SEAL_KEY], const char *name, const uint8_t *data, size_t len,
           struct buf *out);
