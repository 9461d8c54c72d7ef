/* B's side of Z: makes the root that Z sees and executes it there. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "sandbox/base/err.h"

struct zygote_launch {
    const char *image_dir, *image; /* the store and the sha256: its file is checked first */
    const char *image_path;        /* mounted tree in the caller's mount namespace */
    const char *runtime_path;      /* likewise: seen at /opt/cellbox */
    int userns;                    /* the user namespace that Z becomes root of */
    const char *mount_point; /* an empty directory, used only inside Z's own mount namespace */
};

/* Starts Z. *ret_link: SEQPACKET link, non-blocking; its first message says whether the image is
 * what its name says and the preload went well. */
int zygote_launch(const struct zygote_launch *l, pid_t *ret_pid, int *ret_link, struct err *err);
