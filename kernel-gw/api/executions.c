/* /v1/sandboxes/{name}/executions, and one Execution as JSON: read from the journal while it is
 * sent. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "sandbox/base/json.h"
#include "sandbox/base/map.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
enum { DISPLAY_IDS_MAX = 10000, FLUSH_AT = 64 << 10, TURN_NS = 1000000, RETRY_MS = 20 };

static const char *state_name(const struct request_info *i)
{
    static const char *const status[] = {"ok", "error", "aborted"};
    return i->state == REQUEST_QUEUED    ? "queued"
           : i->state == REQUEST_RUNNING ? "running"
                                         : status[i->status % 3];
}

static void put_when(struct buf *out, const char *name, uint64_t us)
{
    if (!us)
        return;
    buf_printf(out, ",\"%s\":", name);
    api_put_time(out, us);
}

void api_put_execution_head(struct buf *out, struct request *r)
{
    struct request_info i;
    struct context_info c = {0};
    struct sandbox_info sb = {0};
    request_get_info(r, &i);
    buf_puts(out, "{\"id\":");
    json_put_cstring(out, i.id);
    if (i.context) {
        context_get_info(i.context, &c);
        sandbox_get_info(c.sandbox, &sb);
        api_member(out, "sandbox", sb.name);
        api_member(out, "context", c.id);
    }
    api_member(out, "status", state_name(&i));
    buf_printf(out, ",\"executionCount\":%u,\"timing\":{\"queuedAt\":", i.execution_count);
    api_put_time(out, i.queued_us);
    put_when(out, "startedAt", i.started_us);
    put_when(out, "endedAt", i.ended_us);
    if (i.ended_us && i.started_us)
        buf_printf(out, ",\"durationMs\":%.3f", (double)(i.ended_us - i.started_us) / 1000);
    buf_putc(out, '}');
    if (i.fresh_state) {
        buf_puts(out, ",\"contextRestarted\":true");
        api_member(out, "reason", i.lost_reason);
    }
    if (i.truncated)
        buf_puts(out, ",\"truncated\":true");
}

static void put_raw(struct buf *out, const char *name, const struct proto_section *object,
                    const char *key, char type, const char *otherwise)
{
    struct proto_section v;
    buf_printf(out, "%s", name);
    if (json_pick(object->data, object->len, key, &v) && v.len && v.data[0] == (uint8_t)type)
        buf_put(out, v.data, v.len);
    else
        buf_puts(out, otherwise);
}

void api_put_error(struct buf *out, const struct proto_section *error, bool typed,
                   const struct proto_section *traceback)
{
    if (typed)
        put_raw(out, "\"code\":", error, "code", '"', "\"EXCEPTION\"");
    else
        buf_puts(out, "\"code\":\"EXCEPTION\"");
    put_raw(out, ",\"name\":", error, "ename", '"', "\"Error\"");
    put_raw(out, ",\"message\":", error, "evalue", '"', "\"\"");
    put_raw(out, ",\"traceback\":", traceback ? traceback : error, "traceback", '[', "[]");
    if (typed)
        put_raw(out, ",\"details\":", error, "details", '{', "{}");
}

/* ---- rendering ---- */

enum phase { PHASE_SCAN, PHASE_RESULTS, PHASE_STDOUT, PHASE_STDERR, PHASE_END };

struct render {
    struct gateway *gw;
    struct exchange *x;
    struct request *request;
    struct execution_reader *reader;
    enum phase phase;
    bool streaming, any, failed;
    unsigned ordinal;        /* of the display or update looked at */
    struct map *last_update; /* display id -> ordinal of its last form */
    struct buf out;          /* what is ready to go */
    struct buf error, typed_error;
    uv_idle_t next_turn; /* of the loop: goes on there */
    uv_timer_t later;    /* when there may be room to read */
    unsigned handles;
};

static void on_handle_closed(uv_handle_t *h)
{
    struct render *rd = h->data;
    if (--rd->handles == 0)
        free(rd);
}

static void render_free(struct render *rd)
{
    execution_reader_close(rd->reader);
    map_free(rd->last_update);
    buf_deinit(&rd->out);
    buf_deinit(&rd->error);
    buf_deinit(&rd->typed_error);
    request_unref(rd->request);
    uv_close((uv_handle_t *)&rd->next_turn, on_handle_closed);
    uv_close((uv_handle_t *)&rd->later, on_handle_closed);
}

/* The display id of an event as a string with a NUL, quotes included; false: it has none. */
static bool display_id(const struct context_event *ev, struct buf *out)
{
    struct proto_section v;
    if (ev->nsections < 3 ||
        !json_pick(ev->sections[2].data, ev->sections[2].len, "display_id", &v) || v.len < 2 ||
        v.data[0] != '"')
        return false;
    return buf_put(out, v.data, v.len) == 0;
}

