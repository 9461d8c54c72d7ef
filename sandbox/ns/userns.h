/*
 * User namespaces and their maps. Host uid 0 is never mapped: sysctls such as core_pattern would
 * become writable.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "sandbox/base/err.h"

struct userns_range {
    uint32_t inside, outside, count;
};

/* Writes uid_map and gid_map of pid (through procfs mounted at /proc). The caller needs CAP_SETUID
 * over the parent. */
int userns_write_maps(pid_t pid, const struct userns_range *ranges, unsigned n, struct err *err);
/*
 * A user namespace that exists only as a descriptor: what an idmapped mount wants, or a process to
 * come. owner: the host uid that what is taken in there is charged to; with 0 that would be the
 * host's own root. Single-threaded callers only.
 */
int userns_new_fd(const struct userns_range *ranges, unsigned n, uid_t owner, int *ret_fd,
                  struct err *err);
