/* Output of a program as it comes (cellbox exec, cellbox logs --follow). */
#pragma once

#include "clients/cli/server.h"
#include "clients/cli/util.h"

/* Shows the events of a call on stdout and stderr until it ends; the exit status of the program, or
 * one of ours after a message. */
int events_show(const struct server *s, const char *method, const char *path, const json_t *body);
