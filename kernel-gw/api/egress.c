/* /v1/sandboxes/{name}/egress, and its log; /v1/secrets and /v1/handlers are asked of E in the same
 * way. */
#include "kernel-gw/egress/egress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "sandbox/base/json.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { LOG_BYTES = 1 << 20, FOLLOW_MS = 15000, SOURCE_MAX = 1 << 20 };

/* A question to E on behalf of a client. */
struct asking {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    void (*answer)(struct asking *a, const struct wire_egress_reply *r, const char *data);
    const char *missing; /* code of the error when E knows no such thing */
    char name[65];
    int status;
};

static void on_gone(void *user)
{
    ((struct asking *)user)->x = NULL;
}

static const struct exchange_ops asking_ops = {.closed = on_gone};

static void refuse(struct gateway *gw, struct exchange *x, const struct err *e, const char *missing)
{
    CLEANUP_BUF struct buf b = {0};
    char *colon, *end = NULL;
    unsigned long line = strtoul(e->step, &colon, 10); /* "line:column", of a document */
    unsigned long column = *colon == ':' ? strtoul(colon + 1, &end, 10) : 0;
    if (e->code == EGRESS_E_NOT_FOUND) {
        api_error(gw, x, 404, missing, "%s", e->text);
    } else if (e->code == EGRESS_E_INVALID && end && !*end) {
        buf_puts(&b, "{\"error\":{\"code\":\"EGRESS_POLICY_INVALID\",\"message\":");
        json_put_cstring(&b, e->text);
        buf_printf(&b, ",\"details\":{\"line\":%lu,\"column\":%lu}}}", line, column);
        api_json(gw, x, 400, &b);
    } else if (e->code == EGRESS_E_INVALID) {
        api_error(gw, x, 400, "INVALID_FIELD", "%s", e->text);
    } else {
        api_error_err(gw, x, 503, "EGRESS_UNAVAILABLE", e);
    }
}

static void on_answer(void *user, const struct err *e, const struct wire_egress_reply *r,
                      const char *data)
{
    struct asking *a = user;
    if (a->x && e->code)
        refuse(a->gw, a->x, e, a->missing);
    else if (a->x)
        a->answer(a, r, data);
    free(a);
}

static struct asking *begin(struct gateway *gw, struct exchange *x,
                            void (*answer)(struct asking *a, const struct wire_egress_reply *r,
                                           const char *data),
                            const char *missing, const char *name)
{
    struct asking *a = calloc(1, sizeof *a);
    if (!a) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return NULL;
    }
    *a = (struct asking){.gw = gw, .x = x, .answer = answer, .missing = missing, .status = 200};
    snprintf(a->name, sizeof a->name, "%s", name);
    exchange_set_ops(x, &asking_ops, a);
    return a;
}

static void answer_data(struct asking *a, const struct wire_egress_reply *r, const char *data)
{
    api_count(a->gw, 200);
    exchange_respond(a->x, 200, "application/json", data, r->data_len);
}

static void answer_empty(struct asking *a, const struct wire_egress_reply *r, const char *data)
{
    (void)r;
    (void)data;
    api_empty(a->gw, a->x, 204);
}

/* ---- policy ---- */

static void put_policy(struct gateway *gw, struct exchange *x, const char *name)
{
    const char *text = egress_policy(gw, name);
    api_count(gw, 200);
    exchange_respond(x, 200, "application/json", text, strlen(text));
}

static void answer_policy(struct asking *a, const struct wire_egress_reply *r, const char *data)
{
    (void)r;
    (void)data;
    put_policy(a->gw, a->x, a->name);
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    (void)r;
    if (api_sandbox(gw, x, p->value[0]))
        put_policy(gw, x, p->value[0]);
}

static void set(struct gateway *gw, struct exchange *x, const char *name, const char *text,
                size_t len)
{
    struct asking *a = begin(gw, x, answer_policy, "SANDBOX_NOT_FOUND", name);
    if (a)
        egress_set_policy(gw, name, text, len, on_answer, a);
}

/* The document goes to E as it was written, so that an error has its line. */
static void put(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    if (api_sandbox(gw, x, p->value[0]))
        set(gw, x, p->value[0], r->body.len ? (const char *)r->body.data : "", r->body.len);
}

static void reset(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  const struct route_params *p)
{
    (void)r;
    if (api_sandbox(gw, x, p->value[0]))
        set(gw, x, p->value[0], NULL, 0);
}

