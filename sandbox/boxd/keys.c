#include "sandbox/boxd/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"

int keys_load(const char *dir, const char *name, uint8_t ret[KEY_BYTES], struct err *err)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    CLEANUP_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(err, -errno, "open key", "%s: %s", path, strerror(errno));
    ssize_t n = pread(fd, ret, KEY_BYTES, 0);
    if (n == KEY_BYTES)
        return 0;
    if (n != 0)
        return err_set(err, -EINVAL, "open key",
                       "%s does not hold a key of 32 bytes; put the right file back", path);
    id_random(ret, KEY_BYTES);
    int r = fd_write_all(fd, ret, KEY_BYTES);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r < 0 ? err_set(err, r, "write key", "%s: %s", path, strerror(-r)) : 0;
}
