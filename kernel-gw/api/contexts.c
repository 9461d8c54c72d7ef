/* /v1/sandboxes/{name}/contexts */
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "sandbox/base/json.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { TIMEOUT_MAX_MS = 7 * 24 * 3600 * 1000 };

static const struct api_field create_fields[] = {
    {.name = "language", .type = API_STRING, .max = 32},
    {.name = "cwd", .type = API_STRING, .max = 4096},
    {.name = "env", .type = API_STRING_MAP},
    {.name = "timeout", .type = API_INTEGER, .min = 1, .max = TIMEOUT_MAX_MS},
    {.name = "typecheck", .type = API_STRING, .max = 8},
};
static const struct api_field complete_fields[] = {
    {.name = "code", .type = API_STRING, .required = true},
    {.name = "cursorPos", .type = API_INTEGER, .min = 0, .max = INT32_MAX},
};
static const struct api_field inspect_fields[] = {
    {.name = "code", .type = API_STRING, .required = true},
    {.name = "cursorPos", .type = API_INTEGER, .min = 0, .max = INT32_MAX},
    {.name = "detailLevel", .type = API_INTEGER, .min = 0, .max = 1},
};
static const struct api_field input_fields[] = {
    {.name = "value", .type = API_STRING, .required = true},
    {.name = "executionId", .type = API_STRING, .max = 64},
};

int api_put_context(struct buf *out, struct context *c, bool listed)
{
    struct context_info i;
    struct sandbox_info sb;
    context_get_info(c, &i);
    sandbox_get_info(i.sandbox, &sb);
    buf_puts(out, "{\"id\":");
    json_put_cstring(out, i.id);
    api_member(out, "sandbox", sb.name);
    api_member(out, "language", i.language);
    api_member(out, "cwd", i.cwd);
    api_put_env(out, i.env, listed);
    if (i.timeout_ms)
        buf_printf(out, ",\"timeout\":%u", i.timeout_ms);
    api_member(out, "state", context_state_name(i.state));
    if (i.dead_reason)
        api_member(out, "reason", i.dead_reason);
    buf_printf(out, ",\"executionCount\":%u,\"queued\":%u,\"createdAt\":", i.execution_count,
               i.queued);
    api_put_time(out, i.created_us);
    buf_puts(out, ",\"lastUsedAt\":");
    api_put_time(out, i.last_used_us);
    return buf_putc(out, '}');
}

static void answer(struct gateway *gw, struct exchange *x, int status, struct context *c)
{
    CLEANUP_BUF struct buf b = {0};
    api_put_context(&b, c, false);
    api_json(gw, x, status, &b);
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    struct context *c = NULL;
    size_t n = 0;
    (void)r;
    if (!sb)
        return;
    buf_puts(&b, "{\"contexts\":[");
    while ((c = sandbox_context_next(sb, c))) {
        if (n++)
            buf_putc(&b, ',');
        api_put_context(&b, c, true);
    }
    buf_puts(&b, "]}");
    api_json(gw, x, 200, &b);
}

/* JSON text of the context's variables, NULL: none. What checks its types is one of them. */
static char *context_env(const json_t *o)
{
    const char *typecheck = api_string(o, "typecheck");
    json_t *env = json_object_get(o, "env") ? json_copy(json_object_get(o, "env")) : NULL;
    if (typecheck && !env)
        env = json_object();
    if (typecheck)
        json_object_set_new(env, "CELLBOX_TYPECHECK", json_string(typecheck));
    char *text = env ? json_dumps(env, JSON_COMPACT) : NULL;
    json_decref(env);
    return text;
}

