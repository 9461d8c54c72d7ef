/* Events to subscribers: at once to those who keep up, from the journal to those who do not. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contexts/manager/private.h"
#include "sandbox/base/log.h"

/* Read for one slow subscriber before the others get their turn. */
enum { PUMP_BYTES = 512 << 10, PUMP_NS = 300000 };

static bool wants(const struct subscription *s, const struct context_event *ev)
{
    if (s->spec.only)
        return ev->request == s->spec.only;
    return ev->type != EVENT_STDIN && ev->type != EVENT_REPLY;
}

static void tell_asker(struct context *c, const struct context_event *ev)
{
    struct request *r = ev->request;
    struct request_asker *a = &r->asker;
    void (*call)(void *, const struct context_event *) =
        ev->type == EVENT_STDIN ? a->stdin_wanted : a->reply;
    if (ev->type == EVENT_STDIN)
        r->wants_input = true;
    if (c->replaying) {
        r->stdin_offered = ev->type == EVENT_STDIN;
        return;
    }
    void *user = a->user;
    if (ev->type == EVENT_REPLY)
        *a = (struct request_asker){0};
    if (call)
        call(user, ev);
    else if (r->route.len)
        MANAGER_HOOK(c->manager, orphan, ev);
}

static void hand_over(struct subscription *s, const struct context_event *ev)
{
    if (s->spec.event(s->spec.user, ev))
        s->full = true;
}

static void close_reader(struct subscription *s)
{
    if (!s->reader_open)
        return;
    s->reader_open = false;
    list_remove(&s->starved);
    journal_reader_deinit(&s->reader);
    projector_deinit(&s->projector);
    quotas_settle(s->context->quotas);
}

static void subscription_free(struct subscription *s)
{
    struct context *c = s->context;
    close_reader(s);
    list_remove(&s->item);
    if (s->spec.only) {
        s->spec.only->readers--;
        request_unref(s->spec.only);
    }
    free(s);
    context_unref(c);
}

void publish(struct context *c, const struct context_event *ev)
{
    struct request *r = ev->request;
    if (r)
        request_ref(r);
    for (struct list *it = c->subscriptions.next; it != &c->subscriptions; it = it->next) {
        struct subscription *s = LIST_ENTRY(it, struct subscription, item);
        if (!s->cancelled && !s->reading && wants(s, ev))
            hand_over(s, ev);
    }
    if (r && (ev->type == EVENT_STDIN || ev->type == EVENT_REPLY))
        tell_asker(c, ev);
    if (r)
        request_unref(r);
}

static void on_read_event(void *user, const struct context_event *ev)
{
    struct subscription *s = user;
    if (!s->cancelled && s->reader.at > s->point.start && wants(s, ev))
        hand_over(s, ev);
}

static void open_reader(struct subscription *s)
{
    struct context *c = s->context;
    journal_reader_init(&s->reader, c->journal, s->point.scan);
    projector_init(&s->projector, c, &c->quotas->readers);
    projector_seek(&s->projector, &s->point);
    s->projector.hint = s->spec.only;
    s->projector.emit = on_read_event;
    s->projector.user = s;
    s->reader_open = true;
}

static void behind(struct subscription *s, const struct projector_point *at)
{
    s->full = false;
    s->reading = true;
    s->paused = true;
    s->point = *at;
    open_reader(s);
}

/* A record has been applied: who is full falls behind from here on; who has left is forgotten. */
void publish_settle(struct context *c, uint64_t next)
{
    if (list_empty(&c->subscriptions))
        return;
    LIST_FOREACH_SAFE (it, &c->subscriptions) {
        struct subscription *s = LIST_ENTRY(it, struct subscription, item);
        if (s->full && !s->cancelled && !s->reading) {
            struct projector_point at;
            projector_point(&c->live, next, &at);
            behind(s, &at);
        }
    }
}

/* Between scan and start only the fragments of the message that is open at start matter. */
static bool skipped(const struct subscription *s, const struct journal_record *rec)
{
    return rec->offset < s->point.start &&
           (rec->kind != JOURNAL_PACKET || !rec->len || (rec->data[0] & PACKET_INIT));
}

static void up_to_date(struct subscription *s)
{
    close_reader(s);
    s->reading = s->full = false;
}

/* What lies between is lost to it, and it will be told how much that was. */
static void skip_ahead(struct subscription *s)
{
    struct context *c = s->context;
    struct projector_point at;
    bool paused = s->paused;
    s->lost += journal_end(c->journal) - s->reader.at;
    up_to_date(s);
    projector_point(&c->live, journal_end(c->journal), &at);
    behind(s, &at);
    s->paused = paused;
    publish_enlist(c);
}

/* The rest cannot be had: who follows the context goes on from now, who reads one request is told.
 */
static void unreadable(struct subscription *s, int error)
{
    log_error(MOD, "journal unreadable", "context=%s error=%d", s->context->id, error);
    if (!s->spec.only) {
        skip_ahead(s);
        return;
    }
    s->paused = true;
    if (s->spec.failed && !s->cancelled)
        s->spec.failed(s->spec.user, error);
}

