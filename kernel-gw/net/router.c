#include "kernel-gw/net/router.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TABLES_MAX = 32 };

struct router {
    struct {
        const struct route *routes;
        size_t n;
    } tables[TABLES_MAX];
    size_t ntables;
};

struct router *router_new(void)
{
    return calloc(1, sizeof(struct router));
}

void router_free(struct router *r)
{
    free(r);
}

int router_add(struct router *r, const struct route *routes, size_t n)
{
    if (r->ntables == TABLES_MAX)
        return -ENOMEM;
    r->tables[r->ntables].routes = routes;
    r->tables[r->ntables++].n = n;
    return 0;
}

static bool match(const char *pattern, const char *path, struct route_params *params)
{
    params->n = 0;
    params->rest = NULL;
    while (*pattern == '/' && *path == '/') {
        pattern++;
        path++;
        size_t pn = strcspn(pattern, "/"), n = strcspn(path, "/");
        if (pn > 4 && !strncmp(pattern + pn - 4, "...}", 4)) {
            params->rest = path;
            return true;
        }
        if (*pattern == '{') {
            if (!n || params->n == ROUTE_PARAMS_MAX ||
                http_percent_decode(path, n, false, params->value[params->n], ROUTE_PARAM_LEN) < 0)
                return false;
            params->n++;
        } else if (pn != n || memcmp(pattern, path, n) != 0) {
            return false;
        }
        pattern += pn;
        path += n;
    }
    return !*pattern && !*path;
}

static void allow(char *list, size_t cap, const char *method)
{
    size_t n = strlen(list);
    if (strstr(list, method) || n + strlen(method) + 3 > cap)
        return;
    memcpy(list + n, ", ", 2);
    n += n ? 2 : 0;
    memcpy(list + n, method, strlen(method) + 1);
}

const struct route *router_find(const struct router *r, const struct http_request *req,
                                struct route_params *ret, char *ret_allow, size_t cap)
{
    const char *method = req->method == HTTP_HEAD ? "GET" : req->method_name;
    ret_allow[0] = 0;
    for (size_t t = 0; t < r->ntables; t++) {
        for (size_t i = 0; i < r->tables[t].n; i++) {
            const struct route *route = &r->tables[t].routes[i];
            if (!match(route->pattern, req->path, ret))
                continue;
            if (!strcmp(route->method, method))
                return route;
            allow(ret_allow, cap, route->method);
            if (!strcmp(route->method, "GET"))
                allow(ret_allow, cap, "HEAD");
        }
    }
    return NULL;
}
