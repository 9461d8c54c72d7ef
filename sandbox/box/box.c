#include "sandbox/box/box.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/base/oom.h"
#include "sandbox/fs/root.h"
#include "sandbox/fs/volume.h"

static void box_free(struct box *b)
{
    LIST_FOREACH_SAFE (it, &b->contexts)
        box_drop_context(LIST_ENTRY(it, struct kept_context, link));
    fd_close(b->pidfd);
    fd_close(b->sync);
    fd_close(b->init_link);
    free(b->blob);
    free(b);
}

static void on_closed(uv_handle_t *h)
{
    struct box *b = h->data;
    if (--b->handles == 0)
        box_free(b);
}

/* Last step of every life: news to the owner, parts undone, memory freed when libuv has let go. */
static void finish(struct box *b)
{
    bool was_running = b->state == BOX_RUNNING || b->state == BOX_DYING;
    struct cgroup_usage last;
    if (was_running)
        box_usage(b, &last);
    struct box_parts parts = b->parts;
    parts_init(&b->parts);
    list_remove(&b->link);
    if (was_running)
        b->config->events->gone(b->config->owner, b, b->status);
    else
        b->config->events->created(b->config->owner, b, &b->failure);
    parts_free(b->config->disks, &parts, b->remove_disk ? 2 : parts.new_disk && !was_running);
    b->handles++;
    if (b->sync_open)
        uv_close((uv_handle_t *)&b->sync_poll, on_closed);
    if (b->exit_open)
        uv_close((uv_handle_t *)&b->exit_poll, on_closed);
    if (--b->handles == 0)
        box_free(b);
}

/* Before its process exists there is nothing to wait for; afterwards the end of the process is the
 * end of the box. */
static void fail(struct box *b, const struct err *err)
{
    if (!b->failure.code)
        b->failure = *err;
    if (b->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, b->pidfd, SIGKILL, NULL, 0);
    if (!b->exit_open)
        finish(b);
}

void box_reaped(struct box *b, int status)
{
    b->status = WIFSIGNALED(status) ? WTERMSIG(status) : status;
    if (!b->exit_open)
        return; /* the owner has not even heard of its start: fail ends it */
    if (b->state == BOX_CLONING || b->state == BOX_BUILDING)
        err_set(&b->failure, -ECHILD, "start init",
                "init of the box died during set-up (status %d)", b->status);
    uv_poll_stop(&b->exit_poll);
    finish(b);
}

static void on_process_end(uv_poll_t *h, int status, int events)
{
    struct box *b = h->data;
    siginfo_t si = {0};
    (void)status;
    (void)events;
    int r = waitid(P_PIDFD, (id_t)b->pidfd, &si, WEXITED | WNOHANG);
    if (r == 0 && si.si_pid == 0)
        return;
    if (r < 0 && errno != ECHILD) /* ECHILD: it was reaped before its number was known */
        return;
    box_reaped(b, r < 0 ? SIGKILL : si.si_code == CLD_EXITED ? si.si_status << 8 : si.si_status);
}

/* Half of its memory, as on any Linux: what is there belongs to no process that could be ended for
 * it. A box that holds more keeps the room that it has. */
static void limit_shm(const struct box *b)
{
    struct err err = {0};
    if (root_limit_shm(b->pid, b->limits.memory / 2, &err) < 0)
        log_warn("box", "shm_unlimited", "box=%llu reason=%s", (unsigned long long)b->number,
                 log_quote(err.text));
}

int box_set_limits(struct box *b, const struct cgroup_limits *limits, struct err *err)
{
    int r = cgroup_set_limits(b->parts.cgroup, limits, err);
    if (r < 0)
        return r;
    b->limits = *limits;
    limit_shm(b);
    return 0;
}

static void on_sync(uv_poll_t *h, int status, int events)
{
    struct box *b = h->data;
    struct wire_reply r;
    (void)status;
    (void)events;
    ssize_t n = fd_recv(b->sync, &r, sizeof r, NULL, NULL);
    if (n == -EAGAIN)
        return;
    uv_poll_stop(h);
    if (n != (ssize_t)sizeof r)
        return; /* it died: on_process_end tells */
    if (r.err.code) {
        r.err.step[sizeof r.err.step - 1] = 0;
        r.err.text[sizeof r.err.text - 1] = 0;
        fail(b, &r.err);
        return;
    }
    b->state = BOX_RUNNING;
    limit_shm(b);
    b->config->events->created(b->config->owner, b, NULL);
}

static int watch(struct box *b, uv_poll_t *poll, int fd, uv_poll_cb cb, int *open)
{
    int r = uv_poll_init(b->config->loop, poll, fd);
    if (r < 0)
        return r;
    poll->data = b;
    b->handles++;
    *open = 1;
    return uv_poll_start(poll, UV_READABLE, cb);
}

static int limit_disk(const struct box_parts *p, uint64_t bytes, struct err *err)
{
    if (!p->limited)
        return err_set(err, -EOPNOTSUPP, "limit disk",
                       "the sandbox was made without a disk limit, and cannot get one later");
    return volume_limit(p->disk_mount, bytes, err);
}

int box_limit_disk(struct box *b, uint64_t bytes, struct err *err)
{
    int r = bytes ? limit_disk(&b->parts, bytes, err) : 0;
    if (r == 0 && bytes)
        b->disk_limit = bytes;
    return r;
}

