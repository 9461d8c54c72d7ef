/* Contexts opened, started, restarted and removed. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contexts/manager/language.h"
#include "contexts/manager/private.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

enum { START_MAX_MS = 30000, SHUTDOWN_GRACE_MS = 2000 };

/* Sandbox env with the context's on top. NULL: out of memory. */
static json_t *merged_env(const struct context *c)
{
    json_t *env = json_loads(c->sandbox->env, 0, NULL);
    json_t *own = json_loads(c->env, 0, NULL);
    if (env && own)
        json_object_update(env, own);
    json_decref(own);
    return env ? env : json_object();
}

/* Whether only a freshly executed interpreter sees these variables. */
static bool needs_fresh(const struct language *language, const json_t *env)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)env, key, value) {
        for (const char *const *prefix = language->fresh_env; *prefix; prefix++) {
            if (!strncmp(key, *prefix, strlen(*prefix)))
                return true;
        }
    }
    return false;
}

static int send_setup(struct context *c, const json_t *env)
{
    CLEANUP_BUF struct buf b = {0};
    char *text = json_dumps(env, JSON_COMPACT);
    buf_puts(&b, "{\"session\":");
    json_put_cstring(&b, c->id);
    buf_puts(&b, ",\"language\":");
    json_put_cstring(&b, c->language);
    buf_puts(&b, ",\"cwd\":");
    json_put_cstring(&b, c->cwd);
    buf_printf(&b, ",\"env\":%s}", text ? text : "{}");
    free(text);
    if (b.err)
        return b.err;
    struct proto_section s = {b.data, b.len};
    /* Below every number that waits in the queue: a runner ignores what is numbered below what it
     * has seen. */
    c->setup_request = FIRST_REQUEST - 1;
    int r = runner_link_send(c->runner, FRAME_SETUP, 0, c->setup_request, &s, 1);
    return r < 0 ? r : 0;
}

/* The runner is there (or will read what is sent once it is): everything that a new interpreter
 * begins with. */
static void begin(struct context *c, const json_t *env)
{
    uint64_t number = c->number;
    struct iovec iov = {&number, sizeof number};
    c->exited = c->broken = c->ready = c->kill_sent = c->death.pending = c->warm = false;
    c->main.execution_count = 0;
    lanes_forget(c);
    c->manager->stats.contexts_started++;
    context_keep(c, true);
    context_record(c, JOURNAL_RUNNER, &iov, 1, NULL);
    if (c->hello.len) {
        struct iovec hello = {(void *)c->hello.data, c->hello.len};
        context_record(c, JOURNAL_HELLO, &hello, 1, NULL);
    }
    if (send_setup(c, env) < 0)
        c->broken = true;
}

static void on_start_timeout(uv_timer_t *t)
{
    struct context *c = t->data;
    context_death_set(c, "START_FAILED", "ContextDied", "{}",
                      "the interpreter did not answer within %d s", START_MAX_MS / 1000);
    context_died(c);
}

static void use_spare(struct context *c, const json_t *env)
{
    struct pool_box *spare = &c->sandbox->spare;
    c->runner = STEAL_PTR(spare->runner);
    c->number = spare->context;
    if (c->next_request < spare->next_request)
        c->next_request = spare->next_request;
    free((void *)c->hello.data);
    c->hello = (struct proto_section){(const uint8_t *)spare->hello,
                                      spare->hello ? strlen(spare->hello) : 0};
    spare->hello = NULL;
    context_take_abilities(c);
    runner_link_set_ops(c->runner, &context_runner_ops, c);
    begin(c, env);
    c->warm = true;
    c->live.decoder.greeted = c->hello.len > 0; /* the pool took its HELLO */
    uv_timer_start(&c->start_timer, on_start_timeout, START_MAX_MS, 0);
    context_set_state(c, CONTEXT_IDLE, "");
    context_settle(c);
}

static void on_started(void *user, const struct err *error, const struct wire_message *m)
{
    struct context *c = user;
    (void)m;
    if (!error->code)
        return;
    context_death_set(c, "START_FAILED", "ContextDied", "{}",
                      "the interpreter could not be started: %s: %s", error->step, error->text);
    context_ref(c);
    context_died(c);
    context_settle(c);
    context_unref(c);
}

