#include "kernel-gw/jupyter/rest/rest.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernel-gw/jupyter/rest/private.h"
#include "sandbox/base/json.h"

bool rest_open(struct rest *q, struct gateway *gw, struct exchange *x, const struct http_request *r,
               const struct route_params *p)
{
    bool scoped = !strncmp(r->path, "/v1/", 4);
    *q = (struct rest){.gw = gw, .door = gw->jupyter, .x = x, .r = r, .arg = {"", ""}};
    for (unsigned i = scoped; i < p->n && i - scoped < 2; i++)
        q->arg[i - scoped] = p->value[i];
    if (!scoped)
        return true;
    q->box = p->value[0];
    snprintf(q->base, sizeof q->base, "/v1/sandboxes/%.63s/jupyter", q->box);
    if (sandbox_name_valid(q->box))
        return true;
    rest_error(q, 404, "SANDBOX_NOT_FOUND", "there is no sandbox of that name");
    return false;
}

void rest_error(struct rest *q, int status, const char *code, const char *fmt, ...)
{
    CLEANUP_BUF struct buf b = {0};
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_puts(&b, "{\"message\":");
    json_put_cstring(&b, text);
    buf_printf(&b, ",\"reason\":null,\"error\":{\"code\":\"%s\",\"message\":", code);
    json_put_cstring(&b, text);
    buf_puts(&b, "}}");
    api_json(q->gw, q->x, status, &b);
}

json_t *rest_body(struct rest *q)
{
    const struct buf *body = &q->r->body;
    json_error_t e;
    json_t *o = body->len ? json_loadb((const char *)body->data, body->len, 0, &e) : json_object();
    if (json_is_null(o)) {
        json_decref(o);
        o = json_object();
    }
    if (json_is_object(o))
        return o;
    json_decref(o);
    rest_error(q, 400, "INVALID_JSON", "the body is not a JSON object");
    return NULL;
}

const char *rest_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s && *s ? s : NULL;
}

int rest_init(struct door *d)
{
    struct router *r = d->gw->router;
    sessions_init(d);
    int e = router_add(r, rest_server_routes, rest_nserver_routes);
    e = e ? e : router_add(r, rest_spec_routes, rest_nspec_routes);
    e = e ? e : router_add(r, rest_kernel_routes, rest_nkernel_routes);
    return e ? e : router_add(r, rest_session_routes, rest_nsession_routes);
}
