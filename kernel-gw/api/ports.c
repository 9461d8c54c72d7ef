/* /v1/sandboxes/{name}/ports */
#include "kernel-gw/api/ports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/api.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { PORTS_PER_BOX = 64, GONE_PER_BOX = 64 };

struct ports {
    struct list list;
    struct gateway *gw;
};

static void put_document(struct gateway *gw, const struct port *p)
{
    CLEANUP_BUF struct buf b = {0};
    char id[100];
    snprintf(id, sizeof id, "%s/%u/%s", p->sandbox, p->port, p->token);
    buf_printf(&b, "{\"port\":%u,\"created\":%llu,\"expires\":%llu,\"revoked\":%s", p->port,
               (unsigned long long)p->created_us, (unsigned long long)p->expires_us,
               p->revoked ? "true" : "false");
    api_member(&b, "sandbox", p->sandbox);
    api_member(&b, "token", p->token);
    api_member(&b, "name", p->name);
    api_member(&b, "key", p->key);
    buf_putc(&b, '}');
    if (!b.err)
        store_put_document(gw->store, "port", id, buf_str(&b), STORE_NOW);
}

static void drop(struct gateway *gw, struct port *p)
{
    char id[100];
    snprintf(id, sizeof id, "%s/%u/%s", p->sandbox, p->port, p->token);
    store_put_document(gw->store, "port", id, NULL, STORE_NOW);
    list_remove(&p->item);
    free(p);
}

static bool expired(const struct port *p)
{
    return p->expires_us && p->expires_us <= api_now_us();
}

static struct port *find_open(struct gateway *gw, const char *sandbox, uint32_t port)
{
    LIST_FOREACH (it, &gw->ports->list) {
        struct port *p = LIST_ENTRY(it, struct port, item);
        if (p->port == port && !p->revoked && !strcmp(p->sandbox, sandbox))
            return p;
    }
    return NULL;
}

static bool same_token(const char *a, const char *b)
{
    size_t n = strlen(a), differ = n ^ strlen(b);
    for (size_t i = 0; i < PORT_TOKEN_MAX; i++)
        differ |= (size_t)((i < n ? a[i] : 0) ^ (i < strlen(b) ? b[i] : 0));
    return !differ;
}

enum port_verdict ports_check(struct gateway *gw, const struct port_label *label)
{
    enum port_verdict v = PORT_UNKNOWN;
    LIST_FOREACH (it, &gw->ports->list) {
        const struct port *p = LIST_ENTRY(it, struct port, item);
        if (p->port == label->port && !strcmp(p->sandbox, label->sandbox) &&
            same_token(p->token, label->token))
            v = p->revoked || expired(p) ? PORT_GONE : PORT_OPEN;
    }
    return v;
}

const char *ports_key(struct gateway *gw, const struct port_label *label)
{
    const struct port *p = find_open(gw, label->sandbox, label->port);
    return p && *p->key ? p->key : NULL;
}

/* ---- memory of what is gone ---- */

static void forget_oldest(struct gateway *gw, const char *sandbox)
{
    unsigned gone = 0;
    struct port *oldest = NULL;
    LIST_FOREACH (it, &gw->ports->list) {
        struct port *p = LIST_ENTRY(it, struct port, item);
        if (!p->revoked || strcmp(p->sandbox, sandbox) != 0)
            continue;
        oldest = oldest ? oldest : p;
        gone++;
    }
    if (gone > GONE_PER_BOX)
        drop(gw, oldest);
}

static void port_revoke(struct gateway *gw, struct port *p)
{
    p->revoked = true;
    put_document(gw, p);
    forget_oldest(gw, p->sandbox);
}

static void on_sandbox_removed(void *user, const char *name)
{
    struct gateway *gw = user;
    LIST_FOREACH_SAFE (it, &gw->ports->list) {
        struct port *p = LIST_ENTRY(it, struct port, item);
        if (!strcmp(p->sandbox, name))
            drop(gw, p);
    }
}

/* ---- answers ---- */

/* Where the client reached this server; what came in Host is only ever shown to who sent it. */
static void put_urls(struct gateway *gw, struct buf *out, const struct port *p,
                     const struct http_request *r)
{
    const char *scheme = cookie_over_tls(r) ? "https" : "http";
    char label[PORT_LABEL_MAX + 1];
    CLEANUP_BUF struct buf path = {0}, url = {0};
    const char *host = http_header(r, "host"), *at = host && *host ? host : "localhost", *rest = at;
    int n = snprintf(label, sizeof label, "%u-%s-%s", p->port, p->sandbox, p->token);
    bool address = strspn(at, "0123456789.:[]abcdefABCDEF") == strlen(at) && strpbrk(at, ".:");
    bool loopback = address && !strncmp(at, "127.", 4);
    if (loopback) { /* no name lies below an address; browsers resolve all of localhost to here */
        const char *colon = strchr(at, ':');
        rest = colon ? colon : "";
    }
    buf_printf(&path, "%s://%s/preview/%s/", scheme, at, label);
    if (n <= 63 && *gw->preview_domain) { /* 63: what DNS takes as one label */
        const char *colon = strrchr(at, ':');
        bool port = colon && strspn(colon + 1, "0123456789") == strlen(colon + 1);
        buf_printf(&url, "%s://%s.%s%s/", scheme, label, gw->preview_domain, port ? colon : "");
    } else if (n <= 63 && (!address || loopback)) {
        buf_printf(&url, "%s://%s.%s%s/", scheme, label, loopback ? "localhost" : "", rest);
    }
    api_member(out, "url", url.len ? buf_str(&url) : buf_str(&path));
    if (*p->key && url.len) {
        buf_printf(&url, "?" PORT_LOGIN "=%s", p->key);
        api_member(out, "loginUrl", buf_str(&url));
    }
    api_member(out, "pathUrl", buf_str(&path));
}

