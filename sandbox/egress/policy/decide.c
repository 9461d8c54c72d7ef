#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "sandbox/egress/policy/glob.h"
#include "sandbox/egress/policy/model.h"
#include "sandbox/egress/policy/path.h"

static void verdict(struct policy_verdict *v, enum policy_action action,
                    const struct policy_rule *rule, const char *name, const char *reason)
{
    *v = (struct policy_verdict){
        .action = action, .rule = rule, .rule_name = name, .reason = reason};
}

/* ---- matching ---- */

static bool in_ports(const struct policy_rule *r, uint16_t port)
{
    for (size_t i = 0; i < r->nports; i++)
        if (port >= r->ports[i].from && port <= r->ports[i].to)
            return true;
    return r->nports == 0;
}

static bool in_networks(const struct policy_rule *r, const struct address *a)
{
    for (size_t i = 0; i < r->nnetworks; i++)
        if (network_holds(&r->networks[i], a))
            return true;
    return false;
}

/* Where a rule names networks and no hosts, it is about addresses that are dialled as such. */
static bool is_for(const struct policy_rule *r, const struct policy_target *t)
{
    struct address a;
    if (!in_ports(r, t->port))
        return false;
    bool host = r->hosts.n && hosts_match(&r->hosts, t);
    bool network = r->nnetworks && t->addr && address_from(t->addr, &a) && in_networks(r, &a);
    return host || network || (!r->hosts.n && !r->nnetworks);
}

/* Methods have case, but servers are known that do not look at it. */
static bool method_fits(const struct policy_rule *r, const struct http_head *h)
{
    for (size_t i = 0; i < r->methods.n; i++)
        if (h->method.len == strlen(r->methods.items[i]) &&
            !strncasecmp(head_at(h, h->method), r->methods.items[i], h->method.len))
            return true;
    return r->methods.n == 0;
}

/* A pattern is compared with each form of the path in that form of its own. */
static bool in_paths(const struct policy_rule *r, const struct path_forms *f, bool loose)
{
    const char *path = loose ? f->loose : f->plain;
    size_t len = loose ? f->loose_len : f->plain_len;
    for (size_t i = 0; i < r->npaths; i++) {
        const char *pattern = loose ? r->paths[i].loose : r->paths[i].plain;
        if (policy_glob(pattern, strlen(pattern), path, len))
            return true;
    }
    return false;
}

/* Both forms of the path for what lets through, either for what denies: see path.h. */
static bool path_fits(const struct policy_rule *r, const struct path_forms *f)
{
    if (!r->npaths)
        return true;
    bool plain = in_paths(r, f, false);
    if (r->action == POLICY_DENY)
        return plain || in_paths(r, f, true);
    return plain && in_paths(r, f, true);
}

static bool scheme_fits(const struct policy_rule *r, bool https)
{
    return (!r->http && !r->https) || (https ? r->https : r->http);
}

static bool fits(const struct policy_rule *r, const struct policy_target *t,
                 const struct http_head *h, const struct path_forms *f)
{
    return scheme_fits(r, h->https) && is_for(r, t) && method_fits(r, h) && path_fits(r, f);
}

/* ---- decisions ---- */

/* A host that is named goes before patterns. */
static const struct handler_choice *choose(const struct handler_choice *list, size_t n,
                                           const char *host)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].host, host))
            return &list[i];
    for (size_t i = 0; i < n; i++)
        if (host_glob(list[i].host, host))
            return &list[i];
    return NULL;
}

static const struct handler_choice *handler_for(const struct policy *p, const char *host)
{
    const struct handler_choice *c = choose(p->runtime_by_host, p->nruntime_by_host, host);
    if (!c)
        c = choose(p->by_host, p->nby_host, host);
    if (!c && p->runtime_outbound.name)
        c = &p->runtime_outbound;
    if (!c && p->outbound.name)
        c = &p->outbound;
    return c;
}

static void by_rule(const struct policy_rule *r, struct policy_verdict *v)
{
    verdict(v, (enum policy_action)r->action, r, r->name,
            r->action == POLICY_DENY ? "a rule denies it" : "");
    v->handler = r->handler;
    v->params = r->params;
}