/* RFC 7396: null removes a member, objects are merged, everything else is replaced. */
static void merge(json_t *into, const json_t *patch)
{
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)(uintptr_t)patch, key, v) {
        json_t *old = json_object_get(into, key);
        if (json_is_object(v) && !json_is_object(old) &&
            json_object_set_new(into, key, json_object()) == 0)
            old = json_object_get(into, key); /* nulls inside of it remove, too */
        if (json_is_null(v))
            json_object_del(into, key);
        else if (json_is_object(v))
            merge(old, v);
        else
            json_object_set(into, key, v);
    }
}

static void patch(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  const struct route_params *p)
{
    json_error_t e;
    if (!api_sandbox(gw, x, p->value[0]))
        return;
    json_t *change =
        json_loadb((const char *)r->body.data, r->body.len, JSON_REJECT_DUPLICATES, &e);
    json_t *now = json_loads(egress_policy(gw, p->value[0]), 0, NULL);
    if (!json_is_object(change)) {
        api_error(gw, x, 400, "INVALID_JSON", "%s", change ? "the body must be an object" : e.text);
    } else if (!now) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
    } else {
        merge(now, change);
        char *text = json_dumps(now, JSON_INDENT(2));
        if (text)
            set(gw, x, p->value[0], text, strlen(text));
        else
            api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        free(text);
    }
    json_decref(change);
    json_decref(now);
}

/* ---- log ---- */

static void put_lines(struct buf *b, const char *data, size_t len)
{
    const char *p = data, *end = data + len;
    for (const char *stop; p < end && (stop = memchr(p, '\n', (size_t)(end - p))); p = stop + 1) {
        if (p != data)
            buf_putc(b, ',');
        buf_put(b, p, (size_t)(stop - p));
    }
}

static void answer_log(struct asking *a, const struct wire_egress_reply *r, const char *data)
{
    CLEANUP_BUF struct buf b = {0};
    buf_puts(&b, "{\"entries\":[");
    put_lines(&b, data, r->data_len);
    buf_printf(&b, "],\"cursor\":\"%llu\",\"lost\":%llu}", (unsigned long long)r->value,
               (unsigned long long)r->lost);
    api_json(a->gw, a->x, 200, &b);
}

/* A reader that stays. */
struct follower {
    struct gateway *gw;
    struct exchange *x;
    char disk[WIRE_DISK];
    uint64_t cursor;
    bool asking, gone, full;
};

static void ask_more(struct follower *f);

static void follower_free(struct follower *f)
{
    if (!f->asking)
        free(f);
}

static void on_follower_gone(void *user)
{
    struct follower *f = user;
    f->gone = true;
    follower_free(f);
}

static void on_follower_drained(void *user)
{
    struct follower *f = user;
    f->full = false;
    if (!f->asking)
        ask_more(f);
}

static const struct exchange_ops follower_ops = {.closed = on_follower_gone,
                                                 .drained = on_follower_drained};

static void write_events(struct follower *f, const struct wire_egress_reply *r, const char *data)
{
    CLEANUP_BUF struct buf b = {0};
    const char *p = data, *end = data + r->data_len;
    uint64_t at = r->value - r->data_len;
    if (r->lost)
        buf_printf(&b, "event: lost\ndata: {\"type\":\"lost\",\"bytes\":%llu}\n\n",
                   (unsigned long long)r->lost);
    for (const char *stop; p < end && (stop = memchr(p, '\n', (size_t)(end - p))); p = stop + 1) {
        at += (uint64_t)(stop + 1 - p);
        buf_printf(&b, "id: %llu\nevent: request\ndata: ", (unsigned long long)at);
        buf_put(&b, p, (size_t)(stop - p));
        buf_puts(&b, "\n\n");
    }
    if (!b.len)
        buf_puts(&b, ": \n\n");
    f->cursor = r->value;
    exchange_write(f->x, b.data, b.len);
    f->full = exchange_queued(f->x) > HTTP_QUEUE_HIGH;
}

static void on_more(void *user, const struct err *e, const struct wire_egress_reply *r,
                    const char *data)
{
    struct follower *f = user;
    f->asking = false;
    if (f->gone) {
        free(f);
        return;
    }
    if (e->code) { /* E is gone: the client comes back with its cursor */
        exchange_set_ops(f->x, NULL, NULL);
        exchange_end(f->x);
        free(f);
        return;
    }
    write_events(f, r, data);
    if (!f->full && !f->gone)
        ask_more(f);
}