static void put_port(struct gateway *gw, struct buf *out, const struct port *p,
                     const struct http_request *r)
{
    CLEANUP_BUF struct buf b = {0};
    buf_printf(&b, "{\"port\":%u,\"status\":\"%s\",\"login\":%s", p->port,
               expired(p) ? "expired" : "active", *p->key ? "true" : "false");
    api_member(&b, "token", p->token);
    if (*p->name)
        api_member(&b, "name", p->name);
    put_urls(gw, &b, p, r);
    buf_puts(&b, ",\"createdAt\":");
    api_put_time(&b, p->created_us);
    if (p->expires_us) {
        buf_puts(&b, ",\"expiresAt\":");
        api_put_time(&b, p->expires_us);
    }
    buf_putc(&b, '}');
    if (b.err && !out->err)
        out->err = b.err;
    buf_put(out, b.data, b.len);
}

/* ---- requests ---- */

static bool port_number(struct gateway *gw, struct exchange *x, const char *text, uint32_t *ret)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || !n || n > 65535 || strlen(text) > 5) {
        api_error_detail(gw, x, 400, "INVALID_PORT", "port", text,
                         "a port is a number from 1 to 65535");
        return false;
    }
    *ret = (uint32_t)n;
    return true;
}

static void new_token(char out[PORT_TOKEN_MAX + 1])
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567"; /* 32: no bias */
    uint8_t random[PORT_TOKEN_MAX];
    id_random(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        out[i] = alphabet[random[i] % 32];
    out[PORT_TOKEN_MAX] = 0;
}

/* The token asked for, or a new one. false: answered. */
static bool choose_token(struct gateway *gw, struct exchange *x, const char *sandbox, uint32_t port,
                         const char *wanted, char out[PORT_TOKEN_MAX + 1])
{
    if (!wanted) {
        new_token(out);
        return true;
    }
    size_t n = strlen(wanted);
    if (n < 8 || n > PORT_TOKEN_MAX ||
        strspn(wanted, "abcdefghijklmnopqrstuvwxyz0123456789_") != n) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "token",
                         "a token is 8 to 16 of a-z, 0-9 and _");
        return false;
    }
    LIST_FOREACH (it, &gw->ports->list) {
        const struct port *p = LIST_ENTRY(it, struct port, item);
        if (!strcmp(p->sandbox, sandbox) && !strcmp(p->token, wanted) && p->port != port) {
            api_error(gw, x, 409, "TOKEN_IN_USE", "this token belongs to port %u", p->port);
            return false;
        }
    }
    memcpy(out, wanted, n + 1);
    return true;
}

/* An earlier exposure with that very token must not make the new one gone. */
static void unrevoke(struct gateway *gw, const char *sandbox, uint32_t port, const char *token)
{
    LIST_FOREACH_SAFE (it, &gw->ports->list) {
        struct port *p = LIST_ENTRY(it, struct port, item);
        if (p->port == port && !strcmp(p->sandbox, sandbox) && !strcmp(p->token, token))
            drop(gw, p);
    }
}

static unsigned count_open(struct gateway *gw, const char *sandbox)
{
    unsigned n = 0;
    LIST_FOREACH (it, &gw->ports->list) {
        const struct port *p = LIST_ENTRY(it, struct port, item);
        n += !p->revoked && !strcmp(p->sandbox, sandbox);
    }
    return n;
}

