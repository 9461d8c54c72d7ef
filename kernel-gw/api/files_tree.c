/* POST /v1/sandboxes/{name}/files:list, mkdir, move, stat, ... */
#include <errno.h>
#include <string.h>

#include "kernel-gw/api/files_call.h"
#include "sandbox/base/json.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- answers ---- */

static int one_entry(struct files_call *c, uint32_t flags, const uint8_t *data, size_t len)
{
    struct files_entry e;
    const char *name, *link;
    (void)flags;
    if (c->out.len || !files_entry_next(&data, &len, &e, &name, &link))
        return -EPROTO;
    files_put_entry(&c->out, &e, NULL, name, link);
    return 0;
}

static void one_end(struct files_call *c, const struct files_head *head)
{
    api_json(c->gw, c->x, head->flags & FILES_CREATED ? 201 : 200, &c->out);
}

static const struct files_call_ops one_ops = {.entry = one_entry, .end = one_end};

static void list_begin(struct files_call *c)
{
    struct buf *out = exchange_chunk(c->x);
    c->begun = true;
    api_count(c->gw, 200);
    exchange_begin(c->x, 200, "application/json");
    buf_puts(out, "{\"path\":");
    json_put_cstring(out, buf_str(&c->strings));
    buf_puts(out, ",\"files\":[");
}

static int list_entry(struct files_call *c, uint32_t flags, const uint8_t *data, size_t len)
{
    struct files_entry e;
    const char *name, *link;
    (void)flags;
    if (!c->begun)
        list_begin(c);
    while (files_entry_next(&data, &len, &e, &name, &link)) {
        struct buf *out = exchange_chunk(c->x);
        if (c->count++)
            buf_putc(out, ',');
        files_put_entry(out, &e, buf_str(&c->strings), name, link);
    }
    exchange_flush(c->x);
    return len ? -EPROTO : 0;
}

static void list_end(struct files_call *c, const struct files_head *head)
{
    if (!c->begun)
        list_begin(c);
    buf_printf(exchange_chunk(c->x), "],\"count\":%llu,\"truncated\":%s}",
               (unsigned long long)c->count, head->flags & FILES_TRUNCATED ? "true" : "false");
    exchange_end(c->x);
}

static const struct files_call_ops list_ops = {.entry = list_entry, .end = list_end};

/* ---- requests ---- */

/* What all of them read first. */
struct verb {
    struct gateway *gw;
    struct exchange *x;
    json_t *o;
    struct files_call *c; /* NULL: answered */
};

static struct verb begin(struct gateway *gw, struct exchange *x, const struct http_request *r,
                         const struct route_params *p, const struct api_field *fields, size_t n,
                         const struct files_call_ops *ops, enum files_type type, const char *path)
{
    struct verb v = {.gw = gw, .x = x};
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    v.o = sb ? api_body(gw, x, r, fields, n) : NULL;
    if (!v.o)
        return v;
    const char *text = api_string(v.o, path), *user = api_string(v.o, "user");
    if (user && strcmp(user, "user") != 0 && strcmp(user, "root") != 0)
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "user", "user must be user or root");
    else if (files_path_text(gw, x, text ? text : "."))
        v.c = files_call_new(gw, x, sb, ops, type, text ? text : ".");
    if (v.c)
        v.c->root = user && !strcmp(user, "root");
    return v;
}

static bool is_true(const json_t *o, const char *name)
{
    return json_is_true(json_object_get(o, name));
}

static void option(struct verb *v, const char *name, uint32_t flag)
{
    if (v->c && is_true(v->o, name))
        v->c->rq.h.flags |= flag;
}

/* Gives up what begin made; the error has been answered. */
static void drop(struct verb *v)
{
    files_call_free(v->c);
    v->c = NULL;
}

/* A second path, or any other text. */
static void text(struct verb *v, const char *name)
{
    const char *s = v->c ? api_string(v->o, name) : NULL;
    if (!v->c)
        return;
    if (files_path_text(v->gw, v->x, s))
        files_call_string(v->c, s);
    else
        drop(v);
}

static void mode(struct verb *v)
{
    const char *s = v->c ? api_string(v->o, "mode") : NULL;
    if (s && !files_mode(v->gw, v->x, s, &v->c->rq))
        drop(v);
}

static void go(struct verb *v)
{
    if (v->c)
        files_call_start(v->c);
    json_decref(v->o);
}

