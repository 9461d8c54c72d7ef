/* /api/kernelspecs and their pictures */
#include <string.h>

#include "contexts/manager/language.h"
#include "kernel-gw/jupyter/rest/private.h"
#include "sandbox/base/embed.h"
#include "sandbox/base/json.h"

EMBED(rest_logo_svg, "assets/logo-svg.svg");
EMBED(rest_logo_png, "assets/logo-64x64.png");

static void put_spec(struct buf *b, const struct rest *q, const struct language *l)
{
    buf_printf(b,
               "{\"name\":\"%s\",\"spec\":{\"argv\":[\"cellbox\",\"kernel\",\"--language\",\"%s\","
               "\"--connection-file\",\"{connection_file}\"],\"env\":{},\"display_name\":",
               l->name, l->name);
    json_put_cstring(b, l->display_name);
    buf_printf(b,
               ",\"language\":\"%s\",\"interrupt_mode\":\"message\","
               "\"kernel_protocol_version\":\"5.5\",\"metadata\":{\"debugger\":%s}},"
               "\"resources\":{\"logo-svg\":\"%s/kernelspecs/%s/logo-svg.svg\","
               "\"logo-64x64\":\"%s/kernelspecs/%s/logo-64x64.png\"}}",
               l->kernel_language, l->debugger ? "true" : "false", q->base, l->name, q->base,
               l->name);
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    struct rest q;
    if (!rest_open(&q, gw, x, r, p))
        return;
    buf_printf(&b, "{\"default\":\"%s\",\"kernelspecs\":{", language_next(NULL)->name);
    for (const struct language *l = NULL; (l = language_next(l));) {
        buf_printf(&b, "%s\"%s\":", l == language_next(NULL) ? "" : ",", l->name);
        put_spec(&b, &q, l);
    }
    buf_puts(&b, "}}");
    api_json(gw, x, 200, &b);
}

/* NULL: answered with 404. */
static const struct language *wanted(struct rest *q)
{
    const struct language *l = language_find(q->arg[0]);
    if (!l)
        rest_error(q, 404, "KERNELSPEC_NOT_FOUND", "No such kernel: %.64s", q->arg[0]);
    return l;
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    struct rest q;
    const struct language *l = rest_open(&q, gw, x, r, p) ? wanted(&q) : NULL;
    if (!l)
        return;
    put_spec(&b, &q, l);
    api_json(gw, x, 200, &b);
}

static void resource(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const struct route_params *p)
{
    struct rest q;
    if (!rest_open(&q, gw, x, r, p) || !wanted(&q))
        return;
    bool svg = !strcmp(q.arg[1], "logo-svg.svg");
    if (!svg && strcmp(q.arg[1], "logo-64x64.png") != 0) {
        rest_error(&q, 404, "NOT_FOUND", "there is no such file");
        return;
    }
    api_count(gw, 200);
    exchange_header(x, "Cache-Control", "max-age=86400");
    size_t len = svg ? rest_logo_svg_len : rest_logo_png_len;
    exchange_respond(x, 200, svg ? "image/svg+xml" : "image/png",
                     svg ? rest_logo_svg : rest_logo_png, len);
}

const struct route rest_spec_routes[] = {
    REST_ROUTE("GET", "/api/kernelspecs", list),
    REST_ROUTE("GET", "/api/kernelspecs/{id}", get),
    REST_ROUTE("GET", "/kernelspecs/{id}/{file}", resource),
};
const size_t rest_nspec_routes = sizeof rest_spec_routes / sizeof *rest_spec_routes;