/* Keeps the URL of a port that is shown already, unless another token is asked for. */
static struct port *expose(struct gateway *gw, struct exchange *x, const char *sandbox,
                           uint32_t port, const json_t *o, bool *ret_created)
{
    const char *wanted = api_string(o, "token"), *name = api_string(o, "name");
    json_int_t ms = api_integer(o, "expiresIn", 0);
    struct port *p = find_open(gw, sandbox, port);
    char token[PORT_TOKEN_MAX + 1];
    bool renew = p && (expired(p) || json_is_true(json_object_get(o, "rotate")) ||
                       (wanted && strcmp(wanted, p->token) != 0));
    *ret_created = !p || renew;
    if (*ret_created) {
        if (!choose_token(gw, x, sandbox, port, wanted, token))
            return NULL;
        if (!p && count_open(gw, sandbox) >= PORTS_PER_BOX) {
            api_error(gw, x, 429, "TOO_MANY_PORTS", "a sandbox shows at most %d ports",
                      PORTS_PER_BOX);
            return NULL;
        }
        struct port *fresh = calloc(1, sizeof *fresh);
        if (!fresh) {
            api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
            return NULL;
        }
        if (p)
            port_revoke(gw, p);
        unrevoke(gw, sandbox, port, token);
        p = fresh;
        memcpy(p->sandbox, sandbox, strlen(sandbox) + 1);
        memcpy(p->token, token, strlen(token) + 1);
        p->port = port;
        p->created_us = api_now_us();
        list_append(&gw->ports->list, &p->item);
    }
    if (ms || *ret_created)
        p->expires_us = ms ? api_now_us() + (uint64_t)ms * 1000 : 0;
    if (name)
        snprintf(p->name, sizeof p->name, "%s", name);
    const json_t *login = json_object_get(o, "login");
    if (json_is_true(login) && !*p->key)
        id_hex(p->key, (PORT_KEY - 1) / 2);
    else if (json_is_false(login))
        *p->key = 0;
    put_document(gw, p);
    return p;
}

static void put(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    static const struct api_field fields[] = {
        {.name = "name", .type = API_STRING, .max = 63},
        {.name = "token", .type = API_STRING, .max = 64},
        {.name = "expiresIn", .type = API_INTEGER, .min = 1000, .max = 31536000000},
        {.name = "rotate", .type = API_BOOLEAN},
        {.name = "login", .type = API_BOOLEAN},
    };
    uint32_t port;
    bool created;
    if (!port_number(gw, x, p->value[1], &port))
        return;
    json_t *o = api_body(gw, x, r, fields, COUNT(fields));
    struct sandbox *sb = o ? api_sandbox_or_new(gw, x, p->value[0], NULL) : NULL;
    struct port *made = sb ? expose(gw, x, p->value[0], port, o, &created) : NULL;
    if (made) {
        CLEANUP_BUF struct buf b = {0};
        put_port(gw, &b, made, r);
        api_json(gw, x, created ? 201 : 200, &b);
    }
    json_decref(o);
}

/* Whether there was one or not: afterwards there is none. */
static void delete (struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    uint32_t port;
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    (void)r;
    if (!sb || !port_number(gw, x, p->value[1], &port))
        return;
    struct port *known = find_open(gw, p->value[0], port);
    if (known)
        port_revoke(gw, known);
    api_empty(gw, x, 204);
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    bool any = false;
    if (!api_sandbox(gw, x, p->value[0]))
        return;
    buf_puts(&b, "{\"ports\":[");
    LIST_FOREACH (it, &gw->ports->list) {
        const struct port *known = LIST_ENTRY(it, struct port, item);
        if (known->revoked || strcmp(known->sandbox, p->value[0]) != 0)
            continue;
        if (any)
            buf_putc(&b, ',');
        any = true;
        put_port(gw, &b, known, r);
    }
    buf_puts(&b, "]}");
    api_json(gw, x, 200, &b);
}

/* ---- registry ---- */

static void load(void *user, const char *id, const char *json)
{
    struct gateway *gw = user;
    json_t *o = json_loads(json, 0, NULL);
    const char *sandbox = api_string(o, "sandbox"), *token = api_string(o, "token");
    const char *name = api_string(o, "name"), *key = api_string(o, "key");
    struct port *p = o && sandbox && token ? calloc(1, sizeof *p) : NULL;
    (void)id;
    if (p) {
        snprintf(p->sandbox, sizeof p->sandbox, "%s", sandbox);
        snprintf(p->token, sizeof p->token, "%s", token);
        snprintf(p->name, sizeof p->name, "%s", name ? name : "");
        p->port = (uint32_t)api_integer(o, "port", 0);
        p->created_us = (uint64_t)api_integer(o, "created", 0);
        p->expires_us = (uint64_t)api_integer(o, "expires", 0);
        snprintf(p->key, sizeof p->key, "%s", key ? key : "");
        p->revoked = json_is_true(json_object_get(o, "revoked"));
        list_append(&gw->ports->list, &p->item);
    }
    json_decref(o);
}

int api_ports_init(struct gateway *gw)
{
    gw->ports = calloc(1, sizeof *gw->ports);
    if (!gw->ports)
        return -ENOMEM;
    gw->ports->gw = gw;
    list_init(&gw->ports->list);
    store_each_document(gw->store, "port", load, gw);
    struct manager_hooks hooks = {.sandbox_removed = on_sandbox_removed, .user = gw};
    manager_set_hooks(gw->manager, &hooks);
    return 0;
}

const struct route api_port_routes[] = {
    {"GET", "/v1/sandboxes/{name}/ports", list, 0},
    {"PUT", "/v1/sandboxes/{name}/ports/{port}", put, 0},
    {"DELETE", "/v1/sandboxes/{name}/ports/{port}", delete, 0},
};
const size_t api_port_nroutes = COUNT(api_port_routes);
