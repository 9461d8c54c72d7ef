/* POST .../run: code in, Execution or events out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "sandbox/base/json.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { TIMEOUT_MAX_MS = 7 * 24 * 3600 * 1000 };

static const struct api_field run_fields[] = {
    {.name = "code", .type = API_STRING, .required = true},
    {.name = "language", .type = API_STRING, .max = 32},
    {.name = "context", .type = API_STRING, .max = 64},
    {.name = "env", .type = API_STRING_MAP},
    {.name = "timeout", .type = API_INTEGER, .min = 1, .max = TIMEOUT_MAX_MS},
    {.name = "formats", .type = API_STRING_LIST},
    {.name = "typecheck", .type = API_STRING, .max = 8},
    {.name = "stopOnError", .type = API_BOOLEAN},
    {.name = "allowStdin", .type = API_BOOLEAN},
    {.name = "cwd", .type = API_UNSUPPORTED},
};

struct run {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone; the run goes on */
    struct request *request;
    bool created; /* the sandbox came into being with this run */
    char sandbox[64];
};

static void run_free(struct run *run)
{
    request_unref(run->request);
    free(run);
}

static void on_client_gone(void *user)
{
    struct run *run = user;
    run->x = NULL;
    if (run->request) {
        request_detach(run->request);
        run_free(run);
    }
}

static const struct exchange_ops run_ops = {.closed = on_client_gone};

/* A sandbox that could not be made is no execution's fault. */
static bool start_failed(struct run *run)
{
    struct sandbox *sb = sandbox_get(run->gw->manager, run->sandbox);
    struct sandbox_info i = {0};
    if (sb)
        sandbox_get_info(sb, &i);
    if (!sb || i.state != SANDBOX_FAILED)
        return false;
    api_error_err(run->gw, run->x, 503, "SANDBOX_START_FAILED", i.error);
    return true;
}

static void on_reply(void *user, const struct context_event *ev)
{
    struct run *run = user;
    if (!run->x) {
        run_free(run);
        return;
    }
    exchange_set_ops(run->x, NULL, NULL);
    if (!start_failed(run))
        api_render_execution(run->gw, run->x, ev->request);
    run->x = NULL;
    if (run->request)
        run_free(run);
    /* else: context_submit has not returned yet; it frees */
}

static bool known_formats(struct gateway *gw, struct exchange *x, const json_t *list)
{
    static const char *const known[] = {"png", "svg", "jpeg", "retina", "pdf"};
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v) {
        bool ok = false;
        for (size_t k = 0; k < COUNT(known); k++)
            ok |= !strcmp(json_string_value(v), known[k]);
        if (!ok) {
            api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "formats",
                             "formats are png, svg, jpeg, retina, pdf");
            return false;
        }
    }
    return true;
}

static void put_options(struct buf *out, const json_t *o)
{
    char *env =
        json_object_get(o, "env") ? json_dumps(json_object_get(o, "env"), JSON_COMPACT) : NULL;
    char *formats = json_object_get(o, "formats")
                        ? json_dumps(json_object_get(o, "formats"), JSON_COMPACT)
                        : NULL;
    buf_printf(out, "{\"silent\":false,\"store_history\":true,\"allow_stdin\":%s",
               json_is_true(json_object_get(o, "allowStdin")) ? "true" : "false");
    if (env)
        buf_printf(out, ",\"env\":%s", env);
    if (formats)
        buf_printf(out, ",\"formats\":%s", formats);
    if (api_string(o, "typecheck")) {
        buf_puts(out, ",\"typecheck\":");
        json_put_cstring(out, api_string(o, "typecheck"));
    }
    buf_putc(out, '}');
    free(env);
    free(formats);
}

static int submit(struct context *c, struct run *run, const json_t *o, bool events,
                  struct request **ret)
{
    CLEANUP_BUF struct buf options = {0};
    struct context_info info;
    json_t *code = json_object_get(o, "code");
    put_options(&options, o);
    context_get_info(c, &info);
    struct proto_section sections[] = {
        {options.data, options.len},
        {(const uint8_t *)json_string_value(code), json_string_length(code)}};
    struct request_spec spec = {
        .kind = REQUEST_EXECUTE,
        .sections = sections,
        .nsections = 2,
        .allow_stdin = json_is_true(json_object_get(o, "allowStdin")),
        .stop_on_error = json_is_true(json_object_get(o, "stopOnError")),
        .timeout_ms = (uint32_t)api_integer(o, "timeout", info.timeout_ms),
    };
    if (!events)
        spec.asker = (struct request_asker){.reply = on_reply, .user = run};
    return options.err ? options.err : context_submit(c, &spec, ret);
}

