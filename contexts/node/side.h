/* Requests that are answered while a cell runs: which they are, and what is said to them when the
 * main thread cannot be reached. Private to contexts/node. Any thread, with the watcher's lock. */
#pragma once

#include "contexts/node/host.h"

/* Whether requests of this type are sent while a cell runs (HELLO "concurrent"). */
bool side_is(uint16_t type);
/* A number of the first section, the gateway's own JSON without spaces. False: it has none. */
bool side_number(const struct message *m, const char *name, double *ret);
/* usage.c: answers USAGE; nothing of it needs JavaScript. */
void side_usage(const struct message *m);
/* True: the request has waited for too long and was answered with "nothing known". */
bool side_give_up(struct message *m);
