/*
 * POST /v1/sandboxes/{name}/notebooks:execute: the cells of a notebook in a context of its own, one
 * after the other; the executed notebook as answer, or its progress as server-sent events and the
 * notebook in the last one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "contexts/manager/language.h"
#include "kernel-gw/api/api.h"
#include "kernel-gw/notebook/document.h"
#include "kernel-gw/notebook/notebook.h"
#include "sandbox/base/json.h"

enum {
    OUTPUTS_MAX = 48 << 20,
    VALUES_MAX = 250000 /* of one output */,
    TIMEOUT_MAX_MS = 7 * 24 * 3600 * 1000,
    HEARTBEAT_MS = 15000
};

static const struct api_field fields[] = {
    {.name = "notebook", .type = API_OBJECT, .required = true},
    {.name = "parameters", .type = API_OBJECT},
    {.name = "language", .type = API_STRING, .max = 32},
    {.name = "cwd", .type = API_STRING, .max = 4096},
    {.name = "env", .type = API_STRING_MAP},
    {.name = "timeout", .type = API_INTEGER, .min = 1, .max = TIMEOUT_MAX_MS},
    {.name = "allowErrors", .type = API_BOOLEAN},
};

struct notebook_run {
    struct gateway *gw;
    struct exchange *x;
    bool events; /* the answer is a stream of them */
    char context[37];
    json_t *notebook;
    struct outputs outputs;
    size_t next; /* cell to run */
    unsigned cells, done;
    uint32_t timeout_ms;
    bool allow_errors, failed, cell_failed, closing;
    uint64_t started_us, cell_started_us;
    json_t *error; /* of the cell that ended the run */
    struct request *request;
    struct subscription *subscription;
    uv_timer_t step, beat; /* step: the next cell, outside of any callback */
    unsigned handles;
};

