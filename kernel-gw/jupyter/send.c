/* Composing, signing and sending. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "kernel-gw/jupyter/private.h"
#include "sandbox/base/log.h"

enum { PEER_WAIT_MS = 10000, RETRY_MS = 20 };

static uint64_t now_us(void)
{
    struct timeval t;
    gettimeofday(&t, NULL);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

int kernel_send(struct kernel *k, enum channel ch, const struct slice *idents, unsigned nidents,
                const struct outgoing_parts *parts)
{
    struct slice frames[JUPYTER_FRAMES_MAX];
    char id[80], signature[JUPYTER_SIGNATURE + 1];
    CLEANUP_BUF struct buf header = {0};
    size_t n = 0;

    if (nidents > JUPYTER_IDENTS_MAX || parts->nbuffers > JUPYTER_BUFFERS_MAX)
        return -EMSGSIZE;
    snprintf(id, sizeof id, "%s_%llu", k->session, (unsigned long long)++k->counter);
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
        frames[n++] = (struct slice){parts->buffers[i].data, parts->buffers[i].len};
    return zmq_sockets_send(k->sockets, ch, frames, n);
}

static int try_reply(struct kernel *k, enum channel ch, struct slice route, struct slice parent,
                     const char *msg_type, struct slice content)
{
    struct slice idents[JUPYTER_IDENTS_MAX];
    unsigned n;
    if (jupyter_get_route(route.data, route.len, idents, &n) < 0)
        return -EINVAL;
    struct outgoing_parts parts = {
        .msg_type = msg_type, .parent = parent, .metadata = SLICE_STR("{}"), .content = content};
    return kernel_send(k, ch, idents, n, &parts);
}

static void on_retry(uv_timer_t *t)
{
    kernel_retry_unsent(t->data);
}

void kernel_reply(struct kernel *k, enum channel ch, struct slice route, struct slice parent,
                  const char *msg_type, struct slice content)
{
    int r = try_reply(k, ch, route, parent, msg_type, content);
    if (r == 0)
        return;
    struct parked *p = NULL;
    /* A full socket passes; a missing peer may be reconnecting. */
    if (r == -EHOSTUNREACH || r == -EAGAIN)
        p = parked_new(k, ch, route, parent, msg_type, content);
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
        int r = try_reply(k, p->channel, (struct slice){p->route.data, p->route.len},
                          (struct slice){p->parent.data, p->parent.len}, p->msg_type,
                          (struct slice){p->content.data, p->content.len});
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
