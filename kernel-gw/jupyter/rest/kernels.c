/* /api/kernels */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexts/manager/language.h"
#include "kernel-gw/jupyter/channels/channels.h"
#include "kernel-gw/jupyter/rest/private.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"

int rest_put_kernel(struct buf *out, const struct door *d, struct context *c)
{
    struct context_info info;
    struct sandbox_info box;
    context_get_info(c, &info);
    sandbox_get_info(info.sandbox, &box);
    buf_printf(out, "{\"id\":\"%s\",\"name\":\"%s\",\"last_activity\":", info.id, info.language);
    api_put_time(out, info.last_used_us);
    buf_printf(out, ",\"execution_state\":\"%s\",\"connections\":%u,\"sandbox\":\"%s\"",
               context_state_name(info.state), channels_connections(d, info.id), box.name);
    if (info.dead_reason)
        buf_printf(out, ",\"reason\":\"%s\"", info.dead_reason);
    return buf_putc(out, '}');
}

struct context *rest_next_kernel(const struct rest *q, struct kernel_walk *w)
{
    if (w->box)
        w->c = sandbox_context_next(w->box, w->c);
    while (!w->c) {
        if (q->box) {
            if (w->box || !(w->box = sandbox_get(q->gw->manager, q->box)))
                return NULL;
        } else if (!(w->box = sandbox_next(q->gw->manager, &w->cursor))) {
            return NULL;
        }
        w->c = sandbox_context_next(w->box, NULL);
        if (q->box && !w->c)
            return NULL;
    }
    return w->c;
}

struct context *rest_find_kernel(const struct rest *q, const char *id)
{
    struct context *c = context_get(q->gw->manager, id);
    struct context_info info;
    struct sandbox_info box;
    if (!c || !q->box)
        return c;
    context_get_info(c, &info);
    sandbox_get_info(info.sandbox, &box);
    return strcmp(box.name, q->box) ? NULL : c;
}

/* NULL: answered with 404. */
static struct context *wanted_kernel(struct rest *q)
{
    struct context *c = rest_find_kernel(q, q->arg[0]);
    if (!c)
        rest_error(q, 404, "KERNEL_NOT_FOUND", "Kernel does not exist: %.64s", q->arg[0]);
    return c;
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    struct rest q;
    struct kernel_walk w = {0};
    struct context *c;
    if (!rest_open(&q, gw, x, r, p))
        return;
    buf_putc(&b, '[');
    while ((c = rest_next_kernel(&q, &w))) {
        if (b.len > 1)
            buf_putc(&b, ',');
        rest_put_kernel(&b, q.door, c);
    }
    buf_putc(&b, ']');
    api_json(gw, x, 200, &b);
}

/* ---- start ---- */

/* What clients send along for servers that start processes on their own machine. */
static bool for_the_server(const char *name)
{
    return !strcmp(name, "CELLBOX_SANDBOX") || !strcmp(name, "KERNEL_WORKING_DIR");
}

/* The strings of env as text; NULL: answered. */
static char *pick_env(struct rest *q, const json_t *env)
{
    json_t *mine = json_object();
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)env, name, value) {
        if (!json_is_string(value) ||
            strlen(json_string_value(value)) != json_string_length(value) || strchr(name, '=') ||
            !*name) {
            json_decref(mine);
            rest_error(q, 400, "INVALID_FIELD", "env must map names to strings");
            return NULL;
        }
        if (!for_the_server(name))
            json_object_set(mine, name, value);
    }
    char *text = json_dumps(mine, JSON_COMPACT);
    json_decref(mine);
    if (!text)
        rest_error(q, 503, "OUT_OF_MEMORY", "out of memory");
    return text;
}

static bool is_uuid(const char *s)
{
    return strlen(s) == 36 && strspn(s, "0123456789abcdef-") == 36;
}

static struct context *open_context(struct rest *q, struct sandbox *sb, bool own,
                                    const struct context_spec *spec)
{
    struct context *c = NULL;
    struct err err = {0};
    int e = context_open(sb, spec, &c, &err);
    if (e == 0)
        return c;
    if (own)
        sandbox_remove(sb, NULL, NULL);
    if (e == CONTEXT_E_LIMIT)
        rest_error(q, 429, "TOO_MANY_CONTEXTS", "this sandbox holds no more kernels");
    else
        rest_error(q, 503, "KERNEL_START_FAILED", "the kernel could not be started: %s: %s",
                   err.step, err.text);
    return NULL;
}

