/*
 * /api/sessions: which notebook of a client uses which kernel. The registry keeps them, so they are
 * there again after a restart of the gateway. A path is the client's own name for something;
 * nothing here looks for such a file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/rest/private.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"

enum { SESSIONS_MAX = 10000, TEXT_MAX = 4096 };
#define KIND "session"

struct session {
    struct list link;
    char id[37], kernel[37];
    char *path, *name, *type;
};

/* ---- table ---- */

static void session_free(struct session *s)
{
    list_remove(&s->link);
    free(s->path);
    free(s->name);
    free(s->type);
    free(s);
}

static bool set_text(char **at, const char *value)
{
    char *copy = strdup(value ? value : "");
    if (!copy)
        return false;
    free(*at);
    *at = copy;
    return true;
}

static struct session *session_new(struct door *d, const char *id, const char *path,
                                   const char *name, const char *type, const char *kernel)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    list_init(&s->link);
    snprintf(s->id, sizeof s->id, "%s", id);
    snprintf(s->kernel, sizeof s->kernel, "%s", kernel);
    if (!set_text(&s->path, path) || !set_text(&s->name, name) || !set_text(&s->type, type)) {
        session_free(s);
        return NULL;
    }
    list_append(&d->sessions, &s->link);
    return s;
}

static void save(struct door *d, const struct session *s)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "path", s->path, "name", s->name, "type", s->type,
                          "kernel", s->kernel);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    if (text)
        store_put_document(d->gw->store, KIND, s->id, text, STORE_NOW);
    free(text);
    json_decref(o);
}

static void forget(struct door *d, struct session *s)
{
    store_put_document(d->gw->store, KIND, s->id, NULL, STORE_NOW);
    session_free(s);
}

static void on_stored(void *user, const char *id, const char *json)
{
    json_t *o = json_loads(json, 0, NULL);
    const char *kernel = json_string_value(json_object_get(o, "kernel"));
    if (kernel && strlen(id) == 36)
        session_new(user, id, json_string_value(json_object_get(o, "path")),
                    json_string_value(json_object_get(o, "name")),
                    json_string_value(json_object_get(o, "type")), kernel);
    json_decref(o);
}

void sessions_context_removed(struct door *d, struct context *c)
{
    struct context_info info;
    context_get_info(c, &info);
    LIST_FOREACH_SAFE (it, &d->sessions) {
        struct session *s = LIST_ENTRY(it, struct session, link);
        if (!strcmp(s->kernel, info.id))
            forget(d, s);
    }
}

void sessions_settle(struct door *d)
{
    LIST_FOREACH_SAFE (it, &d->sessions) {
        struct session *s = LIST_ENTRY(it, struct session, link);
        if (!context_get(d->gw->manager, s->kernel))
            forget(d, s);
    }
}

void sessions_init(struct door *d)
{
    list_init(&d->sessions);
    store_each_document(d->gw->store, KIND, on_stored, d);
}

/* ---- models ---- */

static void put_session(struct buf *b, const struct rest *q, const struct session *s)
{
    struct context *c = rest_find_kernel(q, s->kernel);
    buf_printf(b, "{\"id\":\"%s\"", s->id);
    api_member(b, "path", s->path);
    api_member(b, "name", s->name);
    api_member(b, "type", s->type);
    buf_puts(b, ",\"kernel\":");
    if (c)
        rest_put_kernel(b, q->door, c);
    else
        buf_puts(b, "null");
    if (!strcmp(s->type, "notebook")) {
        buf_puts(b, ",\"notebook\":{\"path\":");
        json_put_cstring(b, s->path);
        api_member(b, "name", s->name);
        buf_putc(b, '}');
    }
    buf_putc(b, '}');
}

static void respond(struct rest *q, const struct session *s, int status)
{
    CLEANUP_BUF struct buf b = {0};
    put_session(&b, q, s);
    if (status == 201) {
        char location[260];
        snprintf(location, sizeof location, "%s/api/sessions/%s", q->base, s->id);
        exchange_header(q->x, "Location", location);
    }
    api_json(q->gw, q->x, status, &b);
}

/* One whose kernel the request may see. NULL: answered with 404. */
static struct session *wanted(struct rest *q)
{
    LIST_FOREACH (it, &q->door->sessions) {
        struct session *s = LIST_ENTRY(it, struct session, link);
        if (!strcmp(s->id, q->arg[0]) && rest_find_kernel(q, s->kernel))
            return s;
    }
    rest_error(q, 404, "SESSION_NOT_FOUND", "Session not found: session_id=%.64s", q->arg[0]);
    return NULL;
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    struct rest q;
    if (!rest_open(&q, gw, x, r, p))
        return;
    buf_putc(&b, '[');
    LIST_FOREACH (it, &q.door->sessions) {
        const struct session *s = LIST_ENTRY(it, struct session, link);
        if (!rest_find_kernel(&q, s->kernel))
            continue;
        if (b.len > 1)
            buf_putc(&b, ',');
        put_session(&b, &q, s);
    }
    buf_putc(&b, ']');
    api_json(gw, x, 200, &b);
}

/* ---- changes ---- */

