/* /v1/sandboxes/{name}/buckets, and the buckets of all sandboxes as the registry has them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexts/manager/links/boxes.h"
#include "kernel-gw/api/bucket/bucket.h"
#include "kernel-gw/egress/egress.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

struct buckets {
    struct list all;
};

static struct buckets *buckets(struct gateway *gw)
{
    return gw->buckets;
}

/* Every one of a sandbox. */
#define EACH_OF(gw, it, name)                 \
    LIST_FOREACH_SAFE (it, &buckets(gw)->all) \
        if (!strcmp(LIST_ENTRY(it, struct bucket, link)->sandbox, name))

static struct bucket *find(struct gateway *gw, const char *sandbox, const char *id)
{
    EACH_OF(gw, it, sandbox)
    {
        struct bucket *b = LIST_ENTRY(it, struct bucket, link);
        if (!strcmp(b->id, id))
            return b;
    }
    return NULL;
}

static struct bucket *bucket_add(struct gateway *gw, const char *sandbox, const char *id,
                                 json_t *take_spec)
{
    struct bucket *b = take_spec ? calloc(1, sizeof *b) : NULL;
    if (!b) {
        json_decref(take_spec);
        return NULL;
    }
    b->gw = gw;
    b->spec = take_spec;
    snprintf(b->sandbox, sizeof b->sandbox, "%s", sandbox);
    snprintf(b->id, sizeof b->id, "%s", id);
    list_append(&buckets(gw)->all, &b->link);
    return b;
}

static bool owns_secret(const struct bucket *b)
{
    const char *secret = api_string(b->spec, "secret");
    return secret && *secret == '_';
}

static void bucket_free(struct bucket *b)
{
    struct wire_egress_call m = {.op = EGRESS_SECRET_REMOVE};
    bucket_forget_mount(b);
    if (owns_secret(b)) {
        snprintf(m.name, sizeof m.name, "%s", api_string(b->spec, "secret"));
        egress_call(b->gw, &m, NULL, 0, NULL, NULL);
    }
    list_remove(&b->link);
    buf_deinit(&b->said);
    json_decref(b->spec);
    free(b);
}

static void keep(struct gateway *gw, const char *sandbox)
{
    json_t *list = json_array();
    EACH_OF(gw, it, sandbox)
    {
        json_array_append(list, LIST_ENTRY(it, struct bucket, link)->spec);
    }
    char *text = json_array_size(list) ? json_dumps(list, JSON_COMPACT) : NULL;
    store_put_document(gw->store, "buckets", sandbox, text, STORE_NOW);
    free(text);
    json_decref(list);
}

/* For kernel-gw/egress. */
static char *rules(struct gateway *gw, const char *sandbox)
{
    json_t *list = json_array();
    EACH_OF(gw, it, sandbox)
    {
        json_array_append_new(list, bucket_rule(LIST_ENTRY(it, struct bucket, link)));
    }
    char *text = json_array_size(list) ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    return text;
}

/* ---- answers ---- */

static void put_bucket(struct buf *out, const struct bucket *b)
{
    static const char *const shown[] = {"bucket", "path", "endpoint", "region", "prefix", "secret"};
    static const char *const states[] = {"asleep", "mounting", "mounted", "failed"};
    buf_puts(out, "{\"id\":");
    json_put_cstring(out, b->id);
    for (size_t i = 0; i < COUNT(shown); i++) {
        const char *s = api_string(b->spec, shown[i]);
        if (s && (i < COUNT(shown) - 1 || !owns_secret(b)))
            api_member(out, shown[i], s);
    }
    buf_printf(out, ",\"readOnly\":%s",
               json_is_true(json_object_get(b->spec, "readOnly")) ? "true" : "false");
    api_member(out, "state", states[b->state]);
    if (*b->error && b->state == BUCKET_FAILED)
        api_member(out, "error", b->error);
    buf_putc(out, '}');
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    size_t n = 0;
    (void)r;
    if (!api_sandbox(gw, x, p->value[0]))
        return;
    buf_puts(&b, "{\"buckets\":[");
    EACH_OF(gw, it, p->value[0])
    {
        if (n++)
            buf_putc(&b, ',');
        put_bucket(&b, LIST_ENTRY(it, struct bucket, link));
    }
    buf_puts(&b, "]}");
    api_json(gw, x, 200, &b);
}

