/*
 * Method and path pattern to handler. Patterns: "/v1/sandboxes/{name}/run"; a segment in braces
 * matches any one, a last one "{path...}" everything that follows, slashes and nothing at all
 * included.
 */
#pragma once

#include "kernel-gw/net/server.h"

enum { ROUTE_PARAMS_MAX = 4, ROUTE_PARAM_LEN = 256 };

struct gateway;

struct route_params {
    char value[ROUTE_PARAMS_MAX]
              [ROUTE_PARAM_LEN]; /* percent-decoded, in the order of the pattern */
    unsigned n;
    const char *rest; /* of "{path...}", still percent-encoded, of any length; else NULL */
};

typedef void route_fn(struct gateway *gw, struct exchange *x, const struct http_request *r,
                      const struct route_params *params);

enum {
    ROUTE_OPEN = 1,  /* without a token */
    ROUTE_STREAM = 2 /* the handler is called at the head and reads the body in pieces */
};

struct route {
    const char *method; /* GET also serves HEAD */
    const char *pattern;
    route_fn *handler;
    unsigned flags;
};

struct router;
struct router *router_new(void); /* NULL: out of memory */
void router_free(struct router *r);
/* routes: n entries that outlive the router. -ENOMEM */
int router_add(struct router *r, const struct route *routes, size_t n);
/*
 * The route of a request. NULL: none; *ret_allow then is "" (404) or the methods that the path has
 * ("GET, PUT": 405).
 */
const struct route *router_find(const struct router *r, const struct http_request *req,
                                struct route_params *ret, char *ret_allow, size_t cap);
