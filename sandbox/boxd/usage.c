/*
 * What boxes have used: memory over time, by samples; bytes on disk, by a process that looks at
 * every file, since B itself never walks a box's tree.
 */
#include <errno.h>
#include <fts.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/oom.h"
#include "sandbox/base/parent.h"
#include "sandbox/boxd/server.h"
#include "sandbox/fs/volume.h"

enum { SAMPLE_MS = 2000, AT_ONCE = 4, SECONDS_MAX = 20, WAITING_MAX = 256 };

struct measure {
    struct list link;
    struct server *s;
    struct wire_head to;
    char disk[WIRE_DISK];
    int fd; /* -1: it waits */
    uv_poll_t poll;
};

static void on_sample(uv_timer_t *t)
{
    struct server *s = t->data;
    LIST_FOREACH (it, &s->boxes) {
        struct box *b = LIST_ENTRY(it, struct box, link);
        struct cgroup_usage u;
        if (b->state == BOX_RUNNING)
            box_usage(b, &u);
    }
}

void usage_start(struct server *s)
{
    list_init(&s->measures);
    uv_timer_init(&s->loop, &s->sampler);
    s->sampler.data = s;
    uv_timer_start(&s->sampler, on_sample, SAMPLE_MS, SAMPLE_MS);
    uv_unref((uv_handle_t *)&s->sampler);
}

static void answer(struct server *s, const struct wire_head *to, int code, uint64_t bytes)
{
    struct wire_disk_usage m = {.h = *to, .bytes = bytes};
    struct err err = {0};
    if (code < 0) {
        err_set(&err, code, "measure disk", NULL);
        gateway_reply(s, to, &err, 0);
    } else {
        gateway_send(s, &m, sizeof m, NULL, 0);
    }
}

/* A file with several names counts once in all, as far as its names are here. */
static uint64_t measure_tree(int dir)
{
    char here[] = ".";
    char *const paths[] = {here, NULL};
    double sum = 0;
    FTS *f = fchdir(dir) == 0 ? fts_open(paths, FTS_PHYSICAL | FTS_XDEV, NULL) : NULL;
    for (FTSENT *e; f && (e = fts_read(f));) {
        bool counts = e->fts_info == FTS_D || e->fts_info == FTS_F || e->fts_info == FTS_SL ||
                      e->fts_info == FTS_SLNONE || e->fts_info == FTS_DEFAULT;
        if (counts && e->fts_statp->st_nlink)
            sum += (double)e->fts_statp->st_blocks * 512 /
                   (double)(e->fts_info == FTS_D ? 1 : e->fts_statp->st_nlink);
    }
    return (uint64_t)sum;
}

static void measure_in_child(int dir, int out, pid_t parent)
{
    prctl(PR_SET_NAME, "cbx-measure");
    parent_bind(parent);
    setpriority(PRIO_PROCESS, 0, 19);
    oom_set_own(OOM_COMMAND);
    alarm(SECONDS_MAX);
    uint64_t bytes = measure_tree(dir);
    _exit(write(out, &bytes, sizeof bytes) == sizeof bytes ? 0 : 1);
}

static void next(struct server *s);

static void on_closed(uv_handle_t *h)
{
    struct measure *m = h->data;
    close(m->fd);
    free(m);
}

static void on_result(uv_poll_t *h, int status, int events)
{
    struct measure *m = h->data;
    uint64_t bytes = 0;
    (void)status;
    (void)events;
    ssize_t n = read(m->fd, &bytes, sizeof bytes);
    answer(m->s, &m->to, n == sizeof bytes ? 0 : -ETIMEDOUT, bytes);
    list_remove(&m->link);
    uv_close((uv_handle_t *)h, on_closed);
    next(m->s);
}

static int begin(struct measure *m)
{
    struct err err = {0};
    int pipe[2];
    CLEANUP_FD int dir = disk_open(m->s->disks, m->disk, &err);
    if (dir < 0)
        return dir;
    if (pipe2(pipe, O_CLOEXEC) < 0)
        return -errno;
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        measure_in_child(dir, pipe[1], self);
    close(pipe[1]);
    int r = pid < 0 ? -errno : uv_poll_init(&m->s->loop, &m->poll, pipe[0]);
    if (r < 0) {
        close(pipe[0]);
        return r;
    }
    m->fd = pipe[0];
    m->poll.data = m;
    return uv_poll_start(&m->poll, UV_READABLE, on_result);
}

static void next(struct server *s)
{
    unsigned running = 0;
    LIST_FOREACH (it, &s->measures)
        running += LIST_ENTRY(it, struct measure, link)->fd >= 0;
    LIST_FOREACH_SAFE (it, &s->measures) {
        struct measure *m = LIST_ENTRY(it, struct measure, link);
        if (running == AT_ONCE || s->stopping)
            return;
        if (m->fd >= 0)
            continue;
        int r = begin(m);
        running += r == 0;
        if (r < 0) {
            answer(s, &m->to, r, 0);
            list_remove(&m->link);
            free(m);
        }
    }
}

/* A file system of its own knows what it holds. */
static bool known(struct server *s, const struct wire_head *to, const char *disk)
{
    uint64_t bytes;
    LIST_FOREACH (it, &s->boxes) {
        const struct box_parts *p = &LIST_ENTRY(it, struct box, link)->parts;
        if (p->limited && p->disk_mount >= 0 && !strcmp(p->disk, disk) &&
            volume_used(p->disk_mount, &bytes) == 0) {
            answer(s, to, 0, bytes);
            return true;
        }
    }
    return false;
}

void usage_measure(struct server *s, const struct wire_head *to, const char *disk)
{
    if (known(s, to, disk))
        return;
    bool full = list_count(&s->measures) >= WAITING_MAX;
    struct measure *m = full ? NULL : calloc(1, sizeof *m);
    if (!m) {
        answer(s, to, full ? -EAGAIN : -ENOMEM, 0);
        return;
    }
    m->s = s;
    m->to = *to;
    m->fd = -1;
    memcpy(m->disk, disk, strlen(disk) + 1);
    list_append(&s->measures, &m->link);
    next(s);
}
