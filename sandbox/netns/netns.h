/*
 * The network of a box: a namespace with nothing but `lo`. Every address of the world is local
 * there (a local default route, "AnyIP"), and whatever TCP connection or DNS question leaves a
 * program arrives at listeners that belong to the egress process: nft TPROXY in prerouting hands
 * them over with their original destination as the socket's own address. There is no veth, no
 * address on the host and no route off lo, so that a box which tore all of this down would reach
 * nothing at all. Other UDP is refused at once (nobody listens: port unreachable).
 *
 * B enters the namespace for the length of a call and comes back; it aborts if it cannot.
 */
#pragma once

#include <stdint.h>

#include "sandbox/base/err.h"

/* The box's own addresses, and where its resolver is asked. */
#define NETNS_ADDRESS4  "10.200.0.1"
#define NETNS_ADDRESS6  "fd00:200::1"
#define NETNS_RESOLVER4 "10.200.0.53"
#define NETNS_RESOLVER6 "fd00:200::53"

enum { NETNS_PORT = 1, NETNS_LISTENERS = 4 };
/* Order of the descriptors: TCP for all ports and addresses, UDP 53. */
enum { NETNS_TCP4, NETNS_TCP6, NETNS_UDP4, NETNS_UDP6 };

/* Brings the network up and opens the egress listeners in it, non-blocking. */
int netns_configure(int netns_fd, int ret_fds[NETNS_LISTENERS], struct err *err);
/*
 * TCP sockets that belong to the namespace, non-blocking, not connected: ret_fds[0] IPv4,
 * ret_fds[1] IPv6 or -1. Same manner.
 */
int netns_sockets(int netns_fd, int ret_fds[2], struct err *err);
