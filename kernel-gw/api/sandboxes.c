/* /v1/sandboxes */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/egress/egress.h"
#include "sandbox/base/json.h"

#define SLEEP_MAX_MS 400000000000ll

static const struct api_field put_fields[] = {
    {.name = "image", .type = API_STRING, .max = 64},
    {.name = "env", .type = API_STRING_MAP},
    {.name = "labels", .type = API_STRING_MAP},
    {.name = "limits", .type = API_OBJECT},
    {.name = "instanceType", .type = API_STRING, .max = 32},
    {.name = "sleepAfter", .type = API_DURATION, .max = SLEEP_MAX_MS},
    {.name = "keepAlive", .type = API_BOOLEAN},
    {.name = "egress", .type = API_OBJECT},
    {.name = "fromSnapshot", .type = API_UNSUPPORTED},
};
static const struct api_field patch_fields[] = {
    {.name = "env", .type = API_STRING_MAP},
    {.name = "labels", .type = API_STRING_MAP},
    {.name = "limits", .type = API_OBJECT},
    {.name = "instanceType", .type = API_STRING, .max = 32},
    {.name = "sleepAfter", .type = API_DURATION, .max = SLEEP_MAX_MS},
    {.name = "keepAlive", .type = API_BOOLEAN},
    {.name = "egress", .type = API_OBJECT},
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static void put_limits(struct buf *out, const struct wire_limits *l)
{
    buf_printf(out, ",\"limits\":{\"memory\":%llu,\"cpu\":%g,\"pids\":%u",
               (unsigned long long)l->memory, l->cpu / 1000.0, l->pids);
    if (l->disk)
        buf_printf(out, ",\"disk\":%llu", (unsigned long long)l->disk);
    buf_putc(out, '}');
}

int api_put_sandbox(struct buf *out, struct sandbox *sb, bool listed)
{
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    buf_puts(out, "{\"name\":");
    json_put_cstring(out, i.name);
    api_member(out, "state", sandbox_state_name(i.state));
    api_member(out, "image", i.image);
    api_put_env(out, i.env, listed);
    buf_printf(out, ",\"labels\":%s", i.labels);
    put_limits(out, &i.limits);
    if (i.sleep_after_ms)
        buf_printf(out, ",\"sleepAfter\":%llu", (unsigned long long)i.sleep_after_ms);
    buf_printf(out, ",\"keepAlive\":%s", i.keep_alive ? "true" : "false");
    buf_printf(out, ",\"contexts\":%u,\"createdAt\":", i.contexts);
    api_put_time(out, i.created_us);
    buf_puts(out, ",\"lastUsedAt\":");
    api_put_time(out, i.last_used_us);
    if (i.state == SANDBOX_FAILED) {
        buf_puts(out, ",\"error\":{\"step\":");
        json_put_cstring(out, i.error->step);
        api_member(out, "message", i.error->text);
        buf_putc(out, '}');
    }
    return buf_putc(out, '}');
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    size_t cursor = 0, n = 0;
    struct sandbox *sb;
    (void)r;
    (void)p;
    buf_puts(&b, "{\"sandboxes\":[");
    while ((sb = sandbox_next(gw->manager, &cursor))) {
        if (n++)
            buf_putc(&b, ',');
        api_put_sandbox(&b, sb, true);
    }
    buf_puts(&b, "]}");
    api_json(gw, x, 200, &b);
}

/* A request that waits for its sandbox. */
struct pending {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    bool created;
    char name[64];
};

static void on_client_gone(void *user)
{
    struct pending *w = user;
    sandbox_forget(w->gw->manager, w);
    free(w);
}

static const struct exchange_ops pending_ops = {.closed = on_client_gone};

static void on_running(void *user, const struct err *e)
{
    struct pending *w = user;
    struct gateway *gw = w->gw;
    struct exchange *x = w->x;
    struct sandbox *sb = sandbox_get(gw->manager, w->name);
    CLEANUP_BUF struct buf b = {0};
    bool created = w->created;
    free(w);
    if (!e->code && sb) {
        api_put_sandbox(&b, sb, false);
        api_json(gw, x, created ? 201 : 200, &b);
        return;
    }
    api_error_err(gw, x, e->code == -ENOENT ? 404 : 503,
                  e->code == -ENOENT ? "IMAGE_NOT_FOUND" : "SANDBOX_START_FAILED", e);
    if (created && sb)
        sandbox_remove(sb, NULL, NULL);
}

static const struct api_field limit_fields[] = {
    {.name = "memory", .type = API_INTEGER, .min = 16 << 20, .max = 1ll << 46},
    {.name = "pids", .type = API_INTEGER, .min = 8, .max = 1 << 20},
    {.name = "disk", .type = API_INTEGER, .min = 16 << 20, .max = 64ll << 30},
};

static const struct api_field *limit_field(const char *name)
{
    for (size_t i = 0; i < COUNT(limit_fields); i++)
        if (!strcmp(limit_fields[i].name, name))
            return &limit_fields[i];
    return NULL;
}

/* False: answered with 400. */
static bool read_limits(struct gateway *gw, struct exchange *x, const json_t *o,
                        struct wire_limits *ret)
{
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)o, key, v) {
        bool cpu = !strcmp(key, "cpu");
        const struct api_field *f = limit_field(key);
        json_int_t n = api_integer(o, key, -1);
        double d = json_number_value(v);
        if (!cpu && !f) {
            api_error_detail(gw, x, 400, "UNKNOWN_FIELD", "field", key, "unknown field limits.%s",
                             key);
            return false;
        }
        if (cpu ? !json_is_number(v) || d < 0.01 || d > 1024 : n < f->min || n > f->max) {
            api_error_detail(gw, x, 400, "INVALID_FIELD", "field", key,
                             "limits.%s is not a number in range", key);
            return false;
        }
        if (cpu)
            ret->cpu = (uint32_t)(d * 1000);
        else if (f == &limit_fields[0])
            ret->memory = (uint64_t)n;
        else if (f == &limit_fields[2])
            ret->disk = (uint64_t)n;
        else
            ret->pids = (uint32_t)n;
    }
    return true;
}

