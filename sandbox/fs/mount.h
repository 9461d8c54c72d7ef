/*
 * The new mount API in the few forms that Cellbox uses. Runs in B (privileged) and in the child
 * that becomes init (privileged only inside its user namespace). "Detached" = a mount that is
 * attached nowhere yet and lives in its fd.
 */
#pragma once

#include <stdint.h>

#include "sandbox/base/err.h"

/* Mounts an erofs image file read-only, nosuid, nodev, detached. Uses the file directly, else a
 * loop device. */
int mount_erofs(const char *image_path, int *ret_fd, struct err *err);
/* Detached copy of the tree at path, read-only when ro. */
int mount_clone(int dirfd, const char *path, int ro, int *ret_fd, struct err *err);
/* Shifts the owners of a detached mount by the user namespace's map. */
int mount_idmap(int mount_fd, int userns_fd, struct err *err);
int mount_attach(int mount_fd, const char *target, struct err *err);
