/* Files and archives to and from a sandbox, in constant memory, with a progress line on a terminal.
 */
#pragma once

#include "clients/cli/http.h"

/* Sends what fd holds as the body of a PUT. size: -1 = unknown. */
int transfer_up(const struct server *s, const char *path, int fd, long long size,
                const char *shown);
/* Writes the answer of a GET to fd. */
int transfer_down(const struct server *s, const char *path, int fd, const char *shown);
