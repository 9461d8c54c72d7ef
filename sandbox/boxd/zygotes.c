/*
 * Warm interpreters. Each image in use has one current zygote and a few sets of parts ready.
 * Zygotes are replaced after a number of clones (fresh address space layout and hash seed); the old
 * one goes when the new one is warm.
 *
 * Requests to a zygote are answered in order, so pending ones form a queue.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/boxd/server.h"
#include "sandbox/zygote/launch.h"

enum { PARTS_MAX = 64, NETNS_BURST = 4, WAITING_MAX = 4096 };

struct pending {
    struct list link;
    uint64_t box; /* 0: a network namespace for the pool */
};

struct zygote {
    struct list link;
    struct image *image;
    pid_t pid;
    int fd;
    uv_poll_t poll;
    bool warm, closing;
    uint32_t clones;
    struct list pending;
};

struct image {
    struct list link;
    struct zygotes *all;
    char sha[IMAGE_SHA];
    char path[400];      /* where it is mounted, in B's mount namespace */
    struct list zygotes; /* newest last */
    struct list waiting; /* struct box_request: until parts and a warm zygote are there */
    int netns[PARTS_MAX];
    unsigned nnetns, netns_asked;
    struct box_parts parts[PARTS_MAX];
    unsigned nparts;
    unsigned failures;
    struct err last_error;
};

struct zygotes {
    struct server *server;
    struct list images;
    char mount_point[300];
    uv_idle_t idle; /* makes parts when nothing else is to do */
    bool idle_active;
};

static int launch(struct image *im, struct err *err);
static void serve_waiting(struct image *im);

static struct zygote *current(struct image *im)
{
    struct zygote *best = NULL;
    LIST_FOREACH (it, &im->zygotes) {
        struct zygote *z = LIST_ENTRY(it, struct zygote, link);
        if (z->warm && !z->closing)
            best = z;
    }
    return best;
}

static struct parts_source source(struct image *im)
{
    struct server *s = im->all->server;
    return (struct parts_source){s->disks, s->cgroups, im->path, s->runtime_path, im->sha};
}

/* ---- link of one zygote ---- */

static void zygote_closed(uv_handle_t *h)
{
    struct zygote *z = h->data;
    fd_close(z->fd);
    LIST_FOREACH_SAFE (it, &z->pending)
        free(LIST_ENTRY(it, struct pending, link));
    free(z);
}

static void close_zygote(struct zygote *z)
{
    struct err err = {0};
    if (z->closing)
        return;
    z->closing = true;
    list_remove(&z->link);
    err_set(&err, -EPIPE, "clone box", "the warm interpreter died; try again");
    LIST_FOREACH_SAFE (it, &z->pending) {
        struct pending *p = LIST_ENTRY(it, struct pending, link);
        struct box *b = p->box ? server_find_box(z->image->all->server, p->box) : NULL;
        if (b)
            box_cloned(b, -1, -1, &err);
        if (!p->box)
            z->image->netns_asked--;
    }
    uv_poll_stop(&z->poll);
    uv_close((uv_handle_t *)&z->poll, zygote_closed);
}

static void retire_older(struct zygote *fresh)
{
    LIST_FOREACH_SAFE (it, &fresh->image->zygotes) {
        struct zygote *z = LIST_ENTRY(it, struct zygote, link);
        if (z != fresh && list_empty(&z->pending))
            close_zygote(z);
    }
}

/* Those who wait get another, or the reason why there is none: what it said itself, or that it has
 * died too often. Their next request tries again. */
static void lose_zygote(struct zygote *z, const struct err *why)
{
    struct image *im = z->image;
    struct server *s = im->all->server;
    struct err err = {0};
    if (z->closing)
        return;
    if (!z->warm)
        im->failures++;
    close_zygote(z);
    if (why)
        im->last_error = *why;
    else
        err_set(&im->last_error, -EIO, "warm interpreter",
                "it dies while starting; see the server's log");
    if (s->stopping)
        return;
    if (!why && im->failures < 3 && launch(im, &err) < 0)
        log_error("zygote", "restart_failed", "step=%s reason=%s", log_quote(err.step),
                  log_quote(err.text));
    while (list_empty(&im->zygotes) && !list_empty(&im->waiting)) {
        struct box_request *req = LIST_ENTRY(im->waiting.next, struct box_request, link);
        list_remove(&req->link);
        request_box_failed(s, req->seq, &im->last_error);
        free(req);
    }
}

