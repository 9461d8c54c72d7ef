/*
 * Jupyter's REST interface: /api, kernels, kernelspecs, sessions; the same below
 * /v1/sandboxes/{name}/jupyter for one box. A kernel is a context, its id the context's. Private to
 * kernel-gw/jupyter.
 */
#pragma once

#include "kernel-gw/jupyter/door.h"

int rest_init(struct door *d);
/* Sessions whose kernel is gone go, too. */
void sessions_context_removed(struct door *d, struct context *c);
void sessions_settle(struct door *d);
