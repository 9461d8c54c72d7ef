/*
 * One context: what it is, how its journal is written and how each record takes effect. Everything
 * that changes a context goes through context_record / the runner's packets, is on file first and
 * then applied, so that a restarted gateway that applies the file again ends in the same state.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexts/manager/private.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

enum {
    TURN_NS = 300000,            /* of the loop that one sandbox's packets may take in a turn */
    SETUP_ANSWER_MAX = 64 << 10, /* that is parsed */
};

const char *context_state_name(enum context_state s)
{
    static const char *const names[] = {"starting", "idle", "busy", "restarting", "dead"};
    return names[s];
}

void context_ref(struct context *c)
{
    c->refs++;
}

static void context_free(struct context *c)
{
    projector_deinit(&c->live);
    lanes_forget(c);
    context_account(c, 0);
    journal_close(c->journal);
    free(c->language);
    free(c->cwd);
    free(c->env);
    free((void *)c->hello.data);
    quotas_unref(c->quotas);
    manager_unref(c->manager);
    free(c);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct context *c = h->data;
    if (--c->handles == 0)
        context_free(c);
}

void context_unref(struct context *c)
{
    if (--c->refs)
        return;
    list_remove(&c->lagging);
    list_remove(&c->starved);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->start_timer, on_handle_closed);
}

static int fill(struct context *c, const struct context_spec *spec, struct err *e)
{
    if (spec->id)
        snprintf(c->id, sizeof c->id, "%s", spec->id);
    else
        id_uuid(c->id);
    c->language = strdup(spec->language);
    c->cwd = strdup(spec->cwd ? spec->cwd : "/workspace");
    c->env = strdup(spec->env ? spec->env : "{}");
    c->timeout_ms = spec->timeout_ms;
    if (!c->language || !c->cwd || !c->env)
        return err_set(e, -ENOMEM, "context", NULL);
    int r = journal_open(c->manager->config.journal_dir, c->id, JOURNAL_PACKET, &c->journal, e);
    if (r < 0)
        return r;
    r = map_add(c->manager->contexts, c->id, c);
    return r < 0 ? err_set(e, r, "context", NULL) : 0;
}

struct context *context_new(struct sandbox *sb, const struct context_spec *spec, struct err *e)
{
    struct manager *m = sb->manager;
    struct context *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(e, -ENOMEM, "context", NULL);
        return NULL;
    }
    c->manager = m;
    m->refs++;
    c->sandbox = sb;
    c->round = sb->round; /* what is going on concerns those that were there */
    c->refs = 1;
    c->state = CONTEXT_STARTING;
    c->next_request = FIRST_REQUEST;
    c->created_us = c->last_used_us = manager_now_us();
    list_init(&c->item);
    lanes_init(c);
    list_init(&c->requests);
    list_init(&c->subscriptions);
    list_init(&c->waiters);
    list_init(&c->lagging);
    list_init(&c->starved);
    c->quotas = quotas_ref(sb->quotas);
    projector_init(&c->live, c, &c->quotas->live);
    c->live.message = context_on_message;
    c->live.emit = context_on_event;
    c->live.user = c;
    uv_timer_init(m->config.loop, &c->timer);
    uv_timer_init(m->config.loop, &c->start_timer);
    c->timer.data = c->start_timer.data = c;
    c->handles = 2;
    if (fill(c, spec, e) < 0) {
        context_unref(c);
        return NULL;
    }
    list_append(&sb->contexts, &c->item);
    sb->ncontexts++;
    return c;
}

/* What ADOPT_CONTEXT brings back. */
void context_keep(struct context *c, bool with_fd)
{
    CLEANUP_BUF struct buf b = {0};
    buf_puts(&b, "{\"id\":");
    json_put_cstring(&b, c->id);
    buf_puts(&b, ",\"sandbox\":");
    json_put_cstring(&b, c->sandbox->name);
    buf_puts(&b, ",\"language\":");
    json_put_cstring(&b, c->language);
    buf_puts(&b, ",\"cwd\":");
    json_put_cstring(&b, c->cwd);
    buf_printf(&b, ",\"timeout\":%u,\"created\":%llu,\"default\":%s,\"env\":%s}", c->timeout_ms,
               (unsigned long long)c->created_us, c->is_default ? "true" : "false", c->env);
    if (b.err || !c->sandbox->box || !c->number)
        return;
    boxes_keep_context(c->manager->config.boxes, c->sandbox->box, c->number, b.data, b.len,
                       with_fd ? runner_link_fd(c->runner) : -1);
}

