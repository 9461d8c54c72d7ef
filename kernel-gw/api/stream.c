/*
 * An execution as server-sent events. The number of an event is its place in the execution, so a
 * client that lost its connection goes on with Last-Event-ID. A reader that does not keep up is fed
 * from the journal later.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel-gw/api/api.h"
#include "sandbox/base/json.h"

enum { HEARTBEAT_MS = 15000 };

struct stream {
    struct list item;
    struct gateway *gw;
    struct exchange *x;
    struct request *request;
    struct subscription *subscription;
    unsigned long n, after;
    uint64_t sent_ms;
    bool done;
};

/* All streams of the process share one heartbeat timer. */
static struct stream_set {
    struct list list;
    uv_timer_t timer;
} * stream_set(struct gateway *gw);

static void stream_free(struct stream *s)
{
    list_remove(&s->item);
    subscription_cancel(s->subscription);
    request_unref(s->request);
    free(s);
}

static void on_closed(void *user)
{
    stream_free(user);
}

static void on_drained(void *user)
{
    struct stream *s = user;
    subscription_resume(s->subscription);
}

static const struct exchange_ops stream_ops = {.closed = on_closed, .drained = on_drained};

static void put_begin(struct stream *s, struct buf *b, const char *type, uint64_t time_us)
{
    struct request_info i;
    request_get_info(s->request, &i);
    if (s->n)
        buf_printf(b, "id: %lu\n", s->n);
    buf_printf(b, "event: %s\ndata: {\"type\":\"%s\",\"timestamp\":", type, type);
    api_put_time(b, time_us);
    buf_printf(b, ",\"executionId\":\"%s\"", i.id);
}

static void put_bundle(struct buf *b, const struct context_event *ev)
{
    struct proto_section id;
    buf_printf(b, ",\"isMainResult\":%s,\"data\":", ev->type == EVENT_RESULT ? "true" : "false");
    buf_put(b, ev->sections[0].data, ev->sections[0].len);
    buf_puts(b, ",\"metadata\":");
    buf_put(b, ev->sections[1].data, ev->sections[1].len);
    if (ev->type == EVENT_RESULT)
        buf_printf(b, ",\"executionCount\":%u", ev->execution_count);
    else if (json_pick(ev->sections[2].data, ev->sections[2].len, "display_id", &id)) {
        buf_puts(b, ",\"displayId\":");
        buf_put(b, id.data, id.len);
    }
}

static void put_stdin(struct buf *b, const struct context_event *ev)
{
    struct proto_section v;
    const struct proto_section *s = &ev->sections[0];
    buf_puts(b, ",\"prompt\":");
    if (json_pick(s->data, s->len, "prompt", &v))
        buf_put(b, v.data, v.len);
    else
        buf_puts(b, "\"\"");
    bool password = json_pick(s->data, s->len, "password", &v) && v.len == 4;
    buf_printf(b, ",\"password\":%s", password ? "true" : "false");
}

static void put_done(struct buf *b, struct request *r)
{
    CLEANUP_BUF struct buf head = {0};
    api_put_execution_head(&head, r);
    if (head.len > 1)
        buf_printf(b, ",%s", buf_str(&head) + 1);
}

static const char *event_name(const struct context_event *ev)
{
    switch (ev->type) {
    case EVENT_STREAM:
        return ev->stream == 1 ? "stdout" : "stderr";
    case EVENT_DISPLAY:
        return "display";
    case EVENT_UPDATE_DISPLAY:
        return "update_display";
    case EVENT_RESULT:
        return "result";
    case EVENT_CLEAR_OUTPUT:
        return "clear_output";
    case EVENT_ERROR:
        return "error";
    case EVENT_NOTICE:
        return "notice";
    case EVENT_STDIN:
        return "input_request";
    case EVENT_REPLY:
        return "done";
    default:
        return NULL;
    }
}

static void put_fields(struct stream *s, struct buf *b, const struct context_event *ev)
{
    switch (ev->type) {
    case EVENT_STREAM:
    case EVENT_NOTICE:
        buf_puts(b, ",\"text\":");
        json_put_string(b, ev->text.data, ev->text.len);
        break;
    case EVENT_DISPLAY:
    case EVENT_UPDATE_DISPLAY:
    case EVENT_RESULT:
        put_bundle(b, ev);
        break;
    case EVENT_CLEAR_OUTPUT:
        buf_printf(b, ",\"wait\":%s", ev->arg ? "true" : "false");
        break;
    case EVENT_ERROR:
        buf_putc(b, ',');
        api_put_error(b, &ev->sections[0], ev->typed, NULL);
        break;
    case EVENT_STDIN:
        put_stdin(b, ev);
        break;
    case EVENT_REPLY:
        put_done(b, s->request);
        break;
    default:
        break;
    }
    buf_putc(b, '}');
}

