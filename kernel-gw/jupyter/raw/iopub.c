/*
 * Events to iopub. The socket blocks rather than drops: while a subscriber does not read, the
 * kernel's subscription pauses and the manager keeps what happens on file. A subscriber that reads
 * nothing for STALL_MS loses messages from then on, so that it cannot hold up the others for good;
 * a new subscriber ends that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/raw/private.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

enum { STALL_MS = 10000, QUEUE_MAX = 256 };

/* A copy of what the socket had no room for. */
struct outgoing {
    struct list link;
    char msg_type[32];
    unsigned nbuffers;
    size_t lengths[3 + JUPYTER_BUFFERS_MAX]; /* parent, metadata, content, buffers */
    uint8_t bytes[];
};

static int send_now(struct kernel *k, const struct jupyter_parts *parts)
{
    char topic[128];
    snprintf(topic, sizeof topic, "%s.%s", k->topic, parts->msg_type);
    struct slice ident = {(uint8_t *)topic, strlen(topic)};
    return kernel_send(k, CHANNEL_IOPUB, &ident, 1, parts);
}

static void enqueue(struct kernel *k, const struct jupyter_parts *p)
{
    struct slice all[3 + JUPYTER_BUFFERS_MAX] = {p->parent, p->metadata, p->content};
    unsigned n = 3;
    size_t total = 0;

    for (unsigned i = 0; i < p->nbuffers && i < JUPYTER_BUFFERS_MAX; i++)
        all[n++] = p->buffers[i];
    for (unsigned i = 0; i < n; i++)
        total += all[i].len;
    struct outgoing *o = k->queued < QUEUE_MAX ? malloc(sizeof *o + total) : NULL;
    if (!o) {
        log_warn("jupyter", "iopub_dropped", "type=%s", p->msg_type);
        return;
    }
    snprintf(o->msg_type, sizeof o->msg_type, "%s", p->msg_type);
    o->nbuffers = n - 3;
    uint8_t *at = o->bytes;
    for (unsigned i = 0; i < n; i++) {
        o->lengths[i] = all[i].len;
        if (all[i].len)
            memcpy(at, all[i].data, all[i].len);
        at += all[i].len;
    }
    list_append(&k->queue, &o->link);
    k->queued++;
    if (!uv_is_active((uv_handle_t *)&k->stall))
        uv_timer_start(&k->stall, iopub_on_stall, STALL_MS, 0);
}

static int send_queued(struct kernel *k, const struct outgoing *o)
{
    struct slice buffers[JUPYTER_BUFFERS_MAX];
    struct slice s[3] = {{0}};
    const uint8_t *at = o->bytes;
    for (unsigned i = 0; i < 3 + o->nbuffers; i++) {
        if (i < 3)
            s[i] = (struct slice){at, o->lengths[i]};
        else
            buffers[i - 3] = (struct slice){at, o->lengths[i]};
        at += o->lengths[i];
    }
    struct jupyter_parts p = {.msg_type = o->msg_type,
                              .parent = s[0],
                              .metadata = s[1],
                              .content = s[2],
                              .buffers = buffers,
                              .nbuffers = o->nbuffers};
    return send_now(k, &p);
}

/* true: the queue is empty */
static bool flush(struct kernel *k)
{
    while (!list_empty(&k->queue)) {
        struct outgoing *o = LIST_ENTRY(k->queue.next, struct outgoing, link);
        if (send_queued(k, o) == -EAGAIN)
            return false;
        list_remove(&o->link);
        k->queued--;
        free(o);
    }
    uv_timer_stop(&k->stall);
    return true;
}

static void go_on(struct kernel *k)
{
    if (!k->held && flush(k) && k->subscription)
        subscription_resume(k->subscription);
}

void iopub_publish(struct kernel *k, const struct jupyter_parts *parts)
{
    if (k->held || !list_empty(&k->queue) || send_now(k, parts) == -EAGAIN)
        enqueue(k, parts);
}

int iopub_event(void *user, const struct context_event *ev)
{
    struct kernel *k = user;
    struct port_event pe = {0};

    /*
     * `dead` and `restarting` are words of notebook servers, not of kernels: the stock console,
     * which waits for idle, would wait for ever.
     */
    if (ev->type == EVENT_STATUS && !ev->request &&
        (ev->state == CONTEXT_DEAD || ev->state == CONTEXT_RESTARTING))
        return 0;
    if (port_event_init(&pe, ev))
        iopub_publish(k, &pe.parts);
    port_event_deinit(&pe);
    return !list_empty(&k->queue);
}

/* JEP 65: tells a subscriber that it will not miss anything from here on. */
void iopub_subscribed(void *user, struct slice topic)
{
    struct kernel *k = user;
    CLEANUP_BUF struct buf content = {0};

    if (k->lossy) {
        k->lossy = false;
        zmq_sockets_set_lossy(k->sockets, false);
    }
    buf_puts(&content, "{\"subscription\":");
    json_put_string(&content, topic.data, topic.len);
    buf_putc(&content, '}');
    struct jupyter_parts p = {.msg_type = "iopub_welcome",
                              .parent = SLICE_STR("{}"),
                              .metadata = SLICE_STR("{}"),
                              .content = {content.data, content.len}};
    k->held = false;
    if (send_now(k, &p) == -EAGAIN)
        enqueue(k, &p);
    go_on(k);
}

void iopub_writable(void *user)
{
    go_on(user);
}

void iopub_on_stall(uv_timer_t *t)
{
    struct kernel *k = t->data;
    if (k->held) { /* nobody came back: the events go to nobody */
        k->held = false;
    } else {
        log_warn("jupyter", "iopub_stalled", "seconds=%d", STALL_MS / 1000);
        k->lossy = true;
        zmq_sockets_set_lossy(k->sockets, true);
    }
    go_on(k);
}

void iopub_drop_queue(struct kernel *k)
{
    LIST_FOREACH_SAFE (it, &k->queue)
        free(LIST_ENTRY(it, struct outgoing, link));
    list_init(&k->queue);
    k->queued = 0;
}
