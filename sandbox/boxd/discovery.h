/*
 * How local clients find the server: STATE/token (the generated token) and /run/cellbox/server.json
 * {url, token, pid}, both readable by root only. Another live server's file is left alone.
 */
#pragma once

#include <stddef.h>

#include "sandbox/base/err.h"

/* wanted: the configured token or "". Reads STATE/token or makes it. */
int discovery_token(const char *state_dir, const char *wanted, char *ret, size_t cap,
                    struct err *err);
void discovery_publish(const char *state_dir, const char *url, const char *token);
void discovery_withdraw(const char *state_dir);
