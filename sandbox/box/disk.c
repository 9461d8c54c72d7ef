#include "sandbox/box/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/oom.h"
#include "sandbox/base/parent.h"
#include "sandbox/box/uids.h"
#include "sandbox/fs/mount.h"
#include "sandbox/fs/volume.h"

#define VOLUME "volume"
enum { REMOVE_ROUNDS = 10 * 1000 * 1000 };

struct disks {
    int dir, trash, uids;
    uint32_t uid_base, next;
    uint8_t used[UID_SLOTS];
};

uint32_t disks_uid(const struct disks *d, uint32_t slot)
{
    return d->uid_base + slot * UID_RANGE;
}

static int valid_id(const char *id)
{
    return strlen(id) == DISK_ID - 1 && strspn(id, "0123456789abcdef") == DISK_ID - 1;
}

static int slot_of(const struct disks *d, const char *id, uint32_t *ret)
{
    struct stat st;
    char path[64];
    snprintf(path, sizeof path, "%s/upper", id);
    if (fstatat(d->dir, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    uint32_t off = st.st_uid - d->uid_base;
    if (st.st_uid < d->uid_base || off % UID_RANGE || off / UID_RANGE >= UID_SLOTS || off == 0)
        return -EINVAL;
    *ret = off / UID_RANGE;
    return 0;
}

/* Empties one directory of the trash; what has entries of its own moves up into the trash itself.
 */
static void empty_dir(int trash, int dir)
{
    DIR *d = fdopendir(dir);
    if (!d) {
        close(dir);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        char up[40];
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (unlinkat(dirfd(d), e->d_name, 0) == 0 || (errno != EISDIR && errno != EPERM) ||
            unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) == 0)
            continue;
        id_hex(up, 16);
        renameat(dirfd(d), e->d_name, trash, up);
    }
    closedir(d);
}

/*
 * Deletes without following links, level by level, so that a box's tree of a million nested
 * directories costs two descriptors and no stack. Another process may be at it, too: errors only
 * end this round.
 */
static void remove_all(int trash)
{
    for (int left = 1, rounds = 0; left && rounds < REMOVE_ROUNDS; rounds++) {
        int copy = openat(trash, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = copy < 0 ? NULL : fdopendir(copy);
        if (!d)
            return;
        left = 0;
        for (struct dirent *e; (e = readdir(d));) {
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
                continue;
            left = 1;
            int sub = openat(trash, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (sub >= 0)
                empty_dir(trash, sub);
            if (unlinkat(trash, e->d_name, AT_REMOVEDIR) < 0)
                unlinkat(trash, e->d_name, 0);
        }
        closedir(d);
    }
}

/* One background process empties the trash; B itself never walks a box's files. */
static void empty_trash(struct disks *d)
{
    pid_t self = getpid(), pid = fork();
    if (pid != 0)
        return;
    prctl(PR_SET_NAME, "cbx-trash");
    parent_bind(self);
    setpriority(PRIO_PROCESS, 0, 19);
    oom_set_own(OOM_COMMAND);
    remove_all(d->trash);
    _exit(0);
}

static int open_dir_at(int at, const char *name)
{
    if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static void scan(struct disks *d)
{
    int copy = openat(d->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        uint32_t slot = 0;
        if (valid_id(e->d_name) && slot_of(d, e->d_name, &slot) == 0)
            d->used[slot] = 1;
    }
    if (dir)
        closedir(dir);
}

/* Servers begin at places of their own, so that disks of one rarely have the uids of another's. */
static uint32_t first_slot(const char *state_dir)
{
    uint32_t hash = 2166136261;
    for (const char *p = state_dir; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 16777619;
    return hash % (UID_SLOTS - 1);
}

int disks_open(const char *state_dir, uint32_t uid_base, int uids, struct disks **ret,
               struct err *err)
{
    struct disks *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(err, -ENOMEM, "open disks", NULL);
    d->uid_base = uid_base;
    d->uids = uids;
    d->next = first_slot(state_dir);
    d->dir = d->trash = -1;
    CLEANUP_FD int top = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top >= 0) {
        d->dir = open_dir_at(top, "disks");
        d->trash = open_dir_at(top, "trash");
    }
    if (d->dir < 0 || d->trash < 0) {
        int r = err_set(err, top < 0 ? -ENOENT : -EIO, "open disks",
                        "cannot use the state directory %s", state_dir);
        disks_close(d);
        return r;
    }
    scan(d);
    empty_trash(d);
    *ret = d;
    return 0;
}

void disks_close(struct disks *d)
{
    if (!d)
        return;
    fd_close(d->dir);
    fd_close(d->trash);
    free(d);
}

static uint32_t take_slot(struct disks *d)
{
    for (uint32_t n = 0; n < UID_SLOTS - 1; n++) {
        uint32_t slot = 1 + (d->next + n) % (UID_SLOTS - 1);
        if (!d->used[slot] && uids_claim(d->uids, disks_uid(d, slot), UID_RANGE)) {
            d->used[slot] = 1;
            d->next = slot;
            return slot;
        }
    }
    return 0;
}

static int make_dirs(int at, uid_t uid)
{
    static const char *const dirs[] = {"upper", "work"};
    for (int i = 0; i < 2; i++)
        if (mkdirat(at, dirs[i], 0755) < 0 || fchownat(at, dirs[i], uid, uid, 0) < 0)
            return -errno;
    return 0;
}

int disk_new(struct disks *d, int limited, char ret_id[DISK_ID], uint32_t *ret_slot,
             struct err *err)
{
    uint32_t slot = take_slot(d);
    struct err why = {0};
    if (!slot)
        return err_set(err, -EMFILE, "make disk", "all %d uid ranges are in use", UID_SLOTS - 1);
    uid_t uid = disks_uid(d, slot);
    id_hex(ret_id, (DISK_ID - 1) / 2);
    int r = mkdirat(d->dir, ret_id, 0711) < 0 ? -errno : 0;
    CLEANUP_FD int disk = r < 0 ? -1 : openat(d->dir, ret_id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r == 0)
        r = make_dirs(disk, uid);
    if (r == 0 && limited)
        r = volume_make(disk, VOLUME, &why);
    if (r < 0) {
        struct err ignored = {0};
        disk_remove(d, ret_id, &ignored);
        d->used[slot] = 0;
        disk_release(d, slot);
        if (!why.code)
            return err_set(err, r, "make disk", NULL);
        if (err)
            *err = why;
        return r;
    }
    *ret_slot = slot;
    return 0;
}

int disk_is_limited(const struct disks *d, const char *id)
{
    char path[64];
    snprintf(path, sizeof path, "%s/" VOLUME, id);
    return valid_id(id) && faccessat(d->dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int disk_find(struct disks *d, const char *id, uint32_t *ret_slot, struct err *err)
{
    if (!valid_id(id) || slot_of(d, id, ret_slot) < 0)
        return err_set(err, -ENOENT, "find disk", "the disk of this sandbox is gone");
    if (!uids_claim(d->uids, disks_uid(d, *ret_slot), UID_RANGE))
        return err_set(err, -EBUSY, "find disk",
                       "another server of this host uses the same uids at the moment (uid %u)",
                       disks_uid(d, *ret_slot));
    return 0;
}

void disk_release(struct disks *d, uint32_t slot)
{
    if (slot)
        uids_release(d->uids, disks_uid(d, slot), UID_RANGE);
}

int disk_open(const struct disks *d, const char *id, struct err *err)
{
    int fd = valid_id(id) ? openat(d->dir, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return fd < 0 ? err_set(err, -ENOENT, "open disk", "the disk of this sandbox is gone") : fd;
}

int disk_mount(struct disks *d, const char *id, int *ret_mount, struct err *err)
{
    char path[64];
    snprintf(path, sizeof path, "%s/" VOLUME, id);
    return disk_is_limited(d, id) ? volume_mount(d->dir, path, ret_mount, err)
                                  : mount_clone(d->dir, id, 0, ret_mount, err);
}

int disk_remove(struct disks *d, const char *id, struct err *err)
{
    char name[DISK_ID + 20];
    uint32_t slot = 0;
    if (!valid_id(id))
        return err_set(err, -EINVAL, "remove disk", NULL);
    slot_of(d, id, &slot);
    id_hex(name, 16);
    if (renameat(d->dir, id, d->trash, name) < 0)
        return err_set(err, -errno, "remove disk", NULL);
    d->used[slot] = 0;
    empty_trash(d);
    return 0;
}

int disk_touched(struct disks *d, const char *id, int mount, const char *path)
{
    char full[512];
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    if (!valid_id(id))
        return 0;
    snprintf(full, sizeof full, "%s/upper/%s", mount < 0 ? id : ".", path + (*path == '/'));
    CLEANUP_FD int fd =
        (int)syscall(SYS_openat2, mount < 0 ? d->dir : mount, full, &how, sizeof how);
    /* A link or anything odd on the way means that the box changed it, too. */
    return fd >= 0 || (errno != ENOENT && errno != ENOTDIR) ? 1 : errno == ENOTDIR;
}