/* The sizes that developers know by name. */
static bool read_type(struct gateway *gw, struct exchange *x, const char *name,
                      struct wire_limits *ret)
{
    static const struct {
        const char *name;
        uint32_t cpu, memory_mib, disk_gb;
    } types[] = {{"lite", 63, 256, 2},           {"basic", 250, 1024, 4},
                 {"standard-1", 500, 4096, 8},   {"standard-2", 1000, 6144, 12},
                 {"standard-3", 2000, 8192, 16}, {"standard-4", 4000, 12288, 20}};
    for (size_t i = 0; name && i < COUNT(types); i++) {
        if (!strcmp(name, types[i].name)) {
            ret->cpu = types[i].cpu;
            ret->memory = (uint64_t)types[i].memory_mib << 20;
            ret->disk = types[i].disk_gb * 1000000000ull;
            return true;
        }
    }
    if (name)
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "instanceType",
                         "instanceType is lite, basic or standard-1 to standard-4");
    return !name;
}

/* Of either or both, the numbers above the name. */
static bool read_size(struct gateway *gw, struct exchange *x, const json_t *o,
                      struct wire_limits *ret)
{
    return read_type(gw, x, api_string(o, "instanceType"), ret) &&
           read_limits(gw, x, json_object_get(o, "limits"), ret);
}

/* A size by name says nothing of a disk that can have no limit. */
static void skip_disk(struct sandbox *sb, const json_t *o, struct wire_limits *l)
{
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    if (!i.limits.disk && *i.disk && !json_object_get(json_object_get(o, "limits"), "disk"))
        l->disk = 0;
}

static bool conflicts(struct sandbox *sb, const struct sandbox_spec *spec, const json_t *o)
{
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    struct wire_limits wanted = spec->limits, *l = &wanted;
    skip_disk(sb, o, l);
    return (json_object_get(o, "image") && *spec->image && strcmp(spec->image, i.image) != 0) ||
           (l->memory && l->memory != i.limits.memory) || (l->cpu && l->cpu != i.limits.cpu) ||
           (l->pids && l->pids != i.limits.pids) || (l->disk && l->disk != i.limits.disk);
}

static void update(struct sandbox *sb, const struct sandbox_spec *spec)
{
    if (spec->labels)
        sandbox_set_labels(sb, spec->labels);
    if (spec->env)
        sandbox_set_env(sb, spec->env);
}

static void update_life(struct sandbox *sb, const json_t *o)
{
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    const json_t *keep = json_object_get(o, "keepAlive");
    if (keep || json_object_get(o, "sleepAfter"))
        sandbox_set_life(sb, (uint64_t)api_duration(o, "sleepAfter", (json_int_t)i.sleep_after_ms),
                         keep ? json_is_true(keep) : i.keep_alive);
}

static void wait_running(struct gateway *gw, struct exchange *x, struct sandbox *sb,
                         const char *name, bool created)
{
    struct pending *w = calloc(1, sizeof *w);
    if (!w) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *w = (struct pending){.gw = gw, .x = x, .created = created};
    memcpy(w->name, name, strlen(name) + 1);
    exchange_set_ops(x, &pending_ops, w);
    if (sandbox_when_running(sb, on_running, w) < 0) {
        exchange_set_ops(x, NULL, NULL);
        free(w);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
    }
}

