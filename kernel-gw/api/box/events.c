#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel-gw/api/box/box.h"

enum { HEARTBEAT_MS = 15000 };

static void on_beat(uv_timer_t *t)
{
    struct box_events *e = t->data;
    if (!e->x || exchange_queued(e->x) || uv_now(t->loop) - e->sent_ms < HEARTBEAT_MS)
        return;
    e->sent_ms = uv_now(t->loop);
    exchange_write(e->x, ": \n\n", 4);
}

static void on_timer_closed(uv_handle_t *h)
{
    free(h);
}

int box_events_begin(struct box_events *e, struct gateway *gw, struct exchange *x,
                     const struct exchange_ops *ops, void *user)
{
    e->beat = calloc(1, sizeof *e->beat);
    if (!e->beat)
        return -ENOMEM;
    e->gw = gw;
    e->x = x;
    uv_timer_init(gw->loop, e->beat);
    e->beat->data = e;
    uv_timer_start(e->beat, on_beat, HEARTBEAT_MS, HEARTBEAT_MS / 3);
    e->sent_ms = uv_now(gw->loop);
    api_count(gw, 200);
    exchange_header(x, "Cache-Control", "no-cache");
    exchange_header(x, "X-Accel-Buffering", "no");
    exchange_set_ops(x, ops, user);
    exchange_begin(x, 200, "text/event-stream");
    return 0;
}

uint64_t box_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

struct buf *box_event(struct box_events *e, const char *type, uint64_t time_us, const char *id)
{
    struct buf *b = exchange_chunk(e->x);
    if (id)
        buf_printf(b, "id: %s\n", id);
    buf_printf(b, "event: %s\ndata: {\"type\":\"%s\",\"timestamp\":", type, type);
    api_put_time(b, time_us ? time_us : box_now_us());
    return b;
}

bool box_event_end(struct box_events *e)
{
    exchange_write(e->x, "}\n\n", 3);
    e->sent_ms = uv_now(e->gw->loop);
    return exchange_queued(e->x) > HTTP_QUEUE_HIGH;
}

void box_events_forget(struct box_events *e)
{
    e->x = NULL;
    if (!e->beat)
        return;
    uv_timer_stop(e->beat);
    uv_close((uv_handle_t *)e->beat, on_timer_closed);
    e->beat = NULL;
}

void box_events_end(struct box_events *e)
{
    struct exchange *x = e->x;
    box_events_forget(e);
    if (x)
        exchange_end(x);
}