static struct bucket *of_path(struct gateway *gw, struct exchange *x, const struct route_params *p)
{
    if (!api_sandbox(gw, x, p->value[0]))
        return NULL;
    struct bucket *b = find(gw, p->value[0], p->value[1]);
    if (!b)
        api_error_detail(gw, x, 404, "BUCKET_NOT_FOUND", "bucket", p->value[1],
                         "no bucket %s is mounted in this sandbox", p->value[1]);
    return b;
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    CLEANUP_BUF struct buf out = {0};
    const struct bucket *b = of_path(gw, x, p);
    (void)r;
    if (!b)
        return;
    put_bucket(&out, b);
    api_json(gw, x, 200, &out);
}

/* ---- mounting ---- */

/* A request for one, until the mount has succeeded or not. */
struct mounting {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone; the mount goes on */
    char sandbox[64], id[BUCKET_ID];
    json_t *spec;
    struct sandbox_hold hold;
};

static void mounting_free(void *user)
{
    struct mounting *m = user;
    sandbox_release(&m->hold);
    json_decref(m->spec);
    free(m);
}

static void refuse(struct mounting *m, int status, const char *code, const char *text)
{
    if (m->x) {
        exchange_set_ops(m->x, NULL, NULL);
        api_error_detail(m->gw, m->x, status, code, "bucket", api_string(m->spec, "bucket"), "%s",
                         text);
    }
    mounting_free(m);
}

static void on_mounted(void *user, struct bucket *b)
{
    struct mounting *m = user;
    CLEANUP_BUF struct buf out = {0};
    char text[600];
    if (b->state == BUCKET_MOUNTED) {
        keep(m->gw, m->sandbox);
        if (m->x) {
            put_bucket(&out, b);
            exchange_set_ops(m->x, NULL, NULL);
            api_json(m->gw, m->x, 201, &out);
        }
        mounting_free(m);
        return;
    }
    snprintf(text, sizeof text, "%s", b->error);
    struct bucket_failure f = b->failure;
    struct gateway *gw = m->gw;
    char sandbox[64];
    snprintf(sandbox, sizeof sandbox, "%s", m->sandbox);
    bucket_free(b);
    egress_refresh(gw, sandbox, NULL, NULL);
    refuse(m, f.status, f.code, text);
}

static void on_refreshed(void *user, const struct err *err, const struct wire_egress_reply *r,
                         const char *data)
{
    struct mounting *m = user;
    struct bucket *b = find(m->gw, m->sandbox, m->id);
    struct sandbox *sb = sandbox_get(m->gw->manager, m->sandbox);
    (void)r;
    (void)data;
    if (!b || !sb || !sandbox_box(sb)) {
        if (b)
            bucket_free(b);
        refuse(m, 503, "BOX_GONE", "the sandbox ended");
        return;
    }
    b->done = on_mounted;
    b->user = m;
    if (err->code) {
        b->state = BUCKET_FAILED;
        b->failure = (struct bucket_failure){503, "EGRESS_UNAVAILABLE"};
        snprintf(b->error, sizeof b->error, "%s: %s", err->step, err->text);
        on_mounted(m, b);
    } else {
        bucket_mount(b);
    }
}