bool files_patterns(struct gateway *gw, struct exchange *x, struct files_call *c, const json_t *o)
{
    static const char *const keys[] = {"include", "exclude"};
    size_t i;
    json_t *item;
    for (int k = 0; k < 2; k++) {
        json_array_foreach (json_object_get(o, keys[k]), i, item) {
            size_t n = json_string_length(item);
            if (i == FILES_GLOBS_MAX || !n || n > FILES_GLOB_LEN) {
                api_error_detail(gw, x, 400, "INVALID_FIELD", "field", keys[k],
                                 "at most %d patterns of 1 to %d bytes", FILES_GLOBS_MAX,
                                 FILES_GLOB_LEN);
                return false;
            }
            files_call_string(c, json_string_value(item));
        }
        if (!k)
            c->rq.npatterns = c->rq.nstrings - 1;
    }
    return true;
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    static const struct api_field fields[] = {
        {.name = "path", .type = API_STRING},
        {.name = "user", .type = API_STRING},
        {.name = "recursive", .type = API_BOOLEAN},
        {.name = "includeHidden", .type = API_BOOLEAN},
        {.name = "include", .type = API_STRING_LIST},
        {.name = "exclude", .type = API_STRING_LIST},
        {.name = "depth", .type = API_INTEGER, .min = 1, .max = 256},
        {.name = "limit", .type = API_INTEGER, .min = 1, .max = 1000000},
    };
    struct verb v = begin(gw, x, r, p, fields, COUNT(fields), &list_ops, FILES_LIST, "path");
    option(&v, "recursive", FILES_RECURSIVE);
    option(&v, "includeHidden", FILES_HIDDEN);
    if (v.c) {
        v.c->rq.depth = (uint32_t)api_integer(v.o, "depth", 0);
        v.c->rq.limit = (uint64_t)api_integer(v.o, "limit", 100000);
        if (v.c->rq.depth)
            v.c->rq.h.flags |= FILES_RECURSIVE;
        if (!files_patterns(gw, x, v.c, v.o))
            drop(&v);
    }
    go(&v);
}

static void stat_(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  const struct route_params *p)
{
    static const struct api_field fields[] = {
        {.name = "path", .type = API_STRING, .required = true},
        {.name = "user", .type = API_STRING},
        {.name = "followSymlinks", .type = API_BOOLEAN},
    };
    struct verb v = begin(gw, x, r, p, fields, COUNT(fields), &one_ops, FILES_STAT, "path");
    if (v.c && json_is_false(json_object_get(v.o, "followSymlinks")))
        v.c->rq.h.flags |= FILES_NOFOLLOW;
    go(&v);
}

static void mkdir_(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct route_params *p)
{
    static const struct api_field fields[] = {
        {.name = "path", .type = API_STRING, .required = true},
        {.name = "user", .type = API_STRING},
        {.name = "recursive", .type = API_BOOLEAN},
        {.name = "mode", .type = API_STRING},
    };
    struct verb v = begin(gw, x, r, p, fields, COUNT(fields), &one_ops, FILES_MKDIR, "path");
    option(&v, "recursive", FILES_PARENTS);
    mode(&v);
    go(&v);
}

static void relocate(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const struct route_params *p, enum files_type type)
{
    static const struct api_field fields[] = {
        {.name = "source", .type = API_STRING, .required = true},
        {.name = "destination", .type = API_STRING, .required = true},
        {.name = "user", .type = API_STRING},
        {.name = "overwrite", .type = API_BOOLEAN},
        {.name = "parents", .type = API_BOOLEAN},
        {.name = "recursive", .type = API_BOOLEAN},
    };
    struct verb v = begin(gw, x, r, p, fields, COUNT(fields), &one_ops, type, "source");
    option(&v, "parents", FILES_PARENTS);
    option(&v, "recursive", FILES_RECURSIVE);
    if (v.c && json_is_false(json_object_get(v.o, "overwrite")))
        v.c->rq.h.flags |= FILES_EXCLUSIVE;
    text(&v, "destination");
    go(&v);
}

static void move(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    relocate(gw, x, r, p, FILES_MOVE);
}

static void copy(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    relocate(gw, x, r, p, FILES_COPY);
}

static void chmod_(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct route_params *p)
{
    static const struct api_field fields[] = {
        {.name = "path", .type = API_STRING, .required = true},
        {.name = "mode", .type = API_STRING, .required = true},
        {.name = "user", .type = API_STRING},
        {.name = "recursive", .type = API_BOOLEAN},
    };
    struct verb v = begin(gw, x, r, p, fields, COUNT(fields), &one_ops, FILES_CHMOD, "path");
    option(&v, "recursive", FILES_RECURSIVE);
    mode(&v);
    go(&v);
}

static void symlink_(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const struct route_params *p)
{
    static const struct api_field fields[] = {
        {.name = "path", .type = API_STRING, .required = true},
        {.name = "target", .type = API_STRING, .required = true},
        {.name = "user", .type = API_STRING},
        {.name = "parents", .type = API_BOOLEAN},
        {.name = "overwrite", .type = API_BOOLEAN},
    };
    struct verb v = begin(gw, x, r, p, fields, COUNT(fields), &one_ops, FILES_SYMLINK, "path");
    option(&v, "parents", FILES_PARENTS);
    if (v.c && !is_true(v.o, "overwrite"))
        v.c->rq.h.flags |= FILES_EXCLUSIVE;
    text(&v, "target");
    go(&v);
}

const struct route api_tree_routes[] = {
    {"POST", "/v1/sandboxes/{name}/files:list", list, 0},
    {"POST", "/v1/sandboxes/{name}/files:stat", stat_, 0},
    {"POST", "/v1/sandboxes/{name}/files:mkdir", mkdir_, 0},
    {"POST", "/v1/sandboxes/{name}/files:move", move, 0},
    {"POST", "/v1/sandboxes/{name}/files:copy", copy, 0},
    {"POST", "/v1/sandboxes/{name}/files:chmod", chmod_, 0},
    {"POST", "/v1/sandboxes/{name}/files:symlink", symlink_, 0},
    {"POST", "/v1/sandboxes/{name}/files:search", files_search_route, 0},
};
const size_t api_tree_nroutes = COUNT(api_tree_routes);