static void open_context(struct gateway *gw, struct exchange *x, struct sandbox *sb,
                         const json_t *o)
{
    struct context *c;
    struct err e = {0};
    const char *cwd = api_string(o, "cwd"),
               *language = api_language(gw, x, api_string(o, "language"));
    if (!language)
        return;
    if (cwd && cwd[0] != '/') {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "cwd",
                         "cwd must be an absolute path");
        return;
    }
    if (!api_typecheck(gw, x, o))
        return;
    char *env = context_env(o);
    struct context_spec spec = {.language = language,
                                .cwd = cwd,
                                .env = env,
                                .timeout_ms = (uint32_t)api_integer(o, "timeout", 0)};
    int r = context_open(sb, &spec, &c, &e);
    if (r == 0)
        answer(gw, x, 201, c);
    else if (r == CONTEXT_E_LIMIT)
        api_error(gw, x, 429, "TOO_MANY_CONTEXTS", "the sandbox holds no more contexts");
    else
        api_error_err(gw, x, 503, "CONTEXT_START_FAILED", &e);
    free(env);
}

static void create(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    json_t *o = sb ? api_body(gw, x, r, create_fields, COUNT(create_fields)) : NULL;
    if (!o)
        return;
    open_context(gw, x, sb, o);
    json_decref(o);
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    struct context *c = api_context(gw, x, p);
    (void)r;
    if (c)
        answer(gw, x, 200, c);
}

static void delete (struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    struct context *c = api_context(gw, x, p);
    (void)r;
    if (!c)
        return;
    context_remove(c);
    api_empty(gw, x, 204);
}

/* For routes whose body may only be empty or {}. */
static bool no_options(struct gateway *gw, struct exchange *x, const struct http_request *r)
{
    json_t *o = api_body(gw, x, r, NULL, 0);
    json_decref(o);
    return o != NULL;
}

static void interrupt(struct gateway *gw, struct exchange *x, const struct http_request *r,
                      const struct route_params *p)
{
    struct context *c = api_context(gw, x, p);
    if (!c || !no_options(gw, x, r))
        return;
    context_interrupt(c);
    answer(gw, x, 200, c);
}

static void restart(struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    struct context *c = api_context(gw, x, p);
    if (!c || !no_options(gw, x, r))
        return;
    context_restart(c);
    answer(gw, x, 200, c);
}

/* ---- requests whose reply is the answer ---- */

struct ask {
    struct gateway *gw;
    struct exchange *x;
    struct request *request;
};

static void ask_free(struct ask *a)
{
    request_unref(a->request);
    free(a);
}

static void on_client_gone(void *user)
{
    struct ask *a = user;
    a->x = NULL;
    if (a->request)
        request_detach(a->request);
    ask_free(a);
}

static const struct exchange_ops ask_ops = {.closed = on_client_gone};

static void put_member(struct buf *out, const struct proto_section *s, const char *key,
                       const char *name, const char *no)
{
    struct proto_section v;
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    if (json_pick(s->data, s->len, key, &v))
        buf_put(out, v.data, v.len);
    else
        buf_puts(out, no);
}

static void on_reply(void *user, const struct context_event *ev)
{
    struct ask *a = user;
    CLEANUP_BUF struct buf b = {0};
    const struct proto_section *s = &ev->sections[0];
    struct request_info i;
    request_get_info(ev->request, &i);
    if (ev->status != FRAME_OK) {
        api_error(a->gw, a->x, 503, ev->status == FRAME_ABORTED ? "ABORTED" : "CONTEXT_FAILED",
                  "the context could not answer");
    } else {
        buf_putc(&b, '{');
        if (i.kind == REQUEST_COMPLETE) {
            put_member(&b, s, "matches", "matches", "[]");
            put_member(&b, s, "cursor_start", "cursorStart", "0");
            put_member(&b, s, "cursor_end", "cursorEnd", "0");
            put_member(&b, s, "metadata", "metadata", "{}");
        } else {
            put_member(&b, s, "found", "found", "false");
            put_member(&b, s, "data", "data", "{}");
            put_member(&b, s, "metadata", "metadata", "{}");
        }
        buf_putc(&b, '}');
        api_json(a->gw, a->x, 200, &b);
    }
    ask_free(a);
}

