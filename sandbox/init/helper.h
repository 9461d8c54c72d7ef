/* File helpers (sandbox/files): processes of the box that serve file operations from outside, so
 * that none of them can hold init. Init only starts and reaps them. */
#pragma once

#include "sandbox/base/err.h"

/* The helper's program, opened before anything of the box runs: what stands at its path later is
 * not asked. Descriptor or negative errno. */
int helper_program(void);
/*
 * Starts one whose descriptor 3 is socket (borrowed), as the box user or as root of the box. It
 * ends when the other end is closed. Returns its pid or a negative errno.
 */
int helper_start(int program, int socket, int root, struct err *err);