static uint64_t now_us(void)
{
    struct timeval t;
    gettimeofday(&t, NULL);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static struct context *context_of(const struct notebook_run *n)
{
    return context_get(n->gw->manager, n->context);
}

/* ---- life ---- */

static void on_handle_closed(uv_handle_t *h)
{
    struct notebook_run *n = h->data;
    if (--n->handles)
        return;
    outputs_deinit(&n->outputs);
    json_decref(n->notebook);
    json_decref(n->error);
    free(n);
}

static void let_go_of_cell(struct notebook_run *n)
{
    subscription_cancel(n->subscription);
    n->subscription = NULL;
    request_unref(n->request);
    n->request = NULL;
}

/* The context goes with the run: what it left behind is in the notebook. */
static void run_free(struct notebook_run *n)
{
    struct context *c = context_of(n);
    if (n->closing)
        return;
    n->closing = true;
    let_go_of_cell(n);
    uv_close((uv_handle_t *)&n->step, on_handle_closed);
    uv_close((uv_handle_t *)&n->beat, on_handle_closed);
    if (c)
        context_remove(c);
}

static void on_client_gone(void *user)
{
    struct notebook_run *n = user;
    n->x = NULL;
    run_free(n);
}

static const struct exchange_ops exchange_ops = {.closed = on_client_gone};

/* ---- progress ---- */

static void event(struct notebook_run *n, const char *type, json_t *take_fields)
{
    struct buf *b = exchange_chunk(n->x);
    char *text = json_dumps(take_fields, JSON_COMPACT);
    json_decref(take_fields);
    buf_printf(b, "event: %s\ndata: {\"type\":\"%s\",\"timestamp\":", type, type);
    api_put_time(b, now_us());
    if (text && text[1] != '}')
        buf_printf(b, ",%s\n\n", text + 1);
    else
        buf_puts(b, "}\n\n");
    free(text);
    exchange_flush(n->x);
}

static void on_beat(uv_timer_t *t)
{
    struct notebook_run *n = t->data;
    if (n->x && !exchange_queued(n->x))
        exchange_write(n->x, ": \n\n", 4);
}

/* ---- the end ---- */

static void set_metadata(struct notebook_run *n)
{
    json_t *meta = json_object_get(n->notebook, "metadata");
    struct context *c = context_of(n);
    struct context_info info;
    json_object_set_new(meta, "cellbox",
                        json_pack("{s:I, s:I, s:I, s:b}", "startedAt",
                                  (json_int_t)(n->started_us / 1000), "endedAt",
                                  (json_int_t)(now_us() / 1000), "durationMs",
                                  (json_int_t)((now_us() - n->started_us) / 1000), "truncated",
                                  n->outputs.truncated));
    if (!c)
        return;
    context_get_info(c, &info);
    json_t *hello = json_loadb((const char *)info.hello.data, info.hello.len, 0, NULL);
    json_t *language = json_object_get(hello, "language_info");
    if (json_is_object(language))
        json_object_set(meta, "language_info", language);
    json_decref(hello);
}

static json_t *summary(struct notebook_run *n)
{
    json_t *o = json_pack("{s:s, s:i, s:i, s:O}", "status", n->failed ? "error" : "ok", "cells",
                          (int)n->cells, "executed", (int)n->done, "notebook", n->notebook);
    if (n->error)
        json_object_set(o, "error", n->error);
    return o;
}

static void finish(struct notebook_run *n)
{
    struct exchange *x = n->x;
    set_metadata(n);
    exchange_set_ops(x, NULL, NULL);
    if (n->events) {
        event(n, "done", summary(n));
        n->x = NULL;
        exchange_end(x);
    } else {
        json_t *o = summary(n);
        char *text = json_dumps(o, JSON_COMPACT);
        json_decref(o);
        api_count(n->gw, text ? 200 : 503);
        n->x = NULL;
        if (text)
            exchange_respond(x, 200, "application/json", text, strlen(text));
        else
            exchange_abort(x);
        free(text);
    }
    run_free(n);
}

/* ---- one cell ---- */

/* How many values and names it has at most, without a tree: figures are long, and one string. */
static bool is_small(const struct proto_section *s)
{
    size_t values = 0;
    bool text = false;
    if (s->len > OUTPUTS_MAX)
        return false;
    for (size_t i = 0; i < s->len; i++) {
        uint8_t c = s->data[i];
        if (c == '"')
            text = !text;
        else if (text)
            i += c == '\\';
        else
            values += c == ',' || c == ':' || c == '[' || c == '{';
    }
    return values <= VALUES_MAX;
}

static json_t *tree(const struct proto_section *s)
{
    return is_small(s) ? json_loadb((const char *)s->data, s->len, JSON_ALLOW_NUL, NULL) : NULL;
}

static json_t *data_tree(const struct proto_section *s)
{
    if (is_small(s))
        return tree(s);
    return json_pack("{s:s}", "text/plain",
                     "cellbox: left out: this output has too many values for a notebook");
}

static char *display_id(const struct context_event *ev)
{
    json_t *transient = ev->nsections > 2 ? tree(&ev->sections[2]) : NULL;
    const char *id = json_string_value(json_object_get(transient, "display_id"));
    char *copy = id ? strdup(id) : NULL;
    json_decref(transient);
    return copy;
}

static void on_error(struct notebook_run *n, const struct context_event *ev)
{
    json_t *error = tree(&ev->sections[0]);
    outputs_error(&n->outputs, error);
    n->cell_failed = true;
    if (!n->allow_errors && !n->error) {
        n->error =
            json_pack("{s:i, s:O?, s:O?}", "cell", (int)n->next - 1, "name",
                      json_object_get(error, "ename"), "message", json_object_get(error, "evalue"));
    }
    json_decref(error);
}

static void cell_done(struct notebook_run *n, const struct context_event *ev)
{
    n->done++;
    json_object_set_new(n->outputs.cell, "execution_count", json_integer(ev->execution_count));
    bool failed = n->cell_failed || ev->status != FRAME_OK;
    if (n->events)
        event(n, "cell_done",
              json_pack("{s:i, s:i, s:s, s:I, s:I, s:O}", "index", (int)n->next - 1, "done",
                        (int)n->done, "status", failed ? "error" : "ok", "executionCount",
                        (json_int_t)ev->execution_count, "durationMs",
                        (json_int_t)((now_us() - n->cell_started_us) / 1000), "outputs",
                        json_object_get(n->outputs.cell, "outputs")));
    n->failed |= failed && !n->allow_errors;
}

static void on_step(uv_timer_t *t);

static int on_event(void *user, const struct context_event *ev)
{
    struct notebook_run *n = user;
    struct outputs *o = &n->outputs;
    char *id = NULL;
    switch (ev->type) {
    case EVENT_STREAM:
        outputs_stream(o, ev->stream == 1 ? "stdout" : "stderr", ev->text.data, ev->text.len);
        break;
    case EVENT_DISPLAY:
    case EVENT_UPDATE_DISPLAY:
        id = display_id(ev);
        (ev->type == EVENT_DISPLAY ? outputs_display : outputs_update)(
            o, data_tree(&ev->sections[0]), tree(&ev->sections[1]), id);
        break;
    case EVENT_RESULT:
        outputs_result(o, data_tree(&ev->sections[0]), tree(&ev->sections[1]), ev->execution_count);
        break;
    case EVENT_CLEAR_OUTPUT:
        outputs_clear(o, ev->arg);
        break;
    case EVENT_ERROR:
        on_error(n, ev);
        break;
    case EVENT_REPLY:
        cell_done(n, ev);
        uv_timer_start(&n->step, on_step, 0, 0);
        break;
    default:
        break;
    }
    free(id);
    return 0;
}

static void on_unreadable(void *user, int error)
{
    struct notebook_run *n = user;
    (void)error;
    n->failed = true;
    if (!n->error)
        n->error = json_pack("{s:i, s:s, s:s}", "cell", (int)n->next - 1, "name", "ServerError",
                             "message", "the output of the cell could not be read back");
    uv_timer_start(&n->step, on_step, 0, 0);
}

static int submit(struct notebook_run *n, struct context *c, json_t *cell)
{
    CLEANUP_BUF struct buf code = {0};
    struct proto_section sections[2] = {
        {(const uint8_t *)"{\"store_history\":true,\"allow_stdin\":false}", 42}};
    struct request_spec spec = {
        .kind = REQUEST_EXECUTE, .sections = sections, .nsections = 2, .timeout_ms = n->timeout_ms};
    struct subscription_spec sub = {.event = on_event, .failed = on_unreadable, .user = n};
    if (notebook_source(cell, &code) < 0)
        return -ENOMEM;
    sections[1] = (struct proto_section){code.data, code.len};
    outputs_begin(&n->outputs, cell);
    n->cell_failed = false;
    n->cell_started_us = now_us();
    int e = context_submit(c, &spec, &n->request);
    return e ? e : request_subscribe(n->request, &sub, &n->subscription);
}

static void run_next(struct notebook_run *n)
{
    json_t *cells = json_object_get(n->notebook, "cells"), *cell = NULL;
    struct context *c = context_of(n);
    while (!n->failed && (cell = json_array_get(cells, n->next)) && !notebook_is_code(cell))
        n->next++;
    if (n->failed || !cell) {
        finish(n);
        return;
    }
    n->next++;
    if (n->events)
        event(n, "cell_started",
              json_pack("{s:i, s:i, s:i}", "index", (int)n->next - 1, "done", (int)n->done, "cells",
                        (int)n->cells));
    if (c && submit(n, c, cell) == 0)
        return;
    n->failed = true;
    n->error = json_pack("{s:i, s:s, s:s}", "cell", (int)n->next - 1, "name", "ContextDied",
                         "message", "the context of the run is gone");
    finish(n);
}

static void on_step(uv_timer_t *t)
{
    struct notebook_run *n = t->data;
    let_go_of_cell(n);
    run_next(n);
}

/* ---- the beginning ---- */

static unsigned count_cells(const json_t *notebook)
{
    unsigned n = 0;
    size_t i;
    json_t *cell;
    json_array_foreach (json_object_get(notebook, "cells"), i, cell)
        n += notebook_is_code(cell);
    return n;
}

static struct notebook_run *run_new(struct gateway *gw, struct exchange *x, const json_t *o,
                                    struct context *c, bool events)
{
    struct notebook_run *n = calloc(1, sizeof *n);
    struct context_info info;
    if (!n || outputs_init(&n->outputs, OUTPUTS_MAX) < 0) {
        free(n);
        return NULL;
    }
    context_get_info(c, &info);
    memcpy(n->context, info.id, sizeof n->context);
    n->gw = gw;
    n->x = x;
    n->events = events;
    n->notebook = json_incref(json_object_get(o, "notebook"));
    n->cells = count_cells(n->notebook);
    n->timeout_ms = (uint32_t)api_integer(o, "timeout", 0);
    n->allow_errors = json_is_true(json_object_get(o, "allowErrors"));
    n->started_us = now_us();
    uv_timer_init(gw->loop, &n->step);
    uv_timer_init(gw->loop, &n->beat);
    n->step.data = n->beat.data = n;
    n->handles = 2;
    return n;
}

static struct context *open_context(struct gateway *gw, struct exchange *x, const char *name,
                                    const char *language, const json_t *o)
{
    struct sandbox *sb = sandbox_get(gw->manager, name);
    struct context *c = NULL;
    struct err err = {0};
    struct sandbox_spec box = {
        .name = name, .image = "", .env = "{}", .labels = "{}", .language = language};
    int e = sb ? 0 : sandbox_create(gw->manager, &box, &sb);
    if (e == SANDBOX_E_NAME) {
        api_error(gw, x, 400, "SANDBOX_NAME_INVALID",
                  "a sandbox name is 1-63 of a-z 0-9 -, with no - at either end");
        return NULL;
    }
    char *env =
        json_object_get(o, "env") ? json_dumps(json_object_get(o, "env"), JSON_COMPACT) : NULL;
    struct context_spec spec = {.language = language, .cwd = api_string(o, "cwd"), .env = env};
    if (e == 0)
        e = context_open(sb, &spec, &c, &err);
    free(env);
    if (e)
        api_error(gw, x, e > 0 ? 429 : 503, e > 0 ? "TOO_MANY_CONTEXTS" : "CONTEXT_START_FAILED",
                  "no context for the notebook: %s", err.text);
    return c;
}

/* What the body says, in the notebook itself. NULL: answered. */
static const char *prepare(struct gateway *gw, struct exchange *x, const json_t *o)
{
    json_t *notebook = json_object_get(o, "notebook");
    struct err err = {0};
    if (notebook_check(notebook, &err) < 0) {
        api_error(gw, x, 400, "INVALID_NOTEBOOK", "%s", err.text);
        return NULL;
    }
    if (!json_is_object(json_object_get(notebook, "metadata")))
        json_object_set_new(notebook, "metadata", json_object());
    const char *named = api_string(o, "language");
    const struct language *l = language_find(named ? named : "");
    if (!l && !named && notebook_language(notebook))
        l = language_find(notebook_language(notebook));
    const char *language =
        l ? l->name : api_language(gw, x, named ? named : notebook_language(notebook));
    if (!language)
        return NULL;
    notebook_clear(notebook);
    if (notebook_inject(notebook, language, json_object_get(o, "parameters"), &err) < 0) {
        api_error(gw, x, 400, "INVALID_PARAMETERS", "%s", err.text);
        return NULL;
    }
    return language;
}

static void begin(struct gateway *gw, struct exchange *x, const char *name, const json_t *o,
                  bool events)
{
    const char *language = prepare(gw, x, o);
    struct context *c = language ? open_context(gw, x, name, language, o) : NULL;
    struct notebook_run *n = c ? run_new(gw, x, o, c, events) : NULL;
    if (!c)
        return;
    if (!n) {
        context_remove(c);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    exchange_set_ops(x, &exchange_ops, n);
    if (events) {
        api_count(gw, 200);
        exchange_header(x, "Cache-Control", "no-cache");
        exchange_header(x, "X-Accel-Buffering", "no");
        exchange_begin(x, 200, "text/event-stream");
        uv_timer_start(&n->beat, on_beat, HEARTBEAT_MS, HEARTBEAT_MS);
        event(n, "started",
              json_pack("{s:i, s:s, s:s}", "cells", (int)n->cells, "contextId", n->context,
                        "language", language));
    }
    uv_timer_start(&n->step, on_step, 0, 0);
}

static void execute(struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    json_t *o = api_body(gw, x, r, fields, sizeof fields / sizeof *fields);
    if (!o)
        return;
    begin(gw, x, p->value[0], o, api_wants_events(r));
    json_decref(o);
}

static const struct route routes[] = {
    {"POST", "/v1/sandboxes/{name}/notebooks:execute", execute, 0},
};

int notebook_attach(struct gateway *gw)
{
    return router_add(gw->router, routes, sizeof routes / sizeof *routes);
}
