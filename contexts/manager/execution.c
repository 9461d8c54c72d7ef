/* Ends of requests, and how long what they wrote stays on file. */
#include <string.h>

#include "contexts/manager/private.h"
#include "sandbox/base/fd.h"

void request_end(struct context *c, struct request *r, enum frame_status status,
                 const char *content)
{
    uint64_t head[2] = {r->number, status};
    struct iovec iov[] = {{head, sizeof head}, {(void *)content, strlen(content)}};
    context_record(c, JOURNAL_END, iov, 2, NULL);
}

static void observe(struct manager *m, const struct request *r)
{
    uint64_t us = r->ended_us - r->started_us;
    unsigned i = 0;
    while (i < 11 && (double)us > manager_run_bounds_ms[i] * 1000)
        i++;
    m->stats.run_us_buckets[i]++;
    m->stats.run_us_sum += us;
    m->stats.run_us_count++;
}

/* Called by the live projector's REPLY, once for each request. */
void request_finished(struct context *c, struct request *r, uint32_t status)
{
    struct manager *m = c->manager;
    if (r->state == REQUEST_DONE)
        return;
    bool ran = r->state == REQUEST_RUNNING;
    r->state = REQUEST_DONE;
    /* A cell that swallows the interrupt of its timeout did not do well. */
    r->status = r->failed && status == FRAME_OK ? FRAME_FAILED : status;
    r->ended_us = c->live.time_us;
    if (r->kind == REQUEST_EXECUTE && c->last_used_us < r->ended_us)
        c->last_used_us = r->ended_us;
    r->wants_input = false;
    if (ran) {
        if (r->main)
            context_disarm(c);
        r->lane->running = NULL;
        if (r->truncated)
            c->truncating = c->dropping = false;
        if (r->kind == REQUEST_EXECUTE) {
            if (!r->silent && !r->no_history)
                r->lane->execution_count = r->execution_count;
            observe(m, r);
            m->stats.errors += status != FRAME_OK;
        }
    } else {
        list_remove(&r->queued);
        c->nqueue--;
    }
    if (r->main && (r->kind == REQUEST_EXECUTE ||
                    r->kind == REQUEST_COMM)) { /* background output is shown there */
        request_ref(r);
        request_unref(c->last);
        c->last = r;
    }
    if (r->kind == REQUEST_SUBSHELL && status == FRAME_OK && !c->replaying && !c->subshell_done) {
        request_ref(r);
        c->subshell_done = r;
    }
    struct lane *l = STEAL_PTR(r->lane);
    if (r->kind != REQUEST_EXECUTE)
        request_drop(r);
    if (ran && status == FRAME_FAILED && r->stop_on_error && !c->replaying && !c->abort_for) {
        /* Not here: this request's idle is still to come. */
        request_ref(r);
        c->abort_for = r;
        c->abort_lane = l;
    }
}

/* Queued executes of one client session, or everything (session NULL), end without having run. */
void request_abort_queue(struct lane *l, const struct proto_section *session)
{
    LIST_FOREACH_SAFE (it, &l->queue) {
        struct request *r = LIST_ENTRY(it, struct request, queued);
        if (session && (r->kind != REQUEST_EXECUTE || r->session.len != session->len ||
                        memcmp(r->session.data, session->data, session->len) != 0))
            continue;
        request_end(r->context, r, FRAME_ABORTED, "{\"status\":\"aborted\"}");
    }
}

struct request *execution_next(struct context *c, const struct request *after)
{
    for (struct list *it = after ? after->item.prev : c->requests.prev; it != &c->requests;
         it = it->prev) {
        struct request *r = LIST_ENTRY(it, struct request, item);
        if (r->kind == REQUEST_EXECUTE)
            return r;
    }
    return NULL;
}

struct request *execution_get(struct context *c, const char *id)
{
    struct request *r = NULL;
    while ((r = execution_next(c, r))) {
        if (!strcmp(r->id, id))
            return r;
    }
    return NULL;
}

