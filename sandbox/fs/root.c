#include "sandbox/fs/root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "sandbox/base/beneath.h"
#include "sandbox/base/fd.h"
#include "sandbox/fs/mount.h"

#define NEW ROOT_STAGE "/root"

/*
 * What any user could read there about the host, or poke at: hidden behind /dev/null or an empty
 * directory. Entries that only the host's root may open (kmsg, kpagecount, slabinfo, timer_list...)
 * need no cover: nobody in a box is that root.
 */
static const char *const hidden_files[] = {
    "kcore",      "keys",    "key-users",     "interrupts", "softirqs", "diskstats",
    "partitions", "swaps",   "cmdline",       "config.gz",  "zoneinfo", "buddyinfo",
    "locks",      "modules", "sysrq-trigger", "loadavg",    "vmstat",   "sched_debug"};
static const char *const hidden_dirs[] = {"acpi", "bus", "driver", "fs", "irq", "scsi", "pressure"};
static const char *const readonly_dirs[] = {"sys"};

static int make_dir(const char *path, struct err *err)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_set(err, -errno, "make directory", "%s: %s", path, strerror(errno));
    return 0;
}

static int do_mount(const char *step, const char *type, const char *target, unsigned long flags,
                    const char *data, struct err *err)
{
    if (mount(type, target, type, flags, data) < 0)
        return err_set(err, -errno, step, NULL);
    return 0;
}

/* Absent entries are fine: kernels differ. */
static int hide(const char *source, const char *target, struct err *err)
{
    if (mount(source, target, NULL, MS_BIND, NULL) < 0 && errno != ENOENT && errno != ENOTDIR)
        return err_set(err, -errno, "hide host entry in /proc", "%s: %s", target, strerror(errno));
    return 0;
}

/* The box's root may have put a link where something is going to be mounted: it would lead out of
 * the box, which has no process yet that could change it after this look. */
