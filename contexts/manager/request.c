/* Requests of a context: queued on file, run one at a time, ended exactly once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexts/manager/private.h"
#include "sandbox/base/id.h"
#include "sandbox/base/log.h"

enum { REQUEST_BYTES_MAX = 48 << 20 };

void request_ref(struct request *r)
{
    r->refs++;
}

void request_unref(struct request *r)
{
    if (!r || --r->refs)
        return;
    context_unref(r->context);
    free(r->bytes);
    free(r);
}

void request_detach(struct request *r)
{
    r->asker = (struct request_asker){0};
}

/* Out of the context's table. */
void request_drop(struct request *r)
{
    struct context *c = r->context;
    if (r->kind == REQUEST_EXECUTE)
        c->nexecutions--;
    list_remove(&r->item);
    request_unref(r);
}

struct request *request_find(struct context *c, uint64_t number)
{
    if (!number)
        return NULL;
    for (struct list *it = c->requests.prev; it != &c->requests; it = it->prev) {
        struct request *r = LIST_ENTRY(it, struct request, item);
        if (r->number == number)
            return r;
    }
    return c->last && c->last->number == number ? c->last : NULL;
}

struct request *context_request(struct context *c, uint64_t number)
{
    return request_find(c, number);
}

/* Makes the object that a REQUEST record describes and puts it into table and queue. */
struct request *request_from_record(struct context *c, const struct journal_record *rec)
{
    struct request_record h;
    if (rec->len < sizeof h)
        return NULL;
    memcpy(&h, rec->data, sizeof h);
    size_t keep = (size_t)h.parent + h.route + h.session;
    if (rec->len - sizeof h < keep)
        return NULL;
    struct lane *l = lane_for(c, h.kind, h.side, h.subshell);
    if (!l)
        return NULL;
    struct request *r = calloc(1, sizeof *r);
    uint8_t *bytes = malloc(keep + 1);
    if (!r || !bytes) {
        free(r);
        free(bytes);
        return NULL;
    }
    memcpy(bytes, rec->data + sizeof h, keep);
    r->bytes = bytes;
    r->parent = (struct proto_section){bytes, h.parent};
    r->route = (struct proto_section){bytes + h.parent, h.route};
    r->session = (struct proto_section){bytes + h.parent + h.route, h.session};
    r->refs = 1;
    r->context = c;
    context_ref(c);
    r->lane = l;
    r->main = l == &c->main;
    r->subshell = h.subshell;
    r->number = h.number;
    r->kind = h.kind;
    memcpy(r->id, h.id, sizeof r->id);
    r->id[sizeof r->id - 1] = 0;
    r->silent = h.silent;
    r->no_history = h.no_history;
    r->allow_stdin = h.allow_stdin;
    r->stop_on_error = h.stop_on_error;
    r->timeout_ms = h.timeout_ms;
    r->record = rec->offset;
    r->queued_us = rec->time_us;
    list_init(&r->item);
    list_append(&c->requests, &r->item);
    list_init(&r->queued);
    list_append(&l->queue, &r->queued);
    c->nqueue++;
    c->nexecutions += r->kind == REQUEST_EXECUTE;
    if (c->next_request <= h.number)
        c->next_request = h.number + 1;
    return r;
}

/* {"execution_count":N,"cell":"id",<options without the brace> */
static int put_options(struct buf *out, const struct request *r,
                       const struct proto_section *options)
{
    size_t at = 0;
    while (at < options->len && options->data[at] != '{')
        at++;
    for (at++; at < options->len && strchr(" \t\r\n", options->data[at]); at++)
        ;
    bool empty = at >= options->len || options->data[at] == '}';
    buf_printf(out, "{\"execution_count\":%u,\"cell\":\"%s\"%s", r->execution_count, r->id,
               empty ? "" : ",");
    return empty ? buf_putc(out, '}') : buf_put(out, options->data + at, options->len - at);
}

static int send_sections(struct context *c, struct request *r, const struct proto_section *sections,
                         unsigned n)
{
    struct proto_section copy[MESSAGE_SECTIONS_MAX];
    CLEANUP_BUF struct buf options = {0};
    memcpy(copy, sections, n * sizeof *sections);
    if (r->kind == REQUEST_EXECUTE && n) {
        if (put_options(&options, r, &sections[0]) < 0)
            return -ENOMEM;
        copy[0] = (struct proto_section){options.data, options.len};
    }
    return runner_link_send(c->runner, (uint16_t)r->kind, r->subshell, r->number, copy, n);
}

