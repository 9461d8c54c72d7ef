/* How an interpreter ends: what is said about it, to whom, and what is cleaned up. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "contexts/manager/private.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

enum { SILENCE_MS = 500 };

/* The first cause wins: what follows is usually its consequence. */
void context_death_set(struct context *c, const char *code, const char *ename, const char *details,
                       const char *fmt, ...)
{
    struct death *d = &c->death;
    va_list ap;
    if (d->pending)
        return;
    d->pending = true;
    d->code = code;
    d->ename = ename;
    snprintf(d->details, sizeof d->details, "%s", details);
    va_start(ap, fmt);
    vsnprintf(d->text, sizeof d->text, fmt, ap);
    va_end(ap);
}

int manager_error_json(struct buf *out, const char *ename, const char *evalue, const char *code,
                       const char *details)
{
    CLEANUP_BUF struct buf line = {0};
    buf_printf(&line, "%s: %s", ename, evalue);
    buf_puts(out, "{\"ename\":");
    json_put_cstring(out, ename);
    buf_puts(out, ",\"evalue\":");
    json_put_cstring(out, evalue);
    buf_puts(out, ",\"traceback\":[");
    json_put_cstring(out, buf_str(&line));
    buf_puts(out, "],\"code\":");
    json_put_cstring(out, code);
    return buf_printf(out, ",\"details\":%s}", details);
}

static void name_exit(struct context *c)
{
    char details[96];
    int st = (int)c->exit_status;
    if (WIFSIGNALED(st)) {
        const char *name = sigabbrev_np(WTERMSIG(st));
        snprintf(details, sizeof details, "{\"cause\":\"signal\",\"signal\":\"SIG%s\"}",
                 name ? name : "?");
        context_death_set(c, "CONTEXT_DIED", "ContextDied", details,
                          "the interpreter was killed by SIG%s%s", name ? name : "?",
                          WTERMSIG(st) == SIGSEGV ? " (segmentation fault)" : "");
        return;
    }
    snprintf(details, sizeof details, "{\"cause\":\"exit\",\"exitCode\":%d}", WEXITSTATUS(st));
    context_death_set(c, "CONTEXT_DIED", "ContextDied", details,
                      "the interpreter exited with status %d", WEXITSTATUS(st));
}

static void on_oom_stat(void *user, const struct err *error, const struct wire_message *m)
{
    struct context *c = user;
    const struct wire_box_stat *st =
        m && m->len >= sizeof *st ? (const struct wire_box_stat *)m->head : NULL;
    (void)error;
    c->stat_pending = false;
    if (st && c->sandbox && st->oom_kills > c->sandbox->oom_kills) {
        c->sandbox->oom_kills = st->oom_kills;
        c->manager->stats.oom_kills++;
        context_death_set(c, "OUT_OF_MEMORY", "OutOfMemoryError",
                          "{\"cause\":\"memory\",\"signal\":\"SIGKILL\"}",
                          "the sandbox ran out of memory and the interpreter was killed");
    }
    context_ref(c);
    name_exit(c);
    context_died(c);
    context_settle(c);
    context_unref(c);
}

/*
 * Init holds the runner's end of the socket, too. So a socket that closed without EXITED means that
 * the whole box is going, which B will say in a moment, or that the runner shut it down.
 */
static void on_silence(uv_timer_t *t)
{
    struct context *c = t->data;
    c->silent = true;
    context_ref(c);
    context_died(c);
    context_settle(c);
    context_unref(c);
}

/* False: an answer of B is awaited; context_died runs again then. */
static bool find_cause(struct context *c)
{
    if (c->death.pending)
        return true;
    if (!c->exited) {
        if (c->live.decoder.error) {
            c->manager->stats.protocol_errors++;
            context_death_set(c, "PROTOCOL_ERROR", "ContextDied", "{\"cause\":\"protocol\"}",
                              "the interpreter broke the frame protocol (%s)",
                              c->live.decoder.error);
        } else if (!c->silent && c->sandbox->state == SANDBOX_RUNNING) {
            if (!uv_is_active((uv_handle_t *)&c->start_timer) ||
                uv_timer_get_due_in(&c->start_timer) > SILENCE_MS)
                uv_timer_start(&c->start_timer, on_silence, SILENCE_MS, 0);
            return false;
        } else {
            context_death_set(c, "CONTEXT_DIED", "ContextDied", "{\"cause\":\"closed\"}",
                              "the interpreter closed its connection%s%s",
                              c->broken_why ? ": " : "", c->broken_why ? c->broken_why : "");
        }
        return true;
    }
    int st = (int)c->exit_status;
    bool killed = WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL;
    if (killed && c->sandbox->state == SANDBOX_RUNNING) {
        c->stat_pending = true;
        boxes_stat(c->manager->config.boxes, c->sandbox->box, on_oom_stat, c);
        return false;
    }
    name_exit(c);
    return true;
}

