/* /api, /api/status, /api/me: what clients ask about the server itself. */
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/channels/channels.h"
#include "kernel-gw/jupyter/rest/private.h"

static void version(struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    (void)r;
    (void)p;
    buf_puts(&b, "{\"version\":\"" CELLBOX_VERSION "\"}");
    api_json(gw, x, 200, &b);
}

static void status(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    struct rest q;
    struct kernel_walk w = {0};
    struct context *c;
    unsigned kernels = 0, connections = 0;
    uint64_t active = gw->started_us;
    if (!rest_open(&q, gw, x, r, p))
        return;
    while ((c = rest_next_kernel(&q, &w))) {
        struct context_info info;
        context_get_info(c, &info);
        kernels++;
        connections += channels_connections(q.door, info.id);
        active = info.last_used_us > active ? info.last_used_us : active;
    }
    buf_puts(&b, "{\"started\":");
    api_put_time(&b, gw->started_us);
    buf_puts(&b, ",\"last_activity\":");
    api_put_time(&b, active);
    buf_printf(&b, ",\"connections\":%u,\"kernels\":%u}", connections, kernels);
    api_json(gw, x, 200, &b);
}

/* Whoever has the token may do everything that is asked about. */
static json_t *granted(const struct http_request *r)
{
    char asked[2048];
    json_t *o =
        http_query(r, "permissions", asked, sizeof asked) ? json_loads(asked, 0, NULL) : NULL;
    if (json_is_object(o))
        return o;
    json_decref(o);
    return json_object();
}

static void me(struct gateway *gw, struct exchange *x, const struct http_request *r,
               const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    (void)p;
    json_t *permissions = granted(r);
    char *text = json_dumps(permissions, JSON_COMPACT);
    json_decref(permissions);
    buf_printf(
        &b,
        "{\"identity\":{\"username\":\"cellbox\",\"name\":\"Cellbox\",\"display_name\":\"Cellbox\","
        "\"initials\":\"C\",\"avatar_url\":null,\"color\":null},\"permissions\":%s}",
        text ? text : "{}");
    free(text);
    api_json(gw, x, 200, &b);
}

const struct route rest_server_routes[] = {
    {"GET", "/api", version, ROUTE_OPEN},
    {"GET", "/v1/sandboxes/{name}/jupyter/api", version, ROUTE_OPEN},
    REST_ROUTE("GET", "/api/status", status),
    REST_ROUTE("GET", "/api/me", me),
};
const size_t rest_nserver_routes = sizeof rest_server_routes / sizeof *rest_server_routes;
