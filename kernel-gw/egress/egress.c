#include "kernel-gw/egress/egress.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contexts/manager/links/wire_link.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/list.h"
#include "sandbox/base/log.h"
#include "sandbox/base/map.h"

enum { INLINE_MAX = 32768, DATA_MAX = 64 << 20 };

/* One sandbox's, where it is not the default. */
struct own_policy {
    char *text;
};

struct egress {
    struct gateway *gw;
    struct wire_link *link;
    char *policy;     /* default */
    struct map *own;  /* sandbox -> char *text */
    struct map *told; /* sandbox -> struct told: whose box E knows */
    struct list calls;
    char *(*extra)(struct gateway *gw, const char *sandbox);
};

struct told {
    uint64_t box;
};

struct call {
    struct list link;
    struct egress *egress;
    egress_reply_fn *reply;
    void *user;
};

/* ---- calls ---- */

static char *take_data(const struct wire_message *m, const struct wire_egress_reply *r)
{
    struct stat st;
    size_t n = r->data_len, at = 0;
    if (n > DATA_MAX || (m->nfds ? fstat(m->fds[0], &st) < 0 || (uint64_t)st.st_size != n
                                 : m->len - sizeof *r != n))
        return NULL;
    char *data = malloc(n + 1);
    if (data && !m->nfds)
        memcpy(data, (const uint8_t *)m->head + sizeof *r, n);
    for (ssize_t got; data && m->nfds && at < n; at += (size_t)got) {
        got = pread(m->fds[0], data + at, n - at, (off_t)at);
        if (got <= 0) {
            free(data);
            return NULL;
        }
    }
    if (data)
        data[n] = 0;
    return data;
}

static void on_reply(void *user, const struct err *error, const struct wire_message *m)
{
    struct call *c = user;
    struct wire_egress_reply r = {0};
    struct err e = *error;
    CLEANUP_FREE char *data = NULL;
    list_remove(&c->link);
    if (!e.code && m->len >= sizeof r) {
        memcpy(&r, m->head, sizeof r);
        r.err.step[sizeof r.err.step - 1] = r.err.text[sizeof r.err.text - 1] = 0;
        data = take_data(m, &r);
        e = r.err;
    }
    if (!e.code && !data)
        err_set(&e, -EPROTO, "ask egress", "malformed answer");
    if (c->reply)
        c->reply(c->user, &e, &r, data ? data : "");
    free(c);
}

static int memfd_of(const void *data, size_t len)
{
    CLEANUP_FD int fd = memfd_create("egress", MFD_CLOEXEC);
    return fd >= 0 && fd_write_all(fd, data, len) == 0 ? STEAL_FD(fd) : -1;
}

void egress_call(struct gateway *gw, struct wire_egress_call *m, const void *data, size_t len,
                 egress_reply_fn *reply, void *user)
{
    struct egress *e = gw->egress;
    struct err err = {0};
    struct call *c = calloc(1, sizeof *c);
    CLEANUP_FD int fd = len > INLINE_MAX ? memfd_of(data, len) : -1;
    m->h.type = WIRE_EGRESS_CALL;
    m->data_len = (uint32_t)len;
    if (!c || !e->link || (len > INLINE_MAX && fd < 0)) {
        err_set(&err, -EAGAIN, "ask egress", "it is being started again; try again in a moment");
        if (reply)
            reply(user, &err, NULL, "");
        free(c);
        return;
    }
    c->egress = e;
    c->reply = reply;
    c->user = user;
    list_append(&e->calls, &c->link);
    wire_link_call(e->link, &m->h, sizeof *m, fd < 0 ? data : NULL, fd < 0 ? len : 0, &fd, fd >= 0,
                   on_reply, c);
}

void egress_forget(struct gateway *gw, void *user)
{
    LIST_FOREACH (it, &gw->egress->calls) {
        struct call *c = LIST_ENTRY(it, struct call, link);
        if (c->user == user)
            c->reply = NULL;
    }
}

/* ---- policies ---- */

const char *egress_policy(struct gateway *gw, const char *sandbox)
{
    const char *own = map_get(gw->egress->own, sandbox);
    return own ? own : gw->egress->policy;
}

