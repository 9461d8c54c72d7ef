/*
 * The certificate authority of one box: a P-256 key made from a secret of this run and the box's
 * number (so that a restarted E is the same authority, and nothing is kept), leaves signed on
 * demand and kept, up to a bound, and the server contexts that speak for them. The private key
 * never leaves E.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "sandbox/base/buf.h"

struct authority;

/*
 * The CA certificate is made anew, with the same key, when it is AUTHORITY_RENEW old: programs that
 * have read the one before trust it for twenty days more. Leaves are remade at half their time.
 */
enum {
    AUTHORITY_DAYS = 30,
    AUTHORITY_RENEW_S = 10 * 86400,
    AUTHORITY_LEAF_DAYS = 4,
    AUTHORITY_LEAF_RENEW_S = 2 * 86400
};
enum { AUTHORITY_LEAVES_MAX = 256, AUTHORITY_BURST = 200, AUTHORITY_PER_SECOND = 20 };

int authority_new(const uint8_t key[32], uint64_t box, struct authority **ret);
void authority_free(struct authority *a);
/* 1: a new certificate was made; 0: the one there is is good; -ENOMEM. now: Unix time. */
int authority_renew(struct authority *a, time_t now);
uint64_t authority_made(const struct authority *a); /* Unix time */
int authority_pem(const struct authority *a, struct buf *out);
/*
 * A server-side connection that shows a certificate for that name, or for that address. h2: offers
 * it beside HTTP/1.1. NULL: out of memory, or more new names than a box may ask for at a time.
 */
SSL *authority_accept(struct authority *a, const char *host, bool h2, uint64_t now_ms);
