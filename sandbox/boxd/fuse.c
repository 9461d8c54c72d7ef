/*
 * FUSE mounts of boxes: made and unmade by a child each, which may hang on what a box serves and is
 * then killed. B itself never looks at such a mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/parent.h"
#include "sandbox/boxd/server.h"
#include "sandbox/fs/fuse.h"

enum { PATIENCE_MS = 10000, BOX_USER = 1000, TASKS_MAX = 64 };

struct task {
    struct server *s;
    struct wire_head to;
    int fd;
    pid_t pid;
    uv_poll_t poll;
    uv_timer_t timer;
    int handles;
};

/* What the child runs. Descriptor or -1. */
typedef int task_fn(const struct box *b, const void *request, struct err *err);

static int do_mount(const struct box *b, const void *request, struct err *err)
{
    const struct wire_box_fuse *m = request;
    int fd = -1;
    struct fuse_request r = {.path = m->path,
                             .name = m->name,
                             .uid = BOX_USER,
                             .gid = BOX_USER,
                             .read_only = m->flags & WIRE_FUSE_READ_ONLY};
    fuse_mount(b->pid, &r, &fd, err);
    return fd;
}

static int do_unmount(const struct box *b, const void *request, struct err *err)
{
    const struct wire_box_fuse *m = request;
    fuse_unmount(b->pid, m->name, m->flags & WIRE_FUSE_DETACH, err);
    return -1;
}

static void child(const struct box *b, const void *request, task_fn *run, int out, pid_t parent)
{
    struct wire_reply reply = {.h = {.type = WIRE_REPLY}};
    prctl(PR_SET_NAME, "cbx-mount");
    parent_bind(parent);
    int fd = run(b, request, &reply.err);
    _exit(fd_send(out, &reply, sizeof reply, &fd, fd >= 0) < 0 ? 1 : 0);
}

static void on_closed(uv_handle_t *h)
{
    struct task *t = h->data;
    if (--t->handles)
        return;
    t->s->fuse_tasks--;
    close(t->fd);
    free(t);
}

static void finish(struct task *t, const struct err *err, int fd)
{
    struct wire_reply m = {.h = {.type = WIRE_REPLY, .seq = t->to.seq, .box = t->to.box}};
    if (err)
        m.err = *err;
    gateway_send(t->s, &m, sizeof m, &fd, fd >= 0);
    uv_close((uv_handle_t *)&t->poll, on_closed);
    uv_close((uv_handle_t *)&t->timer, on_closed);
}

static void on_reply(uv_poll_t *h, int status, int events)
{
    struct task *t = h->data;
    struct wire_reply m;
    struct err err = {0};
    int fd = -1;
    size_t nfds = 1;
    (void)status;
    (void)events;
    ssize_t n = fd_recv(t->fd, &m, sizeof m, &fd, &nfds);
    if (n != sizeof m)
        err_set(&err, -EIO, "mount", "the program that mounts has ended");
    finish(t, n == sizeof m ? &m.err : &err, nfds && n == sizeof m ? fd : -1);
    if (nfds)
        fd_close(fd);
}

static void on_timeout(uv_timer_t *h)
{
    struct task *t = h->data;
    struct err err = {0};
    kill(t->pid, SIGKILL);
    err_set(&err, -ETIMEDOUT, "mount", "a directory on the way does not answer");
    finish(t, &err, -1);
}

static void begin(struct server *s, const struct box *b, const struct wire_head *to,
                  const void *request, task_fn *run)
{
    struct err err = {0};
    int pair[2] = {-1, -1};
    struct task *t = s->fuse_tasks < TASKS_MAX ? calloc(1, sizeof *t) : NULL;
    int r = t ? fd_seqpacket_pair(pair) : -EAGAIN;
    if (r == 0) {
        pid_t self = getpid();
        t->pid = fork();
        if (t->pid == 0)
            child(b, request, run, pair[1], self);
        r = t->pid < 0 ? -errno : uv_poll_init(&s->loop, &t->poll, pair[0]);
    }
    fd_close(pair[1]);
    if (r < 0) {
        fd_close(pair[0]);
        free(t);
        err_set(&err, r, "mount", NULL);
        gateway_reply(s, to, &err, 0);
        return;
    }
    s->fuse_tasks++;
    t->s = s;
    t->to = *to;
    t->fd = pair[0];
    t->handles = 2;
    t->poll.data = t->timer.data = t;
    uv_timer_init(&s->loop, &t->timer);
    uv_timer_start(&t->timer, on_timeout, PATIENCE_MS, 0);
    uv_poll_start(&t->poll, UV_READABLE, on_reply);
}

void fuse_begin_mount(struct server *s, const struct box *b, const struct wire_box_fuse *m)
{
    begin(s, b, &m->h, m, do_mount);
}

void fuse_begin_unmount(struct server *s, const struct box *b, const struct wire_box_fuse *m)
{
    begin(s, b, &m->h, m, do_unmount);
}
