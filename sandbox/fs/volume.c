#include "sandbox/fs/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/fs/loop.h"

enum { WAIT_MS = 3000, STEP_MS = 5, FILE_FD = 3, CONTENT_FD = 4 };

/* A journal, so that a crash of the host costs no more than on the host's own disk; no spare room
 * for what only growing would need. */
static const char *const format_argv[] = {"mke2fs",
                                          "-q",
                                          "-F",
                                          "-t",
                                          "ext4",
                                          "-m",
                                          "0",
                                          "-i",
                                          "32768",
                                          "-O",
                                          "^resize_inode",
                                          "-J",
                                          "size=4",
                                          "-E",
                                          "lazy_itable_init=1,nodiscard",
                                          "-d",
                                          "/proc/self/fd/4",
                                          "/proc/self/fd/3",
                                          NULL};

static int format(int file, int content, struct err *err)
{
    char *env[] = {"PATH=/usr/sbin:/sbin", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;
    int r = posix_spawn_file_actions_init(&actions);
    if (r == 0 && (r = posix_spawn_file_actions_adddup2(&actions, file, FILE_FD)) == 0 &&
        (r = posix_spawn_file_actions_adddup2(&actions, content, CONTENT_FD)) == 0)
        r = posix_spawn(&pid, "/sbin/mke2fs", &actions, NULL, (char **)(uintptr_t)format_argv, env);
    posix_spawn_file_actions_destroy(&actions);
    if (r)
        return err_set(err, -r, "format disk",
                       r == ENOENT ? "/sbin/mke2fs is missing; install the package e2fsprogs"
                                   : NULL);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_set(err, -errno, "format disk", NULL);
    return status ? err_set(err, -EIO, "format disk", "mke2fs failed (status %d)", status) : 0;
}

int volume_make(int dirfd, const char *name, struct err *err)
{
    char path[32];
    CLEANUP_FD int file = openat(dirfd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    /* far from the numbers that the formatter gets them at */
    CLEANUP_FD int source = file < 0 ? -1 : fcntl(file, F_DUPFD_CLOEXEC, CONTENT_FD + 1);
    CLEANUP_FD int content = source < 0 ? -1 : fcntl(dirfd, F_DUPFD_CLOEXEC, CONTENT_FD + 1);
    if (content < 0 || ftruncate(file, (off_t)VOLUME_BYTES) < 0)
        return err_set(err, -errno, "make disk", NULL);
    int r = format(source, content, err);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (r == 0 && linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) < 0)
        r = err_set(err, -errno, "make disk", NULL);
    return r;
}

/* The lock belongs to the open file, which the loop device keeps: two of them over one file would
 * destroy it. */
static int lock_alone(int file)
{
    for (int waited = 0; flock(file, LOCK_EX | LOCK_NB) < 0; waited += STEP_MS) {
        if (errno != EWOULDBLOCK || waited >= WAIT_MS)
            return errno == EWOULDBLOCK ? -EBUSY : -errno;
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
    }
    return 0;
}

/* noinit_itable: the tables are holes of the file, which are zeroes already. */
static int ext4_mount(const char *device, int *ret)
{
    static const char *const flags[] = {"discard", "noinit_itable"};
    CLEANUP_FD int fs = (int)syscall(SYS_fsopen, "ext4", FSOPEN_CLOEXEC);
    if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", device, 0) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, flags[i], NULL, 0) < 0)
            return -errno;
    if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    *ret = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
                        MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_RELATIME);
    return *ret < 0 ? -errno : 0;
}

int volume_mount(int dirfd, const char *name, int *ret_mount, struct err *err)
{
    char device[32];
    CLEANUP_FD int file = openat(dirfd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    int r = file < 0 ? -errno : lock_alone(file);
    if (r < 0)
        return err_set(err, r, "open disk",
                       r == -EBUSY ? "its last use has not ended yet; try again" : NULL);
    CLEANUP_FD int loop = loop_open(file, false, device, sizeof device, err);
    if (loop < 0)
        return loop;
    r = ext4_mount(device, ret_mount);
    return r < 0 ? err_set(err, r, "mount disk", NULL) : 0;
}

static int attribute(int mount_fd, const char *name, struct err *err)
{
    char path[96], link[256];
    struct stat st;
    if (fstat(mount_fd, &st) < 0)
        return err_set(err, -errno, "limit disk", NULL);
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
    ssize_t n = readlink(path, link, sizeof link - 1);
    if (n < 0)
        return err_set(err, -errno, "limit disk", NULL);
    link[n] = 0;
    const char *slash = strrchr(link, '/');
    snprintf(path, sizeof path, "/sys/fs/ext4/%.32s/%s", slash ? slash + 1 : link, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? err_set(err, -errno, "limit disk", "%s: %s", path, strerror(errno)) : fd;
}

int volume_limit(int mount_fd, uint64_t bytes, struct err *err)
{
    struct statvfs v;
    char text[32];
    if (fstatvfs(mount_fd, &v) < 0)
        return err_set(err, -errno, "limit disk", NULL);
    CLEANUP_FD int fd = attribute(mount_fd, "reserved_clusters", err);
    if (fd < 0)
        return fd;
    uint64_t want = bytes / v.f_frsize;
    int n = snprintf(text, sizeof text, "%llu",
                     want < v.f_blocks ? (unsigned long long)(v.f_blocks - want) : 0ull);
    return write(fd, text, (size_t)n) == n ? 0 : err_set(err, -errno, "limit disk", NULL);
}

int volume_used(int mount_fd, uint64_t *ret_bytes)
{
    struct statvfs v;
    if (fstatvfs(mount_fd, &v) < 0)
        return -errno;
    *ret_bytes = (uint64_t)(v.f_blocks - v.f_bfree) * v.f_frsize;
    return 0;
}
