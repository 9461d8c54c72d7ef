/*
 * Executes a program as the box user: own session, default signals, a closed set of descriptors.
 * The child shares init's memory until it executes (init is a clone of a big interpreter, whose
 * page tables a fork would copy), and init waits for that moment: so an error comes back whole.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "sandbox/base/err.h"

struct spawn {
    const char *cwd;
    char *const *argv;
    char *const *envp;
    int fds[3];       /* what becomes 0, 1, 2 */
    int extra[2];     /* what becomes 3 and 4, -1: none */
    bool terminal;    /* fd 0 becomes the controlling terminal of the session */
    bool any_shell;   /* argv[0] is bash; sh will do where there is none */
    bool as_box_user; /* false: as whom we are (tests) */
};

/* Steps that err names: what the caller tells apart. */
#define SPAWN_STEP_CWD     "enter working directory"
#define SPAWN_STEP_EXECUTE "execute"

/* 0 with the pid, or a negative errno with the step that failed. */
int spawn_run(const struct spawn *s, pid_t *ret, struct err *err);
