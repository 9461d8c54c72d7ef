#pragma once
#include <stdint.h>
#include "sandbox/base/buf.h"
struct egress_counters {
    uint64_t requests[7], bytes_in, bytes_out, upstream_errors, handshakes, dns[2], connections, handler_calls;
};
