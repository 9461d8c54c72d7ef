#include "sandbox/fs/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/fs/loop.h"

static int erofs_try(const char *source, int *ret_fd)
{
    CLEANUP_FD int fs = (int)syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC);
    if (fs < 0)
        return -errno;
    if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", source, 0) < 0 ||
        syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
        syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    int m = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
    if (m < 0)
        return -errno;
    *ret_fd = m;
    return 0;
}

int mount_erofs(const char *image_path, int *ret_fd, struct err *err)
{
    /* The source's name is shown to boxes in /proc/self/mountinfo: a descriptor tells nothing of
     * the host's paths. */
    char source[32];
    CLEANUP_FD int file = open(image_path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return err_set(err, -errno, "mount image", "%s: %s", image_path, strerror(errno));
    snprintf(source, sizeof source, "/proc/self/fd/%d", file);
    int r = erofs_try(source, ret_fd);
    if (r == 0)
        return 0;
    if (r == -ENODEV)
        return err_set(err, r, "mount image", "this kernel has no erofs (CONFIG_EROFS_FS)");
    /* its erofs cannot read a file directly */
    char device[32];
    CLEANUP_FD int loop = loop_open(file, true, device, sizeof device, err);
    if (loop < 0)
        return loop;
    r = erofs_try(device, ret_fd);
    return r < 0 ? err_set(err, r, "mount image", NULL) : 0;
}

int mount_clone(int dirfd, const char *path, int ro, int *ret_fd, struct err *err)
{
    CLEANUP_FD int fd =
        (int)syscall(SYS_open_tree, dirfd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0)
        return err_set(err, -errno, "clone mount", "%s: %s", path, strerror(errno));
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    if (ro && syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
        return err_set(err, -errno, "make mount read-only", NULL);
    *ret_fd = STEAL_FD(fd);
    return 0;
}

int mount_idmap(int mount_fd, int userns_fd, struct err *err)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
    if (syscall(SYS_mount_setattr, mount_fd, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
        return err_set(err, -errno, "idmap mount", NULL);
    return 0;
}

int mount_attach(int mount_fd, const char *target, struct err *err)
{
    if (syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_set(err, -errno, "attach mount", "%s: %s", target, strerror(errno));
    return 0;
}
