/*
 * The root of a box, built by the child that becomes its init, as root of its user namespace,
 * before it drops anything.
 */
#pragma once

#include <stdint.h>

#include "sandbox/base/err.h"

struct root_mounts {
    int image;   /* detached, idmapped, read-only */
    int runtime; /* detached, idmapped, read-only: the interpreter host, seen at /opt/cellbox */
    int disk;    /* detached: upper/ and work/, owned by the box's root */
};

/*
 * Where the process that clones boxes (Z) keeps the premade /dev: a read-only mount with nodes,
 * links and the empty directories pts and shm. STAGE is any empty directory of Z's root.
 */
#define ROOT_DEV_TREE "/mnt/dev"
#define ROOT_STAGE    "/tmp"

/* Takes the mounts (not their descriptors). Afterwards / is the box's overlay and nothing of the
 * old root is left. */
int root_enter(const struct root_mounts *m, struct err *err);
/* B: the bytes that /dev/shm of the box with that init may hold; 0: half of the host's memory. */
int root_limit_shm(int init, uint64_t bytes, struct err *err);
/* B, in the mount namespace it prepares for Z: fills an empty tmpfs directory with the device tree.
 */
int root_make_dev_tree(const char *dir, struct err *err);
