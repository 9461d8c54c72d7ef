#include "kernel-gw/jupyter/raw/kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/raw/private.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

enum { HOLD_MS = 3000 };

const struct zmq_address *kernel_address(const struct kernel *k)
{
    return &k->config.address;
}

static void on_handle_closed(uv_handle_t *h)
{
    struct kernel *k = h->data;
    if (--k->handles)
        return;
    jupyter_key_free(k->key);
    replay_deinit(&k->replay);
    free(k);
}

/* Outside of the sockets' callbacks, because the owner will close the kernel. */
static void on_shutdown_later(uv_idle_t *h)
{
    struct kernel *k = h->data;
    uv_idle_stop(h);
    if (!k->closing)
        k->config.shutdown(k->config.user, k->shutdown_restart);
}

/* ---- the port's side ---- */

static void on_shutdown(void *user, bool restart)
{
    struct kernel *k = user;
    k->shutdown_restart = restart;
    uv_idle_start(&k->shutdown_later, on_shutdown_later);
}

static void on_reply(void *user, enum channel ch, struct slice route,
                     const struct jupyter_parts *parts)
{
    kernel_reply(user, ch, route, parts);
}

static void on_publish(void *user, const struct jupyter_parts *parts)
{
    iopub_publish(user, parts);
}

static int put_connect(void *user, struct buf *out)
{
    const struct kernel *k = user;
    const int *port = k->config.address.port;
    return buf_printf(out,
                      "{\"status\":\"ok\",\"shell_port\":%d,\"control_port\":%d,\"stdin_port\":%d,"
                      "\"iopub_port\":%d,\"hb_port\":%d}",
                      port[CHANNEL_SHELL], port[CHANNEL_CONTROL], port[CHANNEL_STDIN],
                      port[CHANNEL_IOPUB], port[CHANNEL_HB]);
}

static const struct port_ops port_ops = {on_reply, on_publish, on_shutdown, put_connect};

void kernel_orphan(struct kernel *k, const struct context_event *ev)
{
    port_orphan(&k->port, ev);
}

static void publish_starting(struct kernel *k)
{
    struct jupyter_parts parts = {.msg_type = "status",
                                  .parent = SLICE_STR("{}"),
                                  .metadata = SLICE_STR("{}"),
                                  .content = SLICE_STR("{\"execution_state\":\"starting\"}")};
    iopub_publish(k, &parts);
}

/* ---- messages of the sockets ---- */

static void on_message(void *user, enum channel ch, const struct slice *frames, size_t n)
{
    static const char *const reasons[] = {"", "frames", "signature", "json", "header"};
    struct kernel *k = user;
    struct jupyter_message m;
    CLEANUP_BUF struct buf route = {0};
    enum jupyter_parse r = jupyter_parse(frames, n, k->key, &m);

    if (r != JUPYTER_OK) {
        k->config.counters->messages++;
        if (r == JUPYTER_E_SIGNATURE)
            k->config.counters->bad_signature++;
        else
            k->config.counters->bad_frames++;
        log_info("jupyter", "message_dropped", "reason=%s frames=%zu", reasons[r], n);
    } else if (!replay_is_new(&k->replay, &frames[m.nidents + 1])) {
        k->config.counters->messages++;
        k->config.counters->bad_signature++;
        log_info("jupyter", "message_dropped", "reason=replayed frames=%zu", n);
    } else if (jupyter_put_route(&route, m.idents, m.nidents) == 0) {
        port_message(&k->port, ch, &m, (struct slice){route.data, route.len});
    }
}

static void init_handles(struct kernel *k)
{
    uv_timer_init(k->config.loop, &k->stall);
    uv_timer_init(k->config.loop, &k->retry);
    uv_idle_init(k->config.loop, &k->shutdown_later);
    k->stall.data = k->retry.data = k->shutdown_later.data = k;
    k->handles = 3;
}

static void close_handles(struct kernel *k)
{
    uv_close((uv_handle_t *)&k->stall, on_handle_closed);
    uv_close((uv_handle_t *)&k->retry, on_handle_closed);
    uv_close((uv_handle_t *)&k->shutdown_later, on_handle_closed);
}

int kernel_open(const struct kernel_config *config, struct kernel **ret, struct err *err)
{
    struct kernel *k = calloc(1, sizeof *k);
    if (!k)
        return err_set(err, -ENOMEM, "serve kernel", NULL);
    k->config = *config;
    port_init(&k->port, &port_ops, k, config->context, config->counters);
    list_init(&k->unsent);
    list_init(&k->queue);
    id_uuid(k->session);
    struct context_info info;
    context_get_info(config->context, &info);
    snprintf(k->topic, sizeof k->topic, "kernel.%s", info.id);
    snprintf(k->key_text, sizeof k->key_text, "%s", config->key);
    k->config.key = k->key_text;
    k->held = config->adopted;
    init_handles(k);
    struct zmq_events events = {on_message, iopub_subscribed, iopub_writable, k};
    struct subscription_spec spec = {.event = iopub_event, .user = k};
    int r = jupyter_key_new(k->key_text, &k->key);
    if (r < 0)
        err_set(err, r, "serve kernel", NULL);
    if (r == 0)
        r = zmq_sockets_bind(config->node, &k->config.address, &events, &k->sockets, err);
    if (r == 0 && (r = context_subscribe(config->context, &spec, &k->subscription)) < 0)
        err_set(err, r, "subscribe to context", NULL);
    if (r < 0) {
        kernel_close(k);
        return r;
    }
    if (k->held)
        uv_timer_start(&k->stall, iopub_on_stall, HOLD_MS, 0);
    else
        publish_starting(k);
    *ret = k;
    return 0;
}

void kernel_close(struct kernel *k)
{
    if (!k || k->closing)
        return;
    k->closing = true;
    subscription_cancel(k->subscription);
    port_deinit(&k->port);
    kernel_drop_unsent(k);
    iopub_drop_queue(k);
    zmq_sockets_close(k->sockets);
    close_handles(k);
}

int kernel_put_connection(const struct kernel *k, struct buf *out)
{
    const struct zmq_address *a = &k->config.address;
    buf_printf(out, "{\"transport\":\"%s\",\"ip\":", a->transport);
    json_put_cstring(out, a->ip);
    buf_printf(
        out,
        ",\"shell_port\":%d,\"iopub_port\":%d,\"stdin_port\":%d,\"control_port\":%d,\"hb_port\":%d,"
        "\"signature_scheme\":\"hmac-sha256\",\"key\":",
        a->port[CHANNEL_SHELL], a->port[CHANNEL_IOPUB], a->port[CHANNEL_STDIN],
        a->port[CHANNEL_CONTROL], a->port[CHANNEL_HB]);
    json_put_cstring(out, k->key_text);
    if (*a->curve_secret)
        buf_printf(out, ",\"curve_publickey\":\"%s\",\"curve_secretkey\":\"%s\"", a->curve_public,
                   a->curve_secret);
    struct context_info info;
    context_get_info(k->config.context, &info);
    return buf_printf(out, ",\"kernel_name\":\"cellbox-%s\"}", info.language);
}