/* An updated display appears once, in its last form. */
static void note_update(struct render *rd, const struct context_event *ev)
{
    CLEANUP_BUF struct buf id = {0};
    if (!display_id(ev, &id))
        return;
    if (!rd->last_update)
        rd->last_update = map_new();
    if (!rd->last_update || map_count(rd->last_update) >= DISPLAY_IDS_MAX)
        return;
    map_remove(rd->last_update, buf_str(&id));
    map_add(rd->last_update, buf_str(&id), (void *)(uintptr_t)(rd->ordinal + 1));
}

static bool superseded(struct render *rd, const struct context_event *ev)
{
    CLEANUP_BUF struct buf id = {0};
    if (!rd->last_update || !display_id(ev, &id))
        return false;
    uintptr_t last = (uintptr_t)map_get(rd->last_update, buf_str(&id));
    return last && last != rd->ordinal + 1;
}

static void put_result(struct render *rd, const struct context_event *ev)
{
    CLEANUP_BUF struct buf id = {0};
    buf_printf(&rd->out, "%s{\"isMainResult\":%s,\"data\":", rd->any ? "," : "",
               ev->type == EVENT_RESULT ? "true" : "false");
    buf_put(&rd->out, ev->sections[0].data, ev->sections[0].len);
    buf_puts(&rd->out, ",\"metadata\":");
    buf_put(&rd->out, ev->sections[1].data, ev->sections[1].len);
    if (display_id(ev, &id))
        buf_printf(&rd->out, ",\"displayId\":%s", buf_str(&id));
    buf_putc(&rd->out, '}');
    rd->any = true;
}

static void keep_error(struct buf *keep, const struct context_event *ev)
{
    buf_reset(keep);
    buf_put(keep, ev->sections[0].data, ev->sections[0].len);
}

static void on_event(void *user, const struct context_event *ev)
{
    struct render *rd = user;
    bool display = ev->type == EVENT_DISPLAY || ev->type == EVENT_UPDATE_DISPLAY;
    if (rd->phase == PHASE_SCAN) {
        if (display)
            note_update(rd, ev);
        if (ev->type == EVENT_ERROR && !(ev->typed && rd->typed_error.len))
            keep_error(ev->typed ? &rd->typed_error : &rd->error, ev);
    } else if (rd->phase == PHASE_RESULTS) {
        if ((display && !superseded(rd, ev)) || ev->type == EVENT_RESULT)
            put_result(rd, ev);
    } else if (ev->type == EVENT_STREAM && ev->stream == (rd->phase == PHASE_STDOUT ? 1 : 2)) {
        if (rd->any)
            buf_putc(&rd->out, ',');
        json_put_string(&rd->out, ev->text.data, ev->text.len);
        rd->any = true;
    }
    rd->ordinal += display;
}

static void put_start(struct render *rd)
{
    CLEANUP_BUF struct buf code = {0};
    api_put_execution_head(&rd->out, rd->request);
    buf_puts(&rd->out, ",\"code\":");
    if (request_get_code(rd->request, &code) < 0)
        buf_puts(&rd->out, "\"\"");
    else
        json_put_string(&rd->out, code.data, code.len);
}

static void put_error(struct render *rd)
{
    bool typed = rd->typed_error.len > 0;
    struct proto_section own = {rd->error.data, rd->error.len},
                         of_manager = {rd->typed_error.data, rd->typed_error.len};
    if (!own.len && !typed)
        return;
    buf_puts(&rd->out, ",\"error\":{");
    api_put_error(&rd->out, typed ? &of_manager : &own, typed, own.len ? &own : NULL);
    buf_putc(&rd->out, '}');
}

static int open_pass(struct render *rd)
{
    execution_reader_close(rd->reader);
    rd->reader = NULL;
    rd->any = false;
    rd->ordinal = 0;
    return execution_reader_open(rd->request, on_event, rd, &rd->reader);
}

static int next_phase(struct render *rd)
{
    static const char *const between[] = {[PHASE_RESULTS] = ",\"results\":[",
                                          [PHASE_STDOUT] = "],\"logs\":{\"stdout\":[",
                                          [PHASE_STDERR] = "],\"stderr\":[",
                                          [PHASE_END] = "]}"};
    rd->phase++;
    buf_puts(&rd->out, between[rd->phase]);
    if (rd->phase < PHASE_END)
        return open_pass(rd);
    put_error(rd);
    return buf_putc(&rd->out, '}');
}

static void on_closed(void *user)
{
    render_free(user);
}

static void go_on(void *user);
static const struct exchange_ops render_ops = {.closed = on_closed, .drained = go_on};

static void start_streaming(struct render *rd)
{
    rd->streaming = true;
    api_count(rd->gw, 200);
    exchange_begin(rd->x, 200, "application/json");
}

