/* The listening socket is B's, so that a restarted gateway serves the same port and no connection
 * is refused meanwhile. */
#pragma once

#include <stddef.h>

#include "sandbox/base/err.h"

/* "ADDR:PORT" or "[v6]:PORT". *ret_text gets "http://ADDR:PORT" with the real port. */
int listen_open(const char *where, int *ret_fd, char *ret_text, size_t cap, struct err *err);
