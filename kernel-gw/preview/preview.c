/*
 * Previews: a port of a box as a web site, by host (PORT-NAME-TOKEN.DOMAIN) or by path
 * (/preview/PORT-NAME-TOKEN/...). The token is all that it takes, and all that it gives is that
 * port of that box. With --preview-domain, hosts of that domain serve previews and nothing else,
 * and no other host serves one; without it any domain will do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kernel-gw/preview/private.h"

static const char path_form[] = "/preview/";

/* Whether the host stands in the domain of previews: below it, or (at the very least) it itself. */
static bool in_preview_domain(const struct gateway *gw, const char *host, bool below)
{
    size_t len = host ? strcspn(host, ":") : 0, n = strlen(gw->preview_domain);
    len -= len && host[len - 1] == '.';
    if (!n || len < n || strncasecmp(host + len - n, gw->preview_domain, n) != 0)
        return false;
    return len == n ? !below : host[len - n - 1] == '.';
}

bool preview_target_read(const struct gateway *gw, const struct http_request *r,
                         struct preview_target *ret)
{
    const char *host = http_header(r, "host");
    size_t n = host ? strcspn(host, ".:") : 0;
    if (*gw->preview_domain && !in_preview_domain(gw, host, true))
        n = 0;
    if (n && host[n] == '.' && port_label_parse(host, n, &ret->label)) {
        ret->by_path = false;
        ret->rest = r->path;
        return true;
    }
    if (strncmp(r->path, path_form, sizeof path_form - 1) != 0)
        return false;
    const char *label = r->path + sizeof path_form - 1;
    n = strcspn(label, "/");
    ret->by_path = true;
    ret->rest = label + n;
    return port_label_parse(label, n, &ret->label);
}

static bool streams(struct gateway *gw, const struct http_request *r)
{
    struct preview_target t;
    return preview_target_read(gw, r, &t) || in_preview_domain(gw, http_header(r, "host"), false);
}

/* Relative links of a page need the slash. */
static void add_slash(struct gateway *gw, struct exchange *x, const struct http_request *r)
{
    CLEANUP_BUF struct buf b = {0};
    buf_printf(&b, "%s/%s%s", r->path, *r->query ? "?" : "", r->query);
    exchange_header(x, "Location", buf_str(&b));
    api_empty(gw, x, 308);
}

static bool take(struct gateway *gw, struct exchange *x, const struct http_request *r)
{
    struct preview_target t;
    char token[256];
    bool preview = preview_target_read(gw, r, &t);
    if (in_preview_domain(gw, http_header(r, "host"), false) && (!preview || t.by_path)) {
        preview_page(gw, x, 404, "INVALID_TOKEN", "No such preview",
                     "This address opens nothing here.");
        return true;
    }
    if (!preview)
        return false;
    if (!gw->ready) {
        preview_page(gw, x, 503, "STARTING", "Just a moment", "The server is starting.");
        return true;
    }
    enum port_verdict v = ports_check(gw, &t.label);
    if (v == PORT_UNKNOWN)
        preview_page(gw, x, 404, "INVALID_TOKEN", "No such preview",
                     "This address opens nothing here.");
    else if (v == PORT_GONE)
        preview_page(gw, x, 410, "STALE_PREVIEW_URL", "This preview is over",
                     "The address was taken back or has expired. Ask for a new one.");
    else if (http_query(r, "token", token, sizeof token) && auth_token_is(&gw->auth, token))
        preview_page(gw, x, 400, "TOKEN_NOT_WANTED", "Too much said",
                     "The address holds the token of the whole server, which is not for a "
                     "program in a sandbox: leave it out.");
    else if (t.by_path && !*t.rest)
        add_slash(gw, x, r);
    else if (preview_login(gw, x, r, &t)) {
        exchange_trust(x);
        proxy_start(gw, x, r, &t);
    }
    return true;
}

int preview_attach(struct gateway *gw)
{
    gw->previews = calloc(1, sizeof *gw->previews);
    if (!gw->previews)
        return -ENOMEM;
    gw->preview = take;
    gw->preview_streams = streams;
    return upstreams_init(gw);
}