void context_apply(struct context *c, const struct journal_record *rec)
{
    bool outer = !c->applying;
    c->applying = true;
    journal_hold(c->journal);
    int r = projector_feed(&c->live, rec);
    if (r < 0 && !c->broken) {
        c->broken = true;
        c->broken_why = proto_decoder_error(&c->live.decoder);
    }
    publish_settle(c, rec->next);
    journal_unhold(c->journal);
    if (outer)
        c->applying = false;
    if (outer && !c->runner && !c->replaying)
        proto_decoder_drop(&c->live.decoder);
}

int context_record(struct context *c, enum journal_kind kind, const struct iovec *iov, int n,
                   uint64_t *ret_offset)
{
    struct journal_record rec;
    int r = journal_append(c->journal, kind, iov, n, &rec);
    if (r < 0)
        return r;
    if (ret_offset)
        *ret_offset = rec.offset;
    context_apply(c, &rec);
    return 0;
}

void context_set_state(struct context *c, enum context_state s, const char *reason)
{
    uint64_t state = s;
    struct iovec iov[] = {{&state, sizeof state}, {(void *)reason, strlen(reason)}};
    if (c->state == s)
        return;
    c->state = s;
    context_record(c, JOURNAL_STATE, iov, 2, NULL);
}

/* ---- the runner's packets ---- */

static uint8_t *on_reserve(void *user, size_t len)
{
    struct context *c = user;
    return journal_reserve(c->journal, JOURNAL_PACKET, len);
}

/* Output that is over the bound of one execution goes to those who listen now, not to the file. */
static bool keep_packet(struct context *c, const uint8_t *p, size_t len)
{
    if (!c->truncating || len < PACKET_HEAD + 2)
        return true;
    if (!(p[0] & PACKET_FIRST))
        return !c->dropping;
    uint16_t type = (uint16_t)get_le(p + PACKET_HEAD, 2);
    bool drop = type == MESSAGE_STREAM || type == FRAME_DISPLAY || type == FRAME_UPDATE_DISPLAY ||
                type == FRAME_COMM_OUT;
    if (!(p[0] & PACKET_LAST))
        c->dropping = drop;
    return !drop;
}

static void on_packet(void *user, const uint8_t *packet, size_t len)
{
    struct context *c = user;
    struct journal_record rec;
    uint64_t start = uv_hrtime();
    if (c->quotas->turn != c->manager->turn) {
        c->quotas->turn = c->manager->turn;
        c->quotas->spent_ns = 0;
    }
    c->manager->stats.bytes_in += len;
    if (keep_packet(c, packet, len))
        journal_commit(c->journal, &rec);
    else
        journal_discard(c->journal, &rec);
    context_ref(c);
    context_apply(c, &rec);
    context_admit(c);
    quotas_settle(c->quotas);
    context_settle(c);
    c->quotas->spent_ns += uv_hrtime() - start;
    context_unref(c);
}

/* A box that talks much, in however many contexts, leaves the loop to its neighbours. */
static bool on_more(void *user)
{
    const struct context *c = user;
    return c->quotas->turn != c->manager->turn || c->quotas->spent_ns < TURN_NS;
}

static void on_closed(void *user, int error)
{
    struct context *c = user;
    if (!c->exited) {
        c->broken = true;
        c->broken_why = error ? strerror(-error) : NULL;
    }
    context_ref(c);
    context_settle(c);
    context_unref(c);
}

const struct runner_link_ops context_runner_ops = {
    .reserve = on_reserve, .packet = on_packet, .more = on_more, .closed = on_closed};

static bool has_text(const json_t *array, const char *text)
{
    size_t i;
    json_t *v;
    json_array_foreach ((json_t *)array, i, v) {
        if (json_is_string(v) && !strcmp(json_string_value(v), text))
            return true;
    }
    return false;
}

