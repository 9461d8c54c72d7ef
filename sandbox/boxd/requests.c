/*
 * The monitor's table: what G may ask, with which size and how many descriptors. G parses bytes of
 * the world and is not trusted with more than this; a request that does not fit the table is
 * answered with an error and does nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/boxd/server.h"
#include "sandbox/netns/netns.h"

/* Per box: the gateway has at most 100 contexts in one. */
enum { BLOB_MAX = 32768, CONTEXTS_MAX = 256 };
static const char site_packages[] = "opt/venv/lib/python3.11/site-packages";

struct request {
    struct server *s;
    const struct wire_head *h;
    const uint8_t *msg;
    size_t len;
    int *fds;
    size_t nfds;
    struct box *box; /* found and running, for the types that name one */
};

static void on_ready(struct request *r)
{
    server_gateway_ready(r->s);
}

/* Strings from G end inside their arrays, whatever it sent. */
static void terminate(char *s, size_t cap)
{
    s[cap - 1] = 0;
}

static struct cgroup_limits with_defaults(const struct server *s, const struct wire_limits *l)
{
    return (struct cgroup_limits){.memory = l->memory ? l->memory : s->config.memory,
                                  .cpu = l->cpu ? l->cpu : s->config.cpu,
                                  .pids = l->pids ? l->pids : s->config.pids};
}

static void on_create(struct request *r)
{
    struct server *s = r->s;
    struct wire_box_create req = *(const struct wire_box_create *)r->msg;
    struct box_request want = {.seq = req.h.seq};
    struct err err = {0};

    terminate(req.image, sizeof req.image);
    terminate(req.disk, sizeof req.disk);
    memcpy(want.disk, req.disk, sizeof want.disk);
    want.limits = with_defaults(s, &req.limits);
    want.disk_limit = req.limits.disk ? req.limits.disk : s->config.disk;
    if (*want.disk && !req.limits.disk && !disk_is_limited(s->disks, want.disk))
        want.disk_limit = 0; /* older than the server's default */
    LIST_FOREACH (it, &s->boxes) {
        if (*want.disk && !strcmp(LIST_ENTRY(it, struct box, link)->parts.disk, want.disk))
            err_set(&err, -EBUSY, "create box", "its disk is in use by a running box");
    }
    if (err.code || zygotes_create_box(s, req.image, &want, &err) < 0)
        gateway_reply(s, r->h, &err, 0);
}

static void on_destroy(struct request *r)
{
    const struct wire_box_destroy *req = (const void *)r->msg;
    r->box->request_seq = r->h->seq;
    box_kill(r->box, req->keep_disk ? 0 : 1);
}

static void on_disk_remove(struct request *r)
{
    struct wire_disk req = *(const struct wire_disk *)r->msg;
    struct err err = {0};
    terminate(req.disk, sizeof req.disk);
    LIST_FOREACH (it, &r->s->boxes) {
        if (!strcmp(LIST_ENTRY(it, struct box, link)->parts.disk, req.disk))
            err_set(&err, -EBUSY, "remove disk", "it is in use by a running box");
    }
    if (!err.code)
        disk_remove(r->s->disks, req.disk, &err);
    gateway_reply(r->s, r->h, err.code ? &err : NULL, 0);
}

static void on_stat(struct request *r)
{
    struct cgroup_usage u;
    struct wire_box_stat stat = {.h = *r->h};
    struct err err = {0};
    int e = box_usage(r->box, &u);
    if (e < 0) {
        err_set(&err, e, "read usage", NULL);
        gateway_reply(r->s, r->h, &err, 0);
        return;
    }
    stat.cpu_ns = u.cpu_ns;
    stat.memory = u.memory;
    stat.memory_mib_ms = r->box->memory_mib_ms;
    stat.oom_kills = u.oom_kills;
    stat.pids = u.pids;
    const struct box_parts *p = &r->box->parts;
    stat.packages_changed = (uint32_t)disk_touched(r->s->disks, p->disk,
                                                   p->limited ? p->disk_mount : -1, site_packages);
    gateway_send(r->s, &stat, sizeof stat, NULL, 0);
}

