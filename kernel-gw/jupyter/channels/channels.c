#include "kernel-gw/jupyter/channels/channels.h"

#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/jupyter/channels/client.h"
#include "sandbox/base/id.h"
#include "sandbox/base/log.h"

enum { MESSAGE_MAX = 64 << 20 };

static struct client *find(const struct door *d, const char *kernel, const char *session)
{
    LIST_FOREACH (it, (struct list *)&d->clients) {
        struct client *cl = LIST_ENTRY(it, struct client, link);
        if (!strcmp(cl->kernel, kernel) && !strcmp(cl->session, session))
            return cl;
    }
    return NULL;
}

/* ---- one connection ---- */

static void on_message(void *user, bool binary, const uint8_t *data, size_t len)
{
    struct connection *cn = user;
    if (cn->client)
        client_message(cn->client, binary, data, len);
}

static void on_drained(void *user)
{
    struct connection *cn = user;
    if (cn->client)
        subscription_resume(cn->client->subscription);
}

static void on_closed(void *user)
{
    struct connection *cn = user;
    if (cn->client)
        client_detach(cn->client);
    free(cn);
}

static void release(struct client *cl, unsigned code, const char *reason)
{
    struct connection *cn = cl->connection;
    if (!cn)
        return;
    cn->client = NULL;
    cl->connection = NULL;
    websocket_close(cn->ws, code, reason);
}

static bool offers(const struct http_request *r, const char *protocol)
{
    for (size_t i = 0; i < r->nheaders; i++)
        if (!strcmp(r->headers[i].name, "sec-websocket-protocol") &&
            http_has_token(r->headers[i].value, protocol))
            return true;
    return false;
}

static struct websocket *accept_ws(struct door *d, struct exchange *x, bool v1,
                                   struct connection *cn)
{
    int status;
    const char *why;
    struct websocket_config config = {.loop = d->gw->loop,
                                      .message_max = MESSAGE_MAX,
                                      .subprotocol = v1 ? CHANNELS_V1_NAME : NULL,
                                      .compression = d->compression,
                                      .message = on_message,
                                      .drained = on_drained,
                                      .closed = on_closed,
                                      .user = cn};
    struct websocket *ws = websocket_accept(x, &config, &status, &why);
    if (!ws && status)
        api_error(d->gw, x, status, status == 426 ? "UPGRADE_REQUIRED" : "BAD_REQUEST", "%s", why);
    return ws;
}

void channels_connect(struct door *d, struct exchange *x, struct context *c)
{
    const struct http_request *r = exchange_request(x);
    char session[SESSION_MAX];
    struct context_info info;
    context_get_info(c, &info);
    if (!http_query(r, "session_id", session, sizeof session) || !*session)
        id_uuid(session);
    bool v1 = offers(r, CHANNELS_V1_NAME);
    struct client *cl = find(d, info.id, session);
    bool returning = cl != NULL;
    struct connection *cn = calloc(1, sizeof *cn);
    if (cn && !cl)
        cl = client_new(d, c, session);
    if (!cn || !cl) {
        free(cn);
        api_error(d->gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    cn->ws = accept_ws(d, x, v1, cn);
    if (!cn->ws) {
        free(cn);
        if (!returning)
            client_free(cl);
        return;
    }
    api_count(d->gw, 101);
    log_debug("channels", "connected", "kernel=%s v1=%d returning=%d", info.id, v1, returning);
    release(cl, WS_CLOSE_NORMAL, "the session has a newer connection");
    client_attach(cl, cn, v1 ? CHANNELS_V1 : CHANNELS_JSON);
}

/* ---- the door's side ---- */

void channels_init(struct door *d)
{
    list_init(&d->clients);
}

unsigned channels_connections(const struct door *d, const char *context)
{
    unsigned n = 0;
    LIST_FOREACH (it, (struct list *)&d->clients) {
        const struct client *cl = LIST_ENTRY(it, struct client, link);
        n += cl->connection && !strcmp(cl->kernel, context);
    }
    return n;
}

/* The client of a session that asked before the gateway was restarted; away until it comes back. */
static struct client *client_of_route(struct door *d, struct context *c, struct slice route)
{
    char session[SESSION_MAX];
    struct context_info info;
    if (!client_route_session(route, session, sizeof session))
        return NULL;
    context_get_info(c, &info);
    struct client *cl = find(d, info.id, session);
    return cl ? cl : client_new(d, c, session);
}

void channels_context_adopted(struct door *d, struct context *c)
{
    struct request *r = NULL;
    while ((r = execution_next(c, r))) {
        struct request_info info;
        request_get_info(r, &info);
        if (info.state != REQUEST_DONE)
            client_of_route(d, c, (struct slice){info.route.data, info.route.len});
    }
}

void channels_context_removed(struct door *d, struct context *c)
{
    LIST_FOREACH_SAFE (it, &d->clients) {
        struct client *cl = LIST_ENTRY(it, struct client, link);
        if (cl->context != c)
            continue;
        release(cl, WS_CLOSE_NORMAL, "the kernel has ended");
        client_free(cl);
    }
}

bool channels_orphan(struct door *d, const struct context_event *ev)
{
    struct request_info info;
    request_get_info(ev->request, &info);
    struct client *cl =
        client_of_route(d, ev->context, (struct slice){info.route.data, info.route.len});
    if (cl)
        port_orphan(&cl->port, ev);
    return cl != NULL;
}
