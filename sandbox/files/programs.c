/* What the box's own programs do best: tar, its compressors, ripgrep. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/files/files.h"

enum { ARGS_MAX = FILES_STRINGS_MAX + 16, SAID_MAX = 200, BOMB = 27 };

/* A program with what it reads, writes and complains to; -1: /dev/null. */
static pid_t start(const char *const *argv, int in, int out, int err)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid < 0 ? -errno : pid;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fds[] = {in < 0 ? null : in, out < 0 ? null : out, err < 0 ? null : err};
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigaction(SIGPIPE, &dfl, NULL);
    for (int i = 0; i < 3; i++) /* out of the way of the targets */
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 8);
    for (int i = 0; i < 3; i++)
        dup2(fds[i], i);
    execvp(argv[0], (char *const *)argv);
    dprintf(STDERR_FILENO, "%s: %s", argv[0], strerror(errno));
    _exit(127);
}

static int status_of(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A file without a name takes what programs complain about; its last line tells the user. */
static int complaints(void)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd;
}

static void quote_complaint(struct helper *h, int fd, const char *otherwise)
{
    char said[SAID_MAX + 1] = "";
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    ssize_t n = size <= 0 ? 0 : pread(fd, said, SAID_MAX, size > SAID_MAX ? size - SAID_MAX : 0);
    said[n > 0 ? n : 0] = 0;
    while (n > 0 && said[n - 1] == '\n')
        said[--n] = 0;
    snprintf(h->text, sizeof h->text, "%s", *said ? said : otherwise);
}

