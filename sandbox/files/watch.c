/*
 * Changes below a directory, as inotify tells them: one watch for each directory, names put
 * together from them, renames paired, new directories joined in. Only ends with the socket (or with
 * what is watched).
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/files/files.h"
#include "sandbox/files/glob.h"

enum {
    DIRS_MAX = 32768,
    PENDING_MAX = 1024,
    PAIR_MS = 5, /* the halves of a rename are queued together; a reader may come between */
    DEPTH_MAX = 128,
    MASK = IN_CREATE | IN_MODIFY | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
           IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK | IN_DONT_FOLLOW,
};

struct watched {
    int wd;
    char *path; /* below the root, "" = the root */
};

struct change {
    enum files_event type;
    bool directory;
    char *path, *to; /* to: of a rename */
};

struct watcher {
    struct helper *h;
    const struct operation *op;
    int inotify;
    char root[PATH_MAX], only[NAME_MAX + 1]; /* only: the one name that counts, "" = all */
    struct watched *dirs;                    /* sorted by wd, which only grow */
    size_t ndirs, cap;
    struct change pending[PENDING_MAX];
    size_t npending;
    int64_t flush_ms, pair_ms; /* 0: nothing waits */
    uint32_t cookie;           /* of the first half of a rename that waits for its second */
    struct change half;
    bool gone, lost;
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static bool recursive(const struct watcher *w)
{
    return !w->only[0] && (w->op->rq.h.flags & FILES_RECURSIVE);
}

/* ---- what counts ---- */

static bool excluded(const struct watcher *w, const char *path)
{
    for (uint32_t i = 1 + w->op->rq.npatterns; i < w->op->rq.nstrings; i++) {
        if (glob_match(w->op->strings[i], path))
            return true;
    }
    return false;
}

/* Nothing below an excluded directory counts; such directories are not watched, but a rename may
 * name them. */
static bool wanted(const struct watcher *w, const char *path)
{
    bool in = w->op->rq.npatterns == 0;
    if (w->only[0])
        return !strcmp(path, w->only);
    for (uint32_t i = 0; i < w->op->rq.npatterns && !in; i++)
        in = glob_match(w->op->strings[1 + i], path);
    return in && !excluded(w, path);
}

/* ---- telling ---- */

static void change_free(struct change *c)
{
    free(c->path);
    free(c->to);
    *c = (struct change){0};
}

static void put_shown(const struct watcher *w, struct buf *b, const char *path)
{
    buf_printf(b, "%s%s%s", w->root, *path && strcmp(w->root, "/") != 0 ? "/" : "", path);
    buf_putc(b, 0);
}

static void tell(struct watcher *w, const struct change *c)
{
    CLEANUP_BUF struct buf b = {0};
    put_shown(w, &b, c->path);
    if (c->to)
        put_shown(w, &b, c->to);
    if (!b.err)
        helper_send(w->h, FILES_EVENT, c->directory ? FILES_DIRECTORY : 0, c->type, b.data, b.len);
}

static void flush(struct watcher *w)
{
    for (size_t i = 0; i < w->npending; i++) {
        if (w->pending[i].type)
            tell(w, &w->pending[i]);
        change_free(&w->pending[i]);
    }
    w->npending = 0;
    w->flush_ms = 0;
}

/* Whether an earlier change that still waits says it already, or both say nothing together. */
static bool merge(struct watcher *w, const struct change *c)
{
    for (size_t i = w->npending; i-- > 0;) {
        struct change *p = &w->pending[i];
        if (!p->type || (p->to && (!strcmp(p->to, c->path) || !strcmp(p->path, c->path))))
            return false;
        if (strcmp(p->path, c->path) != 0)
            continue;
        if (c->type == FILES_EV_MODIFY || c->type == FILES_EV_ATTRIB)
            return p->type == c->type || p->type == FILES_EV_CREATE || p->type == FILES_EV_MODIFY;
        if (c->type == FILES_EV_CREATE && p->type == FILES_EV_CREATE)
            return true;
        if (c->type == FILES_EV_DELETE && p->type == FILES_EV_CREATE) {
            change_free(p);
            return true;
        }
        if (c->type == FILES_EV_DELETE && p->type == FILES_EV_MODIFY) {
            p->type = FILES_EV_DELETE;
            return true;
        }
        return false;
    }
    return false;
}

/* Takes what c holds. */
static void note(struct watcher *w, struct change *c)
{
    bool waits = c->type != FILES_EV_OVERFLOW && c->type != FILES_EV_GONE;
    if (!c->path || (c->type == FILES_EV_RENAME && !c->to)) {
        w->lost = true; /* out of memory */
        change_free(c);
        return;
    }
    if (waits && merge(w, c)) {
        change_free(c);
        return;
    }
    if (w->npending == PENDING_MAX || !waits)
        flush(w);
    if (!w->flush_ms)
        w->flush_ms = now_ms() + (int64_t)w->op->rq.offset;
    w->pending[w->npending++] = *c;
    *c = (struct change){0};
    if (!waits)
        flush(w);
}

static void note_path(struct watcher *w, enum files_event type, bool directory, const char *path)
{
    struct change c = {.type = type, .directory = directory, .path = strdup(path)};
    note(w, &c);
}

/* ---- directories ---- */

static struct watched *find(struct watcher *w, int wd)
{
    size_t low = 0, high = w->ndirs;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (w->dirs[mid].wd < wd)
            low = mid + 1;
        else
            high = mid;
    }
    return low < w->ndirs && w->dirs[low].wd == wd ? &w->dirs[low] : NULL;
}

