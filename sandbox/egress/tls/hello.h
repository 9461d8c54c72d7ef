/* What a TLS ClientHello says before anything is answered (RFC 8446 4.1.2, RFC 6066 3, RFC 7301).
 * Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HELLO_INCOMPLETE = 1, HELLO_INVALID = 2, HELLO_MAX = 16384 };

struct hello {
    char server_name[256]; /* lower case, "" = none */
    bool alpn, h2, http11; /* offers protocols at all; among them these */
};

/* 0, HELLO_INCOMPLETE (more bytes are needed), HELLO_INVALID. */
int hello_parse(const uint8_t *data, size_t len, struct hello *ret);
