/*
 * The network of a box: a namespace with nothing but `lo`, up. No route, no address of the outside:
 * an attempt to leave fails at once with "network is unreachable", a name look-up with "connection
 * refused" at 127.0.0.1:53.
 */
#pragma once

#include "sandbox/base/err.h"

/* B: enters the namespace for the length of the call, brings lo up, comes back. Aborts if it cannot
 * come back. */
int netns_configure(int netns_fd, struct err *err);
/*
 * TCP sockets that belong to the namespace, non-blocking, not connected: ret_fds[0] IPv4,
 * ret_fds[1] IPv6 or -1. Same manner.
 */
int netns_sockets(int netns_fd, int ret_fds[2], struct err *err);
