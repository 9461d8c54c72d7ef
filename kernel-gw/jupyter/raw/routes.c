/*
 * HTTP routes of the Jupyter door:
 *
 *   POST   /v1/kernels                serve a connection file (what `cellbox kernel` asks for)
 *   GET    /v1/kernels/{id}/wait      answers when the kernel has ended; while it is open, its
 * client lives POST   /v1/kernels/{id}/interrupt DELETE /v1/kernels/{id} GET
 * /v1/sandboxes/{name}/contexts/{ctx}/connection   a connection file for an existing context
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/jupyter/raw/kernels.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const struct api_field kernel_fields[] = {
    {.name = "connection", .type = API_OBJECT, .required = true},
    {.name = "language", .type = API_STRING, .max = 32},
    {.name = "sandbox", .type = API_STRING, .max = 63},
    {.name = "cwd", .type = API_STRING, .max = 4096},
    {.name = "env", .type = API_STRING_MAP},
};

static void respond_kernel(struct gateway *gw, struct exchange *x, const struct served *s)
{
    CLEANUP_BUF struct buf b = {0};
    buf_printf(&b, "{\"id\":\"%s\",\"context\":\"%s\",\"sandbox\":\"%s\"}", s->id, s->context,
               s->sandbox);
    api_json(gw, x, 201, &b);
}

static void respond_failure(struct gateway *gw, struct exchange *x, int r, const struct err *err)
{
    if (r == -EADDRINUSE)
        api_error_err(gw, x, 409, "PORT_IN_USE", err);
    else if (r == -EACCES || r == -EADDRNOTAVAIL || r == -ENOENT || r == -ENODEV || r == -EINVAL)
        api_error_err(gw, x, 409, "CANNOT_BIND", err);
    else
        api_error_err(gw, x, 503, "KERNEL_START_FAILED", err);
}

/* Bound, and told to whoever registered for it. */
static int serve(struct door *d, struct context *c, const struct zmq_address *address,
                 const char *key, bool own, const json_t *connection, struct served **ret,
                 struct err *err)
{
    int r = kernels_serve(d, c, address, key, true, own, ret, err);
    return r < 0 ? r : kernels_register(*ret, connection, err);
}

static void start_kernel(struct door *d, struct exchange *x, const json_t *body,
                         const struct zmq_address *address, const char *key)
{
    struct gateway *gw = d->gw;
    struct err err = {0};
    struct context *c = NULL;
    struct served *s = NULL;
    bool own;
    const char *language = api_language(gw, x, api_string(body, "language"));
    if (!language)
        return;
    struct sandbox *sb = door_sandbox(gw, x, api_string(body, "sandbox"), language, &own);
    if (!sb)
        return;
    json_t *env = json_object_get(body, "env");
    char *env_text = env ? json_dumps(env, JSON_COMPACT) : NULL;
    struct context_spec spec = {
        .language = language, .cwd = api_string(body, "cwd"), .env = env_text};
    int r = context_open(sb, &spec, &c, &err);
    free(env_text);
    if (r == 0)
        r = serve(d, c, address, key, own, json_object_get(body, "connection"), &s, &err);
    if (r == 0) {
        respond_kernel(gw, x, s);
        return;
    }
    if (s)
        kernels_end(s, "registration_failed");
    else if (own)
        sandbox_remove(sb, NULL, NULL);
    else if (c)
        context_remove(c);
    respond_failure(gw, x, r, &err);
}

static void post_kernel(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        const struct route_params *p)
{
    struct door *d = gw->jupyter;
    struct zmq_address address;
    struct err err = {0};
    char key[128];
    (void)p;
    json_t *body = api_body(gw, x, r, kernel_fields, COUNT(kernel_fields));
    if (!body)
        return;
    const json_t *connection = json_object_get(body, "connection");
    int bad = kernels_read_connection(connection, &address, key, sizeof key, &err);
    bad = bad ? bad : kernels_check_connection(d, connection, &address, &err);
    if (bad == -EPERM) {
        api_error_err(gw, x, 403, "ENCRYPTION_REQUIRED", &err);
    } else if (bad < 0) {
        api_error_err(gw, x, 400, "INVALID_CONNECTION", &err);
    } else {
        struct served *s = kernels_returning(d, &address, key);
        int e = s ? kernels_return(s, &err) : 0;
        if (!s)
            start_kernel(d, x, body, &address, key);
        else if (e == 0)
            respond_kernel(gw, x, s);
        else
            respond_failure(gw, x, e, &err);
    }
    json_decref(body);
}

