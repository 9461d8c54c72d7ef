/* Shared by the files of rest/; nobody else includes this. */
#pragma once

#include <jansson.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/jupyter/rest/rest.h"

/* One request, and which part of the world it may see. */
struct rest {
    struct gateway *gw;
    struct door *door;
    struct exchange *x;
    const struct http_request *r;
    const char *box;    /* NULL: all of them */
    const char *arg[2]; /* what the path names below the prefix, "" if nothing */
    char base[160];     /* "" or "/v1/sandboxes/NAME/jupyter" */
};

/* false: answered with 404. */
bool rest_open(struct rest *q, struct gateway *gw, struct exchange *x, const struct http_request *r,
               const struct route_params *p);
/* {"message", "reason"} as notebook clients read it, beside our own error object. */
void rest_error(struct rest *q, int status, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The body, {} when there is none. Unknown members are none of our business. NULL: answered with
 * 400. */
json_t *rest_body(struct rest *q);
const char *rest_text(const json_t *o,
                      const char *key); /* NULL: missing, null, empty or no string */

/* kernels.c */
int rest_put_kernel(struct buf *out, const struct door *d, struct context *c);
/* The context that is kernel id, if this request may see it. NULL: none. */
struct context *rest_find_kernel(const struct rest *q, const char *id);
/*
 * A new kernel: name of a kernelspec (NULL: default), env as clients give it (NULL), id to use
 * (NULL: a new one). NULL: answered, with no_spec_status for an unknown name.
 */
struct context *rest_start_kernel(struct rest *q, const char *name, const json_t *env,
                                  const char *id, int no_spec_status);
/* Every kernel that the request may see, in turn; box and c start as NULL, cursor as 0. */
struct kernel_walk {
    size_t cursor;
    struct sandbox *box;
    struct context *c;
};
struct context *rest_next_kernel(const struct rest *q, struct kernel_walk *w);

/*
 * Each route stands twice in the table: for all, and for one box. Patterns below the prefix begin
 * with "/api" or
 * "/kernelspecs".
 */
#define REST_ROUTE(method, pattern, handler)                       \
    {method, pattern, handler, 0},                                 \
    {                                                              \
        method, "/v1/sandboxes/{name}/jupyter" pattern, handler, 0 \
    }

/* sessions.c: those of the registry */
void sessions_init(struct door *d);

extern const struct route rest_kernel_routes[], rest_spec_routes[], rest_session_routes[],
    rest_server_routes[];
extern const size_t rest_nkernel_routes, rest_nspec_routes, rest_nsession_routes,
    rest_nserver_routes;
