/* The mount API, old and new, and what else changes the view of files. */
#include "lib/attack.h"
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/statfs.h>

#ifndef SYS_statmount
#define SYS_statmount 457
#define SYS_listmount 458
#endif
#define SYS_open_tree_attr_ 467

int main(void)
{
    struct statfs fs;
    struct mount_attr attr = {.attr_clr = MOUNT_ATTR_RDONLY};
    char buf[4096] = {0};
    mkdir("/tmp/m", 0755);

    REFUSED(EPERM, "mount tmpfs", mount("t", "/tmp/m", "tmpfs", 0, NULL));
    REFUSED(EPERM, "mount proc", mount("p", "/tmp/m", "proc", 0, NULL));
    REFUSED(EPERM, "mount sysfs", mount("s", "/tmp/m", "sysfs", 0, NULL));
    REFUSED(EPERM, "mount cgroup2", mount("c", "/tmp/m", "cgroup2", 0, NULL));
    REFUSED(EPERM, "mount overlay", mount("o", "/tmp/m", "overlay", 0, "lowerdir=/"));
    REFUSED(EPERM, "bind mount", mount("/", "/tmp/m", NULL, MS_BIND | MS_REC, NULL));
    REFUSED(EPERM, "remount of /proc/sys",
            mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
    REFUSED(EPERM, "remount of /", mount(NULL, "/", NULL, MS_REMOUNT, NULL));
    REFUSED(EPERM, "mount with a bad pointer",
            syscall(SYS_mount, 1, 1, 1, 0, 1)); /* the filter, not the kernel */
    REFUSED(EPERM, "umount /proc", umount("/proc"));
    REFUSED(EPERM, "umount /proc/kcore", umount2("/proc/kcore", MNT_DETACH));
    REFUSED(EPERM, "umount nothing", umount2("/no/such", MNT_DETACH));
    REFUSED(EPERM, "pivot_root", syscall(SYS_pivot_root, ".", "."));
    REFUSED(EPERM, "pivot_root with a bad pointer", syscall(SYS_pivot_root, 1, 1));
    REFUSED(EPERM, "fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    REFUSED(EPERM, "fsopen of nothing", syscall(SYS_fsopen, "no such", ~0u));
    REFUSED(EPERM, "fsconfig", syscall(SYS_fsconfig, -1, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    REFUSED(EPERM, "fsmount", syscall(SYS_fsmount, -1, 0, 0));
    REFUSED(EPERM, "fspick", syscall(SYS_fspick, AT_FDCWD, "/", 0));
    REFUSED(EPERM, "open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 0));
    REFUSED(EPERM, "open_tree clone", syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE));
    REFUSED(EPERM, "move_mount", syscall(SYS_move_mount, -1, "", AT_FDCWD, "/tmp/m", 0));
    REFUSED(EPERM, "mount_setattr",
            syscall(SYS_mount_setattr, AT_FDCWD, "/proc/sys", 0, &attr, sizeof attr));
    REFUSED(ENOSYS, "open_tree_attr",
            syscall(SYS_open_tree_attr_, AT_FDCWD, "/", OPEN_TREE_CLONE, &attr, sizeof attr));
    REFUSED(ENOSYS, "statmount", syscall(SYS_statmount, buf, buf, sizeof buf, 0));
    REFUSED(ENOSYS, "listmount", syscall(SYS_listmount, buf, buf, 1, 0));
    REFUSED(EPERM, "chroot", chroot("/tmp/m"));

    WORKS("statfs", statfs("/", &fs));
    int file = open("/tmp/m/file", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    check("write to the disk must work", file >= 0 && write(file, "x", 1) == 1, file, errno);
    return done();
}
