#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "contexts/manager/private.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"

const double manager_run_bounds_ms[11] = {0.5, 1, 2, 5, 10, 50, 100, 500, 1000, 10000, 60000};

uint64_t manager_now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void set_defaults(struct manager_config *c)
{
    c->queue_max = c->queue_max ? c->queue_max : 1000;
    c->contexts_max = c->contexts_max ? c->contexts_max : 100;
    c->sandboxes_max = c->sandboxes_max ? c->sandboxes_max : 10000;
    c->executions_max = c->executions_max ? c->executions_max : 1000;
    c->journal_max = c->journal_max ? c->journal_max : 1ull << 30;
    c->sandbox_journals_max = c->sandbox_journals_max ? c->sandbox_journals_max : 4ull << 30;
    c->journals_max = c->journals_max ? c->journals_max : 32ull << 30;
    c->execution_max = c->execution_max ? c->execution_max : 512ull << 20;
    c->grace_ms = c->grace_ms ? c->grace_ms : 5000;
}

static void on_turn(uv_prepare_t *p)
{
    struct manager *m = p->data;
    m->turn++;
}

struct manager *manager_new(const struct manager_config *config)
{
    struct manager *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->config = *config;
    set_defaults(&m->config);
    m->refs = 3;
    list_init(&m->lagging);
    m->sandboxes = map_new();
    m->contexts = map_new();
    const unsigned warm[POOL_KINDS] = {
        [POOL_PYTHON] = config->pool_warm, [POOL_NODE] = config->pool_node};
    m->pool = pool_new(config->loop, config->boxes, warm);
    if (!m->sandboxes || !m->contexts || !m->pool) {
        map_free(m->sandboxes);
        map_free(m->contexts);
        pool_free(m->pool);
        free(m);
        return NULL;
    }
    uv_idle_init(config->loop, &m->pump);
    m->pump.data = m;
    uv_prepare_init(config->loop, &m->counter);
    m->counter.data = m;
    uv_prepare_start(&m->counter, on_turn);
    uv_unref((uv_handle_t *)&m->counter);
    life_init(m);
    return m;
}

/* Contexts that are being closed still need it. */
void manager_unref(struct manager *m)
{
    if (--m->refs)
        return;
    map_free(m->sandboxes);
    map_free(m->contexts);
    fd_close(m->config.journal_dir);
    free(m->hello);
    free(m);
}

static void on_manager_closed(uv_handle_t *h)
{
    manager_unref(h->data);
}

void manager_free(struct manager *m)
{
    size_t cursor = 0;
    struct sandbox *sb;
    while ((sb = map_next(m->sandboxes, &cursor, NULL)))
        sandbox_remove(sb, NULL, NULL);
    pool_free(m->pool);
    uv_close((uv_handle_t *)&m->pump, on_manager_closed);
    uv_close((uv_handle_t *)&m->counter, on_manager_closed);
    uv_close((uv_handle_t *)&m->life, on_manager_closed);
}

void manager_set_hooks(struct manager *m, const struct manager_hooks *hooks)
{
    if (m->nhooks < HOOKS_MAX)
        m->hooks[m->nhooks++] = *hooks;
}

void manager_box_used(struct manager *m, const struct wire_gone *used)
{
    struct sandbox *sb = sandbox_by_box(m, used->h.box);
    if (!sb)
        return;
    sb->used_before.cpu_ns += used->cpu_ns;
    sb->used_before.memory_mib_ms += used->memory_mib_ms;
    MANAGER_HOOK(m, sandbox_changed, sb);
}

void manager_box_gone(struct manager *m, const struct wire_gone *gone)
{
    if (pool_gone(m->pool, gone->h.box))
        return;
    struct sandbox *sb = sandbox_by_box(m, gone->h.box);
    if (!sb)
        return;
    manager_box_used(m, gone);
    sandbox_ref(sb);
    if (!sb->dying) /* nobody has read the end of its link yet */
        sandbox_box_ended(sb);
    if (!sb->removed)
        sandbox_box_gone(sb);
    sandbox_unref(sb);
}

void manager_get_stats(struct manager *m, struct manager_stats *ret)
{
    *ret = m->stats;
    pool_count(m->pool, &ret->pool_ready, &ret->pool_starting);
}

struct context *context_get(struct manager *m, const char *id)
{
    return map_get(m->contexts, id);
}

struct sandbox *sandbox_get(struct manager *m, const char *name)
{
    return map_get(m->sandboxes, name);
}

struct sandbox *sandbox_next(struct manager *m, size_t *cursor)
{
    return map_next(m->sandboxes, cursor, NULL);
}

struct sandbox *sandbox_by_box(struct manager *m, uint64_t box)
{
    size_t cursor = 0;
    struct sandbox *sb;
    while ((sb = map_next(m->sandboxes, &cursor, NULL))) {
        if (box && sb->box == box)
            return sb;
    }
    return NULL;
}
