/* Answers a box's DNS questions: a synthetic address for every name, nothing is asked of the world.
 * Runs in E. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "sandbox/egress/dns/message.h"

struct egress_box;

/* Length of the answer, 0: none. */
size_t dns_serve(struct egress_box *b, const uint8_t *question, size_t len, uint8_t *out,
                 size_t cap);
