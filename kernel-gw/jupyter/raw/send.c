/* Composing, signing and sending. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "kernel-gw/jupyter/raw/private.h"
#include "sandbox/base/log.h"

enum { PEER_WAIT_MS = 10000, RETRY_MS = 20 };

static uint64_t now_us(void)
{
    struct timeval t;
    gettimeofday(&t, NULL);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

int kernel_send(struct kernel *k, enum channel ch, const struct slice *idents, unsigned nidents,
                const struct jupyter_parts *parts)
{
    struct slice frames[JUPYTER_FRAMES_MAX];
    char id[80], signature[JUPYTER_SIGNATURE + 1];
    CLEANUP_BUF struct buf header = {0};
    size_t n = 0;

    if (nidents > JUPYTER_IDENTS_MAX || parts->nbuffers > JUPYTER_BUFFERS_MAX)
        return -EMSGSIZE;
    jupyter_message_id(id, sizeof id, k->session, ++k->counter, parts->request);
    int r = jupyter_put_header(&header, id, parts->msg_type, k->session, now_us());
    if (r < 0)
        return r;
    struct slice signed_parts[4] = {
        {header.data, header.len}, parts->parent, parts->metadata, parts->content};
    jupyter_sign(k->key, signed_parts, signature);
    for (unsigned i = 0; i < nidents; i++)
        frames[n++] = idents[i];
    frames[n++] = SLICE_STR("<IDS|MSG>");
    frames[n++] = (struct slice){(uint8_t *)signature, strlen(signature)};
    for (int i = 0; i < 4; i++)
        frames[n++] = signed_parts[i];
    for (unsigned i = 0; i < parts->nbuffers; i++)
        frames[n++] = parts->buffers[i];
    return zmq_sockets_send(k->sockets, ch, frames, n);
}

static int try_reply(struct kernel *k, enum channel ch, struct slice route,
                     const struct jupyter_parts *parts)
{
    struct slice idents[JUPYTER_IDENTS_MAX];
    unsigned n;
    if (jupyter_get_route(route.data, route.len, idents, &n) < 0)
        return -EINVAL;
    return kernel_send(k, ch, idents, n, parts);
}

static void parked_free(struct parked *p)
{
    list_remove(&p->link);
    buf_deinit(&p->route);
    buf_deinit(&p->parent);
    buf_deinit(&p->content);
    free(p);
}

void kernel_drop_unsent(struct kernel *k)
{
    LIST_FOREACH_SAFE (it, &k->unsent)
        parked_free(LIST_ENTRY(it, struct parked, link));
}

static struct parked *parked_new(struct kernel *k, enum channel ch, struct slice route,
                                 const struct jupyter_parts *parts)
{
    struct parked *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    list_init(&p->link);
    p->kernel = k;
    p->channel = ch;
    snprintf(p->msg_type, sizeof p->msg_type, "%s", parts->msg_type);
    buf_put(&p->route, route.data, route.len);
    buf_put(&p->parent, parts->parent.data, parts->parent.len);
    buf_put(&p->content, parts->content.data, parts->content.len);
    p->request = parts->request;
    if (p->route.err || p->parent.err || p->content.err) {
        parked_free(p);
        return NULL;
    }
    return p;
}

static void on_retry(uv_timer_t *t)
{
    kernel_retry_unsent(t->data);
}

void kernel_reply(struct kernel *k, enum channel ch, struct slice route,
                  const struct jupyter_parts *parts)
{
    int r = try_reply(k, ch, route, parts);
    if (r == 0)
        return;
    struct parked *p = NULL;
    /* A full socket passes; a missing peer may be reconnecting. */
    if (r == -EHOSTUNREACH || r == -EAGAIN)
        p = parked_new(k, ch, route, parts);
    if (!p) {
        k->config.counters->replies_lost++;
        return;
    }
    p->deadline = uv_now(k->config.loop) + (r == -EAGAIN || k->config.adopted ? PEER_WAIT_MS : 500);
    list_append(&k->unsent, &p->link);
    if (!uv_is_active((uv_handle_t *)&k->retry))
        uv_timer_start(&k->retry, on_retry, RETRY_MS, RETRY_MS);
}

void kernel_retry_unsent(struct kernel *k)
{
    uint64_t now = uv_now(k->config.loop);
    LIST_FOREACH_SAFE (it, &k->unsent) {
        struct parked *p = LIST_ENTRY(it, struct parked, link);
        struct jupyter_parts parts = {.msg_type = p->msg_type,
                                      .parent = {p->parent.data, p->parent.len},
                                      .metadata = SLICE_STR("{}"),
                                      .content = {p->content.data, p->content.len},
                                      .request = p->request};
        int r = try_reply(k, p->channel, (struct slice){p->route.data, p->route.len}, &parts);
        if (r != 0 && now < p->deadline)
            continue;
        if (r != 0) {
            k->config.counters->replies_lost++;
            log_info("jupyter", "reply_lost", "type=%s reason=%s", p->msg_type,
                     log_quote(strerror(-r)));
        }
        parked_free(p);
    }
    if (list_empty(&k->unsent))
        uv_timer_stop(&k->retry);
}