void context_close_runner(struct context *c, bool kill)
{
    struct sandbox *sb = c->sandbox;
    runner_link_free(c->runner);
    c->runner = NULL;
    list_remove(&c->starved);
    if (!c->applying) /* else an event still points into it: context_apply does it */
        proto_decoder_drop(&c->live.decoder);
    quotas_settle(c->quotas);
    if (sb->init)
        wire_link_forget(sb->init, c);
    boxes_forget(c->manager->config.boxes, c);
    c->stat_pending = false;
    uv_timer_stop(&c->start_timer);
    if (c->number && sb->box) {
        if (kill && sb->init)
            init_context_kill(sb->init, c->number);
        boxes_drop_context(c->manager->config.boxes, sb->box, c->number);
    }
    c->number = 0;
    c->setup_request = 0;
}

/* Error and reply for one that ran. */
static void end_running(struct context *c, struct lane *l, const struct buf *error)
{
    CLEANUP_BUF struct buf reply = {0};
    struct request *r = l->running;
    if (!error->err) {
        struct iovec iov[] = {{&r->number, 8}, {error->data, error->len}};
        context_record(c, JOURNAL_ERROR, iov, 2, NULL);
        buf_printf(&reply, "{\"status\":\"error\",%s", (const char *)error->data + 1);
    }
    if (l->running)
        request_end(c, l->running, FRAME_FAILED,
                    reply.len && !reply.err ? buf_str(&reply) : "{\"status\":\"error\"}");
}

/* Error and reply for what ran, `aborted` for what waited. */
static void end_requests(struct context *c)
{
    CLEANUP_BUF struct buf json = {0};
    const struct death *d = &c->death;
    manager_error_json(&json, d->ename, d->text, d->code, d->details);
    for (struct lane *l = NULL; (l = lane_next(c, l));)
        if (l->running)
            end_running(c, l, &json);
    if (strcmp(d->code, "RESTARTED") != 0) /* there, what waits was asked for after the restart */
        lanes_abort(c);
    /* That was the abort of its session, too: what is asked from now on is meant for the next one.
     */
    request_unref(STEAL_PTR(c->abort_for));
    request_unref(STEAL_PTR(c->subshell_done));
    for (struct lane *l = NULL; (l = lane_next(c, l));)
        if (l->number)
            request_abort_queue(l, NULL); /* shells end with their interpreter */
    lanes_forget(c);
}

/* The reasons that a user asked for are no loss to tell. */
static bool expected(const struct death *d)
{
    return !strcmp(d->code, "RESTARTED") || !strcmp(d->code, "REMOVED");
}

/*
 * The spare of the box had been killed, or was, before it took the first message: nothing of what
 * was sent to it has run, so that a new interpreter gets it.
 */
static bool replace_warm(struct context *c)
{
    if (!c->warm || c->ready || c->restart_wanted || strcmp(c->death.code, "CONTEXT_DIED") != 0 ||
        c->sandbox->state != SANDBOX_RUNNING)
        return false;
    context_close_runner(c, true);
    c->exited = c->broken = c->silent = c->warm = c->death.pending = false;
    context_start(c);
    return true;
}

/* May be called when there is no interpreter (a start that failed). Needs c referenced by the
 * caller. */
void context_died(struct context *c)
{
    if (c->removed || (c->stat_pending && c->exited && !c->death.pending))
        return;
    if (!find_cause(c) || replace_warm(c))
        return;
    bool restart = c->restart_wanted;
    const char *code = c->death.code;
    bool told = expected(&c->death);
    if (!told) {
        log_info(MOD, "context died", "context=%s cause=%s text=%s", c->id, code,
                 log_quote(c->death.text));
        c->manager->stats.contexts_died++;
    }
    c->silent = false;
    context_close_runner(c, true);
    context_disarm(c);
    end_requests(c);
    c->exited = c->broken = c->ready = c->restart_wanted = c->interrupt_pending = false;
    c->main.execution_count = 0;
    if (!told)
        c->lost_reason = code;
    c->death.pending = false;
    if (!strcmp(code, "REMOVED") || !restart)
        context_set_state(c, CONTEXT_DEAD, code);
    if (!restart)
        context_tell_ready(c, false);
    if (restart && !c->removed)
        context_start(c);
}
