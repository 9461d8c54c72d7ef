#include "kernel-gw/egress/egress.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "contexts/manager/links/init_link.h"
#include "contexts/manager/links/wire_link.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/list.h"
#include "sandbox/base/log.h"
#include "sandbox/base/map.h"

enum { INLINE_MAX = 32768, DATA_MAX = 64 << 20, RENEWAL_MS = 6 * 3600 * 1000 };

/* One sandbox's, where it is not the default. */
struct own_policy {
    char *text;
};

struct egress {
    struct gateway *gw;
    struct wire_link *link;
    uv_timer_t renewal;
    char *policy;     /* default */
    struct map *own;  /* sandbox -> char *text */
    struct map *told; /* sandbox -> struct told: whose box E knows */
    struct list calls;
    egress_extra_fn *extras[EGRESS_EXTRAS];
};

struct told {
    uint64_t box;
    uint64_t ca_made; /* the certificate that the box trusts; 0: the first */
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

/* For a sandbox whose own policy E does not take: it answers, and lets nothing through. */
static const char closed_policy[] =
    "{\"rules\":[{\"name\":\"policy-unreadable\",\"action\":\"deny\"}]}";

/* A BOX_SET that nobody waits for, or a change of the server's own rules that somebody does. */
struct telling {
    struct egress *egress;
    char sandbox[WIRE_NAME];
    uint64_t box;
    bool closed; /* it was the policy above */
    egress_reply_fn *reply;
    void *user;
};

static void forget_told(struct egress *e, const char *name)
{
    free(map_remove(e->told, name));
}

int egress_add_extra(struct gateway *gw, egress_extra_fn *rules)
{
    for (int i = 0; i < EGRESS_EXTRAS; i++) {
        if (!gw->egress->extras[i]) {
            gw->egress->extras[i] = rules;
            return 0;
        }
    }
    return -ENOSPC;
}

/* 0: none; 1: *ret is a list of them; -ENOMEM. */
static int extra_of(struct egress *e, const char *sandbox, json_t **ret)
{
    json_t *all = NULL;
    for (int i = 0; i < EGRESS_EXTRAS && e->extras[i]; i++) {
        CLEANUP_FREE char *text = e->extras[i](e->gw, sandbox);
        json_t *list = text ? json_loads(text, 0, NULL) : NULL;
        if (!text)
            continue;
        if (!all)
            all = json_array();
        int r = json_array_extend(all, list);
        json_decref(list);
        if (r < 0) {
            json_decref(all);
            return -ENOMEM;
        }
    }
    *ret = all;
    return all != NULL;
}

/* That policy, behind the rules of the server's own. malloc'ed. */
static char *with_extra(struct egress *e, const char *sandbox, const char *own)
{
    json_t *rules = NULL;
    int r = extra_of(e, sandbox, &rules);
    if (r <= 0)
        return r < 0 ? NULL : strdup(own);
    json_t *policy = json_loads(own, 0, NULL);
    json_array_extend(rules, json_object_get(policy, "rules"));
    char *text = policy && rules && json_object_set(policy, "rules", rules) == 0
                     ? json_dumps(policy, JSON_COMPACT)
                     : NULL;
    json_decref(rules);
    json_decref(policy);
    return text;
}

static char *whole_policy(struct egress *e, const char *sandbox)
{
    return with_extra(e, sandbox, egress_policy(e->gw, sandbox));
}

static int note_told(struct egress *e, const char *sandbox, uint64_t box)
{
    struct told *t = map_get(e->told, sandbox);
    if (!t && (!(t = calloc(1, sizeof *t)) || map_add(e->told, sandbox, t) < 0)) {
        free(t);
        return -ENOMEM;
    }
    if (t->box != box)
        t->ca_made = 0;
    t->box = box;
    return 0;
}

static void send_box_set(struct egress *e, const struct sandbox_info *i, const char *text,
                         struct telling *take_t);

/* What does not hold is closed, or told again at the next occasion; it never falls back to more. */
static void on_told(void *user, const struct err *err, const struct wire_egress_reply *r,
                    const char *data)
{
    struct telling *t = user;
    struct sandbox *sb = sandbox_get(t->egress->gw->manager, t->sandbox);
    struct sandbox_info i = {0};
    if (sb)
        sandbox_get_info(sb, &i);
    bool current = i.box && i.box == t->box;
    if (err->code && err->code != EGRESS_E_NOT_FOUND)
        log_error("egress", "policy_not_set", "box=%s step=%s reason=%s", log_quote(t->sandbox),
                  log_quote(err->step), log_quote(err->text));
    if (t->reply)
        t->reply(t->user, err, r, data);
    if (err->code && current && t->egress->link) {
        free(map_remove(t->egress->told, t->sandbox));
        if (err->code == EGRESS_E_INVALID && !t->closed && !t->reply) {
            t->closed = true;
            send_box_set(t->egress, &i, closed_policy, t);
            return;
        }
    }
    free(t);
}

static void send_box_set(struct egress *e, const struct sandbox_info *i, const char *text,
                         struct telling *take_t)
{
    struct wire_egress_call m = {.h = {.box = i->box}, .op = EGRESS_BOX_SET};
    take_t->box = i->box;
    snprintf(m.name, sizeof m.name, "%s", i->name);
    snprintf(m.disk, sizeof m.disk, "%s", i->disk);
    egress_call(e->gw, &m, text, strlen(text), on_told, take_t);
}

/* The box is that sandbox: until E hears of it, connections of the box wait. reply (may be NULL):
 * its policy holds, or why not. */
static void tell_and(struct egress *e, const struct sandbox_info *i, egress_reply_fn *reply,
                     void *user)
{
    CLEANUP_FREE char *text = whole_policy(e, i->name);
    struct telling *t = calloc(1, sizeof *t);
    struct err err = {0};
    if (!text || !t || note_told(e, i->name, i->box) < 0) {
        err_set(&err, -ENOMEM, "set policy", NULL);
        log_error("egress", "policy_not_set", "box=%s reason=memory", log_quote(i->name));
        forget_told(e, i->name);
        if (reply)
            reply(user, &err, NULL, "");
        free(t);
        return;
    }
    t->egress = e;
    t->reply = reply;
    t->user = user;
    snprintf(t->sandbox, sizeof t->sandbox, "%s", i->name);
    send_box_set(e, i, text, t);
}

static void tell(struct egress *e, const struct sandbox_info *i)
{
    if (e->link) /* else all are told when it is there */
        tell_and(e, i, NULL, NULL);
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

/* On disk first: what is only in memory would be another policy after a restart. */
static int keep(struct egress *e, const char *sandbox, const char *text, size_t len)
{
    char *copy = text ? strndup(text, len) : NULL;
    if (text && !copy)
        return -ENOMEM;
    int r = store_put_document(e->gw->store, "egress", sandbox, copy, STORE_NOW);
    char *old = r == 0 ? map_remove(e->own, sandbox) : NULL;
    if (r == 0 && copy && (r = map_add(e->own, sandbox, copy)) < 0 && old &&
        map_add(e->own, sandbox, old) == 0)
        old = NULL;
    if (r < 0)
        free(copy);
    free(old);
    return r;
}

void egress_refresh(struct gateway *gw, const char *sandbox, egress_reply_fn *reply, void *user)
{
    struct sandbox *sb = sandbox_get(gw->manager, sandbox);
    struct wire_egress_call check = {.op = EGRESS_POLICY_CHECK};
    struct sandbox_info i = {0};
    if (sb)
        sandbox_get_info(sb, &i);
    CLEANUP_FREE char *text = i.box ? NULL : whole_policy(gw->egress, sandbox);
    if (i.box)
        tell_and(gw->egress, &i, reply, user);
    else if (text)
        egress_call(gw, &check, text, strlen(text), reply, user);
    else if (reply)
        reply(user, &(struct err){-ENOMEM, "set policy", "out of memory"}, NULL, "");
}

struct setting {
    struct gateway *gw;
    char sandbox[WIRE_NAME];
    char *text;
    size_t len;
    uint64_t box;
    bool early; /* the sandbox is about to be made */
    bool extra; /* the server's own rules stand before it: it is told in a second step */
    egress_reply_fn *reply;
    void *user;
};

static void setting_over(struct setting *s, const struct err *err,
                         const struct wire_egress_reply *r, const char *data)
{
    s->reply(s->user, err, r, data);
    free(s->text);
    free(s);
}

static void on_set(void *user, const struct err *err, const struct wire_egress_reply *r,
                   const char *data)
{
    struct setting *s = user;
    struct egress *eg = s->gw->egress;
    struct sandbox *sb = sandbox_get(s->gw->manager, s->sandbox);
    struct sandbox_info i = {0};
    struct err e = *err;
    if (sb)
        sandbox_get_info(sb, &i);
    if (e.code == EGRESS_E_NOT_FOUND) /* its box ended meanwhile: the text was read all the same */
        e = (struct err){0};
    if (!e.code && s->extra) { /* as it was written it is fine: is it with what stands before it? */
        struct wire_egress_call check = {.op = EGRESS_POLICY_CHECK};
        CLEANUP_FREE char *whole = with_extra(eg, s->sandbox, s->text ? s->text : eg->policy);
        s->extra = false;
        s->box = 0;
        if (whole) {
            egress_call(s->gw, &check, whole, strlen(whole), on_set, s);
            return;
        }
        err_set(&e, -ENOMEM, "set policy", NULL);
    }
    int kept = !e.code && (sb || s->early) ? keep(eg, s->sandbox, s->text, s->len) : 0;
    if (kept < 0)
        err_set(&e, kept, "keep policy", NULL);
    if (sb && i.box && (kept < 0 || (!e.code && i.box != s->box)))
        tell(eg, &i); /* the old one again; or it got a box meanwhile */
    setting_over(s, &e, r, data);
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
    json_t *extra = NULL;
    s->extra = extra_of(gw->egress, sandbox, &extra) != 0;
    json_decref(extra);
    if (s->extra) /* it is read as it was written, and then with what stands before it */
        i.box = s->box = 0;
    struct wire_egress_call m = {.h = {.box = i.box},
                                 .op = i.box ? EGRESS_BOX_SET : EGRESS_POLICY_CHECK};
    snprintf(m.name, sizeof m.name, "%s", sandbox);
    egress_call(gw, &m, sent, text ? len : strlen(sent), on_set, s);
}

/* ---- what boxes trust ---- */

struct asking {
    struct egress *egress;
    char sandbox[WIRE_NAME];
    uint64_t box;
};

static void on_certificate(void *user, const struct err *err, const struct wire_egress_reply *r,
                           const char *data)
{
    struct asking *a = user;
    struct sandbox *sb = sandbox_get(a->egress->gw->manager, a->sandbox);
    struct told *t = map_get(a->egress->told, a->sandbox);
    struct sandbox_info i = {0};
    if (sb)
        sandbox_get_info(sb, &i);
    if (!err->code && r && t && i.box == a->box && t->box == a->box && t->ca_made != r->value) {
        t->ca_made = r->value;
        init_trust_pem(sandbox_init(sb), data, r->data_len);
    }
    free(a);
}

/* E makes certificates anew long before they end, and when it was started again. */
static void renew_trust(struct egress *e)
{
    size_t cursor = 0;
    for (struct sandbox *sb; (sb = sandbox_next(e->gw->manager, &cursor));) {
        struct sandbox_info i;
        sandbox_get_info(sb, &i);
        struct asking *a = i.box ? calloc(1, sizeof *a) : NULL;
        if (!a)
            continue;
        struct wire_egress_call m = {.h = {.box = i.box}, .op = EGRESS_BOX_CA};
        a->egress = e;
        a->box = i.box;
        snprintf(a->sandbox, sizeof a->sandbox, "%s", i.name);
        egress_call(e->gw, &m, NULL, 0, on_certificate, a);
    }
}

static void on_renewal(uv_timer_t *t)
{
    renew_trust(t->data);
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
    while ((sb = sandbox_next(gw->manager, &cursor))) {
        struct sandbox_info i;
        sandbox_get_info(sb, &i);
        if (i.box)
            tell(e, &i);
    }
    renew_trust(e);
}

struct loading {
    struct egress *egress;
    int result;
};

/* A policy that the registry does not give back whole is one that lets nothing through. */
static void load(void *user, const char *id, const char *json)
{
    struct loading *l = user;
    json_t *read = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(read))
        log_error("egress", "policy_unreadable", "box=%s", log_quote(id));
    char *copy = strdup(json_is_object(read) ? json : closed_policy);
    json_decref(read);
    if (!copy || map_add(l->egress->own, id, copy) < 0) {
        free(copy);
        l->result = -ENOMEM;
    }
}

/* A memfd of B's. */
static char *read_default(int fd)
{
    struct stat st;
    if (fd < 0)
        return strdup("{}");
    char *text = fstat(fd, &st) == 0 ? calloc(1, (size_t)st.st_size + 1) : NULL;
    if (text && pread(fd, text, (size_t)st.st_size, 0) != st.st_size) {
        free(text);
        return NULL;
    }
    return text;
}

int egress_attach(struct gateway *gw, int policy_fd, struct err *err)
{
    struct egress *e = calloc(1, sizeof *e);
    struct loading l = {.egress = e};
    if (!e || !(e->own = map_new()) || !(e->told = map_new()))
        return err_set(err, -ENOMEM, "start", NULL);
    if (!(e->policy = read_default(policy_fd)))
        return err_set(err, -EIO, "read egress policy", "what the server was started with is lost");
    e->gw = gw;
    list_init(&e->calls);
    gw->egress = e;
    int r = store_each_document(gw->store, "egress", load, &l);
    if (r < 0 || l.result < 0)
        return err_set(err, r < 0 ? r : l.result, "read egress policies", NULL);
    struct manager_hooks hooks = {.sandbox_changed = on_changed,
                                  .sandbox_removed = on_removed,
                                  .disk_removed = on_disk_gone,
                                  .user = e};
    manager_set_hooks(gw->manager, &hooks);
    uv_timer_init(gw->loop, &e->renewal);
    e->renewal.data = e;
    uv_timer_start(&e->renewal, on_renewal, RENEWAL_MS, RENEWAL_MS);
    uv_unref((uv_handle_t *)&e->renewal);
    return 0;
}
