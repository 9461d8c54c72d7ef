#include "kernel-gw/api/git/grant.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/box/box.h"
#include "kernel-gw/egress/egress.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/list.h"

#define SECRET_PREFIX "_git-"

struct git_grants {
    struct list all;
    bool swept; /* secrets that an earlier gateway left behind are gone */
};

struct git_grant {
    struct list link;
    struct gateway *gw;
    char secret[40], sandbox[WIRE_NAME];
    json_t *rule;
    git_grant_fn *done;
    void *user;
    bool waiting, over; /* an answer of E is still to come; nobody wants it */
};

/* ---- the rule ---- */

/* "https://host:port/team/app.git" without its parts that differ from one client to the next. */
static int split_url(const char *clean, char host[300], long *ret_port, char path[GIT_URL_MAX])
{
    bool https = !strncmp(clean, "https://", 8);
    const char *at = strstr(clean, "://");
    if (!at)
        return -EINVAL;
    at += 3;
    size_t n = strcspn(at, "/?#"), end = strcspn(at + n, "?#");
    const char *close = *at == '[' ? memchr(at, ']', n) : NULL;
    const char *from = close ? close : at, *colon = memchr(from, ':', n - (size_t)(from - at));
    size_t len = colon ? (size_t)(colon - at) : n;
    *ret_port = colon ? strtol(colon + 1, NULL, 10) : https ? 443 : 80;
    if (!len || len >= 300 || end >= GIT_URL_MAX || *ret_port < 1 || *ret_port > 65535)
        return -EINVAL;
    snprintf(host, 300, "%.*s", (int)len, at);
    while (end && at[n + end - 1] == '/')
        end--;
    if (end > 4 && !memcmp(at + n + end - 4, ".git", 4))
        end -= 4;
    snprintf(path, GIT_URL_MAX, "%.*s", (int)end, at + n);
    return end && *path == '/' ? 0 : -EINVAL;
}

/* What git asks for to read a repository, by either protocol, and large files of it: no push. */
static json_t *paths_of(const char *repository)
{
    static const char *const ends[] = {"/info/refs", "/git-upload-pack", "/HEAD", "/objects/*",
                                       "/info/lfs/*"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        json_array_append_new(list, json_sprintf("%s%s", repository, ends[i]));
        json_array_append_new(list, json_sprintf("%s.git%s", repository, ends[i]));
    }
    return list;
}

static json_t *make_rule(const struct git_grant *g, const struct git_url *url, const char *host,
                         long port, const char *path)
{
    bool https = !strncmp(buf_str(&url->clean), "https://", 8);
    json_t *inject = url->password.len ? json_pack("{s:s, s:b}", "secret", g->secret, "basic", 1)
                                       : json_pack("{s:s, s:s, s:s}", "secret", g->secret, "header",
                                                   "authorization", "format", "Basic {secret}");
    return json_pack("{s:s, s:{s:[s], s:[i], s:[s], s:o}, s:b, s:[o]}", "name", g->secret, "match",
                     "hosts", host, "ports", (int)port, "schemes", https ? "https" : "http",
                     "paths", paths_of(path), "insecure", !https, "inject", inject);
}

/* For kernel-gw/egress. */
static char *grant_rules(struct gateway *gw, const char *sandbox)
{
    json_t *list = json_array();
    LIST_FOREACH (it, &gw->git_grants->all) {
        struct git_grant *g = LIST_ENTRY(it, struct git_grant, link);
        if (!strcmp(g->sandbox, sandbox))
            json_array_append(list, g->rule);
    }
    char *text = json_array_size(list) ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    return text;
}

/* ---- its life ---- */

static void forget_secret(struct gateway *gw, const char *name)
{
    struct wire_egress_call m = {.op = EGRESS_SECRET_REMOVE};
    snprintf(m.name, sizeof m.name, "%s", name);
    egress_call(gw, &m, NULL, 0, NULL, NULL);
}

static void grant_free(struct git_grant *g)
{
    list_remove(&g->link);
    json_decref(g->rule);
    free(g);
}

/* The rule goes before its secret: nothing is refused for want of it. */
void git_grant_end(struct git_grant *g)
{
    if (!g)
        return;
    bool told = !list_empty(&g->link);
    list_remove(&g->link);
    if (told)
        egress_refresh(g->gw, g->sandbox, NULL, NULL);
    forget_secret(g->gw, g->secret);
    g->over = true;
    if (!g->waiting)
        grant_free(g);
}