static size_t code_points(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

static void ask(struct gateway *gw, struct exchange *x, struct context *c, enum request_kind kind,
                const json_t *o)
{
    const char *code = api_string(o, "code");
    struct ask *a = calloc(1, sizeof *a);
    CLEANUP_BUF struct buf options = {0};
    buf_printf(&options, "{\"cursor_pos\":%lld",
               (long long)api_integer(o, "cursorPos", (json_int_t)code_points(code)));
    if (kind == REQUEST_INSPECT)
        buf_printf(&options, ",\"detail_level\":%d", (int)api_integer(o, "detailLevel", 0));
    buf_putc(&options, '}');
    struct proto_section sections[] = {{options.data, options.len},
                                       {(const uint8_t *)code, strlen(code)}};
    struct request_spec spec = {.kind = kind,
                                .sections = sections,
                                .nsections = 2,
                                .asker = {.reply = on_reply, .user = a}};
    if (!a || options.err) {
        free(a);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *a = (struct ask){.gw = gw, .x = x};
    exchange_set_ops(x, &ask_ops, a);
    struct request *r = NULL;
    int e = context_submit(c, &spec, &r);
    if (e) {
        exchange_set_ops(x, NULL, NULL);
        free(a);
        api_error(gw, x, e == REQUEST_E_QUEUE_FULL ? 429 : 503,
                  e == REQUEST_E_QUEUE_FULL ? "QUEUE_FULL" : "CONTEXT_FAILED",
                  e == REQUEST_E_QUEUE_FULL ? "too many requests wait for this context"
                                            : "the request was not taken");
        return;
    }
    struct request_info i;
    request_get_info(r, &i);
    if (i.state == REQUEST_DONE)
        request_unref(r); /* answered from inside; a is gone */
    else
        a->request = r;
}

static void complete(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const struct route_params *p)
{
    struct context *c = api_context(gw, x, p);
    json_t *o = c ? api_body(gw, x, r, complete_fields, COUNT(complete_fields)) : NULL;
    if (o)
        ask(gw, x, c, REQUEST_COMPLETE, o);
    json_decref(o);
}

static void inspect(struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    struct context *c = api_context(gw, x, p);
    json_t *o = c ? api_body(gw, x, r, inspect_fields, COUNT(inspect_fields)) : NULL;
    if (o)
        ask(gw, x, c, REQUEST_INSPECT, o);
    json_decref(o);
}

static void input(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  const struct route_params *p)
{
    struct context *c = api_context(gw, x, p);
    json_t *o = c ? api_body(gw, x, r, input_fields, COUNT(input_fields)) : NULL;
    if (!o)
        return;
    const char *value = api_string(o, "value"), *id = api_string(o, "executionId");
    struct request *wanted = id ? execution_get(c, id) : NULL;
    if (id && !wanted)
        api_error_detail(gw, x, 404, "EXECUTION_NOT_FOUND", "execution", id,
                         "no execution %s in this context", id);
    else if (context_input(c, wanted, value, strlen(value)) < 0)
        api_error(gw, x, 409, "NO_INPUT_WANTED", "nothing waits for input in this context");
    else
        api_empty(gw, x, 204);
    json_decref(o);
}

#define BASE "/v1/sandboxes/{name}/contexts"
const struct route api_context_routes[] = {
    {"GET", BASE, list, 0},
    {"POST", BASE, create, 0},
    {"GET", BASE "/{ctx}", get, 0},
    {"DELETE", BASE "/{ctx}", delete, 0},
    {"POST", BASE "/{ctx}/interrupt", interrupt, 0},
    {"POST", BASE "/{ctx}/restart", restart, 0},
    {"POST", BASE "/{ctx}/complete", complete, 0},
    {"POST", BASE "/{ctx}/inspect", inspect, 0},
    {"POST", BASE "/{ctx}/input", input, 0},
};
const size_t api_context_nroutes = COUNT(api_context_routes);