/* Reads on until the subscriber is full, up to date, or has had its share. */
static void pump(struct subscription *s)
{
    struct context *c = s->context;
    struct journal_record rec;
    uint64_t stop = s->reader.at + PUMP_BYTES, start = uv_hrtime();
    s->busy = true;
    while (!s->cancelled && !s->full && s->reader.at < stop) {
        int r = journal_read(&s->reader, &rec);
        if (r == 0) {
            up_to_date(s);
            break;
        }
        if (r == 1 && !skipped(s, &rec) && projector_feed(&s->projector, &rec) == -ENOMEM)
            r = -ENOMEM;
        if (r < 0) {
            unreadable(s, r);
            break;
        }
        if (!subscription_admit(s) || uv_hrtime() - start > PUMP_NS)
            break;
    }
    quotas_settle(c->quotas);
    s->busy = false;
    if (s->full) {
        s->full = false;
        s->paused = true;
    }
}

static void on_idle(uv_idle_t *idle)
{
    publish_pump(idle->data);
}

static void tell_lost(struct subscription *s)
{
    uint64_t bytes = s->lost;
    s->lost = 0;
    s->spec.lost(s->spec.user, bytes);
}

static bool pump_context(struct context *c)
{
    bool more = false;
    for (struct list *it = c->subscriptions.next, *next; it != &c->subscriptions; it = next) {
        struct subscription *s = LIST_ENTRY(it, struct subscription, item);
        s->busy = true;
        if (s->lost && s->spec.lost && !s->cancelled)
            tell_lost(s);
        if (s->reading && !s->paused && !s->cancelled && list_empty(&s->starved))
            pump(s);
        s->busy = false;
        next = s->item.next;
        if (s->cancelled)
            subscription_free(s);
        else
            more |= s->reading && !s->paused && list_empty(&s->starved);
    }
    return more;
}

void publish_pump(struct manager *m)
{
    struct list round;
    /* A callback may remove any context: only the head of a list is ever held. */
    list_init(&round);
    while (!list_empty(&m->lagging)) {
        struct list *first = m->lagging.next;
        list_remove(first);
        list_append(&round, first);
    }
    while (!list_empty(&round)) {
        struct context *c = LIST_ENTRY(round.next, struct context, lagging);
        list_remove(&c->lagging);
        context_ref(c);
        if (pump_context(c) && list_empty(&c->lagging))
            list_append(&m->lagging, &c->lagging);
        context_unref(c);
    }
    if (list_empty(&m->lagging))
        uv_idle_stop(&m->pump);
}

void publish_enlist(struct context *c)
{
    if (list_empty(&c->lagging))
        list_append(&c->manager->lagging, &c->lagging);
    uv_idle_start(&c->manager->pump, on_idle);
}

int context_subscribe(struct context *c, const struct subscription_spec *spec,
                      struct subscription **ret)
{
    struct subscription *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->context = c;
    context_ref(c);
    s->spec = *spec;
    list_init(&s->item);
    list_init(&s->starved);
    list_append(&c->subscriptions, &s->item);
    *ret = s;
    if (!spec->only)
        return 0;
    request_ref(spec->only);
    spec->only->readers++;
    if (spec->only->state == REQUEST_QUEUED)
        return 0;
    s->reading = true;
    s->point = spec->only->start;
    open_reader(s);
    publish_enlist(c);
    return 0;
}

int request_subscribe(struct request *r, const struct subscription_spec *spec,
                      struct subscription **ret)
{
    struct subscription_spec mine = *spec;
    mine.only = r;
    return context_subscribe(r->context, &mine, ret);
}

void subscription_pause(struct subscription *s)
{
    struct context *c = s->context;
    if (s->reading) {
        s->paused = true;
    } else if (c->applying) {
        s->full = true;
    } else {
        struct projector_point at;
        projector_point(&c->live, journal_end(c->journal), &at);
        behind(s, &at);
    }
}

void publish_shed(struct context *c, uint64_t max)
{
    LIST_FOREACH (it, &c->subscriptions) {
        struct subscription *s = LIST_ENTRY(it, struct subscription, item);
        if (s->reading && !s->cancelled && !s->busy && s->spec.lost &&
            journal_end(c->journal) - s->reader.at > max)
            skip_ahead(s);
    }
}

void subscription_resume(struct subscription *s)
{
    if (s->full && !s->reading) { /* it made room before the record was over */
        s->full = false;
        return;
    }
    if (!s->reading || !s->paused)
        return;
    s->paused = false;
    publish_enlist(s->context);
}

void subscription_cancel(struct subscription *s)
{
    if (!s || s->cancelled)
        return;
    s->cancelled = true;
    if (s->busy || s->context->applying)
        publish_enlist(s->context); /* freed from there */
    else
        subscription_free(s);
}
