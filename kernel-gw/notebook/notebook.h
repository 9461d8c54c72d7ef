/* Notebooks run as a whole: adds POST /v1/sandboxes/{name}/notebooks:execute. Runs in G. */
#pragma once

#include "kernel-gw/gateway.h"

int notebook_attach(struct gateway *gw); /* -ENOMEM */
