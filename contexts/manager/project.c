/*
 * Journal records to events. The same code serves the context itself, as things happen, and every
 * reader that comes later or is slow: both see the same events in the same order.
 */
#include <string.h>

#include "contexts/manager/private.h"
#include "sandbox/base/json.h"

void projector_init(struct projector *p, struct context *c, struct proto_quota *quota)
{
    *p = (struct projector){.context = c};
    proto_decoder_init(&p->decoder, quota);
}

static void set_add(struct running_set *s, struct request *r)
{
    if (s->n == RUNNING_MAX)
        return;
    request_ref(r);
    s->r[s->n++] = r;
}

static bool set_has(const struct running_set *s, const struct request *r)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->r[i] == r)
            return true;
    return false;
}

static void set_remove(struct running_set *s, const struct request *r)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (s->r[i] != r)
            continue;
        struct request *gone = s->r[i];
        s->r[i] = s->r[--s->n];
        request_unref(gone);
        return;
    }
}

static void set_clear(struct running_set *s)
{
    while (s->n)
        request_unref(s->r[--s->n]);
}

/* What runs in the main shell: whose output is that nobody claims. */
static struct request *main_running(const struct projector *p)
{
    for (unsigned i = 0; i < p->running.n; i++)
        if (p->running.r[i]->main)
            return p->running.r[i];
    return NULL;
}

void projector_deinit(struct projector *p)
{
    set_clear(&p->running);
    proto_decoder_deinit(&p->decoder);
}

void projector_point(const struct projector *p, uint64_t next, struct projector_point *ret)
{
    *ret = (struct projector_point){.start = next, .running = p->running};
    ret->scan = proto_decoder_open(&p->decoder) ? p->message_start : next;
    memcpy(ret->tail, p->tail, sizeof ret->tail);
}

void projector_seek(struct projector *p, const struct projector_point *at)
{
    set_clear(&p->running);
    for (unsigned i = 0; i < at->running.n; i++)
        set_add(&p->running, at->running.r[i]);
    memcpy(p->tail, at->tail, sizeof p->tail);
}

static struct request *find(const struct projector *p, uint64_t number)
{
    for (unsigned i = 0; i < p->running.n; i++)
        if (p->running.r[i]->number == number)
            return p->running.r[i];
    if (p->hint && p->hint->number == number)
        return p->hint;
    return request_find(p->context, number);
}

static void emit(struct projector *p, struct context_event *ev)
{
    ev->context = p->context;
    ev->time_us = p->time_us;
    p->emit(p->user, ev);
}

static void emit_status(struct projector *p, struct request *r, enum context_state s)
{
    struct context_event ev = {.type = EVENT_STATUS, .request = r, .state = s};
    emit(p, &ev);
}

static void flush_tail(struct projector *p, int i)
{
    struct context_event ev = {.type = EVENT_STREAM,
                               .request = find(p, p->tail[i].req),
                               .stream = i + 1,
                               .text = {p->tail[i].bytes, p->tail[i].len}};
    p->tail[i].len = 0;
    emit(p, &ev);
}

/* Bytes of a cut character that will not be completed any more: of a request that does not run (or
 * is ending). */
static void flush_tails(struct projector *p, const struct request *ending)
{
    for (int i = 0; i < 2; i++) {
        struct request *r = p->tail[i].len ? find(p, p->tail[i].req) : NULL;
        if (p->tail[i].len && (r == ending || !set_has(&p->running, r)))
            flush_tail(p, i);
    }
}

/*
 * Text, with the kept-back beginning of a character in front. To do that without a copy of the
 * whole chunk the first character is emitted with the tail, the rest as it lies.
 */
static void on_stream(struct projector *p, const struct proto_message *m)
{
    int i = m->sections[0].data[0] - 1;
    const struct request *running = main_running(p);
    uint64_t req = m->req             ? m->req
                   : running          ? running->number
                   : p->context->last ? p->context->last->number
                                      : 0;
    struct context_event ev = {.type = EVENT_STREAM, .stream = i + 1, .request = find(p, req)};
    struct proto_section text = m->sections[1];

    if (p->tail[i].len && p->tail[i].req != req)
        flush_tail(p, i);
    if (p->tail[i].len) {
        uint8_t joined[8];
        size_t n = p->tail[i].len, take = 0;
        memcpy(joined, p->tail[i].bytes, n);
        while (take < text.len && n < 4 && (text.data[take] & 0xc0) == 0x80 &&
               utf8_incomplete_tail(joined, n))
            joined[n++] = text.data[take++];
        text.data += take;
        text.len -= take;
        if (!text.len && n < 4 && utf8_incomplete_tail(joined, n) == n) {
            memcpy(p->tail[i].bytes, joined, n);
            p->tail[i].len = n;
            return;
        }
        p->tail[i].len = 0;
        ev.text = (struct proto_section){joined, n};
        emit(p, &ev);
    }
    size_t cut = utf8_incomplete_tail(text.data, text.len);
    if (cut) {
        memcpy(p->tail[i].bytes, text.data + text.len - cut, cut);
        p->tail[i].len = cut;
        p->tail[i].req = req;
        text.len -= cut;
    }
    if (text.len) {
        ev.text = text;
        emit(p, &ev);
    }
}

static void finish(struct projector *p, struct request *r, uint32_t status,
                   const struct proto_section *content)
{
    struct context_event ev = {.type = EVENT_REPLY,
                               .request = r,
                               .status = status,
                               .execution_count = r->execution_count,
                               .nsections = 1,
                               .sections = content};
    flush_tails(p, r);
    request_ref(r);
    set_remove(&p->running, r);
    emit(p, &ev);
    emit_status(p, r, CONTEXT_IDLE);
    request_unref(r);
}

