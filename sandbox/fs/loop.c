#include "sandbox/fs/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "sandbox/base/fd.h"

/* Without a second cache of what the file system above caches already, where the file can do so. */
static int configure(int loop, struct loop_config *c)
{
    if (!(c->info.lo_flags & LO_FLAGS_READ_ONLY)) {
        c->info.lo_flags |= LO_FLAGS_DIRECT_IO;
        if (ioctl(loop, LOOP_CONFIGURE, c) == 0)
            return 0;
        if (errno != EINVAL)
            return -errno;
        c->info.lo_flags &= ~(unsigned)LO_FLAGS_DIRECT_IO;
    }
    return ioctl(loop, LOOP_CONFIGURE, c) < 0 ? -errno : 0;
}

int loop_open(int file, bool read_only, char *device, size_t cap, struct err *err)
{
    CLEANUP_FD int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return err_set(err, -errno, "open loop device", "this host has no loop devices");
    for (int attempt = 0; attempt < 16; attempt++) {
        int n = ioctl(control, LOOP_CTL_GET_FREE);
        if (n < 0)
            return err_set(err, -errno, "find a free loop device", NULL);
        snprintf(device, cap, "/dev/loop%d", n);
        CLEANUP_FD int loop = open(device, O_RDWR | O_CLOEXEC);
        struct loop_config c = {.fd = (uint32_t)file, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
        if (read_only)
            c.info.lo_flags |= LO_FLAGS_READ_ONLY;
        int r = loop < 0 ? -errno : configure(loop, &c);
        if (r == 0)
            return STEAL_FD(loop);
        if (loop >= 0 && r != -EBUSY)
            return err_set(err, r, "configure loop device", NULL);
    }
    return err_set(err, -EBUSY, "configure loop device", "all loop devices were taken");
}
