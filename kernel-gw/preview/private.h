/* What the files of kernel-gw/preview share. */
#pragma once

#include "kernel-gw/api/api.h"
#include "kernel-gw/api/ports.h"
#include "kernel-gw/preview/response.h"
#include "kernel-gw/preview/upstream.h"

struct previews {
    struct upstreams *upstreams;
};

/* Where a request for a preview leads. Value type. */
struct preview_target {
    struct port_label label;
    bool by_path;     /* /preview/LABEL/...: else by host */
    const char *rest; /* path within, still encoded: begins with / or is empty */
};
/* false: the request is not for a preview. */
bool preview_target_read(const struct gateway *gw, const struct http_request *r,
                         struct preview_target *ret);

/* login.c: false: answered. */
bool preview_login(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct preview_target *t);

/* proxy.c: the exchange from here on. */
void proxy_start(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct preview_target *t);

/* headers.c */
/* The head of the request as the program in the box gets it. */
int preview_put_request(struct buf *out, struct gateway *gw, const struct http_request *r,
                        const struct preview_target *t, bool upgrade);
/* Header lines of its response as the client gets them. */
int preview_put_response(struct buf *out, const struct response *in, const struct http_request *r,
                         const struct preview_target *t, bool upgrade);

/* pages.c: for people a page, for programs JSON. */
void preview_page(struct gateway *gw, struct exchange *x, int status, const char *code,
                  const char *title, const char *text);
