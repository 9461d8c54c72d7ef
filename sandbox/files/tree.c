/* Directories, names and modes. Everything below a path is reached through held descriptors, so a
 * link that is put in the way meanwhile leads nowhere else. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/files/files.h"

enum { DEPTH_MAX = 512 };

int make_parents(const char *path)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy)
        return -ENAMETOOLONG;
    for (char *p = strchr(copy + 1, '/'); p; p = strchr(p + 1, '/')) {
        if (!p[strspn(p, "/")])
            return 0; /* slashes at the end: the last name is not a parent */
        *p = 0;
        if (mkdir(copy, 0777) < 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            return -errno;
        *p = '/';
    }
    return 0;
}

int files_mkdir(struct helper *h, struct operation *op)
{
    const char *path = op->strings[0];
    bool parents = op->rq.h.flags & FILES_PARENTS, has_mode = op->rq.h.flags & FILES_HAS_MODE;
    struct stat st;
    int r = parents ? make_parents(path) : 0;
    if (r < 0)
        return r;
    if (mkdir(path, has_mode ? op->rq.mode : 0777) < 0) {
        if (errno != EEXIST || !parents)
            return -errno;
        if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
            return -ENOTDIR;
    } else {
        op->done_flags = FILES_CREATED;
        if (has_mode && chmod(path, op->rq.mode) < 0)
            return -errno;
    }
    return entry_send(h, path, false, 0);
}