struct context *rest_start_kernel(struct rest *q, const char *name, const json_t *env,
                                  const char *id, int no_spec_status)
{
    const struct language *l = name ? language_find(name) : language_next(NULL);
    bool own = false;
    if (!l) {
        rest_error(q, no_spec_status, "INVALID_LANGUAGE", "No such kernel: %.64s", name);
        return NULL;
    }
    if (env && !json_is_object(env) && !json_is_null(env)) {
        rest_error(q, 400, "INVALID_FIELD", "env must be an object");
        return NULL;
    }
    if (id && !is_uuid(id)) {
        rest_error(q, 400, "INVALID_FIELD", "kernel_id must be a UUID in lower case");
        return NULL;
    }
    if (id && context_get(q->gw->manager, id)) {
        rest_error(q, 409, "KERNEL_EXISTS", "there is a kernel of that id");
        return NULL;
    }
    char *text = pick_env(q, env);
    if (!text)
        return NULL;
    const char *box = q->box ? q->box : rest_text(env, "CELLBOX_SANDBOX");
    struct sandbox *sb = door_sandbox(q->gw, q->x, box, l->name, &own);
    struct context_spec spec = {.id = id, .language = l->name, .env = text};
    struct context *c = sb ? open_context(q, sb, own, &spec) : NULL;
    free(text);
    return c;
}

static void respond_kernel(struct rest *q, struct context *c, int status)
{
    CLEANUP_BUF struct buf b = {0};
    rest_put_kernel(&b, q->door, c);
    if (status == 201) {
        struct context_info info;
        char location[260];
        context_get_info(c, &info);
        snprintf(location, sizeof location, "%s/api/kernels/%s", q->base, info.id);
        exchange_header(q->x, "Location", location);
    }
    api_json(q->gw, q->x, status, &b);
}

static void post(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    struct rest q;
    json_t *o = rest_open(&q, gw, x, r, p) ? rest_body(&q) : NULL;
    if (!o)
        return;
    struct context *c = rest_start_kernel(&q, rest_text(o, "name"), json_object_get(o, "env"),
                                          rest_text(o, "kernel_id"), 400);
    if (c)
        respond_kernel(&q, c, 201);
    json_decref(o);
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    struct rest q;
    struct context *c = rest_open(&q, gw, x, r, p) ? wanted_kernel(&q) : NULL;
    if (c)
        respond_kernel(&q, c, 200);
}

static void delete_kernel(struct gateway *gw, struct exchange *x, const struct http_request *r,
                          const struct route_params *p)
{
    struct rest q;
    struct context *c = rest_open(&q, gw, x, r, p) ? wanted_kernel(&q) : NULL;
    if (!c)
        return;
    door_end_kernel(q.door, c);
    api_empty(gw, x, 204);
}

static void interrupt(struct gateway *gw, struct exchange *x, const struct http_request *r,
                      const struct route_params *p)
{
    struct rest q;
    struct context *c = rest_open(&q, gw, x, r, p) ? wanted_kernel(&q) : NULL;
    if (!c)
        return;
    int e = context_interrupt(c);
    if (e < 0)
        rest_error(&q, 500, "INTERRUPT_FAILED", "%s", strerror(-e));
    else
        api_empty(gw, x, 204);
}

/* ---- restart: answered once the new interpreter is there ---- */

struct restart {
    struct rest q;
    char kernel[37];
};

static void on_restarted(void *user, bool ok)
{
    struct restart *w = user;
    struct rest q = w->q;
    struct context *c = context_get(q.gw->manager, w->kernel);
    free(w);
    exchange_set_ops(q.x, NULL, NULL);
    if (ok && c)
        respond_kernel(&q, c, 200);
    else
        rest_error(&q, 500, "KERNEL_START_FAILED", "the kernel did not start again");
}

static void on_client_gone(void *user)
{
    struct restart *w = user;
    struct context *c = context_get(w->q.gw->manager, w->kernel);
    if (c)
        context_forget(c, w);
    free(w);
}

static const struct exchange_ops restart_ops = {.closed = on_client_gone};

static void restart(struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    struct rest q;
    struct context *c = rest_open(&q, gw, x, r, p) ? wanted_kernel(&q) : NULL;
    struct restart *w = c ? calloc(1, sizeof *w) : NULL;
    if (!c)
        return;
    if (!w) {
        rest_error(&q, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    w->q = q;
    snprintf(w->kernel, sizeof w->kernel, "%s", q.arg[0]);
    w->q.box = NULL; /* what is answered needs no name any more; the path is not kept */
    w->q.arg[0] = w->q.arg[1] = "";
    exchange_set_ops(x, &restart_ops, w);
    context_restart(c);
    if (context_when_ready(c, on_restarted, w) < 0)
        on_restarted(w, false);
}

static void channels(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const struct route_params *p)
{
    struct rest q;
    struct context *c = rest_open(&q, gw, x, r, p) ? wanted_kernel(&q) : NULL;
    if (c)
        channels_connect(q.door, x, c);
}

const struct route rest_kernel_routes[] = {
    REST_ROUTE("GET", "/api/kernels", list),
    REST_ROUTE("POST", "/api/kernels", post),
    REST_ROUTE("GET", "/api/kernels/{id}", get),
    REST_ROUTE("DELETE", "/api/kernels/{id}", delete_kernel),
    REST_ROUTE("POST", "/api/kernels/{id}/interrupt", interrupt),
    REST_ROUTE("POST", "/api/kernels/{id}/restart", restart),
    REST_ROUTE("GET", "/api/kernels/{id}/channels", channels),
};
const size_t rest_nkernel_routes = sizeof rest_kernel_routes / sizeof *rest_kernel_routes;