static void first_message(struct zygote *z, const struct wire_reply *r)
{
    struct image *im = z->image;
    if (r->err.code) {
        lose_zygote(z, &r->err);
        return;
    }
    log_info("zygote", "warm", "pid=%d image=%.12s", (int)z->pid, im->sha);
    z->warm = true;
    im->failures = 0;
    retire_older(z);
    serve_waiting(im);
}

static void answered(struct zygote *z, const struct wire_reply *r, int *fds, size_t nfds)
{
    struct image *im = z->image;
    if (list_empty(&z->pending)) {
        close_zygote(z);
        return;
    }
    struct pending *p = LIST_ENTRY(z->pending.next, struct pending, link);
    list_remove(&p->link);
    uint64_t number = p->box;
    free(p);
    if (!number) {
        im->netns_asked--;
        if (nfds == 1 && im->nnetns < PARTS_MAX)
            im->netns[im->nnetns++] = STEAL_FD(fds[0]);
        else if (r->err.code)
            log_error("zygote", "netns_failed", "reason=%s", log_quote(r->err.text));
        serve_waiting(im);
        return;
    }
    struct box *b = server_find_box(im->all->server, number);
    if (b)
        box_cloned(b, (pid_t)r->value, nfds == 1 ? STEAL_FD(fds[0]) : -1,
                   r->err.code ? &r->err : NULL);
}

static void on_message(uv_poll_t *h, int status, int events)
{
    struct zygote *z = h->data;
    (void)status;
    (void)events;
    for (;;) {
        struct wire_reply r;
        int fds[FD_MSG_MAX_FDS];
        size_t nfds = FD_MSG_MAX_FDS;
        ssize_t n = fd_recv(z->fd, &r, sizeof r, fds, &nfds);
        if (n == -EAGAIN)
            return;
        if (n != (ssize_t)sizeof r) {
            lose_zygote(z, NULL);
            return;
        }
        if (!z->warm)
            first_message(z, &r);
        else
            answered(z, &r, fds, nfds);
        for (size_t i = 0; i < nfds; i++)
            fd_close(fds[i]);
        if (z->closing)
            return;
    }
}

static int ask(struct zygote *z, const void *msg, size_t len, uint64_t box, const int *fds,
               size_t nfds)
{
    struct pending *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    p->box = box;
    ssize_t n = fd_send(z->fd, msg, len, fds, nfds);
    if (n < 0) {
        free(p);
        return (int)n;
    }
    list_append(&z->pending, &p->link);
    return 0;
}

static int launch(struct image *im, struct err *err)
{
    struct server *s = im->all->server;
    struct zygote_launch l = {.image_dir = s->config.image_dir,
                              .image = im->sha,
                              .image_path = im->path,
                              .runtime_path = s->runtime_path,
                              .userns = s->zygote_userns,
                              .mount_point = im->all->mount_point};
    struct zygote *z = calloc(1, sizeof *z);
    if (!z)
        return err_set(err, -ENOMEM, "start zygote", NULL);
    z->image = im;
    z->fd = -1;
    list_init(&z->pending);
    int r = zygote_launch(&l, &z->pid, &z->fd, err);
    if (r == 0 && (r = uv_poll_init(&s->loop, &z->poll, z->fd)) < 0)
        err_set(err, r, "watch zygote", NULL);
    if (r < 0) {
        fd_close(z->fd);
        free(z);
        return r;
    }
    z->poll.data = z;
    uv_poll_start(&z->poll, UV_READABLE | UV_DISCONNECT, on_message);
    list_append(&im->zygotes, &z->link);
    return 0;
}

/* ---- parts in advance ---- */

static int make_parts(struct image *im, const char *disk, bool limited, struct box_parts *ret,
                      struct err *err)
{
    struct server *s = im->all->server;
    struct parts_source src = source(im);
    int r = parts_make(&src, disk, limited, im->netns[--im->nnetns], ret, err);
    if (r < 0)
        return r;
    ret->number = ++s->next_box;
    egress_open(s, ret);
    return 0;
}

void zygotes_each_parts(struct server *s,
                        void (*visit)(struct server *s, const struct box_parts *p))
{
    if (!s->zygotes)
        return;
    LIST_FOREACH (it, &s->zygotes->images) {
        struct image *im = LIST_ENTRY(it, struct image, link);
        for (unsigned i = 0; i < im->nparts; i++)
            visit(s, &im->parts[i]);
    }
}