/* What is left when no rule speaks: the lists and the switch. */
static void by_lists(const struct policy *p, const struct policy_target *t, bool handlers,
                     bool from_handler, struct policy_verdict *v)
{
    const struct handler_choice *c;
    if (p->has_allowed && !hosts_match(&p->allowed, t)) {
        verdict(v, POLICY_DENY, NULL, "allowedHosts", "the host is not in allowedHosts");
    } else if (handlers && (c = handler_for(p, t->host))) {
        verdict(v, POLICY_HANDLER, NULL, "outbound", "");
        v->handler = c->name;
        v->params = c->params;
    } else if (p->has_allowed) {
        verdict(v, POLICY_PASS, NULL, "allowedHosts", "");
    } else if (p->internet || from_handler) { /* a handler is how a box without internet gets any */
        verdict(v, POLICY_PASS, NULL, "enableInternet", "");
    } else {
        verdict(v, POLICY_DENY, NULL, "enableInternet", "this sandbox has no internet");
    }
}

static bool denied(const struct policy *p, const struct policy_target *t, struct policy_verdict *v)
{
    if (!hosts_match(&p->denied, t))
        return false;
    verdict(v, POLICY_DENY, NULL, "deniedHosts", "the host is in deniedHosts");
    return true;
}

void policy_request(const struct policy *p, const struct policy_target *t,
                    const struct http_head *head, bool from_handler, struct policy_verdict *ret)
{
    struct path_forms f;
    if (denied(p, t, ret))
        return;
    if (path_forms_init(&f, head_at(head, head->target), head->target.len) < 0) {
        verdict(ret, POLICY_DENY, NULL, "", "out of memory");
        return;
    }
    for (size_t i = 0; i < p->nrules; i++) {
        const struct policy_rule *r = &p->rules[i];
        if (r->action == ACTION_NONE || r->action == POLICY_SPLICE || r->action == POLICY_TCP ||
            (from_handler && r->action == POLICY_HANDLER) || !fits(r, t, head, &f))
            continue;
        by_rule(r, ret);
        path_forms_deinit(&f);
        return;
    }
    path_forms_deinit(&f);
    by_lists(p, t, !from_handler, from_handler, ret);
}

/* Could it speak of a request on that connection? scheme: NULL = not known yet. */
static bool may_decide(const struct policy_rule *r, const struct policy_target *t,
                       const char *scheme)
{
    return r->action != ACTION_NONE && (!scheme || scheme_fits(r, !strcmp(scheme, "https"))) &&
           is_for(r, t);
}

/* Of every one, whatever it asks for? */
static bool decides_all(const struct policy_rule *r, const char *scheme)
{
    return !r->methods.n && !r->npaths && (scheme || r->http == r->https);
}

/*
 * The rule that lets the connection's bytes through unseen, or denies all of it. Rules that want to
 * see requests do not keep bytes from a later one, but what one of them may let through no later
 * rule denies as a whole. *ret_first: the action of the first that decides every request, else
 * ACTION_NONE.
 */
static bool bytes_rule(const struct policy *p, const struct policy_target *t, int action,
                       const char *scheme, struct policy_verdict *v, int *ret_first)
{
    bool shielded = false;
    *ret_first = ACTION_NONE;
    for (size_t i = 0; i < p->nrules; i++) {
        const struct policy_rule *r = &p->rules[i];
        if (!may_decide(r, t, scheme)) {
            /* who dials an address may name any host later */
            shielded |= !*t->host && r->hosts.n && r->action > POLICY_DENY && in_ports(r, t->port);
            continue;
        }
        bool all = decides_all(r, scheme);
        if (r->action == action || (r->action == POLICY_DENY && all && !shielded)) {
            by_rule(r, v);
            return true;
        }
        if (r->action == POLICY_DENY && all)
            return false;
        if (r->action == POLICY_DENY || r->action == POLICY_TCP || r->action == POLICY_SPLICE)
            continue;
        if (all && *ret_first == ACTION_NONE)
            *ret_first = r->action;
        shielded = true;
    }
    return false;
}

void policy_connect(const struct policy *p, const struct policy_target *t,
                    struct policy_verdict *ret)
{
    int first;
    if (!denied(p, t, ret) && !bytes_rule(p, t, POLICY_TCP, NULL, ret, &first))
        verdict(ret, POLICY_INTERCEPT, NULL, "", "");
}