/* Sections of a request as they are on file; valid while the reader lives. */
static int read_sections(const struct request *r, struct journal_reader *reader,
                         struct proto_section *sections, unsigned *ret_n)
{
    struct journal_record rec;
    struct request_record h;
    journal_reader_init(reader, r->context->journal, r->record);
    if (journal_read(reader, &rec) != 1 || rec.kind != JOURNAL_REQUEST || rec.len < sizeof h)
        return -EIO;
    memcpy(&h, rec.data, sizeof h);
    uint64_t at = sizeof h + (uint64_t)h.parent + h.route + h.session;
    if (h.nsections > MESSAGE_SECTIONS_MAX)
        return -EIO;
    for (unsigned i = 0; i < h.nsections; i++) {
        if (at > rec.len || h.sections[i] > rec.len - at)
            return -EIO;
        sections[i] = (struct proto_section){rec.data + at, h.sections[i]};
        at += h.sections[i];
    }
    *ret_n = h.nsections;
    return 0;
}

int request_get_code(const struct request *r, struct buf *out)
{
    struct proto_section sections[MESSAGE_SECTIONS_MAX];
    struct journal_reader reader = {0};
    unsigned n = 0;
    int e = read_sections(r, &reader, sections, &n);
    if (e == 0)
        e = n < 2 ? -ENOENT : buf_put(out, sections[1].data, sections[1].len);
    journal_reader_deinit(&reader);
    return e;
}

/* Sends what runs. sections NULL: as on file. */
static void transmit(struct context *c, struct request *r, const struct proto_section *sections,
                     unsigned n)
{
    struct proto_section filed[MESSAGE_SECTIONS_MAX];
    struct journal_reader reader = {0};
    int e = sections ? 0 : read_sections(r, &reader, filed, &n);
    if (e == 0)
        e = send_sections(c, r, sections ? sections : filed, n);
    journal_reader_deinit(&reader);
    if (e < 0) {
        log_error(MOD, "send request", "context=%s error=%d", c->id, e);
        context_death_set(c, "START_FAILED", "ContextDied", "{}",
                          "the request could not be sent: %s", strerror(-e));
        c->broken = true;
    } else {
        journal_mark(c->journal, r->started_record, offsetof(struct start_record, sent), 1);
    }
}

/* Known once the runner has said hello: control waits for that. */
static bool runner_can(const struct context *c, const struct request *r)
{
    if (r->kind == REQUEST_DEBUG)
        return c->features & CONTEXT_DEBUGGER;
    if (r->kind == REQUEST_SUBSHELL)
        return c->features & CONTEXT_SUBSHELLS;
    return true;
}

static void start(struct context *c, struct request *r, const struct proto_section *sections,
                  unsigned n)
{
    struct start_record s = {.number = r->number,
                             .execution_count = r->lane->execution_count + !r->silent};
    struct iovec iov[2] = {{&s, sizeof s}};
    uint64_t at = 0;
    if (!runner_can(c, r)) {
        request_end(
            c, r, FRAME_FAILED,
            "{\"status\":\"error\",\"ename\":\"NotSupported\",\"evalue\":\"the interpreter of this "
            "context cannot do that\",\"traceback\":[]}");
        return;
    }
    int e = context_record(c, JOURNAL_START, iov, 1, &at);
    if (e < 0 || c->removed || r->state != REQUEST_RUNNING) {
        c->broken = !c->removed;
        return;
    }
    r->started_record = at;
    transmit(c, r, sections, n);
    if (r->main)
        context_arm_timeout(c);
    if (c->lost_reason && r->kind == REQUEST_EXECUTE) {
        CLEANUP_BUF struct buf text = {0};
        buf_printf(&text, "the context was restarted and its state was lost: %s", c->lost_reason);
        iov[0] = (struct iovec){&s.number, 8};
        iov[1] = (struct iovec){text.data, text.len};
        r->lost_reason = c->lost_reason;
        c->lost_reason = NULL;
        context_record(c, JOURNAL_NOTICE, iov, 2, NULL);
    }
}

static bool can_start(const struct context *c, const struct lane *l)
{
    return !c->applying && !c->replaying && !c->removed && !l->running && c->runner &&
           !c->death.pending && !c->broken && !c->exited && !c->restart_wanted &&
           (l != &c->control || c->ready);
}

static bool anything_queued(struct context *c)
{
    for (struct lane *l = NULL; (l = lane_next(c, l));)
        if (!list_empty(&l->queue))
            return true;
    return false;
}

void request_advance(struct context *c)
{
    for (struct lane *l = NULL; (l = lane_next(c, l));)
        while (can_start(c, l) && !list_empty(&l->queue))
            start(c, LIST_ENTRY(l->queue.next, struct request, queued), NULL, 0);
    if (!c->runner && !c->replaying && !c->applying && anything_queued(c))
        context_start(c);
    if (c->broken && !c->applying && !c->replaying && c->runner)
        context_died(c);
}

/* After a restart of G: a request that ran then, if the runner may not have it yet. It ignores a
 * number it has had. */
void request_resend(struct context *c, struct request *r)
{
    struct journal_reader reader;
    struct journal_record rec;
    journal_reader_init(&reader, c->journal, r->started_record);
    bool sent = journal_read(&reader, &rec) == 1 && rec.len >= sizeof(struct start_record) &&
                rec.data[offsetof(struct start_record, sent)] == 1;
    journal_reader_deinit(&reader);
    if (!sent)
        transmit(c, r, NULL, 0);
}

