/* Connections to a port of the box's loopback, made for G, which cannot enter the box. Private to
 * sandbox/init. */
#pragma once

#include <stdint.h>

#include "sandbox/base/list.h"

struct connects {
    struct list list;
    int epoll, link;
    unsigned count;
};

void connects_init(struct connects *c, int epoll, int link);
/* Answers seq once it is connected, refused or timeout_ms is over: IPv4 first, then IPv6. */
void connects_start(struct connects *c, uint32_t seq, uint16_t port, uint32_t timeout_ms);
int64_t connects_tick(struct connects *c, int64_t now_us); /* microseconds to the next, -1 none */
