/* The Jupyter door: its transports hooked to the manager, kernels that nobody uses, boxes that were
 * made for them. */
#include "kernel-gw/jupyter/door.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/jupyter/channels/channels.h"
#include "kernel-gw/jupyter/raw/kernels.h"
#include "kernel-gw/jupyter/rest/rest.h"
#include "kernel-gw/net/websocket/websocket.h"
#include "sandbox/base/id.h"
#include "sandbox/base/log.h"

enum { SETTLE_MS = 500, CULL_CHECK_MS = 5000, NAME_HEX = 12, KEPT_DAYS = 7 };

/* ---- boxes made for kernels ---- */

#define MADE_FOR   "{\"made-for\":\"jupyter\"}"
#define NAME_START "kernel-"

/* Label and name: a user who gives a sandbox of his own that label keeps it. */
static bool made_for_kernels(struct sandbox *sb)
{
    struct sandbox_info info;
    sandbox_get_info(sb, &info);
    const char *hex = info.name + sizeof NAME_START - 1;
    return !strcmp(info.labels, MADE_FOR) &&
           !strncmp(info.name, NAME_START, sizeof NAME_START - 1) && strlen(hex) == NAME_HEX &&
           strspn(hex, "0123456789abcdef") == NAME_HEX;
}

static uint64_t door_now_us(void)
{
    struct timeval t;
    gettimeofday(&t, NULL);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

struct sandbox *door_sandbox(struct gateway *gw, struct exchange *x, const char *name,
                             const char *language, bool *ret_own)
{
    char fresh[32];
    struct sandbox *sb = name ? sandbox_get(gw->manager, name) : NULL;
    *ret_own = !name;
    if (sb)
        return sb;
    if (name && !sandbox_name_valid(name)) {
        api_error(gw, x, 400, "SANDBOX_NAME_INVALID",
                  "a sandbox name is 1-63 of a-z 0-9 -, with no - at either end");
        return NULL;
    }
    if (!name) {
        snprintf(fresh, sizeof fresh, NAME_START);
        id_hex(fresh + sizeof NAME_START - 1, NAME_HEX / 2);
    }
    struct sandbox_spec spec = {.name = name ? name : fresh,
                                .image = "",
                                .env = "{}",
                                .labels = name ? "{}" : MADE_FOR,
                                .language = language};
    int r = sandbox_create(gw->manager, &spec, &sb);
    if (r != 0) {
        api_error(gw, x, r == SANDBOX_E_LIMIT ? 429 : 503, "SANDBOX_LIMIT",
                  "no further sandbox can be made");
        return NULL;
    }
    return sb;
}

void door_end_kernel(struct door *d, struct context *c)
{
    struct context_info info;
    context_get_info(c, &info);
    struct sandbox *sb = info.sandbox;
    log_info("jupyter", "kernel_ended", "kernel=%s reason=deleted", info.id);
    (void)d;
    context_remove(c);
    if (made_for_kernels(sb) && !sandbox_context_next(sb, NULL))
        sandbox_remove(sb, NULL, NULL);
}

/* ---- idle kernels ---- */

/* Only what a person or program did with it counts: not that somebody is connected, or connects
 * again. */
static bool idle_for(struct context *c, uint64_t ms)
{
    struct context_info info;
    context_get_info(c, &info);
    return !info.queued && info.last_used_us + ms * 1000 < door_now_us();
}

static void on_cull(uv_timer_t *t)
{
    struct door *d = t->data;
    struct sandbox *sb;
    size_t cursor = 0;
    struct context *idle = NULL;
    /* One at a time: ending one may take its box out of the table. */
    while (!idle && (sb = sandbox_next(d->gw->manager, &cursor))) {
        struct context *c = NULL;
        while (made_for_kernels(sb) && !idle && (c = sandbox_context_next(sb, c)))
            idle = idle_for(c, d->cull_idle_ms) ? c : NULL;
    }
    if (!idle)
        return;
    struct context_info info;
    context_get_info(idle, &info);
    log_info("jupyter", "kernel_culled", "kernel=%s idle_ms=%u", info.id, d->cull_idle_ms);
    door_end_kernel(d, idle);
    uv_timer_start(t, on_cull, 0,
                   d->cull_idle_ms < CULL_CHECK_MS ? d->cull_idle_ms : CULL_CHECK_MS);
}

static bool unused_for_days(struct sandbox *sb)
{
    struct sandbox_info info;
    sandbox_get_info(sb, &info);
    return info.last_used_us + (uint64_t)KEPT_DAYS * 86400 * 1000000 < door_now_us();
}

/*
 * After a restart of the whole server the contexts are gone, and so are their kernels. The disks of
 * sandboxes that were made for them stay for some days: somebody's files are on them.
 */
static void on_settle(uv_timer_t *t)
{
    struct door *d = t->data;
    struct sandbox *sb;
    size_t cursor = 0;
    if (!d->gw->ready)
        return;
    uv_timer_stop(t);
    kernels_settle(d);
    sessions_settle(d);
    while ((sb = sandbox_next(d->gw->manager, &cursor))) {
        if (!made_for_kernels(sb) || sandbox_context_next(sb, NULL) || !unused_for_days(sb))
            continue;
        sandbox_remove(sb, NULL, NULL);
        cursor = 0;
    }
}

/* ---- hooks ---- */

static void on_context_opened(void *user, struct context *c)
{
    struct door *d = user;
    kernels_context_opened(d, c);
    if (!d->gw->ready)
        channels_context_adopted(d, c);
}

static void on_context_removed(void *user, struct context *c)
{
    struct door *d = user;
    channels_context_removed(d, c);
    kernels_context_removed(d, c);
    sessions_context_removed(d, c);
}

/* Reply or input request of a cell that began before the gateway was restarted. */
static void on_orphan(void *user, const struct context_event *ev)
{
    struct door *d = user;
    if (!channels_orphan(d, ev))
        kernels_orphan(d, ev);
}

static void put_metrics(struct gateway *gw, struct buf *out)
{
    const struct door *d = gw->jupyter;
    const struct port_counters *n = &d->counters;
    const struct {
        const char *name, *help;
        uint64_t value;
    } rows[] = {
        {"cellbox_jupyter_messages_total", "Messages received over ZeroMQ and WebSocket",
         n->messages},
        {"cellbox_jupyter_bad_signature_total", "Messages dropped for their signature",
         n->bad_signature},
        {"cellbox_jupyter_bad_frames_total", "Messages refused because they were malformed",
         n->bad_frames},
        {"cellbox_jupyter_unknown_total", "Messages of an unknown type", n->unknown},
        {"cellbox_jupyter_replies_lost_total", "Replies whose client had gone", n->replies_lost},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        buf_printf(out, "# HELP %s %s\n# TYPE %s counter\n%s %llu\n", rows[i].name, rows[i].help,
                   rows[i].name, rows[i].name, (unsigned long long)rows[i].value);
}

int jupyter_attach(struct gateway *gw)
{
    struct door *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    struct manager_hooks hooks = {.context_opened = on_context_opened,
                                  .context_removed = on_context_removed,
                                  .orphan = on_orphan,
                                  .user = d};
    d->gw = gw;
    gw->jupyter = d;
    gw->put_metrics = put_metrics;
    d->compression = gw->options.compression;
    d->cull_idle_ms = gw->options.cull_idle_s * 1000;
    channels_init(d);
    int r = kernels_init(d);
    r = r < 0 ? r : rest_init(d);
    if (r < 0)
        return r;
    manager_set_hooks(gw->manager, &hooks);
    uv_timer_init(gw->loop, &d->settle);
    uv_timer_init(gw->loop, &d->cull);
    d->settle.data = d->cull.data = d;
    uv_timer_start(&d->settle, on_settle, SETTLE_MS, SETTLE_MS);
    if (d->cull_idle_ms)
        uv_timer_start(&d->cull, on_cull, CULL_CHECK_MS, CULL_CHECK_MS);
    return 0;
}
