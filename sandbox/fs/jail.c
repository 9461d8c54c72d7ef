#include "sandbox/fs/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/fs/mount.h"

static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom",
                                      NULL};

/* All directories above the last part. */
static int jail_make_above(char *path)
{
    for (char *p = path + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        int r = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
        *p = '/';
        if (r < 0)
            return r;
    }
    return 0;
}

static int jail_make_point(const char *path, bool directory)
{
    if (directory)
        return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

static int jail_attach(const char *source, const char *path, uint64_t attributes, struct err *err)
{
    CLEANUP_FD int tree = -1;
    struct mount_attr attr = {.attr_set = attributes};
    int r = mount_clone(AT_FDCWD, source, 0, &tree, err);
    if (r == 0 && syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr) < 0)
        r = err_set(err, -errno, "narrow mount", "%s: %s", source, strerror(errno));
    return r < 0 ? r : mount_attach(tree, path, err);
}

/* A link to a folder (/lib) is a link again; one to a file (/etc/resolv.conf) becomes that file. */
static int jail_add(const struct jail *j, const char *source, uint64_t attributes, struct err *err)
{
    char path[PATH_MAX], target[PATH_MAX];
    struct stat here, there;
    if (lstat(source, &here) < 0 || stat(source, &there) < 0)
        return 0;
    snprintf(path, sizeof path, "%s%s", j->root, source);
    int r = jail_make_above(path);
    if (r == 0 && S_ISLNK(here.st_mode) && S_ISDIR(there.st_mode)) {
        ssize_t n = readlink(source, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = 0;
        r = n < 0 || (symlink(target, path) < 0 && errno != EEXIST) ? -errno : 0;
        return r < 0 ? err_set(err, r, "make root", "%s: %s", source, strerror(-r)) : 0;
    }
    if (r == 0)
        r = jail_make_point(path, S_ISDIR(there.st_mode));
    if (r < 0)
        return err_set(err, r, "make root", "%s: %s", source, strerror(-r));
    return jail_attach(source, path, attributes, err);
}

static int jail_add_all(const struct jail *j, const char *const *list, uint64_t attributes,
                        struct err *err)
{
    int r = 0;
    for (; r == 0 && list && *list; list++)
        r = jail_add(j, *list, attributes, err);
    return r;
}

static int jail_mount(const struct jail *j, const char *type, const char *at, unsigned long flags,
                      const char *data, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s", j->root, at);
    if ((*at && mkdir(path, 0755) < 0 && errno != EEXIST) ||
        mount(type, path, type, flags, data) < 0)
        return err_set(err, -errno, "make root", "%s: %s", at, strerror(errno));
    return 0;
}

/* Not all kernels can leave out what is not a process. */
static int jail_proc(const struct jail *j, struct err *err)
{
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    return jail_mount(j, "proc", "/proc", flags, "subset=pid", err) == 0
               ? 0
               : jail_mount(j, "proc", "/proc", flags, NULL, err);
}

int jail_enter(const struct jail *j, struct err *err)
{
    const uint64_t safe = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_set(err, -errno, "make mounts private", NULL);
    int r = jail_mount(j, "tmpfs", "", MS_NOSUID | MS_NODEV, "size=256k,mode=0755", err);
    if (r == 0)
        r = jail_add_all(j, j->readable, safe | MOUNT_ATTR_RDONLY, err);
    if (r == 0)
        r = jail_add_all(j, devices, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
    if (r == 0)
        r = jail_add_all(j, j->writable, safe | MOUNT_ATTR_NOEXEC, err);
    if (r == 0)
        r = jail_proc(j, err);
    if (r == 0)
        r = jail_mount(j, "tmpfs", "/tmp", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64m,mode=1777",
                       err);
    if (r < 0)
        return r;
    if (chdir(j->root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
        umount2(".", MNT_DETACH) < 0 || chdir("/") < 0 ||
        mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0)
        return err_set(err, -errno, "enter root", NULL);
    return 0;
}
