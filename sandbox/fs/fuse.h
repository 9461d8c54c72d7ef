/*
 * File systems that a program of a box serves (FUSE). Code of a box may mount nothing; B does, from
 * inside the box's user and mount namespaces, so the mount has no more rights than the box. Whoever
 * serves it is hostile: these calls may hang, so they are made by a child of B that can be killed.
 * They change the caller's namespaces for good.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/base/err.h"

struct fuse_request {
    const char *path;  /* in the box, made if missing: no link, on its own disk, not the system's */
    const char *name;  /* shown as the source of the mount: how fuse_unmount finds it */
    uint32_t uid, gid; /* of the server, in the box */
    bool read_only;
};

/* init: pid of the box's init as this process sees it, not reaped. *ret_fd: what the server reads
 * requests from. Everything of the box may use the mount. */
int fuse_mount(int init, const struct fuse_request *r, int *ret_fd, struct err *err);
/* Takes it off wherever it is by now. -EBUSY: it is in use, unless detach: then what is open stays
 * so until it is closed or its server ends. -ENOENT. */
int fuse_unmount(int init, const char *name, bool detach, struct err *err);