/* {"id"} of one that runs, or {"name"} of one to start. NULL: answered. */
static struct context *kernel_for(struct rest *q, const json_t *o)
{
    const json_t *kernel = json_object_get(o, "kernel");
    const char *id = rest_text(kernel, "id");
    if (!id)
        return rest_start_kernel(q, rest_text(kernel, "name"), json_object_get(o, "env"), NULL,
                                 501);
    struct context *c = rest_find_kernel(q, id);
    if (!c)
        rest_error(q, 404, "KERNEL_NOT_FOUND", "Kernel does not exist: %.64s", id);
    return c;
}

static bool texts_fit(struct rest *q, const json_t *o)
{
    static const char *const names[] = {"path", "name", "type"};
    for (size_t i = 0; i < 3; i++) {
        const char *s = rest_text(o, names[i]);
        if (s && strlen(s) > TEXT_MAX) {
            rest_error(q, 400, "INVALID_FIELD", "%s is too long", names[i]);
            return false;
        }
    }
    return true;
}

static void start_session(struct rest *q, const json_t *o)
{
    const char *path = rest_text(o, "path"), *type = rest_text(o, "type");
    struct context_info info;
    char id[37];
    if (list_count(&q->door->sessions) >= SESSIONS_MAX) {
        rest_error(q, 429, "TOO_MANY_SESSIONS", "there are too many sessions");
        return;
    }
    struct context *c = kernel_for(q, o);
    if (!c)
        return;
    context_get_info(c, &info);
    id_uuid(id);
    struct session *s = session_new(q->door, id, path, rest_text(o, "name"), type, info.id);
    if (!s) {
        rest_error(q, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    save(q->door, s);
    respond(q, s, 201);
}

static void post(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    struct rest q;
    json_t *o = rest_open(&q, gw, x, r, p) ? rest_body(&q) : NULL;
    if (!o)
        return;
    const char *path = rest_text(o, "path");
    struct session *same = NULL;
    LIST_FOREACH (it, &q.door->sessions) {
        struct session *s = LIST_ENTRY(it, struct session, link);
        if (path && !strcmp(s->path, path) && rest_find_kernel(&q, s->kernel))
            same = s;
    }
    if (!path)
        rest_error(&q, 400, "MISSING_FIELD", "Missing field in JSON data: path");
    else if (!rest_text(o, "type"))
        rest_error(&q, 400, "MISSING_FIELD", "Missing field in JSON data: type");
    else if (same)
        respond(&q, same, 201);
    else if (texts_fit(&q, o))
        start_session(&q, o);
    json_decref(o);
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    struct rest q;
    const struct session *s = rest_open(&q, gw, x, r, p) ? wanted(&q) : NULL;
    if (s)
        respond(&q, s, 200);
}

/* Another kernel takes the place of the old one, which ends unless another session uses it. */
static bool change_kernel(struct rest *q, struct session *s, const json_t *o)
{
    struct context_info info;
    if (!rest_text(json_object_get(o, "kernel"), "id") &&
        !rest_text(json_object_get(o, "kernel"), "name"))
        return true;
    struct context *c = kernel_for(q, o), *old = context_get(q->gw->manager, s->kernel);
    if (!c)
        return false;
    context_get_info(c, &info);
    snprintf(s->kernel, sizeof s->kernel, "%s", info.id);
    bool shared = old == c;
    LIST_FOREACH (it, &q->door->sessions) {
        const struct session *other = LIST_ENTRY(it, struct session, link);
        struct context_info was;
        if (old && other != s) {
            context_get_info(old, &was);
            shared |= !strcmp(other->kernel, was.id);
        }
    }
    if (old && !shared)
        door_end_kernel(q->door, old);
    return true;
}

static void patch(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  const struct route_params *p)
{
    struct rest q;
    struct session *s = rest_open(&q, gw, x, r, p) ? wanted(&q) : NULL;
    json_t *o = s ? rest_body(&q) : NULL;
    if (!o)
        return;
    if (texts_fit(&q, o) && change_kernel(&q, s, o)) {
        bool ok = (!rest_text(o, "path") || set_text(&s->path, rest_text(o, "path"))) &&
                  (!rest_text(o, "name") || set_text(&s->name, rest_text(o, "name"))) &&
                  (!rest_text(o, "type") || set_text(&s->type, rest_text(o, "type")));
        save(q.door, s);
        if (ok)
            respond(&q, s, 200);
        else
            rest_error(&q, 503, "OUT_OF_MEMORY", "out of memory");
    }
    json_decref(o);
}

static void delete_session(struct gateway *gw, struct exchange *x, const struct http_request *r,
                           const struct route_params *p)
{
    struct rest q;
    struct session *s = rest_open(&q, gw, x, r, p) ? wanted(&q) : NULL;
    struct context *c = s ? context_get(gw->manager, s->kernel) : NULL;
    if (!s)
        return;
    forget(q.door, s);
    if (c)
        door_end_kernel(q.door, c);
    api_empty(gw, x, 204);
}

const struct route rest_session_routes[] = {
    REST_ROUTE("GET", "/api/sessions", list),
    REST_ROUTE("POST", "/api/sessions", post),
    REST_ROUTE("GET", "/api/sessions/{id}", get),
    REST_ROUTE("PATCH", "/api/sessions/{id}", patch),
    REST_ROUTE("DELETE", "/api/sessions/{id}", delete_session),
};
const size_t rest_nsession_routes = sizeof rest_session_routes / sizeof *rest_session_routes;