static void add_and_mount(struct mounting *m)
{
    json_t *spec = json_deep_copy(m->spec);
    json_object_del(spec, "credentials");
    json_object_set_new(spec, "id", json_string(m->id));
    if (!bucket_add(m->gw, m->sandbox, m->id, spec)) {
        refuse(m, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    egress_refresh(m->gw, m->sandbox, on_refreshed, m);
}

static void on_secret(void *user, const struct err *err, const struct wire_egress_reply *r,
                      const char *data)
{
    struct mounting *m = user;
    (void)r;
    (void)data;
    if (err->code)
        refuse(m, 503, "EGRESS_UNAVAILABLE", err->text);
    else
        add_and_mount(m);
}

/* Credentials of the request become a secret that only this sandbox may send, and only there. */
static void put_secret(struct mounting *m)
{
    struct wire_egress_call call = {.op = EGRESS_SECRET_PUT};
    char host[300];
    json_t *o = json_deep_copy(json_object_get(m->spec, "credentials"));
    bucket_host(api_string(m->spec, "endpoint"), host);
    host[strcspn(host, ":")] = 0;
    json_object_set_new(o, "hosts", json_pack("[s]", host));
    json_object_set_new(o, "sandboxes", json_pack("[s]", m->sandbox));
    snprintf(call.name, sizeof call.name, "_%s", m->id);
    json_object_set_new(m->spec, "secret", json_string(call.name));
    char *text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (text)
        egress_call(m->gw, &call, text, strlen(text), on_secret, m);
    else
        refuse(m, 503, "OUT_OF_MEMORY", "out of memory");
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void on_client_gone(void *user)
{
    ((struct mounting *)user)->x = NULL;
}

static const struct exchange_ops mounting_ops = {.closed = on_client_gone};

/* NULL: there is room for it. */
static const char *conflict(struct mounting *m)
{
    unsigned n = 0;
    EACH_OF(m->gw, it, m->sandbox)
    {
        const struct bucket *b = LIST_ENTRY(it, struct bucket, link);
        if (!strcmp(api_string(b->spec, "path"), api_string(m->spec, "path")))
            return "a bucket is mounted there already";
        n++;
    }
    return n < BUCKETS_MAX ? NULL : "a sandbox has at most 16 buckets";
}

static void go(void *user, struct sandbox *sb)
{
    struct mounting *m = user;
    const char *wrong = conflict(m);
    exchange_set_ops(m->x, &mounting_ops, m);
    sandbox_hold(sb, &m->hold);
    if (wrong)
        refuse(m, 409, "BUCKET_EXISTS", wrong);
    else if (json_object_get(m->spec, "credentials"))
        put_secret(m);
    else
        add_and_mount(m);
}

static const struct api_field fields[] = {
    {.name = "bucket", .type = API_STRING, .required = true, .max = 63},
    {.name = "path", .type = API_STRING, .required = true, .max = 1024},
    {.name = "endpoint", .type = API_STRING, .required = true, .max = 300},
    {.name = "region", .type = API_STRING, .max = 63},
    {.name = "prefix", .type = API_STRING, .max = 1024},
    {.name = "readOnly", .type = API_BOOLEAN},
    {.name = "secret", .type = API_STRING, .max = 64},
    {.name = "credentials", .type = API_OBJECT},
    {.name = "s3fsOptions", .type = API_STRING_LIST},
};

static void create(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct route_params *p)
{
    json_t *o = api_body(gw, x, r, fields, COUNT(fields));
    const char *field, *wrong = o ? bucket_spec_check(o, &field) : NULL;
    struct mounting *m = o && !wrong ? calloc(1, sizeof *m) : NULL;
    bool reserved = o && api_string(o, "secret") && *api_string(o, "secret") == '_';
    if (wrong || reserved)
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", wrong ? field : "secret", "%s: %s",
                         wrong ? field : "secret", wrong ? wrong : "there is no such secret");
    else if (o && !m)
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
    if (!m || reserved) {
        free(m);
        json_decref(o);
        return;
    }
    *m = (struct mounting){.gw = gw, .x = x, .spec = o};
    id_hex(m->id, 8);
    snprintf(m->sandbox, sizeof m->sandbox, "%.63s", p->value[0]);
    box_call(gw, x, p->value[0], true, go, mounting_free, m);
}

/* ---- unmounting ---- */

struct unmounting {
    struct gateway *gw;
    struct exchange *x;
    char sandbox[64], id[BUCKET_ID];
};

static void on_unmounter_gone(void *user)
{
    ((struct unmounting *)user)->x = NULL;
}

static const struct exchange_ops unmounting_ops = {.closed = on_unmounter_gone};

static void forget(struct gateway *gw, struct bucket *b)
{
    char sandbox[64];
    snprintf(sandbox, sizeof sandbox, "%s", b->sandbox);
    bucket_end_server(b);
    bucket_free(b);
    keep(gw, sandbox);
    egress_refresh(gw, sandbox, NULL, NULL);
}

static void on_unmounted(void *user, const struct err *e, const struct wire_message *m)
{
    struct unmounting *u = user;
    struct bucket *b = find(u->gw, u->sandbox, u->id);
    (void)m;
    if (b && e->code == -EBUSY) {
        if (u->x)
            api_error_detail(u->gw, u->x, 409, "RESOURCE_BUSY", "bucket", u->id,
                             "files of the bucket are open, or a program is in it; force=true "
                             "takes it off all the same");
    } else if (b && e->code && e->code != -ENOENT && e->code != -ESRCH) {
        if (u->x)
            api_error_err(u->gw, u->x, 503, "BUCKET_UNMOUNT_FAILED", e);
    } else {
        if (b)
            forget(u->gw, b);
        if (u->x)
            api_empty(u->gw, u->x, 204);
    }
    free(u);
}

static void delete (struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    struct bucket *b = of_path(gw, x, p);
    char force[8];
    if (!b)
        return;
    if (!b->box || b->state == BUCKET_FAILED) {
        forget(gw, b);
        api_empty(gw, x, 204);
        return;
    }
    struct unmounting *u = calloc(1, sizeof *u);
    if (!u) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *u = (struct unmounting){.gw = gw, .x = x};
    memcpy(u->sandbox, b->sandbox, sizeof u->sandbox);
    memcpy(u->id, b->id, sizeof u->id);
    exchange_set_ops(x, &unmounting_ops, u);
    boxes_unfuse(gw->boxes, b->box, b->id,
                 http_query(r, "force", force, sizeof force) && !strcmp(force, "true")
                     ? WIRE_FUSE_DETACH
                     : 0,
                 on_unmounted, u);
}

const struct route api_bucket_routes[] = {
    {"POST", "/v1/sandboxes/{name}/buckets", create, 0},
    {"GET", "/v1/sandboxes/{name}/buckets", list, 0},
    {"GET", "/v1/sandboxes/{name}/buckets/{id}", get, 0},
    {"DELETE", "/v1/sandboxes/{name}/buckets/{id}", delete, 0},
};
const size_t api_bucket_nroutes = COUNT(api_bucket_routes);

/* ---- with the life of sandboxes ---- */

/* One of the mounts that a sandbox which wakes waits for. A mount that fails keeps nobody waiting.
 */
static void on_remounted(void *user, struct bucket *b)
{
    struct gateway *gw = user;
    struct sandbox *sb = sandbox_get(gw->manager, b->sandbox);
    bool waits = false;
    EACH_OF(gw, it, b->sandbox)
    {
        waits |= LIST_ENTRY(it, struct bucket, link)->done != NULL;
    }
    keep(gw, b->sandbox);
    if (sb && !waits)
        sandbox_prepared(sb);
}

static bool on_box(void *user, struct sandbox *sb, bool adopted)
{
    struct gateway *gw = user;
    struct sandbox_info i;
    unsigned n = 0;
    sandbox_get_info(sb, &i);
    EACH_OF(gw, it, i.name)
    {
        struct bucket *b = LIST_ENTRY(it, struct bucket, link);
        bucket_forget_mount(b);
        b->again = 0;
        n++;
        if (adopted) {
            bucket_watch(b);
        } else {
            b->done = on_remounted;
            b->user = gw;
        }
    }
    if (n && !adopted) {
        EACH_OF(gw, it, i.name)
        {
            bucket_mount(LIST_ENTRY(it, struct bucket, link));
        }
    }
    return n > 0;
}

static void on_changed(void *user, struct sandbox *sb)
{
    struct gateway *gw = user;
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    EACH_OF(gw, it, i.name)
    {
        struct bucket *b = LIST_ENTRY(it, struct bucket, link);
        if (b->box && (b->box != i.box || i.state == SANDBOX_STOPPED))
            bucket_forget_mount(b);
    }
}

static void on_removed(void *user, const char *name)
{
    struct gateway *gw = user;
    EACH_OF(gw, it, name)
    {
        struct bucket *b = LIST_ENTRY(it, struct bucket, link);
        void (*done)(void *u, struct bucket *bucket) = b->done;
        if (done == on_mounted) { /* its request is told, and frees it */
            b->state = BUCKET_FAILED;
            b->failure = (struct bucket_failure){404, "SANDBOX_NOT_FOUND"};
            snprintf(b->error, sizeof b->error, "the sandbox was removed");
            b->done = NULL;
            done(b->user, b);
        } else {
            bucket_free(b);
        }
    }
    store_put_document(gw->store, "buckets", name, NULL, STORE_NOW);
}

static void load(void *user, const char *sandbox, const char *json)
{
    struct gateway *gw = user;
    json_t *all = json_loads(json, 0, NULL), *spec;
    size_t i;
    json_array_foreach (all, i, spec) {
        const char *id = api_string(spec, "id");
        if (id && strlen(id) < BUCKET_ID)
            bucket_add(gw, sandbox, id, json_incref(spec));
    }
    json_decref(all);
}

int api_buckets_init(struct gateway *gw)
{
    struct buckets *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    list_init(&s->all);
    gw->buckets = s;
    store_each_document(gw->store, "buckets", load, gw);
    if (egress_add_extra(gw, rules) < 0)
        return -ENOMEM;
    struct manager_hooks hooks = {.sandbox_changed = on_changed,
                                  .sandbox_removed = on_removed,
                                  .box_attached = on_box,
                                  .user = gw};
    manager_set_hooks(gw->manager, &hooks);
    return 0;
}
