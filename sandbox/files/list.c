/* What is in a directory, and below it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/files/files.h"
#include "sandbox/files/glob.h"

enum { BATCH = 32 << 10, DEPTH_MAX = 256 };

struct listing {
    struct helper *h;
    const struct operation *op;
    struct buf batch;
    char path[PATH_MAX]; /* below the directory that was asked for */
    uint64_t count;
    bool truncated;
};

static void flush(struct listing *l)
{
    if (l->batch.len)
        helper_send(l->h, FILES_ENTRY, 0, 0, l->batch.data, l->batch.len);
    buf_reset(&l->batch);
}

static bool wanted(const struct listing *l)
{
    const struct operation *op = l->op;
    bool in = op->rq.npatterns == 0;
    for (uint32_t i = 0; i < op->rq.npatterns && !in; i++)
        in = glob_match(op->strings[1 + i], l->path);
    for (uint32_t i = 1 + op->rq.npatterns; i < op->rq.nstrings && in; i++)
        in = !glob_match(op->strings[i], l->path);
    return in;
}

/* A directory that is excluded is not entered either; one that is merely not included is. */
static bool excluded(const struct listing *l)
{
    for (uint32_t i = 1 + l->op->rq.npatterns; i < l->op->rq.nstrings; i++) {
        if (glob_match(l->op->strings[i], l->path))
            return true;
    }
    return false;
}

static int walk(struct listing *l, int dirfd, size_t len, uint32_t depth);

static int visit(struct listing *l, int dirfd, const char *name, size_t len, uint32_t depth)
{
    struct stat st;
    int n = snprintf(l->path + len, sizeof l->path - len, "%s%s", len ? "/" : "", name);
    if (n < 0 || len + (size_t)n >= sizeof l->path) {
        l->truncated = true; /* no path leads there */
        return 0;
    }
    if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0; /* gone since */
    if (wanted(l)) {
        if (l->count == l->op->rq.limit) {
            l->truncated = true;
            return 0;
        }
        l->count++;
        int r = entry_put(&l->batch, dirfd, name, l->path, &st);
        if (r < 0)
            return r;
        if (l->batch.len > BATCH)
            flush(l);
    }
    if (!S_ISDIR(st.st_mode) || !(l->op->rq.h.flags & FILES_RECURSIVE) || excluded(l))
        return 0;
    if (depth + 1 >= (l->op->rq.depth ? l->op->rq.depth : DEPTH_MAX)) {
        l->truncated = l->truncated || !l->op->rq.depth;
        return 0;
    }
    CLEANUP_FD int sub = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return sub < 0 ? 0 : walk(l, sub, len + (size_t)n, depth + 1);
}

static int walk(struct listing *l, int dirfd, size_t len, uint32_t depth)
{
    struct names names;
    int r = names_read(dirfd, &names);
    if (r < 0)
        return depth ? 0 : r;
    for (size_t i = 0; i < names.n && r == 0 && !l->truncated; i++) {
        if (names.name[i][0] != '.' || (l->op->rq.h.flags & FILES_HIDDEN))
            r = visit(l, dirfd, names.name[i], len, depth);
    }
    names_free(&names);
    if (helper_cancelled(l->h))
        return -ECANCELED;
    return r;
}

int files_list(struct helper *h, struct operation *op)
{
    CLEANUP_FD int fd = open(op->strings[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct listing l = {.h = h, .op = op};
    int r = walk(&l, fd, 0, 0);
    flush(&l);
    buf_deinit(&l.batch);
    op->done_arg = l.count;
    op->done_flags = l.truncated ? FILES_TRUNCATED : 0;
    return r;
}
