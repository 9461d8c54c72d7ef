/*
 * The one way from E to the world: resolve, check each address against the policy, connect to the
 * very address that was checked. Nothing else in E calls connect().
 */
#pragma once

#include "sandbox/egress/net/resolver.h"
#include "sandbox/egress/policy/policy.h"

struct dial;
struct own;

/* What every dial of E needs. */
struct dialler {
    uv_loop_t *loop;
    struct resolver *resolver;
    struct own *own; /* the host's own addresses */
};

/* fd >= 0: connected, non-blocking, the callee's. Else status (502, 504, 520) and reason. */
typedef void dialled_fn(void *user, int fd, const union socket_address *addr, uint16_t status,
                        const char *reason);

/*
 * target and policy are copied / referenced. Never answers from inside. NULL: out of memory. Beside
 * what the policy refuses, an address of the host's own is, unless a rule names its network.
 */
struct dial *dial_start(const struct dialler *with, struct policy *policy,
                        const struct policy_target *target, dialled_fn *done, void *user);
void dial_cancel(struct dial *d); /* NULL is fine */
/* "203.0.113.7:443" */
void socket_address_text(const union socket_address *a, char out[64]);