static int prepare_target(const struct operation *op)
{
    struct stat st;
    if ((op->rq.h.flags & FILES_EXCLUSIVE) &&
        fstatat(AT_FDCWD, op->strings[1], &st, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return op->rq.h.flags & FILES_PARENTS ? make_parents(op->strings[1]) : 0;
}

/* ---- copy ---- */

static int copy_bytes(struct helper *h, int from, int to)
{
    ssize_t n = 1;
    while (n > 0) {
        n = copy_file_range(from, NULL, to, NULL, 64 << 20, 0);
        if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
            n = sendfile(to, from, NULL, 1 << 20);
        if (n > 0 && helper_cancelled(h))
            return -ECANCELED;
    }
    return n < 0 ? -errno : 0;
}

static int copy_file(struct helper *h, int from_dir, const char *from, int to_dir, const char *to,
                     const struct stat *st)
{
    char temp[48], hex[17];
    CLEANUP_FD int in = openat(from_dir, from, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0)
        return -errno;
    id_hex(hex, 8);
    snprintf(temp, sizeof temp, ".cbx-copy-%s", hex);
    CLEANUP_FD int out = openat(to_dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0)
        return -errno;
    int r = copy_bytes(h, in, out);
    struct timespec times[2] = {st->st_atim, st->st_mtim};
    if (r == 0 && (fchmod(out, st->st_mode & 0777) < 0 || futimens(out, times) < 0 ||
                   renameat(to_dir, temp, to_dir, to) < 0))
        r = -errno;
    if (r < 0)
        unlinkat(to_dir, temp, 0);
    return r;
}

static int copy_link(int from_dir, const char *from, int to_dir, const char *to)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(from_dir, from, target, sizeof target - 1);
    if (n < 0)
        return -errno;
    target[n] = 0;
    unlinkat(to_dir, to, 0);
    return symlinkat(target, to_dir, to) < 0 ? -errno : 0;
}

/* Where a copy began: a directory copied into itself would never end. */
struct copying {
    struct helper *h;
    dev_t dev;
    ino_t ino;
};

static int copy_any(struct copying *c, int from_dir, const char *from, int to_dir, const char *to,
                    unsigned depth);

static int copy_dir(struct copying *c, int from_dir, const char *from, int to_dir, const char *to,
                    const struct stat *st, unsigned depth)
{
    CLEANUP_FD int in = openat(from_dir, from, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0 || (mkdirat(to_dir, to, 0700) < 0 && errno != EEXIST))
        return -errno;
    CLEANUP_FD int out = openat(to_dir, to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat made;
    if (out < 0 || fstat(out, &made) < 0)
        return -errno;
    if (!depth) {
        c->dev = made.st_dev;
        c->ino = made.st_ino;
    }
    struct names names;
    int r = names_read(in, &names);
    if (r < 0)
        return r;
    for (size_t i = 0; i < names.n && r == 0; i++)
        r = copy_any(c, in, names.name[i], out, names.name[i], depth + 1);
    names_free(&names);
    if (r == 0 && fchmod(out, st->st_mode & 0777) < 0)
        r = -errno;
    return r;
}

static int copy_any(struct copying *c, int from_dir, const char *from, int to_dir, const char *to,
                    unsigned depth)
{
    struct stat st;
    if (depth > DEPTH_MAX)
        return -ENAMETOOLONG;
    if (fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (depth && st.st_dev == c->dev && st.st_ino == c->ino)
        return 0; /* the copy itself */
    if (helper_cancelled(c->h))
        return -ECANCELED;
    if (S_ISREG(st.st_mode))
        return copy_file(c->h, from_dir, from, to_dir, to, &st);
    if (S_ISLNK(st.st_mode))
        return copy_link(from_dir, from, to_dir, to);
    return S_ISDIR(st.st_mode) ? copy_dir(c, from_dir, from, to_dir, to, &st, depth) : -EOPNOTSUPP;
}

/* The directory above path, held; *ret_name: the last name, in copy. */
static int open_above(const char *path, char copy[PATH_MAX], const char **ret_name)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    snprintf(copy, PATH_MAX, "%s", path);
    *ret_name = basename(copy);
    int fd = open(dirname(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int copy_between(struct helper *h, const char *from, const char *to)
{
    char from_copy[PATH_MAX], to_copy[PATH_MAX];
    const char *from_name, *to_name;
    CLEANUP_FD int from_dir = open_above(from, from_copy, &from_name);
    if (from_dir < 0)
        return from_dir;
    CLEANUP_FD int to_dir = open_above(to, to_copy, &to_name);
    if (to_dir < 0)
        return to_dir;
    struct copying c = {.h = h};
    return copy_any(&c, from_dir, from_name, to_dir, to_name, 0);
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return lstat(a, &x) == 0 && lstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int files_copy(struct helper *h, struct operation *op)
{
    struct stat st;
    if (lstat(op->strings[0], &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode) && !(op->rq.h.flags & FILES_RECURSIVE))
        return -EISDIR;
    int r = prepare_target(op);
    if (r == 0 && same_file(op->strings[0], op->strings[1]))
        r = -EINVAL;
    struct stat to;
    if (r == 0 && !S_ISDIR(st.st_mode) && lstat(op->strings[1], &to) == 0 && S_ISDIR(to.st_mode))
        r = -EISDIR;
    r = r ? r : copy_between(h, op->strings[0], op->strings[1]);
    return r ? r : entry_send(h, op->strings[1], false, 0);
}

int files_move(struct helper *h, struct operation *op)
{
    const char *from = op->strings[0], *to = op->strings[1];
    uint64_t count = 0;
    struct stat st;
    if (lstat(from, &st) < 0)
        return -errno;
    int r = prepare_target(op);
    if (r < 0)
        return r;
    unsigned how = op->rq.h.flags & FILES_EXCLUSIVE ? RENAME_NOREPLACE : 0;
    r = renameat2(AT_FDCWD, from, AT_FDCWD, to, how) < 0 ? -errno : 0;
    /* Another file system, or a directory that lies in the image: overlayfs leaves both to us. */
    if (r == -EXDEV) {
        char copy[PATH_MAX];
        const char *name;
        r = copy_between(h, from, to);
        CLEANUP_FD int dir = r == 0 ? open_above(from, copy, &name) : -1;
        if (r == 0)
            r = dir < 0 ? dir : remove_tree(dir, name, &count);
    }
    return r ? r : entry_send(h, to, false, 0);
}

/* ---- modes and links ---- */

static int chmod_tree(struct helper *h, int dirfd, const char *name, mode_t mode, unsigned depth)
{
    struct stat st;
    if (depth > DEPTH_MAX)
        return -ENAMETOOLONG;
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return 0;
    if (!S_ISDIR(st.st_mode))
        return fchmodat(dirfd, name, mode, 0) < 0 ? -errno : 0;
    CLEANUP_FD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct names names = {0};
    int r = fd < 0 ? -errno : names_read(fd, &names);
    if (r < 0)
        return r;
    for (size_t i = 0; i < names.n && r == 0; i++)
        r = chmod_tree(h, fd, names.name[i], mode, depth + 1);
    names_free(&names);
    if (helper_cancelled(h))
        return -ECANCELED;
    if (r == 0 && fchmod(fd, mode) < 0)
        r = -errno;
    return r;
}

int files_chmod(struct helper *h, struct operation *op)
{
    const char *path = op->strings[0];
    int r = op->rq.h.flags & FILES_RECURSIVE ? chmod_tree(h, AT_FDCWD, path, op->rq.mode, 0)
            : chmod(path, op->rq.mode) < 0   ? -errno
                                             : 0;
    return r ? r : entry_send(h, path, true, 0);
}

int files_symlink(struct helper *h, struct operation *op)
{
    const char *path = op->strings[0], *target = op->strings[1];
    char temp[PATH_MAX], hex[17];
    struct stat st;
    int r = op->rq.h.flags & FILES_PARENTS ? make_parents(path) : 0;
    if (r == 0 && symlink(target, path) < 0)
        r = -errno;
    /* Only a link is replaced by a link, and at once: there is no moment without one. */
    if (r == -EEXIST && !(op->rq.h.flags & FILES_EXCLUSIVE) && lstat(path, &st) == 0 &&
        S_ISLNK(st.st_mode)) {
        id_hex(hex, 8);
        if (snprintf(temp, sizeof temp, "%s.cbx-%s", path, hex) >= (int)sizeof temp)
            return -ENAMETOOLONG;
        r = symlink(target, temp) < 0 || rename(temp, path) < 0 ? -errno : 0;
    }
    return r ? r : entry_send(h, path, false, 0);
}

/* ---- remove ---- */

/* Down to DEPTH_MAX; what lies deeper is moved up beside the top and its turn comes later. */
static int empty(int top, int dirfd, unsigned depth, uint64_t *count)
{
    struct names names;
    int r = names_read(dirfd, &names);
    if (r < 0)
        return r;
    for (size_t i = 0; i < names.n && r == 0; i++) {
        const char *name = names.name[i];
        char up[48], hex[17];
        if (unlinkat(dirfd, name, 0) == 0) {
            ++*count;
            continue;
        }
        if (errno != EISDIR && errno != EPERM) {
            r = errno == ENOENT ? 0 : -errno;
            continue;
        }
        if (depth == DEPTH_MAX) {
            id_hex(hex, 8);
            snprintf(up, sizeof up, ".cbx-remove-%s", hex);
            r = renameat(dirfd, name, top, up) < 0 ? -errno : 0;
            continue;
        }
        CLEANUP_FD int sub = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0 || (r = empty(top, sub, depth + 1, count)) < 0)
            r = sub < 0 ? -errno : r;
        else if (unlinkat(dirfd, name, AT_REMOVEDIR) < 0)
            r = errno == ENOENT ? 0 : -errno;
        else
            ++*count;
    }
    names_free(&names);
    return r;
}

int remove_tree(int dirfd, const char *name, uint64_t *count)
{
    if (unlinkat(dirfd, name, 0) == 0) {
        ++*count;
        return 0;
    }
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    CLEANUP_FD int top = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top < 0)
        return -errno;
    /* Each round shortens what is left by DEPTH_MAX levels. */
    int r = 0;
    for (int rounds = 0; rounds < 1000 && r == 0; rounds++) {
        r = empty(top, top, 0, count);
        if (r == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) == 0) {
            ++*count;
            return 0;
        }
        if (r == 0 && errno != ENOTEMPTY)
            r = -errno;
    }
    return r ? r : -ENOTEMPTY;
}

int files_remove(struct helper *h, struct operation *op)
{
    char copy[PATH_MAX];
    const char *name;
    struct stat st;
    (void)h;
    CLEANUP_FD int dir = open_above(op->strings[0], copy, &name);
    if (dir < 0)
        return dir;
    if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, "/"))
        return -EBUSY;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode) && !(op->rq.h.flags & FILES_RECURSIVE))
        return -EISDIR;
    return remove_tree(dir, name, &op->done_arg);
}