static void refused(struct gateway *gw, struct exchange *x, int e)
{
    if (e == REQUEST_E_QUEUE_FULL)
        api_error(gw, x, 429, "QUEUE_FULL", "too many requests wait for this context");
    else
        api_error(gw, x, e == -EMSGSIZE ? 413 : 503,
                  e == -EMSGSIZE ? "BODY_TOO_LARGE" : "CONTEXT_FAILED", "the run was not taken");
}

static void run_json(struct gateway *gw, struct exchange *x, struct context *c, const json_t *o,
                     const char *sandbox)
{
    struct run *run = calloc(1, sizeof *run);
    struct request *r = NULL;
    if (!run) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *run = (struct run){.gw = gw, .x = x};
    strncpy(run->sandbox, sandbox, sizeof run->sandbox - 1);
    exchange_set_ops(x, &run_ops, run);
    int e = submit(c, run, o, false, &r);
    if (e) {
        exchange_set_ops(x, NULL, NULL);
        free(run);
        refused(gw, x, e);
        return;
    }
    run->request = r;
    if (!run->x) { /* answered, or the client left, from inside */
        request_detach(r);
        run_free(run);
    }
}

static void run_events(struct gateway *gw, struct exchange *x, struct context *c, const json_t *o)
{
    struct request *r = NULL;
    int e = submit(c, NULL, o, true, &r);
    if (e) {
        refused(gw, x, e);
        return;
    }
    api_stream_execution(gw, x, r, 0);
    request_unref(r);
}

static void run_in(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   struct context *c, const json_t *o, const char *sandbox)
{
    if (!api_typecheck(gw, x, o) || !known_formats(gw, x, json_object_get(o, "formats")))
        return;
    if (api_wants_events(r))
        run_events(gw, x, c, o);
    else
        run_json(gw, x, c, o, sandbox);
}

struct sandbox *api_sandbox_or_new(struct gateway *gw, struct exchange *x, const char *name,
                                   const char *language)
{
    struct sandbox *sb = sandbox_get(gw->manager, name);
    struct sandbox_spec spec = {.name = name, .language = language};
    if (sb)
        return sb;
    int e = sandbox_create(gw->manager, &spec, &sb);
    if (e == 0)
        return sb;
    if (e == SANDBOX_E_NAME)
        api_sandbox(gw, x, name); /* answers */
    else
        api_error(gw, x, e == SANDBOX_E_LIMIT ? 429 : 503,
                  e == SANDBOX_E_LIMIT ? "TOO_MANY_SANDBOXES" : "OUT_OF_MEMORY",
                  "the sandbox could not be made");
    return NULL;
}

/* The context that the body names, else the default one; NULL: answered. */
static struct context *pick_context(struct gateway *gw, struct exchange *x, const char *name,
                                    const json_t *o, const char *language)
{
    struct context *c = NULL;
    struct err e = {0};
    const char *id = api_string(o, "context");
    if (id) {
        struct route_params p = {.n = 2};
        strncpy(p.value[0], name, ROUTE_PARAM_LEN - 1);
        strncpy(p.value[1], id, ROUTE_PARAM_LEN - 1);
        return api_context(gw, x, &p);
    }
    struct sandbox *sb = api_sandbox_or_new(gw, x, name, language);
    if (!sb)
        return NULL;
    int r = sandbox_default_context(sb, language, &c, &e);
    if (r == CONTEXT_E_LIMIT)
        api_error(gw, x, 429, "TOO_MANY_CONTEXTS", "the sandbox holds no more contexts");
    else if (r)
        api_error_err(gw, x, 503, "CONTEXT_START_FAILED", &e);
    return r ? NULL : c;
}

static void run_sandbox(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        const struct route_params *p)
{
    json_t *o = api_body(gw, x, r, run_fields, COUNT(run_fields));
    if (!o)
        return;
    const char *language = api_language(gw, x, api_string(o, "language"));
    struct context *c = language ? pick_context(gw, x, p->value[0], o, language) : NULL;
    if (c)
        run_in(gw, x, r, c, o, p->value[0]);
    json_decref(o);
}

static void run_context(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        const struct route_params *p)
{
    struct context *c = api_context(gw, x, p);
    json_t *o = c ? api_body(gw, x, r, run_fields, COUNT(run_fields)) : NULL;
    if (!o)
        return;
    const char *other = api_string(o, "context");
    if (other && strcmp(other, p->value[1]) != 0)
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "context",
                         "context differs from the path");
    else if (api_language(gw, x, api_string(o, "language")))
        run_in(gw, x, r, c, o, p->value[0]);
    json_decref(o);
}

const struct route api_run_routes[] = {
    {"POST", "/v1/sandboxes/{name}/run", run_sandbox, 0},
    {"POST", "/v1/sandboxes/{name}/contexts/{ctx}/run", run_context, 0},
};
const size_t api_run_nroutes = COUNT(api_run_routes);