int box_usage(struct box *b, struct cgroup_usage *ret)
{
    uint64_t now = uv_now(b->config->loop);
    int r = cgroup_usage(b->parts.cgroup, ret);
    if (r < 0)
        return r;
    if (b->sampled_ms)
        b->memory_mib_ms +=
            ((ret->memory + b->sampled_memory) / 2 >> 10) * (now - b->sampled_ms) >> 10;
    b->cpu_ns = ret->cpu_ns;
    b->sampled_ms = now;
    b->sampled_memory = ret->memory;
    return 0;
}

struct box *box_create(const struct box_config *config, struct box_parts *take_parts,
                       const char *image, const struct cgroup_limits *limits, uint64_t disk_limit,
                       struct err *err)
{
    struct box *b = calloc(1, sizeof *b);
    int sync[2] = {-1, -1}, link[2] = {-1, -1};
    int r = b ? fd_seqpacket_pair(sync) : -ENOMEM;
    if (r == 0)
        r = fd_seqpacket_pair(link);
    if (r < 0) {
        err_set(err, r, "make box", NULL);
        goto fail;
    }
    b->number = take_parts->number;
    b->config = config;
    b->pid = -1;
    b->pidfd = -1;
    b->sync = sync[0];
    b->init_link = link[0];
    b->limits = *limits;
    b->disk_limit = disk_limit;
    snprintf(b->image, sizeof b->image, "%s", image);
    list_init(&b->link);
    list_init(&b->contexts);

    struct wire_clone req = {.h = {.type = WIRE_CLONE, .box = b->number},
                             .uid_offset = take_parts->slot * UID_RANGE,
                             .uid_count = UID_RANGE};
    snprintf(req.hostname, sizeof req.hostname, "cellbox");
    int fds[] = {sync[1],
                 link[1],
                 take_parts->netns,
                 take_parts->image_mount,
                 take_parts->runtime_mount,
                 take_parts->disk_mount,
                 config->filter,
                 cgroup_oom_file(take_parts->cgroup)};
    if (fds[7] < 0)
        err_set(err, r = fds[7], "count kills for memory", NULL);
    if (r == 0)
        r = cgroup_set_limits(take_parts->cgroup, limits, err);
    if (r == 0 && disk_limit)
        r = limit_disk(take_parts, disk_limit, err);
    if (r == 0 &&
        (r = config->events->clone(config->owner, b, &req, fds, sizeof fds / sizeof *fds)) < 0)
        err_set(err, r, "ask zygote", NULL);
    fd_close(fds[7]);
    if (r < 0)
        goto fail;
    fd_close(sync[1]);
    fd_close(link[1]);
    b->parts = *take_parts;
    parts_init(take_parts);
    return b;
fail:
    for (int i = 0; i < 2; i++) {
        fd_close(sync[i]);
        fd_close(link[i]);
    }
    parts_free(config->disks, take_parts, 1);
    free(b);
    return NULL;
}

void box_cloned(struct box *b, pid_t pid, int take_pidfd, const struct err *err)
{
    struct err e = {0};
    b->pidfd = take_pidfd;
    b->pid = pid;
    if (err || take_pidfd < 0) {
        fail(b, err ? err : (err_set(&e, -EPROTO, "clone box", "the zygote gave no process"), &e));
        return;
    }
    /* The mounts and the namespace now live in the box. */
    if (!b->parts.limited)
        b->parts.disk_mount = fd_close(b->parts.disk_mount);
    b->parts.image_mount = fd_close(b->parts.image_mount);
    b->parts.runtime_mount = fd_close(b->parts.runtime_mount);
    struct wire_head go = {.type = WIRE_READY};
    int r = watch(b, &b->exit_poll, b->pidfd, on_process_end, &b->exit_open);
    if (r == 0)
        r = watch(b, &b->sync_poll, b->sync, on_sync, &b->sync_open);
    if (r < 0)
        err_set(&e, r, "watch box", NULL);
    if (r == 0)
        r = cgroup_attach(b->parts.cgroup, pid, &e);
    if (r == 0 && oom_protect_init(pid) < 0) /* the server's start has told why */
        log_debug("box", "init_unprotected", "box=%llu", (unsigned long long)b->number);
    b->state = BOX_BUILDING;
    if (r == 0 && (r = (int)fd_send(b->sync, &go, sizeof go, NULL, 0)) < 0)
        err_set(&e, r, "release box", NULL);
    if (r < 0)
        fail(b, &e);
}

void box_kill(struct box *b, int remove_disk)
{
    b->remove_disk = remove_disk;
    if (b->state == BOX_RUNNING)
        b->state = BOX_DYING;
    if (b->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, b->pidfd, SIGKILL, NULL, 0);
}

struct kept_context *box_find_context(struct box *b, uint32_t number)
{
    LIST_FOREACH (it, &b->contexts) {
        struct kept_context *c = LIST_ENTRY(it, struct kept_context, link);
        if (c->number == number)
            return c;
    }
    return NULL;
}

void box_drop_context(struct kept_context *c)
{
    list_remove(&c->link);
    fd_close(c->frame);
    free(c->blob);
    free(c);
}
