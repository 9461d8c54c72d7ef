/* What G and E are given of the host: files, memory. Runs in B. */
#pragma once

#include "sandbox/base/err.h"

struct server;

/* When their state has its places and the control groups are open. */
int services_prepare(struct server *s, struct err *err);
void services_undo(struct server *s);
