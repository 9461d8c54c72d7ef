#pragma once
#include <stdint.h>
#include "sandbox/base/buf.h"
struct egress_record;
struct egress_counters {
    uint64_t requests[7], bytes_in, bytes_out, upstream_errors, handshakes, dns[2], connections, handler_calls;
};
void counters_request(struct egress_counters *c, const struct egress_record *r);
int counters_render(const struct egress_counters *c, struct buf *out);
