/* GET /v1/sandboxes/{name}/usage, and what of a sandbox's life the registry keeps beside its row.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/egress/egress.h"

/* A question to B on behalf of a client. */
struct asking {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    char name[64];
    struct wire_box_stat stat;  /* zeroes while it does not run */
    struct sandbox_used before; /* at that moment */
    uint64_t disk_bytes;
    bool has_disk;
};

static void answer(const struct asking *a, struct sandbox *sb, uint64_t egress_bytes)
{
    CLEANUP_BUF struct buf b = {0};
    const struct wire_box_stat *st = &a->stat;
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    uint64_t cpu = a->before.cpu_ns + st->cpu_ns;
    uint64_t memory = a->before.memory_mib_ms + st->memory_mib_ms;
    buf_printf(&b, "{\"state\":\"%s\",\"activeCpuMs\":%.3f,\"memoryGiBSeconds\":%.6f",
               sandbox_state_name(i.state), (double)cpu / 1e6, (double)memory / 1024 / 1000);
    buf_printf(&b, ",\"memoryBytes\":%llu,\"processes\":%u,\"oomKills\":%llu",
               (unsigned long long)st->memory, st->pids, (unsigned long long)st->oom_kills);
    if (a->has_disk)
        buf_printf(&b, ",\"diskBytes\":%llu", (unsigned long long)a->disk_bytes);
    buf_printf(&b, ",\"egressBytes\":%llu}", (unsigned long long)egress_bytes);
    api_json(a->gw, a->x, 200, &b);
}

/* NULL: answered, or nobody waits any more. */
static struct sandbox *still_there(struct asking *a)
{
    struct sandbox *sb = sandbox_get(a->gw->manager, a->name);
    if (a->x && !sb)
        api_error(a->gw, a->x, 404, "SANDBOX_NOT_FOUND", "the sandbox was removed");
    if (a->x && sb)
        return sb;
    free(a);
    return NULL;
}

/* The last thing that is asked for. */
static void on_egress(void *user, const struct err *e, const struct wire_egress_reply *r,
                      const char *data)
{
    struct asking *a = user;
    struct sandbox *sb = still_there(a);
    (void)data;
    if (!sb)
        return;
    answer(a, sb, e->code ? 0 : r->value);
    free(a);
}

static void ask_egress(struct asking *a, struct sandbox *sb)
{
    struct wire_egress_call m = {.op = EGRESS_USAGE};
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    memcpy(m.disk, i.disk, strlen(i.disk) + 1);
    egress_call(a->gw, &m, NULL, 0, on_egress, a);
}

static void on_measured(void *user, const struct err *e, const struct wire_message *m)
{
    struct asking *a = user;
    struct sandbox *sb = still_there(a);
    const struct wire_disk_usage *u = m ? (const struct wire_disk_usage *)m->head : NULL;
    if (!sb)
        return;
    a->has_disk = !e->code && u && m->len >= sizeof *u;
    a->disk_bytes = a->has_disk ? u->bytes : 0;
    ask_egress(a, sb);
}

static void ask_disk(struct asking *a, struct sandbox *sb)
{
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    a->before = i.used_before;
    if (sandbox_measure(sb, on_measured, a) < 0)
        ask_egress(a, sb);
}

static void on_stat(void *user, const struct err *e, const struct wire_message *m)
{
    struct asking *a = user;
    struct sandbox *sb = still_there(a);
    const struct wire_box_stat *st = m ? (const struct wire_box_stat *)m->head : NULL;
    if (!sb)
        return;
    if (!e->code && st && m->len >= sizeof *st)
        a->stat = *st;
    ask_disk(a, sb);
}

/* What it used is in the sandbox's account now. */
static void on_box_gone(void *user, const struct err *e)
{
    struct asking *a = user;
    struct sandbox *sb = still_there(a);
    (void)e;
    if (sb)
        ask_disk(a, sb);
}

static void on_gone(void *user)
{
    ((struct asking *)user)->x = NULL;
}

static const struct exchange_ops asking_ops = {.closed = on_gone};

/* Asking wakes nobody. */
static void usage(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    struct asking *a = sb ? calloc(1, sizeof *a) : NULL;
    (void)r;
    if (!sb)
        return;
    if (!a) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *a = (struct asking){.gw = gw, .x = x};
    memcpy(a->name, p->value[0], strlen(p->value[0]) + 1);
    exchange_set_ops(x, &asking_ops, a);
    if (sandbox_stat(sb, on_stat, a) < 0 && sandbox_when_gone(sb, on_box_gone, a) < 0)
        ask_disk(a, sb);
}

const struct route api_usage_routes[] = {{"GET", "/v1/sandboxes/{name}/usage", usage, 0}};
const size_t api_usage_nroutes = 1;

/* ---- registry ---- */

static void on_changed(void *user, struct sandbox *sb)
{
    struct gateway *gw = user;
    CLEANUP_BUF struct buf b = {0};
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    const struct sandbox_used *u = &i.used_before;
    if (!i.sleep_after_ms && !i.keep_alive && !u->cpu_ns && !u->memory_mib_ms) {
        store_put_document(gw->store, "life", i.name, NULL, STORE_LATER);
        return;
    }
    buf_printf(&b, "{\"sleepAfter\":%llu,\"keepAlive\":%s,\"cpu\":%llu,\"memory\":%llu}",
               (unsigned long long)i.sleep_after_ms, i.keep_alive ? "true" : "false",
               (unsigned long long)u->cpu_ns, (unsigned long long)u->memory_mib_ms);
    if (!b.err)
        store_put_document(gw->store, "life", i.name, buf_str(&b), STORE_LATER);
}

static void on_removed(void *user, const char *name)
{
    struct gateway *gw = user;
    store_put_document(gw->store, "life", name, NULL, STORE_LATER);
}

static void load(void *user, const char *id, const char *json)
{
    struct gateway *gw = user;
    struct sandbox *sb = sandbox_get(gw->manager, id);
    json_t *o = json_loads(json, 0, NULL);
    if (sb && o) {
        sandbox_set_used_before(
            sb, &(struct sandbox_used){.cpu_ns = (uint64_t)api_integer(o, "cpu", 0),
                                       .memory_mib_ms = (uint64_t)api_integer(o, "memory", 0)});
        sandbox_set_life(sb, (uint64_t)api_integer(o, "sleepAfter", 0),
                         json_is_true(json_object_get(o, "keepAlive")));
    }
    json_decref(o);
}

int api_life_init(struct gateway *gw)
{
    store_each_document(gw->store, "life", load, gw);
    struct manager_hooks hooks = {
        .sandbox_changed = on_changed, .sandbox_removed = on_removed, .user = gw};
    manager_set_hooks(gw->manager, &hooks);
    return 0;
}
