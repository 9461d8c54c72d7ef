/* Which server to talk to; the library finds it. */
#pragma once

#include "clients/c/server.h"

/* 0, or an exit status after a message that says what to do. */
int server_find(struct server *ret);
/* Like server_find(), but the message goes to *ret_why (caller frees) instead of stderr. */
int server_find_quiet(struct server *ret, char **ret_why);