/* Newlines in raw JSON would end the SSE field. They can only be white space there. */
static void one_line(struct buf *b, size_t from)
{
    for (size_t i = from; i < b->len; i++) {
        if (b->data[i] == '\n' || b->data[i] == '\r')
            b->data[i] = ' ';
    }
}

static int on_event(void *user, const struct context_event *ev)
{
    struct stream *s = user;
    const char *name = event_name(ev);
    if (!name || s->done)
        return 0;
    s->n++;
    s->done = ev->type == EVENT_REPLY;
    if (s->n > s->after || s->done) {
        struct buf *b = exchange_chunk(s->x);
        put_begin(s, b, name, ev->time_us);
        size_t from = b->len;
        put_fields(s, b, ev);
        one_line(b, from);
        buf_puts(b, "\n\n");
    }
    if (s->done) {
        struct exchange *x = s->x;
        stream_free(s);
        exchange_end(x);
        return 0;
    }
    exchange_flush(s->x);
    s->sent_ms = uv_now(s->gw->loop);
    return exchange_queued(s->x) > HTTP_QUEUE_HIGH;
}

/* The client is told, and that the answer is not whole is seen from its end, too. */
static void on_failed(void *user, int error)
{
    struct stream *s = user;
    struct exchange *x = s->x;
    struct buf *b = exchange_chunk(x);
    (void)error;
    s->n = 0; /* no place in the execution to go on from */
    put_begin(s, b, "error", (uint64_t)time(NULL) * 1000000);
    buf_puts(b, ",\"code\":\"EXECUTION_UNREADABLE\",\"name\":\"ServerError\",\"message\":\"the "
                "execution could not be read back\",\"traceback\":[],\"details\":{}}\n\n");
    exchange_flush(x);
    exchange_set_ops(x, NULL, NULL);
    stream_free(s);
    exchange_end(x);
}

static void on_heartbeat(uv_timer_t *t)
{
    struct stream_set *set = t->data;
    LIST_FOREACH_SAFE (it, &set->list) {
        struct stream *s = LIST_ENTRY(it, struct stream, item);
        uint64_t now = uv_now(t->loop);
        if (now - s->sent_ms < HEARTBEAT_MS || exchange_queued(s->x))
            continue;
        s->sent_ms = now;
        exchange_write(s->x, ": \n\n", 4);
    }
}

static struct stream_set *stream_set(struct gateway *gw)
{
    return gw->streams;
}

void api_streams_init(struct gateway *gw)
{
    struct stream_set *set = calloc(1, sizeof *set);
    gw->streams = set;
    if (!set)
        return;
    list_init(&set->list);
    uv_timer_init(gw->loop, &set->timer);
    set->timer.data = set;
    uv_timer_start(&set->timer, on_heartbeat, 1000, 1000);
}

bool api_wants_events(const struct http_request *r)
{
    const char *accept = http_header(r, "accept");
    return accept && http_has_token(accept, "text/event-stream");
}

void api_stream_execution(struct gateway *gw, struct exchange *x, struct request *r, long after)
{
    struct stream *s = calloc(1, sizeof *s);
    struct request_info i;
    struct subscription_spec spec = {.event = on_event, .failed = on_failed, .user = s};
    if (!s || !gw->streams) {
        free(s);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *s = (struct stream){
        .gw = gw, .x = x, .request = r, .after = after > 0 ? (unsigned long)after : 0};
    request_ref(r);
    list_init(&s->item);
    list_append(&stream_set(gw)->list, &s->item);
    s->sent_ms = uv_now(gw->loop);
    request_get_info(r, &i);
    api_count(gw, 200);
    exchange_header(x, "Cache-Control", "no-cache");
    exchange_header(x, "X-Accel-Buffering", "no");
    exchange_set_ops(x, &stream_ops, s);
    exchange_begin(x, 200, "text/event-stream");
    struct buf *b = exchange_chunk(x);
    if (!s->after) {
        put_begin(s, b, "started", i.queued_us);
        buf_puts(b, "}\n\n");
    }
    exchange_flush(x);
    if (request_subscribe(r, &spec, &s->subscription) < 0) {
        stream_free(s);
        exchange_abort(x);
    }
}