static void on_told(void *user, const struct err *err, const struct wire_egress_reply *r,
                    const char *data)
{
    (void)user;
    (void)r;
    (void)data;
    if (err->code)
        log_error("egress", "policy_not_set", "step=%s reason=%s", log_quote(err->step),
                  log_quote(err->text));
}

static void forget_told(struct egress *e, const char *name)
{
    free(map_remove(e->told, name));
}

void egress_set_extra(struct gateway *gw, char *(*rules)(struct gateway *gw, const char *sandbox))
{
    gw->egress->extra = rules;
}

static char *extra_of(struct egress *e, const char *sandbox)
{
    return e->extra ? e->extra(e->gw, sandbox) : NULL;
}

/* The sandbox's policy, behind the rules of the server's own. malloc'ed. */
static char *whole_policy(struct egress *e, const char *sandbox)
{
    const char *own = egress_policy(e->gw, sandbox);
    CLEANUP_FREE char *extra = extra_of(e, sandbox);
    if (!extra)
        return strdup(own);
    json_t *policy = json_loads(own, 0, NULL), *rules = json_loads(extra, 0, NULL);
    json_array_extend(rules, json_object_get(policy, "rules"));
    char *text = policy && rules && json_object_set(policy, "rules", rules) == 0
                     ? json_dumps(policy, JSON_COMPACT)
                     : NULL;
    json_decref(rules);
    json_decref(policy);
    return text;
}

/* The box is that sandbox: until E hears of it, connections of the box wait. */
static void tell(struct egress *e, const struct sandbox_info *i)
{
    struct wire_egress_call m = {.h = {.box = i->box}, .op = EGRESS_BOX_SET};
    CLEANUP_FREE char *text = whole_policy(e, i->name);
    struct told *t = map_get(e->told, i->name);
    if (!e->link || !text)
        return;
    if (!t) {
        t = calloc(1, sizeof *t);
        if (!t || map_add(e->told, i->name, t) < 0) {
            free(t);
            return;
        }
    }
    t->box = i->box;
    snprintf(m.name, sizeof m.name, "%s", i->name);
    snprintf(m.disk, sizeof m.disk, "%s", i->disk);
    egress_call(e->gw, &m, text, strlen(text), on_told, NULL);
}

static void on_changed(void *user, struct sandbox *sb)
{
    struct egress *e = user;
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    const struct told *t = map_get(e->told, i.name);
    if (i.box && (!t || t->box != i.box))
        tell(e, &i);
}

static void on_removed(void *user, const char *name)
{
    struct egress *e = user;
    forget_told(e, name);
    free(map_remove(e->own, name));
    store_put_document(e->gw->store, "egress", name, NULL, STORE_NOW);
}

static void on_disk_gone(void *user, const char *disk)
{
    struct egress *e = user;
    struct wire_egress_call m = {.op = EGRESS_LOG_REMOVE};
    snprintf(m.disk, sizeof m.disk, "%s", disk);
    egress_call(e->gw, &m, NULL, 0, NULL, NULL);
}

static int keep(struct egress *e, const char *sandbox, const char *text, size_t len)
{
    char *copy = text ? strndup(text, len) : NULL;
    if (text && !copy)
        return -ENOMEM;
    free(map_remove(e->own, sandbox));
    if (copy && map_add(e->own, sandbox, copy) < 0) {
        free(copy);
        return -ENOMEM;
    }
    return store_put_document(e->gw->store, "egress", sandbox, copy, STORE_NOW);
}

void egress_refresh(struct gateway *gw, const char *sandbox, egress_reply_fn *reply, void *user)
{
    struct sandbox *sb = sandbox_get(gw->manager, sandbox);
    struct wire_egress_call check = {.op = EGRESS_POLICY_CHECK};
    struct sandbox_info i = {0};
    if (sb)
        sandbox_get_info(sb, &i);
    if (i.box)
        tell(gw->egress, &i);
    egress_call(gw, &check, "{}", 2, reply, user); /* calls are served in their order */
}

struct setting {
    struct gateway *gw;
    char sandbox[WIRE_NAME];
    char *text;
    size_t len;
    uint64_t box;
    bool early; /* the sandbox is about to be made */
    egress_reply_fn *reply;
    void *user;
};

