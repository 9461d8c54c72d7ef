/* Whom a request is for. Pure but for names in conn. Runs in E. */
#pragma once

#include "sandbox/egress/http/exchange.h"
#include "sandbox/egress/net/conn.h"

/*
 * Splits "host[:port]" of Host or :authority; the host is put in lower case without brackets and
 * final dot. -EINVAL: it is none.
 */
int authority_split(const char *text, size_t len, bool https, char host[256], uint16_t *ret_port);

struct origin_space {
    char host[256];
    union socket_address addr;
};

/*
 * The origin of a request on that connection. The name that it was dialled by (DNS, SNI) must be
 * the one that the request names; on a connection to a bare address the request's own name counts,
 * which is looked up anew. NULL, or the sentence that says why it is refused.
 */
const char *authority_origin(const struct conn *c, const struct http_head *head,
                             struct origin_space *space, struct exchange_origin *ret);
