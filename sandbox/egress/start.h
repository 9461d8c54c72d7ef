/* E's own beginning and end. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct egress;

/* WIRE_EGRESS_HELLO: ends the process, with a line on stderr, when it cannot go on. ca_fd is
 * borrowed, -1 = none. */
void egress_configure(struct egress *e, const uint8_t *msg, size_t len, int ca_fd);
void egress_stop(struct egress *e);
