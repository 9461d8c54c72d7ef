#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexts/manager/language.h"
#include "contexts/manager/private.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

bool sandbox_name_valid(const char *name)
{
    size_t n = strlen(name);
    if (n < 1 || n > 63 || name[0] == '-' || name[n - 1] == '-')
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

const char *sandbox_state_name(enum sandbox_state s)
{
    static const char *const names[] = {"stopped", "starting", "running", "failed"};
    return names[s];
}

static int replace(char **field, const char *value)
{
    char *copy = strdup(value);
    if (!copy)
        return -ENOMEM;
    free(*field);
    *field = copy;
    return 0;
}

static void sandbox_free(struct sandbox *sb)
{
    free(sb->name);
    free(sb->image);
    free(sb->env);
    free(sb->labels);
    quotas_unref(sb->quotas);
    free(sb);
}

void sandbox_ref(struct sandbox *sb)
{
    sb->refs++;
}

void sandbox_unref(struct sandbox *sb)
{
    if (--sb->refs == 0)
        sandbox_free(sb);
}

int sandbox_define(struct manager *m, const struct sandbox_spec *spec, struct sandbox **ret)
{
    if (!sandbox_name_valid(spec->name))
        return SANDBOX_E_NAME;
    if (map_count(m->sandboxes) >= m->config.sandboxes_max)
        return SANDBOX_E_LIMIT;
    if (map_get(m->sandboxes, spec->name))
        return -EEXIST;
    struct sandbox *sb = calloc(1, sizeof *sb);
    if (!sb)
        return -ENOMEM;
    sb->manager = m;
    sb->refs = 1;
    sb->limits = spec->limits;
    sb->pool_kind = language_pool(spec->language);
    sb->next_context = 1;
    sb->created_us = spec->created_us ? spec->created_us : manager_now_us();
    sb->last_used_us = spec->last_used_us ? spec->last_used_us : sb->created_us;
    snprintf(sb->disk, sizeof sb->disk, "%s", spec->disk ? spec->disk : "");
    list_init(&sb->contexts);
    list_init(&sb->waiters);
    list_init(&sb->mourners);
    list_init(&sb->holds);
    sb->quotas = quotas_new();
    int r = sb->quotas ? replace(&sb->name, spec->name) : -ENOMEM;
    r = r ? r : replace(&sb->image, spec->image ? spec->image : "");
    r = r ? r : replace(&sb->env, spec->env ? spec->env : "{}");
    r = r ? r : replace(&sb->labels, spec->labels ? spec->labels : "{}");
    r = r ? r : map_add(m->sandboxes, spec->name, sb);
    if (r < 0) {
        sandbox_free(sb);
        return r;
    }
    *ret = sb;
    return 0;
}

int sandbox_create(struct manager *m, const struct sandbox_spec *spec, struct sandbox **ret)
{
    struct sandbox *sb;
    int r = sandbox_define(m, spec, &sb);
    if (r)
        return r;
    sandbox_start(sb);
    MANAGER_HOOK(m, sandbox_changed, sb);
    *ret = sb;
    return 0;
}

/*
 * Each of its contexts once, while callbacks may remove this one, others, or the sandbox. The
 * caller holds a reference of the sandbox.
 */
static void sandbox_each(struct sandbox *sb, void (*visit)(struct context *c, const void *arg),
                         const void *arg)
{
    unsigned round = ++sb->round;
    for (struct list *it = sb->contexts.next; it != &sb->contexts;) {
        struct context *c = LIST_ENTRY(it, struct context, item);
        it = it->next;
        if (c->round == round)
            continue;
        c->round = round;
        visit(c, arg);
        it = sb->contexts.next; /* nothing else is sure to be there still */
    }
}

/* The caller holds a reference of the sandbox that the waiters are of. */
static void tell_waiters(struct list *waiters, const struct err *e)
{
    while (!list_empty(waiters)) {
        struct waiter *w = LIST_ENTRY(waiters->next, struct waiter, item);
        list_remove(&w->item);
        if (w->done)
            w->done(w->user, e);
        free(w);
    }
}

static void on_init_message(void *user, const struct wire_message *msg)
{
    (void)user;
    (void)msg;
}

/*
 * Its box is on its way out, though it takes a while until nothing of it is left and B says so:
 * what is asked meanwhile waits for the next one. B is told, in case that only the link was closed.
 */
static void on_init_closed(void *user)
{
    struct sandbox *sb = user;
    boxes_destroy(sb->manager->config.boxes, sb->box, true, NULL, NULL);
    sandbox_box_ended(sb);
}

static const struct wire_link_ops init_ops = {.message = on_init_message, .closed = on_init_closed};

static void visit_ready(struct context *c, const void *arg)
{
    (void)arg;
    context_box_ready(c);
}

/* Requests may come. */
static void get_ready(struct sandbox *sb)
{
    struct err none = {0};
    sb->state = SANDBOX_RUNNING;
    sb->error = none;
    sb->quiet_since_ms = uv_now(sb->manager->config.loop);
    sandbox_ref(sb);
    sandbox_each(sb, visit_ready, NULL);
    if (!sb->removed)
        MANAGER_HOOK(sb->manager, sandbox_changed, sb);
    tell_waiters(&sb->waiters, &none);
    sandbox_unref(sb);
}

void sandbox_prepared(struct sandbox *sb)
{
    if (!sb->preparing)
        return;
    sb->preparing = false;
    get_ready(sb);
}

static bool must_prepare(struct sandbox *sb, bool adopted)
{
    struct manager *m = sb->manager;
    bool must = false;
    for (unsigned i = 0; i < m->nhooks; i++)
        if (m->hooks[i].box_attached)
            must |= m->hooks[i].box_attached(m->hooks[i].user, sb, adopted);
    return must && !adopted;
}

void sandbox_attach_box(struct sandbox *sb, const struct pool_box *pb, bool adopted)
{
    sb->box = pb->box;
    sb->init = pb->init;
    wire_link_set_ops(sb->init, &init_ops, sb);
    memcpy(sb->disk, pb->created.disk, sizeof sb->disk);
    sb->disk[sizeof sb->disk - 1] = 0;
    sb->limits = pb->created.limits;
    if (!sb->image[0]) {
        char image[WIRE_NAME];
        snprintf(image, sizeof image, "%.*s", WIRE_NAME - 1, pb->created.image);
        replace(&sb->image, image);
    }
    sb->next_context = pb->context + 1;
    sb->oom_kills = 0;
    init_setup(sb->init, sb->name);
    CLEANUP_BUF struct buf blob = {0};
    buf_puts(&blob, "{\"name\":");
    json_put_cstring(&blob, sb->name);
    buf_putc(&blob, '}');
    boxes_keep(sb->manager->config.boxes, sb->box, blob.data, blob.len);
    sb->manager->stats.boxes_started++;
    sb->preparing = true; /* what a hook does at once is early, too */
    if (must_prepare(sb, adopted)) {
        sb->state = SANDBOX_STARTING;
        MANAGER_HOOK(sb->manager, sandbox_changed, sb);
        return;
    }
    sb->preparing = false;
    get_ready(sb);
}

static void visit_failed(struct context *c, const void *error)
{
    context_box_failed(c, error);
}

static void start_failed(struct sandbox *sb, const struct err *e)
{
    struct err failed = *e;
    log_warn(MOD, "sandbox start failed", "sandbox=%s step=%s error=%s", sb->name,
             log_quote(e->step), log_quote(e->text));
    sb->state = SANDBOX_FAILED;
    sb->error = *e;
    sandbox_ref(sb);
    sandbox_each(sb, visit_failed, &sb->error);
    tell_waiters(&sb->waiters, &failed);
    sandbox_unref(sb);
}

/* Outlives a sandbox that is removed while its box is being made. */
struct creation {
    struct boxes *boxes;
    struct sandbox *sandbox;
};

static void on_created(void *user, const struct err *error, const struct wire_message *m)
{
    struct creation creation = *(struct creation *)user;
    struct sandbox *sb = creation.sandbox;
    struct pool_box pb = {0};
    struct err e = {0};
    free(user);
    if (!sb) {
        if (!error->code)
            boxes_destroy(creation.boxes, m->head->box, false, NULL, NULL);
        return;
    }
    sb->creation = NULL;
    if (error->code) {
        start_failed(sb, error);
        return;
    }
    if (m->len < sizeof pb.created || m->nfds < 1) {
        err_set(&e, -EPROTO, "create box", "malformed reply");
        start_failed(sb, &e);
        return;
    }
    memcpy(&pb.created, m->head, sizeof pb.created);
    pb.box = m->head->box;
    pb.init = wire_link_new(sb->manager->config.loop, STEAL_FD(m->fds[0]), &init_ops, sb);
    if (!pb.init) {
        boxes_destroy(sb->manager->config.boxes, pb.box, sb->disk[0] != 0, NULL, NULL);
        err_set(&e, -ENOMEM, "create box", NULL);
        start_failed(sb, &e);
        return;
    }
    init_trust(pb.init, m);
    sandbox_attach_box(sb, &pb, false);
}

static bool fits_pool(const struct sandbox *sb)
{
    return !sb->image[0] && !sb->disk[0] && !sb->limits.memory && !sb->limits.cpu &&
           !sb->limits.pids && !sb->limits.disk;
}

void sandbox_start(struct sandbox *sb)
{
    struct manager *m = sb->manager;
    struct pool_box pb;
    if (sb->state == SANDBOX_RUNNING || sb->state == SANDBOX_STARTING)
        return;
    sb->state = SANDBOX_STARTING;
    if (sb->dying) { /* its disk is in use until its old box is gone */
        sb->start_after = true;
        return;
    }
    if (fits_pool(sb) && pool_take(m->pool, sb->pool_kind, &pb)) {
        m->stats.pool_hits++;
        spare_take(sb, &pb);
        sandbox_attach_box(sb, &pb, false);
        return;
    }
    m->stats.pool_misses += fits_pool(sb);
    sb->creation = calloc(1, sizeof *sb->creation);
    if (!sb->creation) {
        struct err e = {0};
        err_set(&e, -ENOMEM, "create box", NULL);
        start_failed(sb, &e);
        return;
    }
    *sb->creation = (struct creation){m->config.boxes, sb};
    boxes_create(m->config.boxes, sb->image, sb->disk, &sb->limits, on_created, sb->creation);
}

static int add_waiter(struct list *waiters, void (*done)(void *user, const struct err *error),
                      void *user)
{
    struct waiter *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->done = done;
    w->user = user;
    list_append(waiters, &w->item);
    return 0;
}

int sandbox_when_gone(struct sandbox *sb, void (*done)(void *user, const struct err *error),
                      void *user)
{
    return sb->dying && sb->box ? add_waiter(&sb->mourners, done, user) : -ENOTCONN;
}

void sandbox_tell_gone(struct sandbox *sb)
{
    struct err none = {0};
    sandbox_ref(sb);
    tell_waiters(&sb->mourners, &none);
    sandbox_unref(sb);
}

int sandbox_when_running(struct sandbox *sb, void (*done)(void *user, const struct err *error),
                         void *user)
{
    struct err none = {0};
    sandbox_start(sb);
    if (sb->state == SANDBOX_RUNNING) {
        done(user, &none);
        return 0;
    }
    if (sb->state == SANDBOX_FAILED) {
        struct err e = sb->error;
        done(user, &e);
        return 0;
    }
    return add_waiter(&sb->waiters, done, user);
}

void sandbox_forget(struct manager *m, void *user)
{
    size_t cursor = 0;
    struct sandbox *sb;
    boxes_forget(m->config.boxes, user);
    while ((sb = map_next(m->sandboxes, &cursor, NULL))) {
        LIST_FOREACH (it, &sb->waiters) {
            struct waiter *w = LIST_ENTRY(it, struct waiter, item);
            if (w->user == user)
                w->done = NULL;
        }
    }
}

struct loss {
    const char *code, *text;
};

static void visit_lost(struct context *c, const void *arg)
{
    const struct loss *why = arg;
    if (!c->runner && !c->number)
        return;
    context_death_set(c, why->code, "ContextDied", "{}", "%s", why->text);
    context_ref(c);
    context_died(c);
    context_unref(c);
}

void sandbox_lose_box(struct sandbox *sb, const char *code, const char *text)
{
    struct loss why = {code, text};
    struct wire_link *init = sb->init;
    spare_discard(sb);
    LIST_FOREACH (it, &sb->contexts)
        wire_link_forget(init, LIST_ENTRY(it, struct context, item));
    if (init)
        wire_link_forget(init, sb);
    sb->dozing_since_ms = 0;
    sb->init = NULL;
    sb->state = SANDBOX_STOPPED;
    sandbox_ref(sb);
    wire_link_abandon(init);
    sandbox_each(sb, visit_lost, &why);
    sandbox_unref(sb);
}

void sandbox_box_ended(struct sandbox *sb)
{
    struct err gone = {0};
    bool starts = sb->preparing;
    sb->preparing = false;
    sb->dying = true;
    log_warn(MOD, "box ended", "sandbox=%s box=%llu", sb->name, (unsigned long long)sb->box);
    sb->manager->stats.boxes_gone++;
    sandbox_ref(sb);
    sandbox_lose_box(sb, "BOX_GONE",
                     "the sandbox ended unexpectedly; what it wrote to disk is kept");
    if (sb->removed) {
        /* by a callback */
    } else if (starts) {
        err_set(&gone, -ECONNRESET, "start sandbox", "it ended while it was being prepared");
        start_failed(sb, &gone);
    } else {
        MANAGER_HOOK(sb->manager, sandbox_changed, sb);
    }
    sandbox_unref(sb);
}

struct removal {
    void (*done)(void *user, const struct err *error);
    void *user;
};

static void on_removed(void *user, const struct err *error, const struct wire_message *m)
{
    struct removal *r = user;
    (void)m;
    r->done(r->user, error);
    free(r);
}

void sandbox_remove(struct sandbox *sb, void (*done)(void *user, const struct err *error),
                    void *user)
{
    struct manager *m = sb->manager;
    struct err gone = {0}, none = {0};
    struct removal *rm = done ? calloc(1, sizeof *rm) : NULL;
    if (rm)
        *rm = (struct removal){done, user};

    err_set(&gone, -ENOENT, "sandbox", "it was removed");
    boxes_forget(m->config.boxes, sb);
    if (sb->creation)
        sb->creation->sandbox = NULL;
    while (!list_empty(&sb->contexts))
        context_remove(LIST_ENTRY(sb->contexts.next, struct context, item));
    sandbox_drop_holds(sb);
    struct wire_link *init = sb->init;
    spare_discard(sb);
    sb->init = NULL;
    if (init)
        wire_link_forget(init, sb);
    map_remove(m->sandboxes, sb->name);
    wire_link_abandon(init);
    tell_waiters(&sb->waiters, &gone);
    tell_waiters(&sb->mourners, &gone);
    MANAGER_HOOK(m, sandbox_removed, sb->name);
    if (sb->disk[0])
        MANAGER_HOOK(m, disk_removed, sb->disk);
    if (sb->box)
        boxes_destroy(m->config.boxes, sb->box, false, rm ? on_removed : NULL, rm);
    else if (sb->disk[0])
        boxes_disk_remove(m->config.boxes, sb->disk, rm ? on_removed : NULL, rm);
    else if (rm)
        on_removed(rm, &none, NULL);
    sb->removed = true;
    sandbox_unref(sb);
}

void sandbox_set_labels(struct sandbox *sb, const char *labels)
{
    if (replace(&sb->labels, labels) == 0)
        MANAGER_HOOK(sb->manager, sandbox_changed, sb);
}

int sandbox_set_env(struct sandbox *sb, const char *env)
{
    int r = replace(&sb->env, env);
    if (r == 0)
        MANAGER_HOOK(sb->manager, sandbox_changed, sb);
    return r;
}

struct wire_link *sandbox_init(struct sandbox *sb)
{
    if (sb->state != SANDBOX_RUNNING && !sb->preparing)
        return NULL;
    sandbox_touch(sb);
    return sb->init;
}

int sandbox_stat(struct sandbox *sb, wire_reply_fn *reply, void *user)
{
    if (sb->state != SANDBOX_RUNNING)
        return -ENOTCONN;
    boxes_stat(sb->manager->config.boxes, sb->box, reply, user);
    return 0;
}

int sandbox_measure(struct sandbox *sb, wire_reply_fn *reply, void *user)
{
    if (!sb->disk[0])
        return -ENOENT;
    boxes_measure(sb->manager->config.boxes, sb->disk, reply, user);
    return 0;
}

void sandbox_get_info(const struct sandbox *sb, struct sandbox_info *ret)
{
    *ret = (struct sandbox_info){.name = sb->name,
                                 .image = sb->image,
                                 .env = sb->env,
                                 .labels = sb->labels,
                                 .disk = sb->disk,
                                 .limits = sb->limits,
                                 .state = sb->state,
                                 .error = &sb->error,
                                 .created_us = sb->created_us,
                                 .last_used_us = sb->last_used_us,
                                 .contexts = sb->ncontexts,
                                 .box = sb->box,
                                 .sleep_after_ms = sb->sleep_after_ms,
                                 .used_before = sb->used_before,
                                 .keep_alive = sb->keep_alive};
}
