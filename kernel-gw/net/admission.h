/*
 * Bounds for connections that have not shown a credential yet. Each is charged to its address (an
 * IPv6 one to its /64) for itself and for the bytes that the server holds for it. Over a bound, of
 * the address or of all, the oldest of those connections is closed: a client that sends its request
 * at once always gets through, and places remain for those with a token.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sandbox/base/list.h"

struct map;
struct conn;
struct http_server;

struct admission {
    struct map *addresses;   /* text of the address -> struct address */
    struct list connections; /* the untrusted ones, oldest first */
    unsigned count;
    size_t bytes;
    unsigned long long evicted;
};

/* Of a connection. */
struct admission_entry {
    struct list item;
    struct address *address; /* NULL: trusted, or closed */
    size_t bytes;
};

int admission_init(struct admission *a); /* -ENOMEM */
/* The connection was accepted. May close others, and itself. -ENOMEM */
int admission_enter(struct conn *c);
/* What the connection holds has changed. May close others, never itself. */
void admission_charge(struct conn *c);
/* It has shown a credential, or is closed. */
void admission_leave(struct conn *c);
bool admission_trusted(const struct conn *c);
/* Closes the oldest untrusted connection to make room; false: there is none. */
bool admission_make_room(struct http_server *s);
