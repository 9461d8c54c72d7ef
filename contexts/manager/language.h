/*
 * The languages that contexts are made in: one table for every door (runs, kernelspecs, the pool).
 * Static; valid for ever.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct language {
    const char *name;            /* of contexts, runs and kernelspecs: "python" */
    const char *aliases[4];      /* also accepted where a user names a language; NULL ends */
    const char *display_name;    /* in launchers */
    const char *kernel_language; /* kernelspec "language": what notebooks remember */
    bool debugger;               /* its runner takes FRAME_DEBUG */
};

/* By name or alias. NULL: unknown. */
const struct language *language_find(const char *name);
/* NULL starts; NULL ends. The first one is the default. */
const struct language *language_next(const struct language *after);
