/* Whom a request is for. Pure but for names in conn. Runs in E. */
#pragma once

#include "sandbox/egress/http/exchange.h"
#include "sandbox/egress/net/conn.h"

/* "host[:port]" of Host or :authority, taken apart. */
struct authority_text {
    char host[256]; /* lower case, no brackets, no final dot; an address in its canonical form */
    uint16_t port;  /* 0: none was given */
    bool is_address;
    union socket_address addr; /* is_address; without port */
};

/* -EINVAL: it is none. */
int authority_split(const char *text, size_t len, struct authority_text *ret);
/* The one spelling of it becomes the head's authority: what is sent is what was judged. The port
 * stands there if one was given or `port` is not the scheme's own. */
int authority_put(struct http_head *head, const struct authority_text *a, uint16_t port,
                  bool https);

struct origin_space {
    char host[256];
    union socket_address addr;
};

/*
 * The origin of a request on that connection; its authority becomes canonical. A connection by name
 * (DNS, SNI) is for that name alone. One that dialled an address is for the address, whatever the
 * request calls it: it is judged, gets credentials and is logged by the address. Another name is
 * refused, except in a network that a rule names by its cidr, which may be spoken to under any
 * name. NULL, or the sentence that says why it is refused.
 */
const char *authority_origin(const struct conn *c, struct http_head *head,
                             struct origin_space *space, struct exchange_origin *ret);