struct box_parts *zygotes_find_parts(struct server *s, uint64_t number)
{
    LIST_FOREACH (it, &s->zygotes->images) {
        struct image *im = LIST_ENTRY(it, struct image, link);
        for (unsigned i = 0; i < im->nparts; i++)
            if (im->parts[i].number == number)
                return &im->parts[i];
    }
    return NULL;
}

static bool want_more(const struct image *im)
{
    return im->nparts < im->all->server->config.parts_ready;
}

static void ask_netns(struct image *im)
{
    struct zygote *z = current(im);
    struct wire_head h = {.type = WIRE_NETNS};
    unsigned want = im->all->server->config.parts_ready + NETNS_BURST;
    while (z && im->nnetns + im->netns_asked < want && im->netns_asked < NETNS_BURST)
        if (ask(z, &h, sizeof h, 0, NULL, 0) < 0)
            return;
        else
            im->netns_asked++;
}

static void on_idle(uv_idle_t *h)
{
    struct zygotes *zs = h->data;
    bool again = false;
    LIST_FOREACH (it, &zs->images) {
        struct image *im = LIST_ENTRY(it, struct image, link);
        struct err err = {0};
        if (want_more(im) && im->nnetns) {
            if (make_parts(im, "", zs->server->config.disk, &im->parts[im->nparts], &err) == 0)
                im->nparts++;
            else
                log_error("box", "parts_failed", "step=%s reason=%s", log_quote(err.step),
                          log_quote(err.text));
            again = !err.code;
            break; /* one a turn */
        }
        ask_netns(im);
    }
    if (!again) {
        uv_idle_stop(&zs->idle);
        zs->idle_active = false;
    }
}

static void refill(struct zygotes *zs)
{
    if (!zs->idle_active && !zs->server->stopping) {
        zs->idle_active = true;
        uv_idle_start(&zs->idle, on_idle);
    }
}

/* ---- boxes ---- */

static int create_now(struct image *im, struct box_request *req, struct err *err)
{
    struct server *s = im->all->server;
    struct box_parts parts;
    int r = 0;

    if (!*req->disk && im->nparts && !req->disk_limit == !s->config.disk)
        parts = im->parts[--im->nparts];
    else
        r = make_parts(im, req->disk, req->disk_limit, &parts, err);
    if (r < 0)
        return r;
    uint64_t number = parts.number;
    struct box *b = box_create(&s->box_config, &parts, im->sha, &req->limits, req->disk_limit, err);
    if (!b) {
        egress_close(s, number);
        return err && err->code ? err->code : -EIO;
    }
    b->request_seq = req->seq;
    return 0;
}

static void serve_waiting(struct image *im)
{
    while (!list_empty(&im->waiting) && current(im) && (im->nparts || im->nnetns)) {
        struct box_request *req = LIST_ENTRY(im->waiting.next, struct box_request, link);
        struct err err = {0};
        if ((*req->disk || !req->disk_limit != !im->all->server->config.disk) && !im->nnetns)
            break;
        list_remove(&req->link);
        if (create_now(im, req, &err) < 0)
            request_box_failed(im->all->server, req->seq, &err);
        free(req);
    }
    if (!list_empty(&im->waiting))
        ask_netns(im);
    refill(im->all);
}

/* The box joins the list before its clone is asked for, so that the answer finds it. */
int zygotes_clone(void *owner, struct box *b, const struct wire_clone *req, const int *fds,
                  size_t nfds)
{
    struct server *s = owner;
    LIST_FOREACH (it, &s->zygotes->images) {
        struct image *im = LIST_ENTRY(it, struct image, link);
        struct zygote *z = current(im);
        struct err err = {0};
        if (strcmp(im->sha, b->image))
            continue;
        int r = z ? ask(z, req, sizeof *req, b->number, fds, nfds) : -EPIPE;
        if (r < 0)
            return r;
        list_append(&s->boxes, &b->link);
        if (++z->clones == s->config.zygote_clones && launch(im, &err) < 0)
            log_error("zygote", "rotate_failed", "step=%s reason=%s", log_quote(err.step),
                      log_quote(err.text));
        return 0;
    }
    return -ENOENT;
}

static struct image *find_or_open(struct zygotes *zs, const char *sha, struct err *err)
{
    LIST_FOREACH (it, &zs->images) {
        struct image *im = LIST_ENTRY(it, struct image, link);
        if (!strcmp(im->sha, sha))
            return im;
    }
    struct image *im = calloc(1, sizeof *im);
    if (!im) {
        err_set(err, -ENOMEM, "open image", NULL);
        return NULL;
    }
    im->all = zs;
    snprintf(im->sha, sizeof im->sha, "%s", sha);
    list_init(&im->zygotes);
    list_init(&im->waiting);
    snprintf(im->path, sizeof im->path, "%s/mounts/%s", zs->server->config.state_dir, sha);
    if (image_mount(zs->server->config.image_dir, sha, im->path, err) < 0 || launch(im, err) < 0) {
        umount2(im->path, MNT_DETACH);
        free(im);
        return NULL;
    }
    list_append(&zs->images, &im->link);
    return im;
}

