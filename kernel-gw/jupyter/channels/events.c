/* Events of a context to the iopub channel of a client, and what a notebook server adds to them. */
#include <stdio.h>
#include <string.h>

#include "kernel-gw/jupyter/channels/client.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

/* So many deaths within this time, and a kernel stays dead. */
enum { DEATHS_WITHIN_MS = 10000 };

static bool dies_too_often(struct client *cl)
{
    uint64_t now = uv_now(cl->door->gw->loop);
    cl->deaths[cl->ndeaths++ % DEATHS_MAX] = now;
    return cl->ndeaths >= DEATHS_MAX &&
           now - cl->deaths[cl->ndeaths % DEATHS_MAX] < DEATHS_WITHIN_MS;
}

static bool text_is(const struct proto_section *s, const char *text)
{
    return s->len == strlen(text) && !memcmp(s->data, text, s->len);
}

/*
 * A notebook server starts a kernel that died again, and says `restarting`. One that cannot start,
 * or dies again and again, is `dead`. NULL: nothing is said. A restart that somebody asked for is
 * not said either: JupyterLab takes the word for a death, opens a dialog and connects anew. The one
 * that follows a death has been said with it.
 */
static const char *state_word(struct client *cl, const struct context_event *ev)
{
    struct context_info info;
    if (ev->state == CONTEXT_RESTARTING)
        return NULL;
    if (ev->state != CONTEXT_DEAD)
        return context_state_name(ev->state);
    context_get_info(cl->context, &info);
    if (info.state != CONTEXT_DEAD) /* long ago */
        return "restarting";
    if (text_is(&ev->text, "REMOVED") || text_is(&ev->text, "START_FAILED") || dies_too_often(cl))
        return "dead";
    cl->port.ops->shutdown(cl, true);
    return "restarting";
}

static void send_state(struct client *cl, const char *state)
{
    char content[64];
    int n = snprintf(content, sizeof content, "{\"execution_state\":\"%s\"}", state);
    struct jupyter_parts parts = {.msg_type = "status",
                                  .parent = SLICE_STR("{}"),
                                  .metadata = SLICE_STR("{}"),
                                  .content = {(uint8_t *)content, (size_t)n}};
    client_send(cl, CHANNEL_IOPUB, &parts);
}

int client_event(void *user, const struct context_event *ev)
{
    struct client *cl = user;
    struct port_event pe = {0};
    if (!cl->connection)
        return 1;
    if (ev->type == EVENT_STATUS && !ev->request) {
        const char *word = state_word(cl, ev);
        if (word)
            send_state(cl, word);
    } else if (port_event_init(&pe, ev)) {
        client_send(cl, CHANNEL_IOPUB, &pe.parts);
    }
    port_event_deinit(&pe);
    return cl->connection && websocket_queued(cl->connection->ws) > HTTP_QUEUE_HIGH;
}

void client_lost(void *user, uint64_t bytes)
{
    struct client *cl = user;
    cl->lost_bytes += bytes;
    if (!cl->connection)
        return;
    log_warn("channels", "client_too_slow", "kernel=%s bytes=%llu", cl->kernel,
             (unsigned long long)bytes);
    websocket_close(cl->connection->ws, WS_CLOSE_TRY_LATER,
                    "the client does not read what it is sent");
}

/* As a notebook server does: a line in the output of whatever comes next. */
void client_say_lost(struct client *cl)
{
    CLEANUP_BUF struct buf line = {0};
    CLEANUP_BUF struct buf content = {0};
    if (!cl->lost_bytes && !cl->lost_replies)
        return;
    buf_printf(&line,
               "cellbox: while this client was away, %llu bytes of output and %u replies had to be "
               "dropped\n",
               (unsigned long long)cl->lost_bytes, cl->lost_replies);
    buf_puts(&content, "{\"name\":\"stderr\",\"text\":");
    json_put_string(&content, line.data, line.len);
    buf_putc(&content, '}');
    cl->lost_bytes = 0;
    cl->lost_replies = 0;
    struct jupyter_parts parts = {.msg_type = "stream",
                                  .parent = SLICE_STR("{}"),
                                  .metadata = SLICE_STR("{}"),
                                  .content = {content.data, content.len}};
    client_send(cl, CHANNEL_IOPUB, &parts);
}
