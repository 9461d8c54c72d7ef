/*
 * Is an address one of the host's own? The kernel is asked before each connection, so the answer is
 * that of the moment, for every interface, for ranges that are local without standing on one, and
 * under every routing rule: what it would deliver to this machine is its own. Runs in E.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

struct own;

int own_open(struct own **ret); /* -errno */
/* 1: it is, also inside NAT64, 6to4 and the like; 0: it is not; -errno: nobody can tell. */
int own_holds(struct own *o, const struct sockaddr *addr);
