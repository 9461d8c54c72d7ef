/*
 * A file system in a file, for disks with a limit: ext4 over a loop device. The file is sparse and
 * gives back what is deleted. Its size says nothing: how much fits is set while it is mounted, by
 * the number of blocks that ext4 keeps to itself, so a limit can be raised and lowered at any time.
 * Runs in B.
 */
#pragma once

#include <stdint.h>

#include "sandbox/base/err.h"

static const uint64_t VOLUME_BYTES = 64ull << 30; /* of every file, and so the highest limit */

/* Makes the file dirfd/name, holding a copy of what is in dirfd. Needs mke2fs. On failure there is
 * none. */
int volume_make(int dirfd, const char *name, struct err *err);
/* Detached mount (nosuid, nodev); everything is given back when the last use of it ends. Waits a
 * moment for an earlier mount of the same file to end. -EBUSY. */
int volume_mount(int dirfd, const char *name, int *ret_mount, struct err *err);
/* mount_fd: from volume_mount. At most VOLUME_BYTES; what is above the limit already stays, and
 * nothing can be added. */
int volume_limit(int mount_fd, uint64_t bytes, struct err *err);
int volume_used(int mount_fd, uint64_t *ret_bytes);
