/* What E has done since it started, for /metrics. */
#pragma once

#include <stdint.h>

#include "sandbox/base/buf.h"

struct egress_record;

enum egress_decision {
    DECIDED_ALLOW,
    DECIDED_DENY,
    DECIDED_HANDLER,
    DECIDED_RESPOND,
    DECIDED_SPLICE,
    DECIDED_TCP,
    DECIDED_ERROR,
    DECISIONS
};

struct egress_counters {
    uint64_t requests[DECISIONS]; /* records of HTTP, TLS and TCP */
    uint64_t bytes_in, bytes_out, upstream_errors, handshakes, handler_calls;
    uint64_t dns[2];      /* answered, refused */
    uint64_t connections; /* open now */
};

void counters_request(struct egress_counters *c, const struct egress_record *r);
int counters_render(const struct egress_counters *c, struct buf *out); /* Prometheus text */