/* Everything that comes out of fd, until its end. */
static int forward(struct helper *h, int fd)
{
    ssize_t n;
    while ((n = read(fd, h->out, FILES_DATA_MAX)) != 0) {
        if (n > 0)
            helper_send(h, FILES_DATA, 0, 0, h->out, (size_t)n);
        else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

static int run_and_forward(struct helper *h, const char *const *argv, int *ret_status)
{
    int out[2];
    if (pipe2(out, O_CLOEXEC) < 0)
        return -errno;
    CLEANUP_FD int err = complaints();
    fcntl(out[0], F_SETPIPE_SZ, 1 << 20); /* only throughput depends on it */
    pid_t pid = start(argv, -1, out[1], err);
    close(out[1]);
    int r = pid < 0 ? (int)pid : forward(h, out[0]);
    close(out[0]);
    if (pid > 0)
        *ret_status = status_of(pid);
    if (r == 0)
        quote_complaint(h, err, "");
    return r;
}

int files_search(struct helper *h, struct operation *op)
{
    const char *argv[ARGS_MAX] = {"rg", "--json", "--no-config", "--no-messages",
                                  "--max-columns=4096"};
    size_t n = 5;
    int status = 0;
    if (access(op->strings[0], F_OK) < 0)
        return -errno;
    for (uint32_t i = 1; i < op->rq.nstrings; i++)
        argv[n++] = op->strings[i];
    argv[n++] = "--";
    argv[n++] = op->strings[0];
    argv[n] = NULL;
    int r = run_and_forward(h, argv, &status);
    if (r == 0 && status > 1 && h->text[0])
        r = status == 127 ? -ENOSYS : -EINVAL; /* 1: nothing was found */
    return r;
}

int files_pack(struct helper *h, struct operation *op)
{
    const char *argv[16] = {
        "tar", "-c", "-f", "-", "--format=posix", "--one-file-system", "--ignore-failed-read"};
    size_t n = 7;
    int status = 0;
    struct stat st;
    if (stat(op->strings[0], &st) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    if (access(op->strings[0], R_OK | X_OK) < 0)
        return -errno;
    if (op->rq.nstrings > 1 && *op->strings[1])
        argv[n++] = op->strings[1];
    argv[n++] = "-C";
    argv[n++] = op->strings[0];
    argv[n++] = ".";
    int r = run_and_forward(h, argv, &status);
    if (r == 0 && status > 1) /* 1: something changed while it was read */
        r = -ECHILD;
    return r;
}

/* ---- unpack: what arrives -> decompressor, if need be -> counter -> tar ---- */

struct pipeline {
    int feed; /* what arrives is written here */
    pid_t pid[3];
    unsigned n;
};

/* Archives grow without bound when they are unpacked (a megabyte of gzip can be a gigabyte of
 * zeroes): the counter ends the line when more than limit bytes came out. */
static pid_t start_counter(int in, int out, uint64_t limit)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid < 0 ? -errno : pid;
    static uint8_t block[64 << 10];
    dup2(in, 0);
    dup2(out, 1);
    syscall(SYS_close_range, 3, ~0u, 0); /* a copy of the writing end would keep it from its end */
    for (ssize_t n; (n = read(0, block, sizeof block)) > 0;) {
        if ((uint64_t)n > limit)
            _exit(BOMB);
        limit -= (uint64_t)n;
        if (fd_write_all(1, block, (size_t)n) < 0)
            _exit(0);
    }
    _exit(0);
}

static const char *const *decompressor(const uint8_t *p, size_t n)
{
    static const struct {
        const char *magic;
        size_t len;
        const char *argv[3];
    } known[] = {{"\x1f\x8b", 2, {"gzip", "-dc", NULL}},
                 {"\x28\xb5\x2f\xfd", 4, {"zstd", "-dcq", NULL}},
                 {"\xfd"
                  "7zXZ",
                  5,
                  {"xz", "-dc", NULL}},
                 {"BZh", 3, {"bzip2", "-dc", NULL}}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (n >= known[i].len && !memcmp(p, known[i].magic, known[i].len))
            return known[i].argv;
    }
    return NULL;
}

static int add_stage(struct pipeline *p, pid_t pid)
{
    if (pid < 0)
        return (int)pid;
    p->pid[p->n++] = pid;
    return 0;
}

static int start_pipeline(struct pipeline *p, const char *dir, const char *const *decompress,
                          uint64_t limit, int err)
{
    const char *tar[] = {"tar", "-x", "-f", "-", "-C", dir, "--no-same-owner", NULL};
    int a[2] = {-1, -1}, b[2] = {-1, -1}, c[2] = {-1, -1};
    int r =
        pipe2(a, O_CLOEXEC) < 0 || pipe2(b, O_CLOEXEC) < 0 || pipe2(c, O_CLOEXEC) < 0 ? -errno : 0;
    p->feed = -1;
    if (r == 0)
        r = add_stage(p, start(tar, c[0], -1, err));
    c[0] = fd_close(c[0]);
    if (r == 0 && decompress) {
        r = add_stage(p, start(decompress, a[0], b[1], err));
        a[0] = fd_close(a[0]);
        b[1] = fd_close(b[1]);
        p->feed = STEAL_FD(a[1]);
    } else if (r == 0) {
        p->feed = STEAL_FD(b[1]);
    }
    if (r == 0)
        r = add_stage(p, start_counter(b[0], c[1], limit));
    for (int i = 0; i < 2; i++) {
        fd_close(a[i]);
        fd_close(b[i]);
        fd_close(c[i]);
    }
    return r;
}

/* Ends all stages; whether all of them ended well. */
static int finish_pipeline(struct pipeline *p, bool cancel)
{
    int r = 0;
    fd_close(p->feed);
    for (unsigned i = 0; i < p->n; i++) {
        if (cancel)
            kill(p->pid[i], SIGKILL);
        int status = status_of(p->pid[i]);
        if (status == BOMB)
            r = -EFBIG;
        else if (status && r == 0)
            r = -EINVAL;
    }
    return r;
}

int files_unpack(struct helper *h, struct operation *op)
{
    struct pipeline p = {.feed = -1};
    struct stat st;
    const char *dir = op->strings[0];
    int r = op->rq.h.flags & FILES_PARENTS ? make_parents(dir) : 0;
    if (r == 0 && (op->rq.h.flags & FILES_PARENTS) && mkdir(dir, 0777) < 0 && errno != EEXIST)
        r = -errno;
    if (r == 0 && stat(dir, &st) < 0)
        r = -errno;
    if (r == 0 && !S_ISDIR(st.st_mode))
        r = -ENOTDIR;
    if (r == 0 && access(dir, W_OK | X_OK) < 0)
        r = -errno;
    if (r < 0)
        return r;
    CLEANUP_FD int err = complaints();
    helper_send(h, FILES_ENTRY, 0, 0, NULL, 0); /* it can begin */
    ssize_t n;
    while ((n = helper_receive(h)) > 0) {
        const uint8_t *data = h->in + sizeof(struct files_head);
        if (!p.n)
            r = start_pipeline(&p, dir, decompressor(data, (size_t)n), op->rq.limit, err);
        if (r < 0 || fd_write_all(p.feed, data, (size_t)n) < 0)
            break; /* a stage has ended: its status says why */
    }
    bool failed = r < 0 || n < 0;
    int end = finish_pipeline(&p, failed);
    if (failed)
        return r < 0 ? r : (int)n;
    if (end == -EFBIG)
        snprintf(h->text, sizeof h->text, "the archive unpacks to more than %llu bytes",
                 (unsigned long long)op->rq.limit);
    else if (end < 0)
        quote_complaint(h, err, "the archive could not be unpacked");
    return end;
}
