/*
 * The host's own limits that all boxes and the host share. What one box may have is bounded in it
 * (sandbox/ns/bounds.h); the sums have to leave room for many boxes. Never lowers one, and leaves
 * them raised. Runs in B.
 */
#pragma once

/* Raises what is too low; says so in the log. A limit that cannot be raised (a read-only /proc/sys)
 * is a warning: boxes then share less. */
void host_raise_limits(void);
