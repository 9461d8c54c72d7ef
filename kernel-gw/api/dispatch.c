/* From a request to its handler. */
#include <errno.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/api/box/box.h"
#include "kernel-gw/api/files_call.h"
#include "kernel-gw/api/git/grant.h"
#include "kernel-gw/api/ports.h"

/* What a route without a token may be sent. */
enum { OPEN_BODY_MAX = 4096 };

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

static void answer_wrong_token(struct gateway *gw, struct exchange *x)
{
    api_error(gw, x, 403, "FORBIDDEN", "the token is not valid");
}

static bool authorised(struct gateway *gw, struct exchange *x, const struct http_request *r)
{
    switch (auth_check(&gw->auth, r)) {
    case AUTH_OK:
        exchange_trust(x);
        return true;
    case AUTH_MISSING:
        exchange_header(x, "WWW-Authenticate", "Bearer");
        api_error(gw, x, 401, "UNAUTHORIZED", "a token is required: Authorization: Bearer TOKEN");
        return false;
    case AUTH_WRONG:
        api_wrong_token(gw, x, answer_wrong_token);
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

/* A form of another site can send text, but no JSON, without being asked first. */
static bool typed_as_json(struct gateway *gw, struct exchange *x, const struct http_request *r,
                          const struct route *route)
{
    const char *type = http_header(r, "content-type");
    bool form = !type || !(http_has_token(type, "application/json") || strstr(type, "+json"));
    if (!form || !r->has_body || (route->flags & (ROUTE_STREAM | ROUTE_OPEN)) ||
        !auth_by_cookie(&gw->auth, r))
        return true;
    api_error(gw, x, 415, "JSON_REQUIRED",
              "a browser session must send this body as Content-Type: application/json");
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
        api_error(gw, x, 404, "NOT_FOUND", "no such route");
    } else if (!gw->ready && !(route->flags & ROUTE_OPEN)) {
        api_error(gw, x, 503, "STARTING", "the server is starting");
    } else if (typed_as_json(gw, x, r, route)) {
        route->handler(gw, x, r, &params);
    }
}

/* What is refused anyway is answered at once, and its body is not collected. */
int64_t api_judge(void *user, struct exchange *x, const struct http_request *r)
{
    struct gateway *gw = user;
    struct route_params params;
    char allow[128];
    if (gw->preview_streams && gw->preview_streams(gw, r))
        return HTTP_BODY_STREAM;
    const struct route *route = router_find(gw->router, r, &params, allow, sizeof allow);
    if (route && (route->flags & ROUTE_OPEN))
        return OPEN_BODY_MAX;
    if (auth_check(&gw->auth, r) != AUTH_OK)
        return HTTP_BODY_STREAM;
    exchange_trust(x);
    return !route || (route->flags & ROUTE_STREAM) ? HTTP_BODY_STREAM : INT64_MAX;
}

/* An answer to a change waits for the changes of its sandbox, or for all where none is named. */
uint64_t api_pending(void *user, const struct http_request *r)
{
    static const char prefix[] = "/v1/sandboxes/", door[] = "/jupyter/";
    struct gateway *gw = user;
    if (r->method == HTTP_GET || r->method == HTTP_HEAD || r->method == HTTP_OPTIONS)
        return 0;
    const char *name = r->path + sizeof prefix - 1;
    if (strncmp(r->path, prefix, sizeof prefix - 1) != 0)
        return store_pending(gw->store, NULL, 0);
    size_t n = strcspn(name, "/");
    if (memchr(name, '%', n) || !strncmp(name + n, door, sizeof door - 1))
        return store_pending(gw->store, NULL, 0);
    return store_pending(gw->store, name, n);
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