/* First byte of the journal that somebody may still read. */
static uint64_t needed_from(const struct context *c)
{
    uint64_t from = journal_end(c->journal);
    if (proto_decoder_open(&c->live.decoder) && c->live.message_start < from)
        from = c->live.message_start;
    LIST_FOREACH (it, &c->requests) {
        const struct request *r = LIST_ENTRY(it, struct request, item);
        if (r->record < from)
            from = r->record;
        if (r->started_us && r->start.scan < from)
            from = r->start.scan;
    }
    LIST_FOREACH (it, &c->subscriptions) {
        const struct subscription *s = LIST_ENTRY(it, struct subscription, item);
        if (s->cancelled || !(s->reading || s->full))
            continue;
        uint64_t at = s->reader_open ? s->reader.at : s->point.scan;
        if (at < from)
            from = at;
    }
    return from;
}

static struct request *oldest_done(struct context *c)
{
    LIST_FOREACH (it, &c->requests) {
        struct request *r = LIST_ENTRY(it, struct request, item);
        if (r->kind == REQUEST_EXECUTE && r->state == REQUEST_DONE)
            return r;
    }
    return NULL;
}

/* What runs and has written more than one execution may: no more of that kind goes on file. */
static void bound_output(struct context *c)
{
    uint64_t max = c->manager->config.execution_max, end = journal_end(c->journal);
    for (struct lane *l = NULL; !c->truncating && (l = lane_next(c, l));) {
        if (l->running && l->running->kind == REQUEST_EXECUTE &&
            end - l->running->started_record > max)
            l->running->truncated = c->truncating = true;
    }
}

enum { RELEASE_MIN = 32 << 10 };

void context_account(struct context *c, uint64_t size)
{
    c->quotas->journals += size - c->journal_size;
    c->manager->journals += size - c->journal_size;
    c->journal_size = size;
}

/*
 * What its journal may hold: less than usual while those of the sandbox, or all together, are over
 * their bounds. Then nobody has more than an equal share, so that it is the long ones that shrink.
 */
static uint64_t allowance(const struct context *c)
{
    const struct manager *m = c->manager;
    const struct manager_config *cfg = &m->config;
    uint64_t max = cfg->journal_max, share = max;
    if (c->quotas->journals > cfg->sandbox_journals_max && c->sandbox)
        share = cfg->sandbox_journals_max / (c->sandbox->ncontexts + 1);
    max = share < max ? share : max;
    if (m->journals > cfg->journals_max)
        share = cfg->journals_max / (map_count(m->contexts) + 1);
    return share < max ? share : max;
}

void context_trim(struct context *c)
{
    const struct manager_config *cfg = &c->manager->config;
    struct request *old;
    bound_output(c);
    context_account(c, journal_end(c->journal) - journal_floor(c->journal));
    uint64_t max = allowance(c);
    bool many = c->nexecutions > cfg->executions_max + c->nqueue;
    bool big = c->journal_size > max;
    if (!many && !big)
        return;
    while ((many || big) && (old = oldest_done(c)) && !old->readers) {
        request_drop(old);
        many = c->nexecutions > cfg->executions_max + c->nqueue;
        big = journal_end(c->journal) - needed_from(c) > max;
    }
    if (big)
        publish_shed(c, max);
    uint64_t from = needed_from(c);
    if (from - journal_floor(c->journal) < RELEASE_MIN)
        return; /* what is there is needed; the records below would only add to it */
    journal_release(c->journal, from);
    context_account(c, journal_end(c->journal) - journal_floor(c->journal));
    if (c->hello.len) { /* the record of it may be gone now */
        struct iovec hello = {(void *)c->hello.data, c->hello.len};
        context_record(c, JOURNAL_HELLO, &hello, 1, NULL);
    }
    LIST_FOREACH (it, &c->subshells) {
        const struct lane *l = LIST_ENTRY(it, struct lane, item);
        lane_record(c, l->number, l->id, true);
    }
}