static int put_environ(struct buf *out, const struct context *c, const json_t *env)
{
    const char *key;
    json_t *value;
    pool_put_environ(out, c->cwd);
    json_object_foreach ((json_t *)env, key, value) {
        const char *s = json_string_value(value);
        if (!s || strlen(key) + strlen(s) + 2 + out->len > WIRE_MSG_MAX - 256)
            continue; /* what does not fit comes with SETUP */
        buf_puts(out, key);
        buf_putc(out, '=');
        buf_put(out, s, strlen(s) + 1);
    }
    return out->err;
}

static int spawn(struct context *c, uint32_t program, const json_t *env)
{
    int fds[2];
    CLEANUP_BUF struct buf block = {0};
    int r = fd_seqpacket_pair(fds);
    if (r < 0)
        return r;
    CLEANUP_FD int theirs = fds[1];
    fd_set_nonblock(theirs, 0); /* the runner and init wait in it */
    c->runner = runner_link_new(c->manager->config.loop, fds[0], &context_runner_ops, c);
    if (!c->runner)
        return -ENOMEM;
    r = put_environ(&block, c, env);
    if (r < 0)
        return r;
    c->number = c->sandbox->next_context++;
    init_context_start(c->sandbox->init, c->number, program, block.data, block.len, theirs,
                       on_started, c);
    return 0;
}

static void launch(struct context *c, bool packages_changed)
{
    struct sandbox *sb = c->sandbox;
    json_t *env = merged_env(c);
    const struct language *language = language_find(c->language);
    bool python = language->pool == POOL_PYTHON;
    bool fresh = (python && packages_changed) || needs_fresh(language, env);

    if (!fresh && sb->spare.runner && sb->spare.kind == language->pool) {
        use_spare(c, env);
        json_decref(env);
        return;
    }
    int r = spawn(c, fresh ? language->fresh_program : language->program, env);
    if (r < 0) {
        context_death_set(c, "START_FAILED", "ContextDied", "{}",
                          "the interpreter could not be started: %s", strerror(-r));
        context_died(c);
    } else {
        begin(c, env);
        request_send_again(c);
        uv_timer_start(&c->start_timer, on_start_timeout, START_MAX_MS, 0);
        context_set_state(c, CONTEXT_IDLE, "");
        context_settle(c);
    }
    json_decref(env);
}

static void on_stat(void *user, const struct err *error, const struct wire_message *m)
{
    struct context *c = user;
    c->stat_pending = false;
    const struct wire_box_stat *st = m ? (const struct wire_box_stat *)m->head : NULL;
    bool changed = st && m->len >= sizeof *st && st->packages_changed;
    if (st && m->len >= sizeof *st)
        c->sandbox->oom_kills = st->oom_kills;
    (void)error; /* without an answer the box is going: starting fails in a moment */
    context_ref(c);
    launch(c, changed);
    context_unref(c);
}

void context_box_ready(struct context *c)
{
    struct sandbox *sb = c->sandbox;
    if (c->runner || c->stat_pending || c->state == CONTEXT_DEAD)
        return;
    if (sb->spare.runner && sb->next_context == sb->spare.context + 1 && sb->ncontexts == 1) {
        launch(c, false); /* nothing has ever run in this box */
        return;
    }
    c->stat_pending = true;
    boxes_stat(c->manager->config.boxes, sb->box, on_stat, c);
}

void context_box_failed(struct context *c, const struct err *e)
{
    context_death_set(c, "START_FAILED", "ContextDied", "{}",
                      "the sandbox could not be started: %s: %s", e->step, e->text);
    context_ref(c);
    context_died(c);
    context_unref(c);
}

/* Starts an interpreter where there is none, and the box under it. */
void context_start(struct context *c)
{
    struct sandbox *sb = c->sandbox;
    if (c->runner || c->stat_pending || c->removed)
        return;
    if (c->state == CONTEXT_DEAD)
        context_set_state(c, CONTEXT_RESTARTING, "");
    if (sb->state == SANDBOX_RUNNING)
        context_box_ready(c);
    else
        sandbox_start(sb);
}