static void get_or_start(struct gateway *gw, struct exchange *x, const char *name, const json_t *o,
                         struct sandbox_spec *spec)
{
    struct sandbox *sb = sandbox_get(gw->manager, name);
    bool created = !sb;
    if (sb && conflicts(sb, spec, o)) {
        api_error(gw, x, 409, "SANDBOX_EXISTS",
                  "sandbox %s exists with another image or other limits", name);
        return;
    }
    if (sb)
        update(sb, spec);
    int e = sb ? 0 : sandbox_create(gw->manager, spec, &sb);
    if (e == SANDBOX_E_NAME)
        api_sandbox(gw, x, name); /* answers */
    else if (e == SANDBOX_E_LIMIT)
        api_error(gw, x, 429, "TOO_MANY_SANDBOXES", "this server holds no more sandboxes");
    else if (e)
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
    else {
        update_life(sb, o);
        wait_running(gw, x, sb, name, created);
    }
}

/* A request whose egress policy is put in force first: a box never runs under another. */
struct arranging {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    char name[256];
    json_t *body;
    void (*go_on)(struct gateway *gw, struct exchange *x, const char *name, const json_t *o);
};

static void on_arranger_gone(void *user)
{
    ((struct arranging *)user)->x = NULL;
}

static void on_arranged(void *user, const struct err *e, const struct wire_egress_reply *r,
                        const char *data)
{
    struct arranging *a = user;
    struct exchange *x = a->x;
    (void)r;
    (void)data;
    if (x)
        exchange_set_ops(x, NULL, NULL);
    if (x && e->code == EGRESS_E_INVALID)
        api_error_detail(a->gw, x, 400, "EGRESS_POLICY_INVALID", "field", "egress", "egress: %s",
                         e->text);
    else if (x && e->code)
        api_error_err(a->gw, x, 503, "EGRESS_UNAVAILABLE", e);
    else if (x)
        a->go_on(a->gw, x, a->name, a->body);
    json_decref(a->body);
    free(a);
}

static void with_policy(struct gateway *gw, struct exchange *x, const char *name, json_t *o,
                        void (*go_on)(struct gateway *gw, struct exchange *x, const char *name,
                                      const json_t *o))
{
    static const struct exchange_ops ops = {.closed = on_arranger_gone};
    const json_t *policy = json_object_get(o, "egress");
    if (!policy) {
        go_on(gw, x, name, o);
        return;
    }
    char *text = json_dumps(policy, JSON_INDENT(2));
    struct arranging *a = text ? calloc(1, sizeof *a) : NULL;
    if (!a) {
        free(text);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *a = (struct arranging){.gw = gw, .x = x, .body = json_incref(o), .go_on = go_on};
    memcpy(a->name, name, strlen(name) + 1);
    exchange_set_ops(x, &ops, a);
    egress_set_policy(gw, name, text, strlen(text), on_arranged, a);
    free(text);
}

static void put_go(struct gateway *gw, struct exchange *x, const char *name, const json_t *o)
{
    struct sandbox_spec spec = {.name = name};
    char *env =
        json_object_get(o, "env") ? json_dumps(json_object_get(o, "env"), JSON_COMPACT) : NULL;
    char *labels = json_object_get(o, "labels")
                       ? json_dumps(json_object_get(o, "labels"), JSON_COMPACT)
                       : NULL;
    spec.env = env;
    spec.labels = labels;
    spec.image = api_string(o, "image") ? api_string(o, "image") : "";
    if (strspn(spec.image, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != strlen(spec.image))
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "image",
                         "an image is named by a-z 0-9 - _ .");
    else if (read_size(gw, x, o, &spec.limits))
        get_or_start(gw, x, name, o, &spec);
    free(env);
    free(labels);
}

static void put(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    json_t *o = api_body(gw, x, r, put_fields, COUNT(put_fields));
    if (o && !sandbox_name_valid(p->value[0]))
        api_sandbox(gw, x, p->value[0]); /* answers */
    else if (o)
        with_policy(gw, x, p->value[0], o, put_go);
    json_decref(o);
}

static void answer_sandbox(struct gateway *gw, struct exchange *x, struct sandbox *sb)
{
    CLEANUP_BUF struct buf b = {0};
    api_put_sandbox(&b, sb, false);
    api_json(gw, x, 200, &b);
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    (void)r;
    if (sb)
        answer_sandbox(gw, x, sb);
}

/* New limits on their way to the box. */
struct limiting {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    char name[64];
    struct wire_limits limits;
};

static void on_limiter_gone(void *user)
{
    ((struct limiting *)user)->x = NULL;
}

static const struct exchange_ops limiting_ops = {.closed = on_limiter_gone};

static void on_limited(void *user, const struct err *e, const struct wire_message *m)
{
    struct limiting *l = user;
    struct sandbox *sb = sandbox_get(l->gw->manager, l->name);
    CLEANUP_BUF struct buf b = {0};
    (void)m;
    if (!e->code && sb)
        sandbox_limits_set(sb, &l->limits);
    if (l->x && sb && !e->code) {
        api_put_sandbox(&b, sb, false);
        api_json(l->gw, l->x, 200, &b);
    } else if (l->x) {
        api_error_err(l->gw, l->x, 409, "LIMITS_NOT_POSSIBLE", e);
    }
    free(l);
}

/* Whether the answer is left to it. */
static bool change_limits(struct gateway *gw, struct exchange *x, struct sandbox *sb,
                          const struct wire_limits *want)
{
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    if (want->disk && !i.limits.disk && *i.disk) {
        api_error(gw, x, 409, "LIMITS_NOT_POSSIBLE",
                  "the sandbox was made without a disk limit, and cannot get one later");
        return true;
    }
    struct limiting *l = calloc(1, sizeof *l);
    if (!l) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return true;
    }
    *l = (struct limiting){.gw = gw, .x = x, .limits = i.limits};
    memcpy(l->name, i.name, strlen(i.name) + 1);
    l->limits.memory = want->memory ? want->memory : i.limits.memory;
    l->limits.cpu = want->cpu ? want->cpu : i.limits.cpu;
    l->limits.pids = want->pids ? want->pids : i.limits.pids;
    l->limits.disk = want->disk ? want->disk : i.limits.disk;
    exchange_set_ops(x, &limiting_ops, l);
    int r = sandbox_set_limits(sb, &l->limits, on_limited, l);
    if (r == 1)
        return true;
    exchange_set_ops(x, NULL, NULL);
    free(l);
    if (r < 0)
        api_error(gw, x, 409, "RESOURCE_BUSY", "the sandbox is just starting");
    return r < 0;
}

