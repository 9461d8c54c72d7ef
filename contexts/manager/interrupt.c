/*
 * Interrupts and time limits. A run that exceeds its limit is interrupted first; only one that
 * ignores that for the grace period is killed. A plain interrupt never kills.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "contexts/manager/private.h"
#include "sandbox/base/log.h"

int context_interrupt(struct context *c)
{
    if (!c->main.running || !c->runner || !c->sandbox || !c->sandbox->init)
        return 0;
    c->manager->stats.interrupts++;
    if (!c->ready) {
        c->interrupt_pending = true; /* the interpreter is not there yet */
        return 0;
    }
    init_context_interrupt(c->sandbox->init, c->number, c->main.running->number);
    return 0;
}

static void kill_runner(struct context *c)
{
    if (!c->runner || !c->sandbox || !c->sandbox->init)
        return;
    c->kill_sent = true;
    init_context_kill(c->sandbox->init, c->number);
}

static void on_grace(struct context *c)
{
    context_death_set(c, "TIMEOUT", "TimeoutError", "{\"cause\":\"timeout\"}",
                      "the run took longer than %u ms, ignored the interrupt and was killed; the "
                      "context's state is lost",
                      c->main.running ? c->main.running->timeout_ms : 0);
    kill_runner(c);
    context_died(c);
}

/*
 * The error comes before the interrupt is sent, so that it precedes whatever the cell makes of its
 * KeyboardInterrupt.
 */
static void on_limit(struct context *c)
{
    CLEANUP_BUF struct buf json = {0};
    char text[96];
    struct request *r = c->main.running;
    c->manager->stats.timeouts++;
    r->timed_out = true;
    snprintf(text, sizeof text, "the run took longer than %u ms and was interrupted",
             r->timeout_ms);
    manager_error_json(&json, "TimeoutError", text, "TIMEOUT", "{\"cause\":\"timeout\"}");
    struct iovec iov[] = {{&r->number, 8}, {json.data, json.len}};
    if (!json.err)
        context_record(c, JOURNAL_ERROR, iov, 2, NULL);
    if (c->main.running != r)
        return;
    c->timer_for = TIMER_GRACE;
    context_interrupt(c);
}

static void on_timer(uv_timer_t *t)
{
    struct context *c = t->data;
    int what = c->timer_for;
    c->timer_for = TIMER_NONE;
    context_ref(c);
    if (what == TIMER_RUN && c->main.running) {
        uv_timer_start(t, on_timer, c->manager->config.grace_ms, 0);
        on_limit(c);
    } else if (what == TIMER_GRACE && c->main.running) {
        on_grace(c);
    } else if (what == TIMER_SHUTDOWN) {
        kill_runner(c);
        context_died(c);
    }
    context_settle(c);
    context_unref(c);
}

void context_arm_timeout(struct context *c)
{
    struct request *r = c->main.running;
    if (!r || c->timer_for == TIMER_SHUTDOWN)
        return;
    uint64_t ms = r->timeout_ms;
    if (!ms)
        return;
    uint64_t gone =
        (manager_now_us() - r->started_us) / 1000; /* more than nothing after a restart of G */
    c->timer_for = TIMER_RUN;
    uv_timer_start(&c->timer, on_timer, gone < ms ? ms - gone : 0, 0);
}

void context_disarm(struct context *c)
{
    if (c->timer_for == TIMER_SHUTDOWN && c->runner)
        return;
    c->timer_for = TIMER_NONE;
    uv_timer_stop(&c->timer);
}

void context_shutdown_timer(struct context *c, uint32_t ms)
{
    c->timer_for = TIMER_SHUTDOWN;
    uv_timer_start(&c->timer, on_timer, ms, 0);
}

/* The request that the answer is for; r NULL: the first that waits. */
static struct request *waiting_for_input(struct context *c, const struct request *r)
{
    for (struct lane *l = NULL; (l = lane_next(c, l));)
        if (l->running && l->running->wants_input && (!r || l->running == r))
            return l->running;
    return NULL;
}

int context_input(struct context *c, const struct request *r, const void *value, size_t len)
{
    struct request *run = waiting_for_input(c, r);
    struct proto_section s = {value, len};
    if (!run || !c->runner)
        return -ENOENT;
    int e = runner_link_send(c->runner, FRAME_INPUT, 0, run->number, &s, 1);
    if (e < 0)
        return e;
    run->wants_input = false;
    return 0;
}
