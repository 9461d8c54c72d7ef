/* TLS towards the world: who is trusted, and what is verified. Runs in E. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

#include "sandbox/base/err.h"

/* The host's authorities, and those in the PEM file extra_fd (-1: none; borrowed). */
int upstream_context_new(int extra_fd, SSL_CTX **ret, struct err *err);
/*
 * A client connection that will verify that the server is `host` (a name or an address). h2: offers
 * it beside HTTP/1.1. session: one to resume, or NULL.
 */
SSL *upstream_connect(SSL_CTX *ctx, const char *host, bool h2, SSL_SESSION *session);
bool upstream_chose_h2(const SSL *ssl);