static void patch_go(struct gateway *gw, struct exchange *x, const char *name, const json_t *o)
{
    struct sandbox *sb = api_sandbox(gw, x, name);
    struct wire_limits want = {0};
    if (!sb || !read_size(gw, x, o, &want))
        return;
    skip_disk(sb, o, &want);
    char *env =
        json_object_get(o, "env") ? json_dumps(json_object_get(o, "env"), JSON_COMPACT) : NULL;
    char *labels = json_object_get(o, "labels")
                       ? json_dumps(json_object_get(o, "labels"), JSON_COMPACT)
                       : NULL;
    struct sandbox_spec spec = {.env = env, .labels = labels};
    update(sb, &spec);
    update_life(sb, o);
    free(env);
    free(labels);
    if (!(want.memory || want.cpu || want.pids || want.disk) || !change_limits(gw, x, sb, &want))
        answer_sandbox(gw, x, sb);
}

static void patch(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    json_t *o = sb ? api_body(gw, x, r, patch_fields, COUNT(patch_fields)) : NULL;
    if (o)
        with_policy(gw, x, p->value[0], o, patch_go);
    json_decref(o);
}

static void on_delete_gone(void *user)
{
    ((struct pending *)user)->x = NULL;
}

static const struct exchange_ops delete_ops = {.closed = on_delete_gone};

static void on_deleted(void *user, const struct err *e)
{
    struct pending *w = user;
    if (w->x && e->code)
        api_error_err(w->gw, w->x, 500, "SANDBOX_DELETE_FAILED", e);
    else if (w->x)
        api_empty(w->gw, w->x, 204);
    free(w);
}

static void delete (struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    struct pending *w = sb ? calloc(1, sizeof *w) : NULL;
    (void)r;
    if (!sb)
        return;
    if (!w) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *w = (struct pending){.gw = gw, .x = x};
    exchange_set_ops(x, &delete_ops, w);
    sandbox_remove(sb, on_deleted, w);
}

const struct route api_sandbox_routes[] = {
    {"GET", "/v1/sandboxes", list, 0},
    {"PUT", "/v1/sandboxes/{name}", put, 0},
    {"GET", "/v1/sandboxes/{name}", get, 0},
    {"PATCH", "/v1/sandboxes/{name}", patch, 0},
    {"DELETE", "/v1/sandboxes/{name}", delete, 0},
};
const size_t api_sandbox_nroutes = COUNT(api_sandbox_routes);