static void on_limits(struct request *r)
{
    const struct wire_box_limits *req = (const void *)r->msg;
    struct cgroup_limits want = with_defaults(r->s, &req->limits);
    struct cgroup_limits old = r->box->limits;
    struct err err = {0};
    if ((box_set_limits(r->box, &want, &err) < 0 ||
         box_limit_disk(r->box, req->limits.disk, &err) < 0) &&
        box_set_limits(r->box, &old, NULL) < 0)
        log_warn("box", "limits_half_set", "box=%llu", (unsigned long long)r->h->box);
    gateway_reply(r->s, r->h, err.code ? &err : NULL, 0);
}

static void on_disk_usage(struct request *r)
{
    struct wire_disk req = *(const struct wire_disk *)r->msg;
    terminate(req.disk, sizeof req.disk);
    usage_measure(r->s, r->h, req.disk);
}

static void on_fuse(struct request *r)
{
    struct wire_box_fuse m = *(const struct wire_box_fuse *)r->msg;
    terminate(m.name, sizeof m.name);
    terminate(m.path, sizeof m.path);
    if (m.h.type == WIRE_BOX_FUSE)
        fuse_begin_mount(r->s, r->box, &m);
    else
        fuse_begin_unmount(r->s, r->box, &m);
}

static void on_sockets(struct request *r)
{
    struct wire_reply reply = {.h = {.type = WIRE_REPLY, .seq = r->h->seq, .box = r->h->box}};
    int fds[2];
    if (netns_sockets(r->box->parts.netns, fds, &reply.err) < 0) {
        gateway_reply(r->s, r->h, &reply.err, 0);
        return;
    }
    gateway_send(r->s, &reply, sizeof reply, fds, fds[1] >= 0 ? 2 : 1);
    fd_close(fds[0]);
    fd_close(fds[1]);
}

static int replace_blob(uint8_t **blob, size_t *blob_len, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (len > BLOB_MAX || !copy) {
        free(copy);
        return -ENOMEM;
    }
    memcpy(copy, data, len);
    free(*blob);
    *blob = copy;
    *blob_len = len;
    return 0;
}

static void on_box_keep(struct request *r)
{
    if (replace_blob(&r->box->blob, &r->box->blob_len, r->msg + sizeof *r->h,
                     r->len - sizeof *r->h) < 0)
        log_warn("gateway", "keep_failed", "box=%llu", (unsigned long long)r->h->box);
}

static void on_context_keep(struct request *r)
{
    const struct wire_context *req = (const void *)r->msg;
    struct kept_context *c = box_find_context(r->box, req->context);
    if (!c && r->nfds) {
        c = list_count(&r->box->contexts) < CONTEXTS_MAX ? calloc(1, sizeof *c) : NULL;
        if (!c)
            return;
        c->number = req->context;
        c->frame = -1;
        list_append(&r->box->contexts, &c->link);
    }
    if (!c)
        return;
    if (r->nfds) {
        fd_close(c->frame);
        c->frame = STEAL_FD(r->fds[0]);
    }
    if (replace_blob(&c->blob, &c->blob_len, r->msg + sizeof *req, r->len - sizeof *req) < 0)
        log_warn("gateway", "keep_failed", "box=%llu context=%u", (unsigned long long)r->h->box,
                 req->context);
}

static void on_context_drop(struct request *r)
{
    const struct wire_context *req = (const void *)r->msg;
    struct kept_context *c = box_find_context(r->box, req->context);
    if (c)
        box_drop_context(c);
}

enum { ANSWERED = 1, NEEDS_BOX = 2, MAY_DIE = 4 /* or one that is on its way out */ };