int zygotes_create_box(struct server *s, const char *name, const struct box_request *req,
                       struct err *err)
{
    char sha[IMAGE_SHA];
    int r = image_resolve(s->config.image_dir, name, sha, err);
    if (r < 0)
        return r;
    struct image *im = find_or_open(s->zygotes, sha, err);
    if (!im)
        return err->code;
    if (list_empty(&im->zygotes)) {
        /* The last one died: start another, unless it never gets warm. */
        if (im->failures >= 3) {
            *err = im->last_error;
            if (!err->code)
                err_set(err, -EIO, "warm interpreter",
                        "it dies while starting; see the server's log");
            return -EIO;
        }
        if ((r = launch(im, err)) < 0)
            return r;
    }
    if (list_count(&im->waiting) >= WAITING_MAX)
        return err_set(err, -EAGAIN, "create box", "too many sandboxes are being made");
    struct box_request *copy = malloc(sizeof *copy);
    if (!copy)
        return err_set(err, -ENOMEM, "create box", NULL);
    *copy = *req;
    list_append(&im->waiting, &copy->link);
    serve_waiting(im);
    return 0;
}

void zygotes_reaped(struct server *s, pid_t pid, int status)
{
    LIST_FOREACH (it, &s->zygotes->images) {
        struct image *im = LIST_ENTRY(it, struct image, link);
        LIST_FOREACH_SAFE (jt, &im->zygotes) {
            struct zygote *z = LIST_ENTRY(jt, struct zygote, link);
            if (z->pid != pid)
                continue;
            log_error("zygote", "died", "pid=%d status=%d warm=%d", (int)pid, status, z->warm);
            lose_zygote(z, NULL);
            return;
        }
    }
}

void zygotes_forget_requests(struct server *s)
{
    LIST_FOREACH (it, &s->zygotes->images) {
        struct image *im = LIST_ENTRY(it, struct image, link);
        while (!list_empty(&im->waiting)) {
            struct box_request *req = LIST_ENTRY(im->waiting.next, struct box_request, link);
            list_remove(&req->link);
            free(req);
        }
    }
}

int zygotes_start(struct server *s, struct err *err)
{
    char sha[IMAGE_SHA], mounts[300];
    struct zygotes *zs = calloc(1, sizeof *zs);
    if (!zs)
        return err_set(err, -ENOMEM, "start zygotes", NULL);
    s->zygotes = zs;
    zs->server = s;
    list_init(&zs->images);
    uv_idle_init(&s->loop, &zs->idle);
    zs->idle.data = zs;
    snprintf(zs->mount_point, sizeof zs->mount_point, "%s/zygote-root", s->config.state_dir);
    if (mkdir(zs->mount_point, 0755) < 0 && errno != EEXIST)
        return err_set(err, -errno, "make mount point", "%s: %s", zs->mount_point, strerror(errno));
    snprintf(mounts, sizeof mounts, "%s/mounts", s->config.state_dir);
    if (mkdir(mounts, 0700) < 0 && errno != EEXIST)
        return err_set(err, -errno, "make mount point", "%s: %s", mounts, strerror(errno));
    snprintf(s->runtime_path, sizeof s->runtime_path, "%s/mounts/runtime", s->config.state_dir);
    int r = image_mount_file(s->config.runtime, s->runtime_path, err);
    if (r < 0)
        return r;
    r = image_resolve(s->config.image_dir, "", sha, err);
    return r < 0 ? r : find_or_open(zs, sha, err) ? 0 : err->code;
}

void zygotes_stop(struct server *s)
{
    struct zygotes *zs = s->zygotes;
    if (!zs)
        return;
    uv_idle_stop(&zs->idle);
    LIST_FOREACH (it, &zs->images) {
        struct image *im = LIST_ENTRY(it, struct image, link);
        while (im->nparts)
            parts_free(s->disks, &im->parts[--im->nparts], 1);
        LIST_FOREACH (jt, &im->zygotes)
            kill(LIST_ENTRY(jt, struct zygote, link)->pid, SIGKILL);
    }
}
