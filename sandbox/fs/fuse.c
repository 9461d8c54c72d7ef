#include "sandbox/fs/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/beneath.h"
#include "sandbox/base/fd.h"

enum { MOUNTINFO_MAX = 4 << 20 };

struct namespaces {
    int user, mount;
};

/* Before the first of them is entered: from inside, init may not be looked at. */
static int open_namespaces(int init, struct namespaces *ret, struct err *err)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/user", init);
    ret->user = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", init);
    ret->mount = open(path, O_RDONLY | O_CLOEXEC);
    return ret->user < 0 || ret->mount < 0 ? err_set(err, -errno, "find box", NULL) : 0;
}

static int enter(int ns, int type, struct err *err)
{
    return setns(ns, type) < 0 ? err_set(err, -errno, "enter box", NULL) : 0;
}

/* A server's descriptor must be opened by credentials of the namespace that the mount belongs to;
 * the device itself is only to be found outside. */
static int open_device(int user_ns, struct err *err)
{
    int r = enter(user_ns, CLONE_NEWUSER, err);
    if (r < 0)
        return r;
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, -errno, "open fuse device",
                       errno == ENOENT ? "this host has no FUSE (modprobe fuse)" : NULL);
    return fd;
}

static int set(int fs, const char *key, const char *value)
{
    long r = value ? syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0)
                   : syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, key, NULL, 0);
    return r < 0 ? -errno : 0;
}

static int set_number(int fs, const char *key, unsigned value)
{
    char text[16];
    snprintf(text, sizeof text, "%u", value);
    return set(fs, key, text);
}

/* Detached. */
static int make_mount(int device, const struct fuse_request *r)
{
    CLEANUP_FD int fs = (int)syscall(SYS_fsopen, "fuse", FSOPEN_CLOEXEC);
    int e = fs < 0 ? -errno : set_number(fs, "fd", (unsigned)device);
    if (e == 0)
        e = set(fs, "rootmode", "40000");
    if (e == 0)
        e = set_number(fs, "user_id", r->uid);
    if (e == 0)
        e = set_number(fs, "group_id", r->gid);
    if (e == 0)
        e = set(fs, "source", r->name);
    if (e == 0)
        e = set(fs, "subtype", "bucket");
    if (e == 0)
        e = set(fs, "allow_other", NULL);
    if (e == 0)
        e = set(fs, "default_permissions", NULL);
    if (e == 0 && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        e = -errno;
    if (e < 0)
        return e;
    unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    int m = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
                         r->read_only ? attributes | MOUNT_ATTR_RDONLY : attributes);
    return m < 0 ? -errno : m;
}

/* What the box's root runs from, and what every program looks into: never hidden behind files of
 * the box's user. */
static bool reserved(const char *path)
{
    static const char *const trees[] = {"bin",   "boot",  "dev",    "etc",        "lib",
                                        "lib32", "lib64", "libx32", "proc",       "run",
                                        "sbin",  "sys",   "usr",    "opt/cellbox"};
    const char *first = path + strspn(path, "/");
    size_t n = strcspn(first, "/");
    if (!*first || (n == 3 && !strncmp(first, "opt", 3) && !first[n + strspn(first + n, "/")]))
        return true;
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
        size_t len = strlen(trees[i]);
        if (!strncmp(first, trees[i], len) && (!first[len] || first[len] == '/'))
            return true;
    }
    return false;
}

static const char *why_not(int error)
{
    return error == -ELOOP    ? "a part of it is a link"
           : error == -EXDEV  ? "something else is mounted there or above it"
           : error == -EINVAL ? "a part of it is .."
                              : strerror(-error);
}

/* Made as the box's root, who owns what is made. */
static int open_target(const char *path, struct err *err)
{
    if (reserved(path))
        return err_set(err, -EPERM, "find directory", "%.150s: it belongs to the system", path);
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return err_set(err, -errno, "become root of the box", NULL);
    CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = root < 0 ? -errno : beneath_open_dir(root, path, true);
    return fd < 0 ? err_set(err, fd, "find directory", "%.150s: %s", path, why_not(fd)) : fd;
}

