/* From a request to its handler. */
#include <errno.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/api/box/box.h"
#include "kernel-gw/api/files_call.h"
#include "kernel-gw/api/git/grant.h"
#include "kernel-gw/api/ports.h"

static void options(struct gateway *gw, struct exchange *x)
{
    exchange_header(x, "Access-Control-Allow-Methods",
                    "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS");
    exchange_header(
        x, "Access-Control-Allow-Headers",
        "Authorization, Content-Type, Accept, Last-Event-ID, X-XSRFToken, Cache-Control");
    exchange_header(x, "Access-Control-Max-Age", "600");
    api_empty(gw, x, 204);
}

static bool authorised(struct gateway *gw, struct exchange *x, const struct http_request *r)
{
    switch (auth_check(&gw->auth, r)) {
    case AUTH_OK:
        return true;
    case AUTH_MISSING:
        exchange_header(x, "WWW-Authenticate", "Bearer");
        api_error(gw, x, 401, "UNAUTHORIZED", "a token is required: Authorization: Bearer TOKEN");
        return false;
    case AUTH_WRONG:
        api_error(gw, x, 403, "FORBIDDEN", "the token is not valid");
        return false;
    case AUTH_CROSS_SITE:
        api_error(
            gw, x, 403, "CROSS_SITE",
            "a browser session must repeat its _xsrf cookie in X-XSRFToken and come from a page "
            "of this server");
        return false;
    }
    return false;
}

void api_handle(void *user, struct exchange *x, struct http_request *r)
{
    struct gateway *gw = user;
    struct route_params params;
    char allow[128];

    if (gw->preview && gw->preview(gw, x, r))
        return;
    if (r->method == HTTP_OPTIONS) {
        options(gw, x);
        return;
    }
    const struct route *route = router_find(gw->router, r, &params, allow, sizeof allow);
    if (!(route && (route->flags & ROUTE_OPEN)) && !authorised(gw, x, r))
        return;
    if (!route && allow[0]) {
        exchange_header(x, "Allow", allow);
        api_error(gw, x, 405, "METHOD_NOT_ALLOWED", "%s is not possible here; %s is",
                  r->method_name, allow);
    } else if (!route) {
        api_error(gw, x, 404, "NOT_FOUND", "nothing is here");
    } else if (!gw->ready && !(route->flags & ROUTE_OPEN)) {
        api_error(gw, x, 503, "STARTING", "the server is starting");
    } else {
        route->handler(gw, x, r, &params);
    }
}

bool api_streams(void *user, const struct http_request *r)
{
    struct gateway *gw = user;
    struct route_params params;
    char allow[128];
    if (gw->preview_streams && gw->preview_streams(gw, r))
        return true;
    const struct route *route = router_find(gw->router, r, &params, allow, sizeof allow);
    return route && (route->flags & ROUTE_STREAM);
}

int api_attach(struct gateway *gw)
{
    int r = api_files_init(gw);
    r = r ? r : api_watches_init(gw);
    r = r ? r : api_ports_init(gw);
    r = r ? r : api_life_init(gw);
    r = r ? r : api_buckets_init(gw);
    r = r ? r : git_grants_init(gw);
    r = r ? r : router_add(gw->router, api_sandbox_routes, api_sandbox_nroutes);
    r = r ? r : router_add(gw->router, api_context_routes, api_context_nroutes);
    r = r ? r : router_add(gw->router, api_run_routes, api_run_nroutes);
    r = r ? r : router_add(gw->router, api_execution_routes, api_execution_nroutes);
    r = r ? r : router_add(gw->router, api_file_routes, api_file_nroutes);
    r = r ? r : router_add(gw->router, api_tree_routes, api_tree_nroutes);
    r = r ? r : router_add(gw->router, api_watch_routes, api_watch_nroutes);
    r = r ? r : router_add(gw->router, api_port_routes, api_port_nroutes);
    r = r ? r : router_add(gw->router, api_usage_routes, api_usage_nroutes);
    r = r ? r : router_add(gw->router, api_egress_routes, api_egress_nroutes);
    r = r ? r : router_add(gw->router, api_health_routes, api_health_nroutes);
    r = r ? r : router_add(gw->router, api_home_routes, api_home_nroutes);
    r = r ? r : router_add(gw->router, api_exec_routes, api_exec_nroutes);
    r = r ? r : router_add(gw->router, api_git_routes, api_git_nroutes);
    r = r ? r : router_add(gw->router, api_bucket_routes, api_bucket_nroutes);
    r = r ? r : router_add(gw->router, api_process_routes, api_process_nroutes);
    r = r ? r : router_add(gw->router, api_session_routes, api_session_nroutes);
    r = r ? r : router_add(gw->router, api_terminal_routes, api_terminal_nroutes);
    if (r == 0)
        api_streams_init(gw);
    return r;
}
