/*
 * Sleep: a box in which nothing has been going on for as long as its owner said ends, its disk
 * stays, and the next request starts it again. Nothing: no request, no cell that runs or waits, no
 * process that is marked as work, and no hold, which is how everything else (an upload, a preview)
 * says that it is at work.
 */
#include <errno.h>
#include <string.h>

#include "contexts/manager/private.h"
#include "sandbox/base/log.h"

enum { TICK_MS = 200, PATIENCE_MS = 5000 /* with a box that does not answer */ };

void sandbox_hold(struct sandbox *sb, struct sandbox_hold *h)
{
    list_append(&sb->holds, &h->item);
    h->sandbox = sb;
    sandbox_touch(sb);
}

void sandbox_release(struct sandbox_hold *h)
{
    if (!h->sandbox)
        return;
    list_remove(&h->item);
    sandbox_touch(h->sandbox);
    h->sandbox = NULL;
}

void sandbox_drop_holds(struct sandbox *sb)
{
    while (!list_empty(&sb->holds)) {
        struct sandbox_hold *h = LIST_ENTRY(sb->holds.next, struct sandbox_hold, item);
        list_remove(&h->item);
        h->sandbox = NULL;
    }
}

void sandbox_touch(struct sandbox *sb)
{
    sb->last_used_us = manager_now_us();
    sb->quiet_since_ms = uv_now(sb->manager->config.loop);
}

void sandbox_set_life(struct sandbox *sb, uint64_t sleep_after_ms, bool keep_alive)
{
    sb->sleep_after_ms = sleep_after_ms;
    sb->keep_alive = keep_alive;
    sb->quiet_since_ms = uv_now(sb->manager->config.loop);
    MANAGER_HOOK(sb->manager, sandbox_changed, sb);
}

void sandbox_set_used_before(struct sandbox *sb, const struct sandbox_used *u)
{
    sb->used_before = *u;
}

static bool is_busy(const struct sandbox *sb)
{
    if (!list_empty(&sb->holds) || !list_empty(&sb->waiters))
        return true;
    LIST_FOREACH (it, &sb->contexts) {
        const struct context *c = LIST_ENTRY(it, struct context, item);
        if (c->nqueue || lanes_running(c) || c->stat_pending || c->state == CONTEXT_STARTING ||
            c->state == CONTEXT_RESTARTING)
            return true;
    }
    return false;
}

/* Ends the box; until B says that it is gone its disk is in use, and a start waits. */
static void fall_asleep(struct sandbox *sb)
{
    log_info(MOD, "sandbox sleeps", "sandbox=%s", sb->name);
    sb->dying = true;
    sandbox_ref(sb);
    sandbox_lose_box(sb, "SLEPT", "the sandbox slept; what it wrote to disk is kept");
    if (!sb->removed) {
        boxes_destroy(sb->manager->config.boxes, sb->box, true, NULL, NULL);
        MANAGER_HOOK(sb->manager, sandbox_changed, sb);
    }
    sandbox_unref(sb);
}

/* What its init says of work; if something began meanwhile, it stays awake. */
static void on_work(void *user, const struct err *error, const struct wire_message *m)
{
    struct sandbox *sb = user;
    const struct wire_reply *r = m ? (const struct wire_reply *)m->head : NULL;
    uint64_t now = uv_now(sb->manager->config.loop);
    sb->dozing_since_ms = 0;
    if (error->code || sb->state != SANDBOX_RUNNING || is_busy(sb) ||
        now - sb->quiet_since_ms < sb->sleep_after_ms)
        return;
    if (r && m->len >= sizeof *r && r->value > 0)
        sb->quiet_since_ms = now;
    else
        fall_asleep(sb);
}

static void look(struct sandbox *sb, uint64_t now)
{
    if (sb->state != SANDBOX_RUNNING || !sb->sleep_after_ms || sb->keep_alive)
        return;
    if (is_busy(sb)) {
        sb->quiet_since_ms = now;
    } else if (sb->dozing_since_ms) {
        if (now - sb->dozing_since_ms >= PATIENCE_MS) {
            sb->dozing_since_ms = 0;
            fall_asleep(sb);
        }
    } else if (now - sb->quiet_since_ms >= sb->sleep_after_ms) {
        sb->dozing_since_ms = now;
        init_work(sb->init, on_work, sb);
    }
}

static void on_tick(uv_timer_t *t)
{
    struct manager *m = t->data;
    size_t cursor = 0;
    struct sandbox *sb;
    while ((sb = map_next(m->sandboxes, &cursor, NULL)))
        look(sb, uv_now(t->loop));
}

void life_init(struct manager *m)
{
    uv_timer_init(m->config.loop, &m->life);
    m->life.data = m;
    uv_timer_start(&m->life, on_tick, TICK_MS, TICK_MS);
    uv_unref((uv_handle_t *)&m->life);
}

void sandbox_box_gone(struct sandbox *sb)
{
    bool start = sb->start_after;
    sb->dying = sb->start_after = false;
    sb->box = 0;
    if (start) {
        sb->state = SANDBOX_STOPPED;
        sandbox_start(sb);
    }
    sandbox_tell_gone(sb);
}

/* ---- limits ---- */

int sandbox_set_limits(struct sandbox *sb, const struct wire_limits *l, wire_reply_fn *reply,
                       void *user)
{
    if (sb->state == SANDBOX_STARTING)
        return -EAGAIN;
    if (sb->state == SANDBOX_RUNNING) {
        boxes_limits(sb->manager->config.boxes, sb->box, l, reply, user);
        return 1;
    }
    sandbox_limits_set(sb, l);
    return 0;
}

void sandbox_limits_set(struct sandbox *sb, const struct wire_limits *l)
{
    sb->limits = *l;
    MANAGER_HOOK(sb->manager, sandbox_changed, sb);
}