void request_send_again(struct context *c)
{
    for (struct lane *l = NULL; !c->broken && (l = lane_next(c, l));)
        if (l->running)
            transmit(c, l->running, NULL, 0);
}

static bool subshells_full(const struct context *c)
{
    unsigned n = 0;
    LIST_FOREACH (it, (struct list *)&c->subshells)
        n++;
    return n >= SUBSHELLS_MAX;
}

static int check_spec(const struct context *c, const struct request_spec *spec, uint64_t *ret_len)
{
    uint64_t len = spec->parent.len + spec->route.len + spec->session.len;
    if (c->removed)
        return REQUEST_E_GONE;
    if (spec->subshell && !lane_subshell(c, spec->subshell))
        return REQUEST_E_SUBSHELL;
    if (spec->kind == REQUEST_SUBSHELL && !spec->subshell && subshells_full(c))
        return REQUEST_E_SUBSHELL;
    if (c->nqueue >= c->manager->config.queue_max)
        return REQUEST_E_QUEUE_FULL;
    if (spec->route.len > ROUTE_MAX || spec->nsections > MESSAGE_SECTIONS_MAX)
        return -EMSGSIZE;
    for (unsigned i = 0; i < spec->nsections; i++)
        len += spec->sections[i].len;
    *ret_len = len;
    return len > REQUEST_BYTES_MAX ? -EMSGSIZE : 0;
}

static int file_request(struct context *c, const struct request_spec *spec,
                        struct journal_record *ret)
{
    struct request_record h = {.number = c->next_request++,
                               .timeout_ms = spec->timeout_ms,
                               .subshell = spec->subshell,
                               .side = !spec->subshell && (c->concurrent >> spec->kind & 1),
                               .kind = (uint8_t)spec->kind,
                               .silent = spec->silent,
                               .no_history = spec->no_history,
                               .allow_stdin = spec->allow_stdin,
                               .stop_on_error = spec->stop_on_error,
                               .parent = (uint32_t)spec->parent.len,
                               .route = (uint32_t)spec->route.len,
                               .session = (uint32_t)spec->session.len,
                               .nsections = spec->nsections};
    struct iovec iov[4 + MESSAGE_SECTIONS_MAX] = {{&h, sizeof h},
                                                  {(void *)spec->parent.data, spec->parent.len},
                                                  {(void *)spec->route.data, spec->route.len},
                                                  {(void *)spec->session.data, spec->session.len}};
    id_uuid(h.id);
    if (spec->kind == REQUEST_SUBSHELL && !spec->subshell)
        h.subshell = ++c->next_subshell;
    for (unsigned i = 0; i < spec->nsections; i++) {
        h.sections[i] = (uint32_t)spec->sections[i].len;
        iov[4 + i] = (struct iovec){(void *)spec->sections[i].data, spec->sections[i].len};
    }
    return journal_append(c->journal, JOURNAL_REQUEST, iov, 4 + (int)spec->nsections, ret);
}

/* What a client asks when it connects, or now and then by itself, is no use of the context. */
static bool is_work(enum request_kind kind)
{
    return kind == REQUEST_EXECUTE || kind == REQUEST_COMM || kind == REQUEST_COMPLETE ||
           kind == REQUEST_INSPECT;
}

int context_submit(struct context *c, const struct request_spec *spec, struct request **ret)
{
    struct journal_record rec;
    uint64_t len;
    int e = check_spec(c, spec, &len);
    if (e)
        return e;
    e = file_request(c, spec, &rec);
    if (e < 0)
        return e;
    struct request *r = request_from_record(c, &rec);
    if (!r)
        return -ENOMEM;
    r->asker = spec->asker;
    request_ref(r);
    *ret = r;
    c->manager->stats.requests++;
    c->manager->stats.executions += spec->kind == REQUEST_EXECUTE;
    if (is_work(spec->kind))
        c->last_used_us = r->queued_us;
    sandbox_touch(c->sandbox);
    pool_activity(c->manager->pool);
    context_ref(c);
    if (r->lane->queue.next == &r->queued && can_start(c, r->lane))
        start(c, r, spec->sections, spec->nsections);
    context_settle(c);
    context_unref(c);
    return 0;
}

void request_get_info(const struct request *r, struct request_info *ret)
{
    *ret = (struct request_info){.id = r->id,
                                 .context = r->context->removed ? NULL : r->context,
                                 .kind = r->kind,
                                 .state = r->state,
                                 .number = r->number,
                                 .parent = r->parent,
                                 .route = r->route,
                                 .session = r->session,
                                 .execution_count = r->execution_count,
                                 .status = r->status,
                                 .queued_us = r->queued_us,
                                 .started_us = r->started_us,
                                 .ended_us = r->ended_us,
                                 .truncated = r->truncated,
                                 .fresh_state = r->lost_reason != NULL,
                                 .lost_reason = r->lost_reason,
                                 .allow_stdin = r->allow_stdin,
                                 .wants_input = r->wants_input};
}
