/*
 * Lanes of a context: the main shell, its subshells, the side lane for what a runner answers beside
 * a cell, and control. Each is a FIFO of its own. Subshells are on file, so that a restarted
 * gateway knows them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexts/manager/private.h"

void lane_init(struct lane *l)
{
    list_init(&l->item);
    list_init(&l->queue);
}

void lanes_init(struct context *c)
{
    lane_init(&c->main);
    lane_init(&c->side);
    lane_init(&c->control);
    list_init(&c->subshells);
}

struct lane *lane_next(struct context *c, const struct lane *after)
{
    if (!after)
        return &c->main;
    if (after == &c->main)
        return &c->side;
    if (after == &c->side)
        return &c->control;
    struct list *next = after == &c->control ? c->subshells.next : after->item.next;
    return next == &c->subshells ? NULL : LIST_ENTRY(next, struct lane, item);
}

struct lane *lane_subshell(const struct context *c, uint32_t number)
{
    LIST_FOREACH (it, (struct list *)&c->subshells) {
        struct lane *l = LIST_ENTRY(it, struct lane, item);
        if (l->number == number)
            return l;
    }
    return NULL;
}

struct lane *lane_for(struct context *c, enum request_kind kind, bool side, uint32_t subshell)
{
    if (kind == REQUEST_DEBUG || kind == REQUEST_SUBSHELL || kind == REQUEST_USAGE)
        return &c->control;
    if (subshell)
        return lane_subshell(c, subshell);
    return side ? &c->side : &c->main;
}

unsigned lanes_running(const struct context *c)
{
    unsigned n = 0;
    for (struct lane *l = NULL; (l = lane_next((struct context *)c, l));)
        n += l->running != NULL;
    return n;
}

void lanes_abort(struct context *c)
{
    for (struct lane *l = NULL; (l = lane_next(c, l));)
        request_abort_queue(l, NULL);
}

/* ---- subshells ---- */

static void add(struct context *c, const struct subshell_record *rec)
{
    struct lane *l = calloc(1, sizeof *l);
    if (!l)
        return;
    lane_init(l);
    l->number = rec->number;
    snprintf(l->id, sizeof l->id, "%.*s", (int)sizeof rec->id - 1, rec->id);
    list_append(&c->subshells, &l->item);
}

static void drop(struct lane *l)
{
    list_remove(&l->item);
    free(l);
}

static void take(struct context *c, const struct subshell_record *rec)
{
    struct lane *l = lane_subshell(c, rec->number);
    if (c->next_subshell < rec->number)
        c->next_subshell = rec->number;
    if (rec->alive && !l)
        add(c, rec);
    else if (!rec->alive && l && !l->running && list_empty(&l->queue))
        drop(l);
}

int lane_record(struct context *c, uint32_t number, const char *id, bool alive)
{
    struct subshell_record rec = {.number = number, .alive = alive};
    struct iovec iov = {&rec, sizeof rec};
    snprintf(rec.id, sizeof rec.id, "%s", id);
    int r = context_record(c, JOURNAL_SUBSHELL, &iov, 1, NULL);
    take(c, &rec);
    return r;
}

void lane_apply(struct context *c, const struct journal_record *rec)
{
    struct subshell_record s;
    if (rec->len < sizeof s)
        return;
    memcpy(&s, rec->data, sizeof s);
    take(c, &s);
}

void lanes_forget(struct context *c)
{
    while (!list_empty(&c->subshells))
        drop(LIST_ENTRY(c->subshells.next, struct lane, item));
}

static void end_lane(struct context *c, struct lane *l)
{
    uint32_t number = l->number;
    char id[40];
    memcpy(id, l->id, sizeof id);
    request_abort_queue(l, NULL);
    if (l->running)
        request_end(c, l->running, FRAME_ABORTED, "{\"status\":\"aborted\"}");
    lane_record(c, number, id, false);
}

void lane_finished(struct context *c, const struct request *r)
{
    struct lane *l = lane_subshell(c, r->subshell);
    if (!l)
        lane_record(c, r->subshell, r->id, true);
    else
        end_lane(c, l);
}

bool context_subshell_next(const struct context *c, uint32_t after, struct context_subshell *ret)
{
    const struct lane *best = NULL;
    LIST_FOREACH (it, (struct list *)&c->subshells) {
        const struct lane *l = LIST_ENTRY(it, struct lane, item);
        if (l->number > after && (!best || l->number < best->number))
            best = l;
    }
    if (best)
        *ret = (struct context_subshell){.id = best->id, .number = best->number};
    return best != NULL;
}

uint32_t context_subshell_find(const struct context *c, const void *id, size_t len)
{
    LIST_FOREACH (it, (struct list *)&c->subshells) {
        const struct lane *l = LIST_ENTRY(it, struct lane, item);
        if (strlen(l->id) == len && !memcmp(l->id, id, len))
            return l->number;
    }
    return 0;
}