static void on_set(void *user, const struct err *err, const struct wire_egress_reply *r,
                   const char *data)
{
    struct setting *s = user;
    struct sandbox *sb = sandbox_get(s->gw->manager, s->sandbox);
    struct sandbox_info i = {0};
    struct err e = *err;
    if (sb)
        sandbox_get_info(sb, &i);
    if (e.code == EGRESS_E_NOT_FOUND) /* its box ended meanwhile: the text was read all the same */
        e = (struct err){0};
    if (!e.code && (sb || s->early) && keep(s->gw->egress, s->sandbox, s->text, s->len) < 0)
        err_set(&e, -ENOMEM, "keep policy", NULL);
    else if (!e.code && sb && i.box && i.box != s->box) /* it got one meanwhile */
        tell(s->gw->egress, &i);
    s->reply(s->user, &e, r, data);
    free(s->text);
    free(s);
}

void egress_set_policy(struct gateway *gw, const char *sandbox, const char *text, size_t len,
                       egress_reply_fn *reply, void *user)
{
    struct sandbox *sb = sandbox_get(gw->manager, sandbox);
    struct sandbox_info i = {0};
    struct setting *s = calloc(1, sizeof *s);
    struct err err = {0};
    const char *sent = text ? text : gw->egress->policy;
    if (s && text && !(s->text = strndup(text, len))) {
        free(s);
        s = NULL;
    }
    if (!s) {
        err_set(&err, -ENOMEM, "set policy", NULL);
        reply(user, &err, NULL, "");
        return;
    }
    if (sb)
        sandbox_get_info(sb, &i);
    s->gw = gw;
    s->len = len;
    s->early = !sb;
    s->box = i.box;
    s->reply = reply;
    s->user = user;
    snprintf(s->sandbox, sizeof s->sandbox, "%s", sandbox);
    CLEANUP_FREE char *extra = extra_of(gw->egress, sandbox);
    if (extra) /* it is read as it was written, and then told with what stands before it */
        i.box = s->box = 0;
    struct wire_egress_call m = {.h = {.box = i.box},
                                 .op = i.box ? EGRESS_BOX_SET : EGRESS_POLICY_CHECK};
    snprintf(m.name, sizeof m.name, "%s", sandbox);
    egress_call(gw, &m, sent, text ? len : strlen(sent), on_set, s);
}

/* ---- the link ---- */

static void on_link_closed(void *user)
{
    struct egress *e = user;
    wire_link_free(STEAL_PTR(e->link));
}

static const struct wire_link_ops link_ops = {.closed = on_link_closed};

void egress_link(struct gateway *gw, int take_fd)
{
    struct egress *e = gw->egress;
    size_t cursor = 0;
    struct sandbox *sb;
    wire_link_abandon(STEAL_PTR(e->link));
    e->link = wire_link_new(gw->loop, take_fd, &link_ops, e);
    if (!e->link) {
        log_error("egress", "link_failed", "reason=memory");
        return;
    }
    struct wire_egress_call check = {.op = EGRESS_POLICY_CHECK};
    egress_call(gw, &check, e->policy, strlen(e->policy), on_told, NULL);
    while ((sb = sandbox_next(gw->manager, &cursor))) {
        struct sandbox_info i;
        sandbox_get_info(sb, &i);
        if (i.box)
            tell(e, &i);
    }
}

static void load(void *user, const char *id, const char *json)
{
    struct egress *e = user;
    char *copy = strdup(json);
    if (copy && map_add(e->own, id, copy) < 0)
        free(copy);
}

int egress_attach(struct gateway *gw, const char *policy)
{
    struct egress *e = calloc(1, sizeof *e);
    if (!e || !(e->own = map_new()) || !(e->told = map_new()) ||
        !(e->policy = strdup(*policy ? policy : "{}")))
        return -ENOMEM;
    e->gw = gw;
    list_init(&e->calls);
    gw->egress = e;
    store_each_document(gw->store, "egress", load, e);
    struct manager_hooks hooks = {.sandbox_changed = on_changed,
                                  .sandbox_removed = on_removed,
                                  .disk_removed = on_disk_gone,
                                  .user = e};
    manager_set_hooks(gw->manager, &hooks);
    return 0;
}