static const struct rule {
    enum wire_type type;
    size_t min, max; /* bytes */
    size_t fds;      /* at most */
    unsigned flags;
    void (*handle)(struct request *r);
} rules[] = {
    {WIRE_READY, sizeof(struct wire_head), sizeof(struct wire_head), 0, 0, on_ready},
    {WIRE_BOX_CREATE, sizeof(struct wire_box_create), sizeof(struct wire_box_create), 0, ANSWERED,
     on_create},
    {WIRE_BOX_DESTROY, sizeof(struct wire_box_destroy), sizeof(struct wire_box_destroy), 0,
     ANSWERED | NEEDS_BOX | MAY_DIE, on_destroy},
    {WIRE_BOX_LIMITS, sizeof(struct wire_box_limits), sizeof(struct wire_box_limits), 0,
     ANSWERED | NEEDS_BOX, on_limits},
    {WIRE_DISK_REMOVE, sizeof(struct wire_disk), sizeof(struct wire_disk), 0, ANSWERED,
     on_disk_remove},
    {WIRE_BOX_STAT, sizeof(struct wire_head), sizeof(struct wire_head), 0, ANSWERED | NEEDS_BOX,
     on_stat},
    {WIRE_BOX_FUSE, sizeof(struct wire_box_fuse), sizeof(struct wire_box_fuse), 0,
     ANSWERED | NEEDS_BOX, on_fuse},
    {WIRE_BOX_UNFUSE, sizeof(struct wire_box_fuse), sizeof(struct wire_box_fuse), 0,
     ANSWERED | NEEDS_BOX, on_fuse},
    {WIRE_DISK_USAGE, sizeof(struct wire_disk), sizeof(struct wire_disk), 0, ANSWERED,
     on_disk_usage},
    {WIRE_BOX_SOCKETS, sizeof(struct wire_head), sizeof(struct wire_head), 0, ANSWERED | NEEDS_BOX,
     on_sockets},
    {WIRE_BOX_KEEP, sizeof(struct wire_head), WIRE_MSG_MAX, 0, NEEDS_BOX, on_box_keep},
    {WIRE_CONTEXT_KEEP, sizeof(struct wire_context), WIRE_MSG_MAX, 1, NEEDS_BOX, on_context_keep},
    {WIRE_CONTEXT_DROP, sizeof(struct wire_context), sizeof(struct wire_context), 0, NEEDS_BOX,
     on_context_drop},
};

void request_dispatch(struct server *s, const uint8_t *msg, size_t len, int *fds, size_t nfds)
{
    struct request r = {
        .s = s, .h = (const void *)msg, .msg = msg, .len = len, .fds = fds, .nfds = nfds};
    struct err err = {0};

    if (len < sizeof *r.h) {
        log_error("gateway", "short_request", "bytes=%zu", len);
        return;
    }
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct rule *rule = &rules[i];
        if (rule->type != r.h->type)
            continue;
        if (len < rule->min || len > rule->max || nfds > rule->fds) {
            err_set(&err, -EBADMSG, "read request", "malformed request %u", r.h->type);
        } else if (rule->flags & NEEDS_BOX) {
            r.box = server_find_box(s, r.h->box);
            bool dies = r.box && r.box->state == BOX_DYING && (rule->flags & MAY_DIE);
            if (!r.box || (r.box->state != BOX_RUNNING && !dies))
                err_set(&err, -ESRCH, "find box", "it is not running");
        }
        if (!err.code)
            rule->handle(&r);
        else if (rule->flags & ANSWERED)
            gateway_reply(s, r.h, &err, 0);
        return;
    }
    err_set(&err, -ENOSYS, "read request", "unknown request %u", r.h->type);
    gateway_reply(s, r.h, &err, 0);
}

static struct wire_box_created describe(const struct box *b, uint32_t type, uint32_t seq)
{
    struct wire_box_created m = {
        .h = {.type = type, .seq = seq, .box = b->number},
        .limits = {b->limits.memory, b->limits.cpu, b->limits.pids, b->disk_limit}};
    snprintf(m.disk, sizeof m.disk, "%s", b->parts.disk);
    snprintf(m.image, sizeof m.image, "%s", b->image);
    return m;
}

static size_t with_tail(uint8_t *out, const void *head, size_t head_len, const uint8_t *tail,
                        size_t tail_len)
{
    memcpy(out, head, head_len);
    if (tail_len)
        memcpy(out + head_len, tail, tail_len);
    return head_len + tail_len;
}

void request_box_created(void *owner, struct box *b, const struct err *err)
{
    struct server *s = owner;
    if (err) {
        log_warn("box", "create_failed", "step=%s reason=%s", log_quote(err->step),
                 log_quote(err->text));
        egress_close(s, b->number);
        request_box_failed(s, b->request_seq, err);
        return;
    }
    b->held = true;
    if (b->parts.ca)
        request_box_trusted(s, b);
}

