/* Addresses and networks. IPv4 and IPv4-mapped IPv6 are one thing here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct address {
    uint8_t bytes[16]; /* IPv4: the first four */
    bool v4;
};

struct network {
    struct address base;
    uint8_t bits;
};

/* Families other than AF_INET and AF_INET6: false. */
bool address_from(const struct sockaddr *sa, struct address *ret);
/* "192.0.2.1", "2001:db8::1", "[2001:db8::1]"; nothing laxer. */
bool address_parse(const char *text, size_t len, struct address *ret);
/* Canonical text, without brackets. */
void address_text(const struct address *a, char ret[46]);
/* An address, or address/bits; the bits behind the prefix have to be zero. */
bool network_parse(const char *text, size_t len, struct network *ret);
bool network_holds(const struct network *n, const struct address *a);
/*
 * What kind of address that is not for the public internet this is ("loopback", "private"...), also
 * when it is embedded in a NAT64, 6to4 or Teredo address; NULL: it is public.
 */
const char *address_special(const struct address *a);
/* The IPv4 addresses that it carries inside (NAT64, 6to4, Teredo); how many. */
enum { ADDRESS_INNER_MAX = 2 };
size_t address_inner(const struct address *a, struct address ret[ADDRESS_INNER_MAX]);