static void ask_more(struct follower *f)
{
    struct wire_egress_call m = {
        .op = EGRESS_LOG_READ, .value = f->cursor, .count = LOG_BYTES, .wait_ms = FOLLOW_MS};
    memcpy(m.disk, f->disk, sizeof m.disk);
    f->asking = true;
    egress_call(f->gw, &m, NULL, 0, on_more, f);
}

static void follow(struct gateway *gw, struct exchange *x, const char *disk, uint64_t cursor)
{
    struct follower *f = calloc(1, sizeof *f);
    if (!f) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    f->gw = gw;
    f->x = x;
    f->cursor = cursor;
    snprintf(f->disk, sizeof f->disk, "%s", disk);
    exchange_set_ops(x, &follower_ops, f);
    api_count(gw, 200);
    exchange_header(x, "Cache-Control", "no-cache");
    exchange_begin(x, 200, "text/event-stream");
    exchange_flush(x);
    ask_more(f);
}

static bool read_cursor(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        uint64_t *ret)
{
    char text[32] = "", *end;
    const char *last = http_header(r, "last-event-id");
    if (!http_query(r, "cursor", text, sizeof text))
        snprintf(text, sizeof text, "%s", last ? last : "0");
    errno = 0;
    *ret = strtoull(text, &end, 10);
    if (*end || errno || *text == '-' || !*text) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "cursor",
                         "cursor is one that the log has given");
        return false;
    }
    return true;
}

static void log_get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    struct sandbox_info i;
    uint64_t cursor;
    long limit = LOG_BYTES;
    char format[8] = "json";
    if (!sb || !read_cursor(gw, x, r, &cursor) ||
        !api_query_int(gw, x, r, "maxBytes", 1024, 8 << 20, &limit))
        return;
    sandbox_get_info(sb, &i);
    http_query(r, "format", format, sizeof format);
    bool har = !strcmp(format, "har");
    if (!har && strcmp(format, "json")) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "format", "format is json or har");
        return;
    }
    if (!har && api_wants_events(r)) {
        follow(gw, x, i.disk, cursor);
        return;
    }
    if (!*i.disk) { /* it has never run */
        CLEANUP_BUF struct buf b = {0};
        buf_puts(&b, har ? "{\"log\":{\"version\":\"1.2\",\"creator\":{\"name\":\"Cellbox\","
                           "\"version\":\"\"},\"entries\":[]}}"
                         : "{\"entries\":[],\"cursor\":\"0\",\"lost\":0}");
        api_json(gw, x, 200, &b);
        return;
    }
    struct wire_egress_call m = {
        .op = har ? EGRESS_LOG_HAR : EGRESS_LOG_READ, .value = cursor, .count = (uint32_t)limit};
    snprintf(m.disk, sizeof m.disk, "%s", i.disk);
    struct asking *a =
        begin(gw, x, har ? answer_data : answer_log, "SANDBOX_NOT_FOUND", p->value[0]);
    if (a)
        egress_call(gw, &m, NULL, 0, on_answer, a);
}

/* ---- secrets ---- */

/* Secrets of bucket mounts are nobody else's business. */
static bool is_internal(const char *secret)
{
    return secret && *secret == '_';
}

static void answer_secrets(struct asking *a, const struct wire_egress_reply *r, const char *data)
{
    CLEANUP_BUF struct buf b = {0};
    json_t *all = json_loadb(data, r->data_len, 0, NULL), *shown = json_array(), *v;
    size_t i;
    json_array_foreach (all, i, v) {
        if (!is_internal(api_string(v, "name")))
            json_array_append(shown, v);
    }
    char *text = json_dumps(shown, JSON_COMPACT);
    buf_printf(&b, "{\"secrets\":%s}", text ? text : "[]");
    free(text);
    json_decref(shown);
    json_decref(all);
    api_json(a->gw, a->x, 200, &b);
}

static void ask(struct gateway *gw, struct exchange *x, struct wire_egress_call *m,
                const char *name, const void *data, size_t len,
                void (*answer)(struct asking *, const struct wire_egress_reply *, const char *),
                const char *missing)
{
    if (strlen(name) >= sizeof m->name) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "name",
                         "a name has at most 64 characters");
        return;
    }
    if (is_internal(name)) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "name",
                         "a name begins with a letter or a digit");
        return;
    }
    snprintf(m->name, sizeof m->name, "%s", name);
    struct asking *a = begin(gw, x, answer, missing, name);
    if (a)
        egress_call(gw, m, data, len, on_answer, a);
}

static void secrets_get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        const struct route_params *p)
{
    struct wire_egress_call m = {.op = EGRESS_SECRET_LIST};
    (void)r;
    (void)p;
    ask(gw, x, &m, "", NULL, 0, answer_secrets, "SECRET_NOT_FOUND");
}

