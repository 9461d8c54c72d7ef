/* Inside the namespace: what netns.c calls between its two setns. Private to the module. */
#pragma once

#include "sandbox/netns/netns.h"

int routes_make(struct err *err);   /* lo up, own addresses, everything local */
int redirect_make(struct err *err); /* nft: TCP and DNS to the listeners */
int listeners_open(int ret_fds[NETNS_LISTENERS], struct err *err);
