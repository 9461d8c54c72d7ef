/* Reading and writing one file. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/files/files.h"

/* -EOPNOTSUPP: a device, a pipe or a socket: no end, no position. */
static int regular(const struct stat *st)
{
    return S_ISREG(st->st_mode) ? 0 : S_ISDIR(st->st_mode) ? -EISDIR : -EOPNOTSUPP;
}

static ssize_t read_at(int fd, void *p, size_t n, off_t at)
{
    ssize_t r;
    do
        r = pread(fd, p, n, at);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

static int send_entry(struct helper *h, const char *path, const struct stat *st, uint32_t flags)
{
    CLEANUP_BUF struct buf b = {0};
    int r = entry_put(&b, AT_FDCWD, path, path, st);
    if (r == 0)
        helper_send(h, FILES_ENTRY, flags, 0, b.data, b.len);
    return r;
}

int files_read(struct helper *h, struct operation *op)
{
    /* Not blocking: a pipe that nobody writes to must not hold the helper. */
    CLEANUP_FD int fd = open(op->strings[0], O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    int r = regular(&st);
    if (r < 0)
        return r;
    uint64_t size = (uint64_t)st.st_size, at = op->rq.offset, left = op->rq.length;
    if (at == UINT64_MAX) /* the last bytes */
        at = size > left ? size - left : 0;
    ssize_t n = read_at(fd, h->out, FILES_DATA_MAX, (off_t)at);
    if (n < 0)
        return (int)n;
    bool unsized = size == 0 && n > 0;
    r = send_entry(h, op->strings[0], &st, unsized ? FILES_UNSIZED : 0);
    if (r < 0)
        return r;
    if (!unsized && left > size - (at < size ? at : size))
        left = size - (at < size ? at : size); /* what it grows by meanwhile was not promised */
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    while (left && n > 0) {
        size_t take = (uint64_t)n < left ? (size_t)n : (size_t)left;
        helper_send(h, FILES_DATA, 0, 0, h->out, take);
        at += take;
        left -= take;
        if (left && (n = read_at(fd, h->out, FILES_DATA_MAX, (off_t)at)) < 0)
            return (int)n;
    }
    return 0;
}

/* Where a write goes. */
struct target {
    int dir, fd;
    char name[NAME_MAX + 1], temp[48]; /* temp: "" when the file itself is written */
    struct stat old;
    bool exists;
};

static int receive_into(struct helper *h, int fd)
{
    ssize_t n;
    while ((n = helper_receive(h)) > 0) {
        int r = fd_write_all(fd, h->in + sizeof(struct files_head), (size_t)n);
        if (r < 0)
            return r;
    }
    return (int)n;
}

static int open_in_place(struct target *t, const char *path, const struct operation *op)
{
    uint32_t flags = op->rq.h.flags;
    int how = O_WRONLY | O_CREAT | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
    how |= flags & FILES_APPEND ? O_APPEND : 0;
    how |= flags & (FILES_APPEND | FILES_IN_PLACE) ? 0 : O_TRUNC;
    how |= flags & FILES_EXCLUSIVE ? O_EXCL : 0;
    t->fd = open(path, how, flags & FILES_HAS_MODE ? op->rq.mode : 0666);
    struct stat st;
    if (t->fd < 0 || fstat(t->fd, &st) < 0)
        return -errno;
    int r = regular(&st);
    if (r == 0 && (flags & FILES_IN_PLACE) && lseek(t->fd, (off_t)op->rq.offset, SEEK_SET) < 0)
        r = -errno;
    return r;
}

/* A new file beside the old one, with its mode and owner. 1: not possible here, but the file itself
 * can be written. */
static int open_beside(struct target *t, const struct operation *op)
{
    char hex[17];
    id_hex(hex, 8);
    snprintf(t->temp, sizeof t->temp, ".cbx-upload-%s", hex);
    bool given = op->rq.h.flags & FILES_HAS_MODE;
    mode_t mode = given ? op->rq.mode : t->exists ? t->old.st_mode & 07777 : 0666;
    t->fd = openat(t->dir, t->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (t->fd < 0) {
        int r = -errno;
        t->temp[0] = 0;
        return (r == -EACCES || r == -EROFS) && t->exists ? 1 : r;
    }
    /* As far as the helper's rights go; what it may not keep it need not. */
    if (t->exists && (t->old.st_uid != geteuid() || t->old.st_gid != getegid()) &&
        fchown(t->fd, t->old.st_uid, t->old.st_gid) < 0)
        errno = 0;
    if ((given || t->exists) && fchmod(t->fd, mode) < 0)
        return -errno;
    return 0;
}

static int find(struct target *t, const char *path, const struct operation *op)
{
    char copy[PATH_MAX];
    t->exists = fstatat(AT_FDCWD, path, &t->old, 0) == 0;
    if (!t->exists && errno != ENOENT)
        return -errno;
    if (t->exists && (op->rq.h.flags & FILES_EXCLUSIVE))
        return -EEXIST;
    int r = t->exists ? regular(&t->old) : 0;
    /* Replacing by rename would need no right to write the file: ask for it as open would. */
    if (r == 0 && t->exists && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0)
        r = -errno;
    if (r < 0)
        return r;
    snprintf(copy, sizeof copy, "%s", path);
    t->dir = open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (t->dir < 0)
        return -errno;
    snprintf(copy, sizeof copy, "%s", path);
    const char *name = basename(copy);
    if (strlen(name) > NAME_MAX)
        return -ENAMETOOLONG;
    snprintf(t->name, sizeof t->name, "%s", name);
    return 0;
}

static int put_in_place(struct target *t, const struct operation *op)
{
    if (!t->temp[0])
        return 0;
    if (op->rq.h.flags & FILES_EXCLUSIVE)
        return renameat2(t->dir, t->temp, t->dir, t->name, RENAME_NOREPLACE) < 0 ? -errno : 0;
    return renameat(t->dir, t->temp, t->dir, t->name) < 0 ? -errno : 0;
}

/* The file that a link leads to is what is replaced, as writing through it would. */
static const char *resolve(const char *path, char out[PATH_MAX], bool *ret_dangling)
{
    struct stat st;
    *ret_dangling = false;
    if (fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode))
        return path;
    if (realpath(path, out))
        return out;
    *ret_dangling = true;
    return path;
}

int files_write(struct helper *h, struct operation *op)
{
    struct target t = {.dir = -1, .fd = -1};
    char real[PATH_MAX];
    bool dangling;
    uint32_t flags = op->rq.h.flags;
    int r = flags & FILES_PARENTS ? make_parents(op->strings[0]) : 0;
    const char *path = resolve(op->strings[0], real, &dangling);
    size_t len = strlen(path);
    if (r == 0 && len && path[len - 1] == '/')
        r = -EISDIR;
    if (r == 0)
        r = find(&t, path, op);
    bool direct = dangling || (flags & (FILES_APPEND | FILES_IN_PLACE));
    if (r == 0 && !direct)
        r = open_beside(&t, op);
    if (r == 1 || (r == 0 && direct))
        r = open_in_place(&t, path, op);
    if (r == 0) {
        helper_send(h, FILES_ENTRY, 0, 0, NULL, 0); /* it can begin */
        r = receive_into(h, t.fd);
    }
    if (t.fd >= 0 && close(STEAL_FD(t.fd)) < 0 && r == 0)
        r = -errno;
    if (r == 0)
        r = put_in_place(&t, op);
    if (r < 0 && t.temp[0])
        unlinkat(t.dir, t.temp, 0);
    if (r == 0)
        r = entry_send(h, path, true, 0);
    fd_close(t.dir);
    op->done_flags = t.exists ? 0 : FILES_CREATED;
    return r;
}
