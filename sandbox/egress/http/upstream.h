/*
 * Connections to the world that HTTP requests go over, pooled per box and never shared between
 * boxes. Runs in E.
 */
#pragma once

#include "sandbox/egress/http/exchange.h"
#include "sandbox/egress/net/resolver.h"

struct policy_target;

struct upstream_wish {
    const struct policy_target *target; /* whom to dial; copied */
    bool https;
    bool h2;      /* the box speaks HTTP/2: so may we */
    bool upgrade; /* the connection becomes a tunnel: HTTP/1.1, and not back into the pool */
    bool
        replay; /* a pooled connection that turns out dead may be replaced: no body has been sent */
};

/*
 * Sends the exchange's request (exchange_request_head) there. Answers come by exchange_up_*, never
 * from inside. 0 or -ENOMEM.
 */
int upstream_start(struct exchange *x, const struct upstream_wish *wish, bool end,
                   const struct exchange_up_ops **ret_ops, void **ret_up);
