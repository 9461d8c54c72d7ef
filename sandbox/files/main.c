#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/files/files.h"

enum { CHANNEL_FD = 3 };

void helper_send(struct helper *h, uint32_t type, uint32_t flags, uint64_t arg, const void *data,
                 size_t len)
{
    struct files_head head = {type, flags, arg};
    struct iovec iov[2] = {{&head, sizeof head}, {(void *)data, len}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = len ? 2 : 1};
    while (sendmsg(h->sock, &m, MSG_NOSIGNAL) < 0) {
        if (errno != EINTR)
            _exit(0);
    }
}

static ssize_t receive(struct helper *h)
{
    ssize_t n;
    do
        n = recv(h->sock, h->in, sizeof h->in, 0);
    while (n < 0 && errno == EINTR);
    return n < (ssize_t)sizeof(struct files_head) ? -ECANCELED : n;
}

ssize_t helper_receive(struct helper *h)
{
    ssize_t n = receive(h), head_len = sizeof(struct files_head);
    const struct files_head *head = (const void *)h->in;
    if (n < 0 || (head->type != FILES_END && (head->type != FILES_DATA || n == head_len)))
        return -ECANCELED;
    return head->type == FILES_END ? 0 : n - head_len;
}

bool helper_cancelled(struct helper *h)
{
    char c;
    return recv(h->sock, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static uint32_t access_of(int dirfd, const char *name)
{
    uint32_t a = 0;
    int flags = AT_EACCESS;
    a |= faccessat(dirfd, name, R_OK, flags) == 0 ? FILES_READABLE : 0;
    a |= faccessat(dirfd, name, W_OK, flags) == 0 ? FILES_WRITABLE : 0;
    a |= faccessat(dirfd, name, X_OK, flags) == 0 ? FILES_EXECUTABLE : 0;
    return a;
}

int entry_put(struct buf *out, int dirfd, const char *name, const char *shown,
              const struct stat *st)
{
    char target[PATH_MAX];
    ssize_t n = S_ISLNK(st->st_mode) ? readlinkat(dirfd, name, target, sizeof target) : 0;
    struct files_entry e = {
        .size = (uint64_t)st->st_size,
        .inode = st->st_ino,
        .mtime_us = (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000,
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .access = access_of(dirfd, name),
        .name_len = (uint32_t)strlen(shown),
        .link_len = n > 0 ? (uint32_t)n : 0,
    };
    buf_put(out, &e, sizeof e);
    buf_put(out, shown, e.name_len);
    return buf_put(out, target, e.link_len);
}

int entry_send(struct helper *h, const char *path, bool follow, uint32_t flags)
{
    CLEANUP_BUF struct buf b = {0};
    struct stat st;
    if (fstatat(AT_FDCWD, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    int r = entry_put(&b, AT_FDCWD, path, path, &st);
    if (r == 0)
        helper_send(h, FILES_ENTRY, flags, 0, b.data, b.len);
    return r;
}

static int files_stat(struct helper *h, struct operation *op)
{
    return entry_send(h, op->strings[0], !(op->rq.h.flags & FILES_NOFOLLOW), 0);
}

static int (*const operations[])(struct helper *h, struct operation *op) = {
    [FILES_READ] = files_read,     [FILES_WRITE] = files_write,   [FILES_LIST] = files_list,
    [FILES_STAT] = files_stat,     [FILES_MKDIR] = files_mkdir,   [FILES_MOVE] = files_move,
    [FILES_COPY] = files_copy,     [FILES_CHMOD] = files_chmod,   [FILES_SYMLINK] = files_symlink,
    [FILES_REMOVE] = files_remove, [FILES_SEARCH] = files_search, [FILES_PACK] = files_pack,
    [FILES_UNPACK] = files_unpack, [FILES_WATCH] = files_watch,
};

/* G is trusted, and still: what does not hold together is no request. */
static bool parse(const uint8_t *m, size_t n, struct operation *op, char *strings)
{
    if (n < sizeof op->rq)
        return false;
    memcpy(&op->rq, m, sizeof op->rq);
    size_t len = n - sizeof op->rq, at = 0;
    if (!len || m[n - 1] || !op->rq.nstrings || op->rq.nstrings > FILES_STRINGS_MAX)
        return false;
    memcpy(strings, m + sizeof op->rq, len);
    for (uint32_t i = 0; i < op->rq.nstrings; i++) {
        if (at >= len)
            return false;
        op->strings[i] = strings + at;
        at += strlen(strings + at) + 1;
    }
    return op->rq.h.type < sizeof operations / sizeof *operations && operations[op->rq.h.type];
}

/* What is still on its way here belongs to nothing. It is read all the same: an end with unread
 * messages is an error to the other side, in place of what was told it last. */
static void leave(struct helper *h)
{
    shutdown(h->sock, SHUT_RD);
    while (recv(h->sock, h->in, sizeof h->in, 0) > 0)
        ;
    exit(0);
}

static void run(struct helper *h, size_t n)
{
    static char strings[FILES_MSG_MAX];
    struct operation op = {0};
    if (!parse(h->in, n, &op, strings))
        exit(1);
    h->text[0] = 0;
    int r = operations[op.rq.h.type](h, &op);
    if (r == 0) {
        helper_send(h, FILES_END, op.done_flags, op.done_arg, NULL, 0);
        return;
    }
    if (!h->text[0])
        snprintf(h->text, sizeof h->text, "%s", strerror(-r));
    helper_send(h, FILES_ERROR, 0, (uint64_t)-r, h->text, strlen(h->text));
    if (op.rq.h.type == FILES_WRITE || op.rq.h.type == FILES_UNPACK)
        leave(h);
}

int main(void)
{
    static struct helper h = {.sock = CHANNEL_FD};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    prctl(PR_SET_NAME, "cbx-files");
    prctl(PR_SET_DUMPABLE, 0);
    sigaction(SIGPIPE, &ignore, NULL);
    fd_set_cloexec(CHANNEL_FD, 1);
    umask(022);
    for (ssize_t n; (n = receive(&h)) > 0;)
        run(&h, (size_t)n);
    return 0;
}