/* What the runner can do besides running cells, from its info. */
void context_take_abilities(struct context *c)
{
    static const struct {
        const char *name;
        enum request_kind kind;
    } kinds[] = {{"complete", REQUEST_COMPLETE},
                 {"inspect", REQUEST_INSPECT},
                 {"is_complete", REQUEST_IS_COMPLETE},
                 {"history", REQUEST_HISTORY},
                 {"comm_info", REQUEST_COMM_INFO}};
    json_t *info = json_loadb((const char *)c->hello.data, c->hello.len, 0, NULL);
    const json_t *features = json_object_get(info, "supported_features");
    const json_t *concurrent = json_object_get(info, "concurrent");
    c->features = (has_text(features, "debugger") ? CONTEXT_DEBUGGER : 0) |
                  (has_text(features, "kernel subshells") ? CONTEXT_SUBSHELLS : 0);
    c->concurrent = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        c->concurrent |= (unsigned)has_text(concurrent, kinds[i].name) << kinds[i].kind;
    json_decref(info);
}

static void take_hello(struct context *c, const struct proto_section *s)
{
    char *copy = strndup((const char *)s->data, s->len);
    if (!copy)
        return;
    free((void *)c->hello.data);
    c->hello = (struct proto_section){(const uint8_t *)copy, strlen(copy)};
    free(c->manager->hello);
    c->manager->hello = strdup(copy);
    context_take_abilities(c);
}

/* An interpreter that could not take its working directory or environment is none to run code in.
 */
static void setup_failed(struct context *c, const struct proto_message *m)
{
    json_t *answer =
        m->nsections && m->sections[0].len <= SETUP_ANSWER_MAX
            ? json_loadb((const char *)m->sections[0].data, m->sections[0].len, 0, NULL)
            : NULL;
    const char *why = json_string_value(json_object_get(answer, "evalue"));
    context_death_set(c, "START_FAILED", "ContextDied", "{}",
                      "the interpreter could not be set up: %s", why ? why : "it gave no reason");
    json_decref(answer);
    c->broken = true;
}

/* Messages that concern the context itself; those of requests come as events. */
void context_on_message(struct context *c, const struct proto_message *m)
{
    if (m->type == FRAME_HELLO) {
        take_hello(c, &m->sections[0]);
    } else if (m->type == MESSAGE_EXITED) {
        c->exited = true;
        c->exit_status = m->arg;
    } else if (m->type == FRAME_DONE && m->req == c->setup_request && c->setup_request) {
        c->setup_request = 0;
        c->ready = m->arg == FRAME_OK || c->replaying;
        if (!c->ready)
            setup_failed(c, m);
    }
}

void context_on_event(void *user, const struct context_event *ev)
{
    struct context *c = user;
    if (ev->type == EVENT_ERROR && ev->typed && ev->request)
        ev->request->failed = true;
    /* Whoever gets the reply sees a request that is done. */
    if (ev->type == EVENT_REPLY && ev->request)
        request_finished(c, ev->request, ev->status);
    publish(c, ev);
}

static void became_ready(struct context *c)
{
    uv_timer_stop(&c->start_timer);
    context_tell_ready(c, true);
    if (c->interrupt_pending && c->main.running)
        context_interrupt(c);
    c->interrupt_pending = false;
}

void context_settle(struct context *c)
{
    if (c->applying || c->replaying || c->removed)
        return;
    if (c->ready && uv_is_active((uv_handle_t *)&c->start_timer))
        became_ready(c);
    if (c->abort_for) {
        struct request *failed = STEAL_PTR(c->abort_for);
        request_abort_queue(STEAL_PTR(c->abort_lane), &failed->session);
        request_unref(failed);
    }
    if (c->subshell_done) {
        struct request *done = STEAL_PTR(c->subshell_done);
        lane_finished(c, done);
        request_unref(done);
    }
    if (c->exited || c->broken)
        context_died(c);
    if (!c->removed)
        request_advance(c);
    context_trim(c);
}

void context_get_info(const struct context *c, struct context_info *ret)
{
    *ret = (struct context_info){.id = c->id,
                                 .language = c->language,
                                 .cwd = c->cwd,
                                 .env = c->env,
                                 .sandbox = c->sandbox,
                                 .state = c->state,
                                 .execution_count = c->main.execution_count,
                                 .timeout_ms = c->timeout_ms,
                                 .queued = c->nqueue + lanes_running(c),
                                 .created_us = c->created_us,
                                 .last_used_us = c->last_used_us,
                                 .dead_reason = c->state == CONTEXT_DEAD ? c->lost_reason : NULL,
                                 .hello = c->hello,
                                 .features = c->features};
    if (ret->state == CONTEXT_IDLE && c->main.running)
        ret->state = CONTEXT_BUSY;
}