void request_box_trusted(struct server *s, struct box *b)
{
    static uint8_t space[WIRE_MSG_MAX];
    if (!b->held)
        return;
    b->held = false;
    struct wire_box_created m = describe(b, WIRE_BOX_CREATED, b->request_seq);
    size_t len = with_tail(space, &m, sizeof m, (uint8_t *)b->parts.ca, strlen(b->parts.ca));
    /* Nobody waits for it when G was replaced meanwhile: it dies rather than lingers. A disk that
     * was there stays. */
    if (!b->request_seq || gateway_send(s, space, len, &b->init_link, 1) < 0)
        box_kill(b, b->parts.new_disk);
}

void request_box_failed(struct server *s, uint32_t seq, const struct err *err)
{
    struct wire_head to = {.seq = seq};
    gateway_reply(s, &to, err, 0);
}

static void tell_used(struct server *s, struct box *b, enum wire_type type, int status)
{
    struct wire_gone m = {.h = {.type = type, .box = b->number},
                          .status = status,
                          .cpu_ns = b->cpu_ns,
                          .memory_mib_ms = b->memory_mib_ms};
    gateway_send(s, &m, sizeof m, NULL, 0);
}

void request_box_used(struct server *s, struct box *b)
{
    struct cgroup_usage u;
    if (b->state == BOX_RUNNING || b->state == BOX_DYING) {
        box_usage(b, &u);
        tell_used(s, b, WIRE_BOX_USED, 0);
    }
}

void request_box_gone(void *owner, struct box *b, int status)
{
    struct server *s = owner;
    if (b->state == BOX_DYING && b->request_seq) {
        struct wire_head to = {.seq = b->request_seq, .box = b->number};
        gateway_reply(s, &to, NULL, 0);
    }
    if (!s->stopping) /* else it was told before */
        tell_used(s, b, WIRE_BOX_GONE, status);
    egress_close(s, b->number);
}

static void hello(struct server *s, uint8_t *space)
{
    const struct config *c = &s->config;
    const int fds[] = {s->listen_fd, s->egress_policy_fd};
    char key[2 * sizeof s->registry_key + 1];
    for (size_t i = 0; i < sizeof s->registry_key; i++)
        snprintf(key + 2 * i, 3, "%02x", s->registry_key[i]);
    json_t *j = json_pack(
        "{s:b, s:s, s:s, s:s, s:s, s:[s], s:{s:i, s:i}, s:{s:I, s:I, s:I}, s:{s:I, s:s, s:s}, s:s}",
        "egress", s->egress_policy_fd >= 0, "token", s->token, "preview_domain", c->preview_domain,
        "registry_key", key, "state_dir", s->gateway_state, "listen", s->listen_text, "pool",
        "warm", (int)c->pool_warm, "node", (int)c->pool_node, "limits", "memory",
        (json_int_t)c->memory, "cpu", (json_int_t)c->cpu, "pids", (json_int_t)c->pids, "jupyter",
        "cull_idle", (json_int_t)c->cull_idle, "compression", c->ws_compression, "launchers",
        c->kernel_launchers, "version", CELLBOX_VERSION);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    struct wire_head h = {.type = WIRE_HELLO};
    if (text)
        gateway_send(s, space, with_tail(space, &h, sizeof h, (uint8_t *)text, strlen(text)), fds,
                     s->egress_policy_fd >= 0 ? 2 : 1);
    free(text);
    json_decref(j);
}

void request_hand_over(struct server *s)
{
    static uint8_t space[WIRE_MSG_MAX];
    hello(s, space);
    zygotes_forget_requests(s);
    LIST_FOREACH_SAFE (it, &s->boxes) {
        struct box *b = LIST_ENTRY(it, struct box, link);
        b->request_seq = 0; /* who asked is gone */
        if (b->state != BOX_RUNNING)
            continue;
        struct wire_box_created m = describe(b, WIRE_ADOPT_BOX, 0);
        gateway_send(s, space, with_tail(space, &m, sizeof m, b->blob, b->blob_len), &b->init_link,
                     1);
        LIST_FOREACH (jt, &b->contexts) {
            struct kept_context *c = LIST_ENTRY(jt, struct kept_context, link);
            struct wire_context cm = {.h = {.type = WIRE_ADOPT_CONTEXT, .box = b->number},
                                      .context = c->number};
            gateway_send(s, space, with_tail(space, &cm, sizeof cm, c->blob, c->blob_len),
                         &c->frame, 1);
        }
    }
    struct wire_head end = {.type = WIRE_ADOPT_END};
    gateway_send(s, &end, sizeof end, NULL, 0);
}