static void on_message(struct projector *p, const struct proto_message *m)
{
    static const uint8_t types[] = {
        [FRAME_DISPLAY] = EVENT_DISPLAY, [FRAME_UPDATE_DISPLAY] = EVENT_UPDATE_DISPLAY,
        [FRAME_RESULT] = EVENT_RESULT,   [FRAME_CLEAR_OUTPUT] = EVENT_CLEAR_OUTPUT,
        [FRAME_ERROR] = EVENT_ERROR,     [FRAME_STDIN] = EVENT_STDIN,
        [FRAME_COMM_OUT] = EVENT_COMM,   [FRAME_DEBUG_EVENT] = EVENT_DEBUG,
    };
    if (p->message)
        p->message(p->context, m);
    if (m->type == MESSAGE_STREAM) {
        on_stream(p, m);
        return;
    }
    struct request *r = m->req ? find(p, m->req) : main_running(p);
    if (!m->req && !r)
        r = p->context->last;
    if (m->type == FRAME_DONE) {
        if (r && m->req && set_has(&p->running, r))
            finish(p, r, m->arg, &m->sections[0]);
        return;
    }
    /* Debug events come at any time, often long after the request that brought them about. */
    if (m->type >= sizeof types || !types[m->type] ||
        (m->req && !r && m->type != FRAME_DEBUG_EVENT))
        return;
    if (m->type == FRAME_STDIN && (!r || !set_has(&p->running, r)))
        return;
    struct context_event ev = {.type = types[m->type],
                               .request = r,
                               .arg = m->arg,
                               .execution_count = r ? r->execution_count : 0,
                               .nsections = m->nsections,
                               .sections = m->sections};
    emit(p, &ev);
}

static int on_packet(struct projector *p, const struct journal_record *rec)
{
    struct proto_message m;
    bool open = proto_decoder_open(&p->decoder);
    int r = proto_decoder_feed(&p->decoder, rec->data, rec->len, &m);
    if (r == 1) {
        on_message(p, &m);
        proto_decoder_taken(&p->decoder);
    } else if (!open && proto_decoder_open(&p->decoder)) {
        p->message_start = rec->offset;
    }
    return r < 0 ? r : 0;
}

static void on_start(struct projector *p, const struct journal_record *rec)
{
    struct start_record s;
    if (rec->len < sizeof s)
        return;
    memcpy(&s, rec->data, sizeof s);
    struct request *r = find(p, s.number);
    flush_tails(p, NULL);
    if (!r)
        return;
    set_add(&p->running, r);
    if (p == &p->context->live && r->state == REQUEST_QUEUED) {
        projector_point(p, rec->offset, &r->start);
        r->start.running.n = 0;
        r->started_record = rec->offset;
        r->started_us = rec->time_us;
        r->execution_count = s.execution_count;
        r->state = REQUEST_RUNNING;
        list_remove(&r->queued);
        p->context->nqueue--;
        r->lane->running = r;
    }
    emit_status(p, r, CONTEXT_BUSY);
    if (r->kind == REQUEST_EXECUTE && !r->silent) {
        struct context_event ev = {
            .type = EVENT_INPUT, .request = r, .execution_count = s.execution_count};
        emit(p, &ev);
    }
}

/* ERROR, NOTICE and END begin with the number of their request. */
static void on_numbered(struct projector *p, const struct journal_record *rec)
{
    uint64_t head[2] = {0};
    size_t n = rec->kind == JOURNAL_END ? 16 : 8;
    if (rec->len < n)
        return;
    memcpy(head, rec->data, n);
    struct request *r = find(p, head[0]);
    struct proto_section rest = {rec->data + n, rec->len - n};
    if (!r)
        return;
    if (rec->kind == JOURNAL_NOTICE) {
        struct context_event ev = {.type = EVENT_NOTICE, .request = r, .text = rest};
        emit(p, &ev);
        return;
    }
    if (rec->kind == JOURNAL_ERROR) {
        struct context_event ev = {
            .type = EVENT_ERROR, .request = r, .typed = true, .nsections = 1, .sections = &rest};
        emit(p, &ev);
        return;
    }
    if (!set_has(&p->running, r))
        emit_status(p, r, CONTEXT_BUSY); /* it never ran: aborted in the queue */
    finish(p, r, (uint32_t)head[1], &rest);
}

static void on_state(struct projector *p, const struct journal_record *rec)
{
    uint64_t state = 0;
    if (rec->len < 8)
        return;
    memcpy(&state, rec->data, 8);
    struct context_event ev = {.type = EVENT_STATUS,
                               .state = (enum context_state)state,
                               .text = {rec->data + 8, rec->len - 8}};
    emit(p, &ev);
}

int projector_feed(struct projector *p, const struct journal_record *rec)
{
    struct proto_quota *quota = p->decoder.quota;
    p->time_us = rec->time_us;
    switch (rec->kind) {
    case JOURNAL_PACKET:
        return on_packet(p, rec);
    case JOURNAL_START:
        on_start(p, rec);
        return 0;
    case JOURNAL_ERROR:
    case JOURNAL_NOTICE:
    case JOURNAL_END:
        on_numbered(p, rec);
        return 0;
    case JOURNAL_STATE:
        on_state(p, rec);
        return 0;
    case JOURNAL_RUNNER:
        flush_tails(p, NULL);
        proto_decoder_deinit(&p->decoder);
        proto_decoder_init(&p->decoder, quota);
        return 0;
    default:
        return 0;
    }
}