static void on_told(void *user, const struct err *err, const struct wire_egress_reply *r,
                    const char *data)
{
    struct git_grant *g = user;
    (void)r;
    (void)data;
    g->waiting = false;
    if (g->over)
        grant_free(g);
    else
        g->done(g->user, err);
}

static void on_secret(void *user, const struct err *err, const struct wire_egress_reply *r,
                      const char *data)
{
    struct git_grant *g = user;
    if (g->over || err->code) {
        on_told(user, err, r, data);
        return;
    }
    list_append(&g->gw->git_grants->all, &g->link);
    egress_refresh(g->gw, g->sandbox, on_told, g);
}

static bool is_ours(const struct gateway *gw, const char *secret)
{
    LIST_FOREACH (it, &gw->git_grants->all)
        if (!strcmp(LIST_ENTRY(it, struct git_grant, link)->secret, secret))
            return true;
    return false;
}

static void on_list(void *user, const struct err *err, const struct wire_egress_reply *r,
                    const char *data)
{
    struct gateway *gw = user;
    json_t *all = err->code ? NULL : json_loadb(data, r->data_len, 0, NULL), *v;
    size_t i;
    json_array_foreach (all, i, v) {
        const char *name = api_string(v, "name");
        if (name && !strncmp(name, SECRET_PREFIX, strlen(SECRET_PREFIX)) && !is_ours(gw, name))
            forget_secret(gw, name);
    }
    json_decref(all);
}

/* Before the first secret of this gateway is there: all that there are belong to one before. */
static void sweep(struct gateway *gw)
{
    struct wire_egress_call m = {.op = EGRESS_SECRET_LIST};
    if (gw->git_grants->swept)
        return;
    gw->git_grants->swept = true;
    egress_call(gw, &m, NULL, 0, on_list, gw);
}

/* A token in place of the user: basic authentication without a password. */
static json_t *user_alone(const char *user)
{
    CLEANUP_BUF struct buf pair = {0}, text = {0};
    buf_printf(&pair, "%s:", user);
    box_put_base64(&text, pair.data, pair.len);
    return pair.err || text.err ? NULL : json_pack("{s:s}", "value", buf_str(&text));
}

static char *secret_text(const struct git_grant *g, const struct git_url *url, const char *host)
{
    const char *user = buf_str(&url->user), *password = buf_str(&url->password);
    size_t n = strlen(host);
    bool brackets = n > 2 && *host == '[';
    json_t *o = url->password.len ? json_pack("{s:s, s:s}", "username", *user ? user : "git",
                                              "password", password)
                                  : user_alone(user);
    if (o) {
        json_object_set_new(o, "hosts",
                            json_pack("[s%]", host + brackets, n - 2 * (size_t)brackets));
        json_object_set_new(o, "sandboxes", json_pack("[s]", g->sandbox));
    }
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

static struct git_grant *grant_new(struct gateway *gw, const char *sandbox,
                                   const struct git_url *url, char host[300])
{
    char path[GIT_URL_MAX], id[33];
    long port;
    struct git_grant *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    list_init(&g->link);
    g->gw = gw;
    id_hex(id, 16);
    snprintf(g->secret, sizeof g->secret, SECRET_PREFIX "%s", id);
    snprintf(g->sandbox, sizeof g->sandbox, "%s", sandbox);
    if (split_url(buf_str(&url->clean), host, &port, path) < 0 ||
        !(g->rule = make_rule(g, url, host, port, path))) {
        grant_free(g);
        return NULL;
    }
    return g;
}

void git_grant_begin(struct gateway *gw, const char *sandbox, const struct git_url *url,
                     git_grant_fn *done, void *user, struct git_grant **ret)
{
    struct wire_egress_call m = {.op = EGRESS_SECRET_PUT};
    char host[300];
    struct git_grant *g = grant_new(gw, sandbox, url, host);
    CLEANUP_FREE char *text = g ? secret_text(g, url, host) : NULL;
    *ret = NULL;
    if (!text) {
        if (g)
            grant_free(g);
        done(user, &(struct err){-EINVAL, "git", "credentials cannot be added to that address"});
        return;
    }
    *ret = g;
    g->done = done;
    g->user = user;
    sweep(gw);
    snprintf(m.name, sizeof m.name, "%s", g->secret);
    g->waiting = true;
    egress_call(gw, &m, text, strlen(text), on_secret, g);
    explicit_bzero(text, strlen(text));
}

int git_grants_init(struct gateway *gw)
{
    gw->git_grants = calloc(1, sizeof *gw->git_grants);
    if (!gw->git_grants)
        return -ENOMEM;
    list_init(&gw->git_grants->all);
    return egress_add_extra(gw, grant_rules);
}