void policy_tls(const struct policy *p, const struct policy_target *t, struct policy_verdict *ret)
{
    int first;
    if (denied(p, t, ret) || bytes_rule(p, t, POLICY_SPLICE, "https", ret, &first))
        return;
    if (!*t->host || !hosts_match(&p->splice, t) ||
        (first != ACTION_NONE && first != POLICY_PASS)) {
        verdict(ret, POLICY_INTERCEPT, NULL, "", "");
        return;
    }
    if (first == ACTION_NONE)
        by_lists(p, t, false, false, ret);
    if (first == POLICY_PASS || ret->action == POLICY_PASS)
        verdict(ret, POLICY_SPLICE, NULL, "splice", "");
}

bool policy_allows_name(const struct policy *p, const char *host)
{
    struct policy_target t = {.host = host};
    struct policy_verdict v;
    return !denied(p, &t, &v);
}

/* Is it in a network that a rule lets through, be it for every host or for this one? */
static bool rule_holds(const struct policy_rule *r, const struct policy_target *t,
                       const struct address *a)
{
    bool lets = r->action == POLICY_PASS || r->action == POLICY_TCP || r->action == POLICY_SPLICE;
    return lets && in_ports(r, t->port) && in_networks(r, a) &&
           (!*t->host || !r->hosts.n || hosts_match(&r->hosts, t));
}

static bool held(const struct policy *p, const struct policy_target *t, const struct address *a)
{
    bool open = hosts_hold(&p->allowed, a, t->port);
    for (size_t i = 0; i < p->nrules && !open; i++)
        open = rule_holds(&p->rules[i], t, a);
    return open;
}

bool policy_names_network(const struct policy *p, const struct policy_target *t,
                          const struct sockaddr *addr)
{
    struct address a;
    return address_from(addr, &a) && held(p, t, &a);
}

/* The first rule about it counts: one that denies its network, or one that lets it through. */
static bool rule_denies(const struct policy *p, const struct policy_target *t,
                        const struct sockaddr *addr, const struct address *a)
{
    const struct policy_target dialled = {.host = "", .addr = addr, .port = t->port};
    for (size_t i = 0; i < p->nrules; i++) {
        const struct policy_rule *r = &p->rules[i];
        if (r->action == POLICY_DENY && r->nnetworks && !r->methods.n && !r->npaths &&
            is_for(r, &dialled))
            return true;
        if (rule_holds(&p->rules[i], t, a))
            return false;
    }
    return false;
}

bool policy_allows_address(const struct policy *p, const struct policy_target *t,
                           const struct sockaddr *addr, const char **ret_reason)
{
    static char reason[160];
    struct address a;
    char text[46];
    *ret_reason = reason;
    if (!address_from(addr, &a)) {
        snprintf(reason, sizeof reason, "it has an address of an unknown kind");
        return false;
    }
    address_text(&a, text);
    if (hosts_hold(&p->denied, &a, t->port)) {
        snprintf(reason, sizeof reason, "its address %s is in deniedHosts", text);
        return false;
    }
    if (rule_denies(p, t, addr, &a)) {
        snprintf(reason, sizeof reason, "its address %s is in a network that a rule denies", text);
        return false;
    }
    const char *special = held(p, t, &a) ? NULL : address_special(&a);
    if (!special)
        return true;
    snprintf(reason, sizeof reason,
             "its address %s is no public one (%s), and no rule names a network that holds it",
             text, special);
    return false;
}

const struct policy_answer *policy_answer(const struct policy_rule *rule)
{
    return rule ? &rule->answer : NULL;
}

size_t policy_injects(const struct policy *p, const struct policy_target *t,
                      const struct http_head *head, const struct policy_inject **ret, size_t cap)
{
    struct path_forms f;
    size_t n = 0;
    bool ready = false;
    for (size_t i = 0; i < p->nrules; i++) {
        const struct policy_rule *r = &p->rules[i];
        if (!r->ninjects)
            continue;
        if (!ready && path_forms_init(&f, head_at(head, head->target), head->target.len) < 0)
            return SIZE_MAX; /* more than any cap: nothing may pass unchanged */
        ready = true;
        if (!fits(r, t, head, &f))
            continue;
        for (size_t k = 0; k < r->ninjects; k++) {
            if (r->injects[k].secret && !head->https && !r->insecure)
                continue;
            if (n < cap)
                ret[n] = &r->injects[k];
            n++;
        }
    }
    if (ready)
        path_forms_deinit(&f);
    return n;
}