int context_open(struct sandbox *sb, const struct context_spec *spec, struct context **ret,
                 struct err *e)
{
    if (!language_find(spec->language))
        return CONTEXT_E_LANGUAGE;
    if (sb->ncontexts >= sb->manager->config.contexts_max)
        return CONTEXT_E_LIMIT;
    struct context *c = context_new(sb, spec, e);
    if (!c)
        return e && e->code ? e->code : -ENOMEM;
    sandbox_touch(sb);
    MANAGER_HOOK(c->manager, context_opened, c);
    context_start(c);
    *ret = c;
    return 0;
}

struct context *sandbox_context_next(struct sandbox *sb, const struct context *after)
{
    struct list *next = after ? after->item.next : sb->contexts.next;
    return next == &sb->contexts ? NULL : LIST_ENTRY(next, struct context, item);
}

int sandbox_default_context(struct sandbox *sb, const char *language, struct context **ret,
                            struct err *e)
{
    LIST_FOREACH (it, &sb->contexts) {
        struct context *c = LIST_ENTRY(it, struct context, item);
        if (c->is_default && !strcmp(c->language, language)) {
            *ret = c;
            return 0;
        }
    }
    struct context_spec spec = {.language = language};
    int r = context_open(sb, &spec, ret, e);
    if (r == 0) {
        (*ret)->is_default = true;
        context_keep(*ret, false);
    }
    return r;
}

void context_restart(struct context *c)
{
    if (!c->runner) {
        context_start(c);
        return;
    }
    context_death_set(c, "RESTARTED", "ContextRestarted", "{}", "the context was restarted");
    c->restart_wanted = true;
    lanes_abort(c);
    struct proto_section s = {(const uint8_t *)"{\"restart\":true}", 16};
    context_set_state(c, CONTEXT_RESTARTING, "");
    if (c->main.running) /* a busy cell would sit in front of the atexit hooks */
        context_interrupt(c);
    runner_link_send(c->runner, FRAME_SHUTDOWN, 0, 0, &s, 1);
    context_shutdown_timer(c, SHUTDOWN_GRACE_MS);
}

void context_remove(struct context *c)
{
    struct manager *m = c->manager;
    if (c->removed)
        return;
    MANAGER_HOOK(m, context_removed, c);
    context_death_set(c, "REMOVED", "ContextDied", "{}", "the context was deleted");
    c->restart_wanted = false;
    context_ref(c);
    context_died(c);
    context_tell_ready(c, false);
    c->removed = true;
    boxes_forget(m->config.boxes, c);
    wire_link_forget(c->sandbox->init, c);
    map_remove(m->contexts, c->id);
    unlinkat(m->config.journal_dir, c->id, 0);
    list_remove(&c->item);
    c->sandbox->ncontexts--;
    while (!list_empty(&c->requests))
        request_drop(LIST_ENTRY(c->requests.next, struct request, item));
    request_unref(STEAL_PTR(c->last));
    request_unref(STEAL_PTR(c->abort_for));
    request_unref(STEAL_PTR(c->subshell_done));
    c->sandbox = NULL;
    uv_timer_stop(&c->timer);
    uv_timer_stop(&c->start_timer);
    context_unref(c);
    context_unref(c);
}

void context_tell_ready(struct context *c, bool ok)
{
    while (!list_empty(&c->waiters)) {
        struct waiter *w = LIST_ENTRY(c->waiters.next, struct waiter, item);
        list_remove(&w->item);
        if (w->ready)
            w->ready(w->user, ok);
        free(w);
    }
}

int context_when_ready(struct context *c, void (*ready)(void *user, bool ok), void *user)
{
    if ((c->ready && !c->restart_wanted) || c->state == CONTEXT_DEAD) {
        ready(user, c->ready);
        return 0;
    }
    struct waiter *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->ready = ready;
    w->user = user;
    list_append(&c->waiters, &w->item);
    return 0;
}

void context_forget(struct context *c, void *user)
{
    LIST_FOREACH (it, &c->waiters) {
        struct waiter *w = LIST_ENTRY(it, struct waiter, item);
        if (w->user == user)
            w->ready = NULL;
    }
}
