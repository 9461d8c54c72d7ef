#include "kernel-gw/jupyter/channels/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "sandbox/base/id.h"
#include "sandbox/base/log.h"

/* How long a session may be away, and the replies that wait for it meanwhile. */
enum { AWAY_MS = 24 * 3600 * 1000, MISSED_MAX = 1000, MISSED_BYTES_MAX = 16 << 20 };

static uint64_t now_us(void)
{
    struct timeval t;
    gettimeofday(&t, NULL);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

void client_route(const struct client *cl, struct slice *ret, char *room, size_t cap)
{
    int n = snprintf(room, cap, "ws:%s", cl->session);
    *ret = (struct slice){(const uint8_t *)room, (size_t)n};
}

const char *client_route_session(struct slice route, char *room, size_t cap)
{
    if (route.len < 3 || route.len - 3 >= cap || memcmp(route.data, "ws:", 3) != 0)
        return NULL;
    memcpy(room, route.data + 3, route.len - 3);
    room[route.len - 3] = 0;
    return room;
}

/* ---- sending ---- */

static void send_now(struct client *cl, enum channel ch, const struct jupyter_parts *parts)
{
    struct channels_out out;
    char id[96];
    CLEANUP_BUF struct buf header = {0};
    jupyter_message_id(id, sizeof id, cl->own, ++cl->counter, parts->request);
    if (jupyter_put_header(&header, id, parts->msg_type, cl->own, now_us()) < 0)
        return;
    if (channels_encode(cl->form, ch, (struct slice){header.data, header.len}, id, parts, &out) ==
        0)
        websocket_send(cl->connection->ws, out.binary, out.parts, out.n);
    channels_out_deinit(&out);
}

static void missed_free(struct client *cl, struct missed *m)
{
    list_remove(&m->link);
    cl->nmissed--;
    cl->missed_bytes -= m->content.len;
    buf_deinit(&m->parent);
    buf_deinit(&m->content);
    free(m);
}

static void miss(struct client *cl, enum channel ch, const struct jupyter_parts *parts)
{
    struct missed *m = cl->nmissed < MISSED_MAX && parts->content.len <= MISSED_BYTES_MAX
                           ? calloc(1, sizeof *m)
                           : NULL;
    if (!m) {
        cl->lost_replies++;
        cl->port.counters->replies_lost++;
        return;
    }
    m->channel = ch;
    m->request = parts->request;
    snprintf(m->msg_type, sizeof m->msg_type, "%s", parts->msg_type);
    buf_put(&m->parent, parts->parent.data, parts->parent.len);
    buf_put(&m->content, parts->content.data, parts->content.len);
    list_append(&cl->missed, &m->link);
    cl->nmissed++;
    cl->missed_bytes += m->content.len;
    while (cl->missed_bytes > MISSED_BYTES_MAX) {
        cl->lost_replies++;
        cl->port.counters->replies_lost++;
        missed_free(cl, LIST_ENTRY(cl->missed.next, struct missed, link));
    }
}

static void send_missed(struct client *cl)
{
    while (!list_empty(&cl->missed)) {
        struct missed *m = LIST_ENTRY(cl->missed.next, struct missed, link);
        struct jupyter_parts parts = {.msg_type = m->msg_type,
                                      .parent = {m->parent.data, m->parent.len},
                                      .metadata = SLICE_STR("{}"),
                                      .content = {m->content.data, m->content.len},
                                      .request = m->request};
        send_now(cl, m->channel, &parts);
        missed_free(cl, m);
    }
}

void client_send(struct client *cl, enum channel ch, const struct jupyter_parts *parts)
{
    if (cl->connection)
        send_now(cl, ch, parts);
    else if (ch != CHANNEL_IOPUB) /* iopub comes from the journal again */
        miss(cl, ch, parts);
}

/* ---- the port's side ---- */

static void on_reply(void *user, enum channel ch, struct slice route,
                     const struct jupyter_parts *parts)
{
    (void)route; /* requests of a client carry its own */
    client_send(user, ch, parts);
}

static void on_publish(void *user, const struct jupyter_parts *parts)
{
    client_send(user, CHANNEL_IOPUB, parts);
}

static void on_later(uv_idle_t *h)
{
    struct client *cl = h->data;
    struct context *c = cl->context;
    uv_idle_stop(h);
    if (cl->closing)
        return;
    bool end = cl->end_wanted, restart = cl->restart_wanted;
    cl->end_wanted = cl->restart_wanted = false;
    if (end)
        door_end_kernel(cl->door, c);
    else if (restart)
        context_restart(c);
}

static void on_shutdown(void *user, bool restart)
{
    struct client *cl = user;
    cl->restart_wanted |= restart;
    cl->end_wanted |= !restart;
    uv_idle_start(&cl->later, on_later);
}

static const struct port_ops port_ops = {
    .reply = on_reply, .publish = on_publish, .shutdown = on_shutdown};

void client_message(struct client *cl, bool binary, const uint8_t *data, size_t len)
{
    struct jupyter_message m;
    enum channel ch = CHANNEL_SHELL;
    char room[SESSION_MAX + 8];
    struct slice route;
    const char *why = channels_decode(cl->form, binary, data, len, &ch, &m);
    if (why) {
        cl->port.counters->messages++;
        cl->port.counters->bad_frames++;
        log_info("channels", "message_refused", "kernel=%s bytes=%zu reason=%s", cl->kernel, len,
                 log_quote(why));
        websocket_close(cl->connection->ws, WS_CLOSE_INVALID_DATA, why);
        return;
    }
    client_route(cl, &route, room, sizeof room);
    port_message(&cl->port, ch, &m, route);
}

/* ---- life ---- */

static void on_away_too_long(uv_timer_t *t)
{
    client_free(t->data);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct client *cl = h->data;
    if (--cl->handles == 0)
        free(cl);
}

struct client *client_new(struct door *d, struct context *c, const char *session)
{
    struct client *cl = calloc(1, sizeof *cl);
    struct context_info info;
    if (!cl)
        return NULL;
    context_get_info(c, &info);
    cl->door = d;
    cl->context = c;
    snprintf(cl->kernel, sizeof cl->kernel, "%s", info.id);
    snprintf(cl->session, sizeof cl->session, "%s", session);
    id_uuid(cl->own);
    list_init(&cl->missed);
    port_init(&cl->port, &port_ops, cl, c, &d->counters);
    uv_timer_init(d->gw->loop, &cl->away);
    uv_idle_init(d->gw->loop, &cl->later);
    cl->away.data = cl->later.data = cl;
    cl->handles = 2;
    list_append(&d->clients, &cl->link);
    struct subscription_spec spec = {.event = client_event, .lost = client_lost, .user = cl};
    if (context_subscribe(c, &spec, &cl->subscription) < 0) {
        client_free(cl);
        return NULL;
    }
    client_detach(cl); /* until somebody comes */
    return cl;
}

void client_free(struct client *cl)
{
    if (cl->closing)
        return;
    cl->closing = true;
    list_remove(&cl->link);
    subscription_cancel(cl->subscription);
    port_deinit(&cl->port);
    while (!list_empty(&cl->missed))
        missed_free(cl, LIST_ENTRY(cl->missed.next, struct missed, link));
    uv_close((uv_handle_t *)&cl->away, on_handle_closed);
    uv_close((uv_handle_t *)&cl->later, on_handle_closed);
}

void client_attach(struct client *cl, struct connection *cn, enum channels_form form)
{
    cl->connection = cn;
    cn->client = cl;
    cl->form = form;
    uv_timer_stop(&cl->away);
    client_say_lost(cl);
    send_missed(cl);
    subscription_resume(cl->subscription);
}

void client_detach(struct client *cl)
{
    cl->connection = NULL;
    subscription_pause(cl->subscription);
    uv_timer_start(&cl->away, on_away_too_long, AWAY_MS, 0);
}