static struct served *find(struct gateway *gw, struct exchange *x, const struct route_params *p)
{
    struct served *s = kernels_find(gw->jupyter, p->value[0]);
    if (!s)
        api_error(gw, x, 404, "KERNEL_NOT_FOUND", "there is no such kernel");
    return s;
}

static void on_waiter_gone(void *user)
{
    kernels_set_waiter(user, NULL);
}

static const struct exchange_ops waiter_ops = {.closed = on_waiter_gone};

static void get_wait(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const struct route_params *p)
{
    struct served *s = find(gw, x, p);
    (void)r;
    if (!s)
        return;
    if (s->waiter) {
        api_error(gw, x, 409, "ALREADY_WAITING", "another client waits for this kernel");
        return;
    }
    exchange_set_ops(x, &waiter_ops, s);
    kernels_set_waiter(s, x);
}

static void post_interrupt(struct gateway *gw, struct exchange *x, const struct http_request *r,
                           const struct route_params *p)
{
    struct served *s = find(gw, x, p);
    (void)r;
    if (!s)
        return;
    struct context *c = context_get(gw->manager, s->context);
    if (c)
        context_interrupt(c);
    api_empty(gw, x, 204);
}

static void delete_kernel(struct gateway *gw, struct exchange *x, const struct http_request *r,
                          const struct route_params *p)
{
    struct served *s = find(gw, x, p);
    (void)r;
    if (!s)
        return;
    kernels_end(s, "deleted");
    api_empty(gw, x, 204);
}

/*
 * ?ip= and ?encryption=. Other users of this machine reach loopback, too, and what the kernel
 * publishes wants no key: so it is encrypted unless the client says none. false: answered.
 */
static bool read_wishes(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        struct zmq_address *ret)
{
    char word[16] = "";
    bool said = http_query(r, "encryption", word, sizeof word);
    bool none = said && !strcmp(word, "none");
    if (http_query(r, "ip", ret->ip, 46) && !*ret->ip)
        snprintf(ret->ip, sizeof ret->ip, "127.0.0.1");
    if (said && !none && strcmp(word, "curve") != 0) {
        api_error(gw, x, 400, "INVALID_FIELD", "encryption is curve (the default) or none");
        return false;
    }
    if (none && !kernels_is_loopback(ret->ip)) {
        api_error(gw, x, 403, "ENCRYPTION_REQUIRED",
                  "sockets that other machines reach need encryption=curve");
        return false;
    }
    if (!none && zmq_curve_keys(ret) < 0) {
        api_error(
            gw, x, 501, "NO_CURVE",
            "this server's libzmq has no CurveZMQ; encryption=none goes without, on loopback");
        return false;
    }
    return true;
}

static void get_connection(struct gateway *gw, struct exchange *x, const struct http_request *r,
                           const struct route_params *p)
{
    struct door *d = gw->jupyter;
    struct zmq_address address = {.transport = "tcp", .ip = "127.0.0.1"};
    CLEANUP_BUF struct buf b = {0};
    struct err err = {0};
    char key[65];
    struct context *c = api_context(gw, x, p);
    if (!c || !read_wishes(gw, x, r, &address))
        return;
    struct context_info info;
    context_get_info(c, &info);
    struct served *s = kernels_of_context(d, info.id);
    if (s && !*s->address.curve_secret != !*address.curve_secret) {
        api_error(gw, x, 409, "CONNECTION_EXISTS", "this context has a connection of another kind");
        return;
    }
    id_hex(key, 32);
    int e = s ? 0 : kernels_serve(d, c, &address, key, false, false, &s, &err);
    if (e < 0) {
        respond_failure(gw, x, e, &err);
        return;
    }
    kernel_put_connection(s->kernel, &b);
    api_json(gw, x, 200, &b);
}

const struct route raw_routes[] = {
    {"POST", "/v1/kernels", post_kernel, 0},
    {"GET", "/v1/kernels/{id}/wait", get_wait, 0},
    {"POST", "/v1/kernels/{id}/interrupt", post_interrupt, 0},
    {"DELETE", "/v1/kernels/{id}", delete_kernel, 0},
    {"GET", "/v1/sandboxes/{name}/contexts/{ctx}/connection", get_connection, 0},
};
const size_t raw_nroutes = COUNT(raw_routes);
