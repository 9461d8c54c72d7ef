/*
 * What the unfinished messages of one sandbox may hold in memory: those that its interpreters are
 * sending, and those that its readers are reading from file. Who finds no room is not read from
 * until there is some: nobody dies of it, and no other sandbox notices. A message is admitted
 * whole, so that whoever has begun can end.
 */
#include <stdlib.h>

#include "contexts/manager/private.h"

enum { LIVE_MAX = 128 << 20, READERS_MAX = 256 << 20 };

struct quotas *quotas_new(void)
{
    struct quotas *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->refs = 1;
    q->live.max = LIVE_MAX;
    q->readers.max = READERS_MAX;
    list_init(&q->contexts);
    list_init(&q->subscriptions);
    return q;
}

struct quotas *quotas_ref(struct quotas *q)
{
    q->refs++;
    return q;
}

void quotas_unref(struct quotas *q)
{
    if (q && --q->refs == 0)
        free(q);
}

/* Whoever has to wait is in the list; the link of a context is paused meanwhile. */
void context_admit(struct context *c)
{
    bool room = !c->runner || proto_decoder_admit(&c->live.decoder);
    if (c->runner)
        runner_link_pause(c->runner, !room);
    if (room)
        list_remove(&c->starved);
    else if (list_empty(&c->starved))
        list_append(&c->quotas->contexts, &c->starved);
}

bool subscription_admit(struct subscription *s)
{
    bool room = !s->reader_open || proto_decoder_admit(&s->projector.decoder);
    if (room)
        list_remove(&s->starved);
    else if (list_empty(&s->starved))
        list_append(&s->context->quotas->subscriptions, &s->starved);
    return room;
}

void quotas_settle(struct quotas *q)
{
    LIST_FOREACH_SAFE (it, &q->contexts)
        context_admit(LIST_ENTRY(it, struct context, starved));
    LIST_FOREACH_SAFE (it, &q->subscriptions) {
        struct subscription *s = LIST_ENTRY(it, struct subscription, starved);
        if (subscription_admit(s))
            publish_enlist(s->context);
    }
}