static void forget(struct watcher *w, struct watched *d)
{
    free(d->path);
    memmove(d, d + 1, (size_t)(w->dirs + w->ndirs - (d + 1)) * sizeof *d);
    w->ndirs--;
}

static int absolute(const struct watcher *w, const char *path, char out[PATH_MAX])
{
    int n = snprintf(out, PATH_MAX, "%s/%s", w->root, path);
    return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int add_one(struct watcher *w, const char *path)
{
    char full[PATH_MAX];
    int r = absolute(w, path, full);
    if (r < 0)
        return r;
    int wd = inotify_add_watch(w->inotify, full, MASK);
    if (wd < 0)
        return errno == ENOSPC ? -EDQUOT : -errno;
    struct watched *known = find(w, wd);
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    if (known) { /* the same directory under another name */
        free(known->path);
        known->path = copy;
        return 0;
    }
    if (w->ndirs == DIRS_MAX) {
        free(copy);
        return -EDQUOT;
    }
    if (w->ndirs == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 64;
        struct watched *grown = realloc(w->dirs, cap * sizeof *grown);
        if (!grown) {
            free(copy);
            return -ENOMEM;
        }
        w->dirs = grown;
        w->cap = cap;
    }
    w->dirs[w->ndirs++] = (struct watched){wd, copy};
    return 0;
}

/* Watches a directory and, if asked for, all below. tell_all: what is found there is news. */
static int add_tree(struct watcher *w, const char *path, bool tell_all, unsigned depth)
{
    char full[PATH_MAX], sub[PATH_MAX];
    struct names names;
    struct stat st;
    int r = depth > DEPTH_MAX ? -ENAMETOOLONG : add_one(w, path);
    if (r < 0 || (!tell_all && !recursive(w)) || absolute(w, path, full) < 0)
        return r;
    CLEANUP_FD int fd = open(full, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || names_read(fd, &names) < 0)
        return depth ? 0 : -errno;
    for (size_t i = 0; i < names.n && r == 0; i++) {
        int n = snprintf(sub, sizeof sub, "%s%s%s", path, *path ? "/" : "", names.name[i]);
        if (n < 0 || n >= (int)sizeof sub ||
            fstatat(fd, names.name[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (tell_all && wanted(w, sub))
            note_path(w, FILES_EV_CREATE, S_ISDIR(st.st_mode), sub);
        if (S_ISDIR(st.st_mode) && recursive(w) && !excluded(w, sub)) {
            r = add_tree(w, sub, tell_all, depth + 1);
            r = r == -ENOENT || r == -EACCES || r == -ENOTDIR ? 0 : r;
        }
    }
    names_free(&names);
    return r;
}

static bool is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return !strncmp(path, dir, n) && (!path[n] || path[n] == '/');
}

/* A directory has another name now, or (to NULL) is out of sight. */
static void move_tree(struct watcher *w, const char *from, const char *to)
{
    size_t n = strlen(from);
    for (size_t i = 0; i < w->ndirs; i++) {
        struct watched *d = &w->dirs[i];
        char moved[PATH_MAX];
        if (!is_below(d->path, from))
            continue;
        if (!to) {
            inotify_rm_watch(w->inotify, d->wd);
            forget(w, d);
            i--;
        } else if (snprintf(moved, sizeof moved, "%s%s", to, d->path + n) < (int)sizeof moved) {
            char *copy = strdup(moved);
            w->lost = w->lost || !copy;
            if (copy) {
                free(d->path);
                d->path = copy;
            }
        }
    }
}

/* ---- events ---- */

/* No second half came: it left what is watched. */
static void give_up_half(struct watcher *w)
{
    if (!w->half.path)
        return;
    if (w->half.directory)
        move_tree(w, w->half.path, NULL);
    w->half.type = FILES_EV_DELETE;
    if (wanted(w, w->half.path))
        note(w, &w->half);
    change_free(&w->half);
    w->cookie = 0;
    w->pair_ms = 0;
}

static void arrived(struct watcher *w, const char *path, bool directory)
{
    if (wanted(w, path))
        note_path(w, FILES_EV_CREATE, directory, path);
    if (directory && recursive(w) && !excluded(w, path)) {
        int r = add_tree(w, path, true, 1);
        w->lost = w->lost || (r < 0 && r != -ENOENT && r != -EACCES);
    }
}

static void renamed(struct watcher *w, const char *to, bool directory)
{
    struct change c = w->half;
    w->half = (struct change){0};
    w->cookie = 0;
    w->pair_ms = 0;
    bool from_counts = wanted(w, c.path), to_counts = wanted(w, to);
    if (directory)
        move_tree(w, c.path, excluded(w, to) ? NULL : to);
    c.type = from_counts && to_counts ? FILES_EV_RENAME
             : from_counts            ? FILES_EV_DELETE
                                      : FILES_EV_CREATE;
    if (c.type != FILES_EV_DELETE) {
        char *copy = strdup(to);
        if (c.type == FILES_EV_CREATE) {
            free(c.path);
            c.path = copy;
        } else {
            c.to = copy;
        }
    }
    if (from_counts || to_counts)
        note(w, &c);
    change_free(&c);
}

static void take(struct watcher *w, const struct inotify_event *e)
{
    char path[PATH_MAX];
    bool directory = e->mask & IN_ISDIR;
    if (e->mask & IN_Q_OVERFLOW) {
        w->lost = true;
        return;
    }
    struct watched *d = find(w, e->wd);
    if (!d)
        return;
    if (e->mask & IN_IGNORED) {
        w->gone = w->gone || !*d->path;
        forget(w, d);
        return;
    }
    if (!e->len) { /* of the directory itself: its parent tells, unless it is the root */
        w->gone = w->gone || (!*d->path && (e->mask & (IN_DELETE_SELF | IN_MOVE_SELF)));
        return;
    }
    if (snprintf(path, sizeof path, "%s%s%s", d->path, *d->path ? "/" : "", e->name) >=
        (int)sizeof path)
        return;
    if (w->half.path && !((e->mask & IN_MOVED_TO) && e->cookie == w->cookie))
        give_up_half(w);
    if (e->mask & IN_MOVED_FROM) {
        w->half = (struct change){.directory = directory, .path = strdup(path)};
        w->cookie = e->cookie;
        w->pair_ms = now_ms() + PAIR_MS;
        w->lost = w->lost || !w->half.path;
    } else if ((e->mask & IN_MOVED_TO) && w->half.path) {
        renamed(w, path, directory);
    } else if (e->mask & (IN_CREATE | IN_MOVED_TO)) {
        arrived(w, path, directory);
    } else if (wanted(w, path)) {
        note_path(w,
                  e->mask & IN_DELETE   ? FILES_EV_DELETE
                  : e->mask & IN_MODIFY ? FILES_EV_MODIFY
                                        : FILES_EV_ATTRIB,
                  directory, path);
    }
}

/* The kernel, or we, lost events: every directory that is there is watched again, and the client is
 * told that it must look for itself. */
static void resynchronise(struct watcher *w)
{
    give_up_half(w);
    w->lost = false;
    int r = add_tree(w, "", false, 0);
    w->gone = w->gone || r == -ENOENT || r == -ENOTDIR;
    note_path(w, FILES_EV_OVERFLOW, true, "");
}

static int read_events(struct watcher *w)
{
    static char block[64 << 10] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(w->inotify, block, sizeof block);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    for (char *p = block; p < block + n;) {
        const struct inotify_event *e = (const void *)p;
        take(w, e);
        p += sizeof *e + e->len;
    }
    if (w->lost && !w->gone)
        resynchronise(w);
    return 0;
}

static int timeout_of(const struct watcher *w)
{
    int64_t at =
        w->flush_ms && (!w->pair_ms || w->flush_ms < w->pair_ms) ? w->flush_ms : w->pair_ms;
    int64_t left = at - now_ms();
    return !at ? -1 : left > 0 ? (int)left : 0;
}

static int loop(struct watcher *w)
{
    while (!w->gone) {
        struct pollfd p[2] = {{.fd = w->h->sock, .events = POLLIN},
                              {.fd = w->inotify, .events = POLLIN}};
        int n = poll(p, 2, timeout_of(w));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && p[0].revents)
            return -ECANCELED; /* G has nothing to say but that it goes */
        int r = n > 0 && p[1].revents ? read_events(w) : 0;
        if (r < 0)
            return r;
        if (w->pair_ms && now_ms() >= w->pair_ms)
            give_up_half(w);
        if (w->flush_ms && now_ms() >= w->flush_ms)
            flush(w);
    }
    give_up_half(w);
    note_path(w, FILES_EV_GONE, !w->only[0], w->only);
    return 0;
}

static int set_root(struct watcher *w, const char *path)
{
    char real[PATH_MAX];
    struct stat st;
    if (!realpath(path, real) || stat(real, &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode)) { /* a file is watched through its directory: editors replace it */
        char *slash = strrchr(real, '/');
        snprintf(w->only, sizeof w->only, "%s", slash + 1);
        slash[slash == real] = 0;
    }
    snprintf(w->root, sizeof w->root, "%s", real);
    return 0;
}

static int watch(struct watcher *w)
{
    if (w->inotify < 0)
        return errno == EMFILE ? -EDQUOT : -errno;
    int r = set_root(w, w->op->strings[0]);
    if (r == 0)
        r = add_tree(w, "", false, 0);
    if (r == -EDQUOT)
        snprintf(w->h->text, sizeof w->h->text, "there are more directories than can be watched");
    if (r < 0)
        return r;
    helper_send(w->h, FILES_ENTRY, 0, 0, w->root, strlen(w->root)); /* it is established */
    return loop(w);
}

int files_watch(struct helper *h, struct operation *op)
{
    struct watcher *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->h = h;
    w->op = op;
    w->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int r = watch(w);
    for (size_t i = 0; i < w->ndirs; i++)
        free(w->dirs[i].path);
    free(w->dirs);
    fd_close(w->inotify);
    free(w);
    return r;
}