static void secret_put(struct gateway *gw, struct exchange *x, const struct http_request *r,
                       const struct route_params *p)
{
    struct wire_egress_call m = {.op = EGRESS_SECRET_PUT};
    ask(gw, x, &m, p->value[0], r->body.data, r->body.len, answer_empty, "SECRET_NOT_FOUND");
}

static void secret_delete(struct gateway *gw, struct exchange *x, const struct http_request *r,
                          const struct route_params *p)
{
    struct wire_egress_call m = {.op = EGRESS_SECRET_REMOVE};
    (void)r;
    ask(gw, x, &m, p->value[0], NULL, 0, answer_empty, "SECRET_NOT_FOUND");
}

/* ---- handlers ---- */

static void answer_handlers(struct asking *a, const struct wire_egress_reply *r, const char *data)
{
    CLEANUP_BUF struct buf b = {0};
    buf_puts(&b, "{\"handlers\":");
    buf_put(&b, data, r->data_len);
    buf_putc(&b, '}');
    api_json(a->gw, a->x, 200, &b);
}

static void answer_source(struct asking *a, const struct wire_egress_reply *r, const char *data)
{
    CLEANUP_BUF struct buf b = {0};
    buf_puts(&b, "{\"name\":");
    json_put_cstring(&b, a->name);
    buf_puts(&b, ",\"source\":");
    json_put_string(&b, data, r->data_len);
    buf_putc(&b, '}');
    api_json(a->gw, a->x, 200, &b);
}

static void handlers_get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                         const struct route_params *p)
{
    struct wire_egress_call m = {.op = EGRESS_HANDLER_LIST};
    (void)r;
    (void)p;
    ask(gw, x, &m, "", NULL, 0, answer_handlers, "HANDLER_NOT_FOUND");
}

static void handler_get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        const struct route_params *p)
{
    struct wire_egress_call m = {.op = EGRESS_HANDLER_SOURCE};
    (void)r;
    ask(gw, x, &m, p->value[0], NULL, 0, answer_source, "HANDLER_NOT_FOUND");
}

static void handler_put(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        const struct route_params *p)
{
    static const struct api_field fields[] = {
        {.name = "source", .type = API_STRING, .required = true, .max = SOURCE_MAX},
        {.name = "env", .type = API_STRING_MAP}};
    json_t *o = api_body(gw, x, r, fields, COUNT(fields));
    if (!o)
        return;
    CLEANUP_BUF struct buf data = {0};
    const char *source = api_string(o, "source");
    json_t *options = json_object();
    if (json_object_get(o, "env"))
        json_object_set(options, "env", json_object_get(o, "env"));
    char *text = json_dumps(options, JSON_COMPACT);
    struct wire_egress_call m = {.op = EGRESS_HANDLER_PUT, .value = strlen(source)};
    buf_puts(&data, source);
    buf_puts(&data, text ? text : "{}");
    ask(gw, x, &m, p->value[0], data.data, data.len, answer_empty, "HANDLER_NOT_FOUND");
    free(text);
    json_decref(options);
    json_decref(o);
}

static void handler_delete(struct gateway *gw, struct exchange *x, const struct http_request *r,
                           const struct route_params *p)
{
    struct wire_egress_call m = {.op = EGRESS_HANDLER_REMOVE};
    (void)r;
    ask(gw, x, &m, p->value[0], NULL, 0, answer_empty, "HANDLER_NOT_FOUND");
}

const struct route api_egress_routes[] = {
    {"GET", "/v1/sandboxes/{name}/egress", get, 0},
    {"PUT", "/v1/sandboxes/{name}/egress", put, 0},
    {"PATCH", "/v1/sandboxes/{name}/egress", patch, 0},
    {"DELETE", "/v1/sandboxes/{name}/egress", reset, 0},
    {"GET", "/v1/sandboxes/{name}/egress/log", log_get, 0},
    {"GET", "/v1/secrets", secrets_get, 0},
    {"PUT", "/v1/secrets/{name}", secret_put, 0},
    {"DELETE", "/v1/secrets/{name}", secret_delete, 0},
    {"GET", "/v1/handlers", handlers_get, 0},
    {"GET", "/v1/handlers/{name}", handler_get, 0},
    {"PUT", "/v1/handlers/{name}", handler_put, 0},
    {"DELETE", "/v1/handlers/{name}", handler_delete, 0},
};
const size_t api_egress_nroutes = COUNT(api_egress_routes);
