/*
 * Addresses that stand for names, one pool per box: whatever name a box looks up gets one of
 * 198.18.0.0/15 and one of fd00:200:1::/96, so that the connection which follows has a name, and
 * nothing was asked of the world yet. Bounded: the name that was asked for longest ago gives its
 * address away. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct names;

enum { NAMES_MAX = 16384, NAMES_TTL = 60 };

struct names *names_new(void);
void names_free(struct names *n);
/* The addresses of that (lower-case) name. -ENOMEM. */
int names_take(struct names *n, const char *host, uint8_t v4[4], uint8_t v6[16]);
/* The name behind an address; NULL: none. Good until the next take. */
const char *names_find(const struct names *n, const struct sockaddr *addr);
const char *names_find_bytes(const struct names *n, const uint8_t *addr, size_t len);
/* Is it of the ranges, whether it stands for something or not? */
int names_owns(const struct sockaddr *addr);
