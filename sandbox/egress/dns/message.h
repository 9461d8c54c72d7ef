/* DNS messages (RFC 1035, RFC 6891): one question in, one answer out. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DNS_MESSAGE_MAX = 4096, DNS_NAME_MAX = 256, DNS_UDP_MAX = 512 };
enum { DNS_E_INVALID = 1, DNS_E_IGNORE = 2 };
enum {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_AAAA = 28,
    DNS_SVCB = 64,
    DNS_HTTPS = 65,
    DNS_ANY = 255
};
enum {
    DNS_OK = 0,
    DNS_FORMAT = 1,
    DNS_FAILURE = 2,
    DNS_NO_NAME = 3,
    DNS_NOT_IMPLEMENTED = 4,
    DNS_REFUSED = 5
};

struct dns_question {
    uint16_t id, flags, type, class;
    char name[DNS_NAME_MAX]; /* lower case, no dot at the end, "" = root; only letters that a host
                                name has */
    size_t end;              /* of the question in the message */
    bool edns;
};

/* 0; DNS_E_INVALID: answer with DNS_FORMAT (id is set); DNS_E_IGNORE: no question at all. */
int dns_parse(const uint8_t *message, size_t len, struct dns_question *ret);
/*
 * Writes the answer to that question: with an address (4 or 16 bytes), a name (PTR), or neither.
 * Returns its length; 0 if it does not fit.
 */
size_t dns_answer(uint8_t *out, size_t cap, const uint8_t *message, const struct dns_question *q,
                  int rcode, const uint8_t *address, size_t address_len, const char *name,
                  uint32_t ttl);
/* The address that a name below in-addr.arpa or ip6.arpa stands for. Returns 4, 16 or 0. */
size_t dns_reverse(const char *name, uint8_t out[16]);
