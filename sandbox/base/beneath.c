#include "sandbox/base/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"

static int beneath_step(int dir, const char *name, bool make)
{
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
    if (fd < 0 && errno == ENOENT && make && (mkdirat(dir, name, 0755) == 0 || errno == EEXIST))
        fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof how);
    return fd < 0 ? -errno : fd;
}

int beneath_open_dir(int root, const char *path, bool make)
{
    char name[NAME_MAX + 1];
    CLEANUP_FD int at = beneath_step(root, ".", false);
    while (at >= 0 && *(path += strspn(path, "/"))) {
        size_t n = strcspn(path, "/");
        if (n >= sizeof name)
            return -ENAMETOOLONG;
        memcpy(name, path, n);
        name[n] = 0;
        path += n;
        if (!strcmp(name, ".."))
            return -EINVAL;
        int next = beneath_step(at, name, make);
        fd_close(at);
        at = next;
    }
    return STEAL_FD(at);
}
