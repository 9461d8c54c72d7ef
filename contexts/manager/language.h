/*
 * The languages that contexts are made in: one table for every door (runs, kernelspecs, the pool).
 * Static; valid for ever.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "contexts/pool/pool.h"

struct language {
    const char *name;            /* of contexts, runs and kernelspecs: "python" */
    const char *aliases[4];      /* also accepted where a user names a language; NULL ends */
    const char *display_name;    /* in launchers */
    const char *kernel_language; /* kernelspec "language": what notebooks remember */
    bool debugger;               /* its runner takes FRAME_DEBUG */
    enum pool_kind pool;         /* warm boxes that hold its interpreter */
    uint32_t program;            /* enum wire_program: how a new one starts in a box */
    uint32_t fresh_program;      /* the same where only a fresh start will do */
    const char *fresh_env[8];    /* prefixes of variables that only start-up reads; NULL ends */
};

/* By name or alias. NULL: unknown. */
const struct language *language_find(const char *name);
/* The kind of warm box for a language; of the first one when it is NULL or unknown. */
enum pool_kind language_pool(const char *name);
/* NULL starts; NULL ends. The first one is the default. */
const struct language *language_next(const struct language *after);