int fuse_mount(int init, const struct fuse_request *r, int *ret_fd, struct err *err)
{
    struct namespaces ns; /* closed with the process */
    int made = open_namespaces(init, &ns, err);
    CLEANUP_FD int device = made < 0 ? made : open_device(ns.user, err);
    if (device < 0)
        return device;
    if ((made = enter(ns.mount, CLONE_NEWNS, err)) < 0)
        return made;
    CLEANUP_FD int target = open_target(r->path, err);
    if (target < 0)
        return target;
    CLEANUP_FD int mount = make_mount(device, r);
    if (mount < 0)
        return err_set(err, mount, "mount", NULL);
    if (syscall(SYS_move_mount, mount, "", target, "",
                MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return err_set(err, -errno, "mount", NULL);
    *ret_fd = STEAL_FD(device);
    return 0;
}

/* "\040" and the like. */
static void unescape(char *s)
{
    char *out = s;
    for (; *s; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *out++ = *s;
        }
    }
    *out = 0;
}

/* Where the mount of that source is, and its number: fields are "id parent dev root POINT options
 * ... - type SOURCE options". */
static int find_mount(char *text, const char *name, char **ret, uint64_t *ret_id)
{
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *dash = strstr(line, " - fuse.bucket "), *field = line;
        if (!dash)
            continue;
        char *source = dash + strlen(" - fuse.bucket ");
        source[strcspn(source, " ")] = 0;
        if (strcmp(source, name) != 0)
            continue;
        *ret_id = strtoull(line, NULL, 10);
        for (int i = 0; i < 4 && field; i++)
            field = (field = strchr(field, ' ')) ? field + 1 : NULL;
        if (!field)
            continue;
        field[strcspn(field, " ")] = 0;
        unescape(field);
        *ret = field;
        return 0;
    }
    return -ENOENT;
}

/* Asks nothing of who serves it. */
static bool is_mount(int dir, const char *name, uint64_t id)
{
    struct statx st;
    return statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
                 STATX_MNT_ID, &st) == 0 &&
           st.stx_mask & STATX_MNT_ID && st.stx_mnt_id == id;
}

/*
 * The directory above is held, and a directory that something is mounted on can be neither renamed
 * nor removed: what is taken off is what was looked at. The box can move what is further up, hence
 * -ESTALE.
 */
static int unmount_at(char *point, uint64_t id, int flags)
{
    char *name = strrchr(point, '/');
    if (!name || !name[1])
        return -EINVAL;
    *name++ = 0;
    CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_FD int above = root < 0 ? -errno : beneath_open_dir(root, point, false);
    if (above < 0)
        return -ESTALE;
    if (fchdir(above) < 0)
        return -errno;
    if (!is_mount(above, name, id))
        return -ESTALE;
    return umount2(name, flags) < 0 ? -errno : 0;
}

/* By the table as it is now; the box's own init shows it, from outside of its namespaces. */
static int unmount_once(int table, const char *name, int flags)
{
    uint64_t id = 0;
    char *point;
    CLEANUP_FREE char *text = malloc(MOUNTINFO_MAX);
    size_t len = 0;
    if (!text)
        return -ENOMEM;
    for (ssize_t n; len < MOUNTINFO_MAX - 1 &&
                    (n = pread(table, text + len, MOUNTINFO_MAX - 1 - len, (off_t)len)) > 0;)
        len += (size_t)n;
    text[len] = 0;
    int r = find_mount(text, name, &point, &id);
    return r < 0 ? r : unmount_at(point, id, flags);
}

int fuse_unmount(int init, const char *name, bool detach, struct err *err)
{
    enum { ATTEMPTS = 20 };
    struct namespaces ns; /* closed with the process */
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mountinfo", init);
    CLEANUP_FD int table = open(path, O_RDONLY | O_CLOEXEC);
    if (table < 0)
        return err_set(err, -errno, "look at mounts", NULL);
    int r = open_namespaces(init, &ns, err);
    if (r < 0 || (r = enter(ns.user, CLONE_NEWUSER, err)) < 0 ||
        (r = enter(ns.mount, CLONE_NEWNS, err)) < 0)
        return r;
    r = -ESTALE;
    for (int i = 0; i < ATTEMPTS && r == -ESTALE; i++)
        r = unmount_once(table, name, UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0));
    if (r == -ENOENT)
        return err_set(err, r, "look at mounts", "it is not mounted");
    return r < 0 ? err_set(err, r, "unmount", NULL) : 0;
}