static void finish(struct render *rd)
{
    struct exchange *x = rd->x;
    bool failed = rd->failed || rd->out.err;
    exchange_set_ops(x, NULL, NULL);
    if (failed && rd->streaming) {
        exchange_abort(x);
    } else if (failed) {
        api_error(rd->gw, x, 500, "EXECUTION_UNREADABLE", "the execution could not be read back");
    } else if (!rd->streaming) {
        api_json(rd->gw, x, 200, &rd->out);
    } else {
        buf_put(exchange_chunk(x), rd->out.data, rd->out.len);
        exchange_end(x);
    }
    render_free(rd);
}

static bool flush(struct render *rd)
{
    if (rd->out.len < FLUSH_AT)
        return true;
    if (!rd->streaming)
        start_streaming(rd);
    exchange_write(rd->x, rd->out.data, rd->out.len);
    buf_reset(&rd->out);
    return exchange_queued(rd->x) <= HTTP_QUEUE_HIGH;
}

static void on_next_turn(uv_idle_t *idle)
{
    go_on(idle->data);
}

static void on_later(uv_timer_t *t)
{
    go_on(t->data);
}

/* Until the response is complete, the socket full (then `drained` calls again), or its share of
 * this turn of the loop used. */
static void go_on(void *user)
{
    struct render *rd = user;
    uint64_t start = uv_hrtime();
    int r = 0;
    uv_idle_stop(&rd->next_turn);
    uv_timer_stop(&rd->later);
    while (rd->phase != PHASE_END && !rd->out.err) {
        r = execution_reader_step(rd->reader);
        if (r == 0)
            r = next_phase(rd);
        if (r < 0)
            break;
        if (!flush(rd))
            return;
        if (uv_hrtime() - start > TURN_NS && rd->phase != PHASE_END)
            break;
    }
    if (rd->phase == PHASE_END || rd->out.err || (r < 0 && r != -EAGAIN)) {
        rd->failed = r < 0;
        finish(rd);
    } else if (r < 0) {
        uv_timer_start(&rd->later, on_later, RETRY_MS, 0);
    } else {
        uv_idle_start(&rd->next_turn, on_next_turn);
    }
}

void api_render_execution(struct gateway *gw, struct exchange *x, struct request *r)
{
    struct render *rd = calloc(1, sizeof *rd);
    if (!rd) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *rd = (struct render){.gw = gw, .x = x, .request = r};
    buf_init(&rd->out, 128 << 20);
    request_ref(r);
    uv_idle_init(gw->loop, &rd->next_turn);
    uv_timer_init(gw->loop, &rd->later);
    rd->next_turn.data = rd->later.data = rd;
    rd->handles = 2;
    if (open_pass(rd) < 0) {
        render_free(rd);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    exchange_set_ops(x, &render_ops, rd);
    put_start(rd);
    go_on(rd);
}

/* ---- routes ---- */

static struct request *find(struct sandbox *sb, const char *id)
{
    struct context *c = NULL;
    while ((c = sandbox_context_next(sb, c))) {
        struct request *r = execution_get(c, id);
        if (r)
            return r;
    }
    return NULL;
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    if (!sb)
        return;
    struct request *e = find(sb, p->value[1]);
    if (!e) {
        api_error_detail(gw, x, 404, "EXECUTION_NOT_FOUND", "execution", p->value[1],
                         "no execution %s in this sandbox", p->value[1]);
        return;
    }
    const char *last = http_header(r, "last-event-id");
    size_t digits = last ? strspn(last, "0123456789") : 0;
    if (last && (!digits || last[digits] || digits > 15)) {
        api_error_detail(gw, x, 400, "INVALID_HEADER", "header", "Last-Event-ID",
                         "Last-Event-ID must be a number");
        return;
    }
    if (api_wants_events(r))
        api_stream_execution(gw, x, e, last ? strtol(last, NULL, 10) : 0);
    else
        api_render_execution(gw, x, e);
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    struct context *c = NULL;
    long limit = 100, n = 0;
    if (!sb || !api_query_int(gw, x, r, "limit", 1, 1000, &limit))
        return;
    buf_puts(&b, "{\"executions\":[");
    while ((c = sandbox_context_next(sb, c))) {
        struct request *e = NULL;
        for (long k = 0; k < limit && (e = execution_next(c, e)); k++) {
            if (n++)
                buf_putc(&b, ',');
            api_put_execution_head(&b, e);
            buf_putc(&b, '}');
        }
    }
    buf_puts(&b, "]}");
    api_json(gw, x, 200, &b);
}

const struct route api_execution_routes[] = {
    {"GET", "/v1/sandboxes/{name}/executions", list, 0},
    {"GET", "/v1/sandboxes/{name}/executions/{id}", get, 0},
};
const size_t api_execution_nroutes = COUNT(api_execution_routes);