static int plain(const char *path, struct err *err)
{
    CLEANUP_FD int root = open(NEW, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP_FD int dir = root < 0 ? -errno : beneath_open_dir(root, path, false);
    if (dir < 0)
        return err_set(err, dir, "find mount point",
                       "/%s of the sandbox is no directory of its own", path);
    return 0;
}

static int mount_proc(struct err *err)
{
    char path[96];
    int r =
        do_mount("mount proc", "proc", NEW "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err);
    for (size_t i = 0; r == 0 && i < sizeof hidden_files / sizeof *hidden_files; i++) {
        snprintf(path, sizeof path, NEW "/proc/%s", hidden_files[i]);
        r = hide(NEW "/dev/null", path, err);
    }
    for (size_t i = 0; r == 0 && i < sizeof hidden_dirs / sizeof *hidden_dirs; i++) {
        snprintf(path, sizeof path, NEW "/proc/%s", hidden_dirs[i]);
        r = hide(ROOT_STAGE "/empty", path, err);
    }
    for (size_t i = 0; r == 0 && i < sizeof readonly_dirs / sizeof *readonly_dirs; i++) {
        snprintf(path, sizeof path, NEW "/proc/%s", readonly_dirs[i]);
        r = hide(path, path, err);
        struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
        if (r == 0 && syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attr, sizeof attr) < 0)
            r = err_set(err, -errno, "make /proc/sys read-only", NULL);
    }
    return r;
}

static int mount_dev(struct err *err)
{
    if (mount(ROOT_DEV_TREE, NEW "/dev", NULL, MS_BIND, NULL) < 0)
        return err_set(err, -errno, "bind /dev", NULL);
    /* Sizes: the kernel's count of terminals is one for all; what /dev/shm may hold is set by B,
     * from the box's memory. */
    int r = do_mount("mount devpts", "devpts", NEW "/dev/pts", MS_NOSUID | MS_NOEXEC,
                     "newinstance,ptmxmode=0666,mode=0620,gid=5,max=256", err);
    if (r == 0)
        r = do_mount("mount /dev/shm", "tmpfs", NEW "/dev/shm", MS_NOSUID | MS_NODEV,
                     "mode=1777,size=64m,nr_inodes=65536", err);
    return r;
}

/* Makes NEW the root and lets go of everything that was there before. */
static int pivot(struct err *err)
{
    if (chdir(NEW) < 0)
        return err_set(err, -errno, "enter new root", NULL);
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return err_set(err, -errno, "pivot_root", NULL);
    if (umount2(".", MNT_DETACH) < 0)
        return err_set(err, -errno, "detach old root", NULL);
    return chdir("/") < 0 ? err_set(err, -errno, "enter /", NULL) : 0;
}

int root_enter(const struct root_mounts *m, struct err *err)
{
    static const char *const dirs[] = {ROOT_STAGE "/image", ROOT_STAGE "/disk", NEW,
                                       ROOT_STAGE "/empty"};
    static const char *const points[] = {"opt/cellbox", "dev", "proc"};
    int r;

    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_set(err, -errno, "make mounts private", NULL);
    r = do_mount("mount stage", "tmpfs", ROOT_STAGE, MS_NOSUID | MS_NODEV, "size=64k,mode=0755",
                 err);
    for (size_t i = 0; r == 0 && i < sizeof dirs / sizeof *dirs; i++)
        r = make_dir(dirs[i], err);
    if (r == 0)
        r = mount_attach(m->image, ROOT_STAGE "/image", err);
    if (r == 0)
        r = mount_attach(m->disk, ROOT_STAGE "/disk", err);
    if (r == 0)
        r = do_mount("mount overlay", "overlay", NEW, 0,
                     "lowerdir=" ROOT_STAGE "/image,upperdir=" ROOT_STAGE
                     "/disk/upper,workdir=" ROOT_STAGE "/disk/work,userxattr",
                     err);
    /* An overlay whose work directory it may not write mounts read-only and says nothing. */
    if (r == 0 && access(NEW "/", W_OK) < 0)
        r = err_set(err, -errno, "mount overlay",
                    "it came up read-only: the disk's owner is wrong");
    for (size_t i = 0; r == 0 && i < sizeof points / sizeof *points; i++)
        r = plain(points[i], err);
    if (r == 0)
        r = mount_attach(m->runtime, NEW "/opt/cellbox", err);
    if (r == 0)
        r = mount_dev(err);
    if (r == 0)
        r = mount_proc(err);
    if (r == 0)
        r = pivot(err);
    return r;
}

/* Nothing of the box can stand in for the directory: /dev is read-only. */
static int open_shm(int init)
{
    char path[32];
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    snprintf(path, sizeof path, "/proc/%d/root", init);
    CLEANUP_FD int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = root < 0 ? -1 : (int)syscall(SYS_openat2, root, "dev/shm", &how, sizeof how);
    return fd < 0 ? -errno : fd;
}

int root_limit_shm(int init, uint64_t bytes, struct err *err)
{
    char size[32] = "50%";
    CLEANUP_FD int shm = open_shm(init);
    if (shm < 0)
        return err_set(err, shm, "limit /dev/shm", NULL);
    CLEANUP_FD int fs = (int)syscall(SYS_fspick, shm, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
    if (bytes)
        snprintf(size, sizeof size, "%llu", (unsigned long long)bytes);
    if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
        syscall(SYS_fsconfig, fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
        return err_set(err, -errno, "limit /dev/shm", NULL);
    return 0;
}

int root_make_dev_tree(const char *dir, struct err *err)
{
    static const struct {
        const char *name;
        unsigned major, minor;
    } nodes[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                 {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
    static const char *const links[][2] = {{"/proc/self/fd", "fd"},
                                           {"/proc/self/fd/0", "stdin"},
                                           {"/proc/self/fd/1", "stdout"},
                                           {"/proc/self/fd/2", "stderr"},
                                           {"pts/ptmx", "ptmx"}};
    char path[256];

    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, nodes[i].name);
        if (mknod(path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)) < 0 ||
            chmod(path, 0666) < 0)
            return err_set(err, -errno, "make device node", "%s: %s", nodes[i].name,
                           strerror(errno));
    }
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, links[i][1]);
        if (symlink(links[i][0], path) < 0)
            return err_set(err, -errno, "make device link", NULL);
    }
    snprintf(path, sizeof path, "%s/pts", dir);
    int r = make_dir(path, err);
    snprintf(path, sizeof path, "%s/shm", dir);
    return r < 0 ? r : make_dir(path, err);
}
