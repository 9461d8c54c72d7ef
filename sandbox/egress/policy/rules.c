#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/policy/path.h"
#include "sandbox/egress/policy/reader.h"

enum { RULES_MAX = 1000, BODY_MAX = 65536 };

static void *room(struct reader *r, size_t n, size_t size)
{
    void *p = arena_alloc(&r->p->arena, n ? n : 1, size);
    if (!p)
        r->failed = r->no_memory = true;
    return p;
}

static bool is_token(const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("!#$%&'*+-.^_`|~", s[i]))
            return false;
    return n > 0 && n <= 256;
}

/* A field's value on one line. */
static bool is_value(const char *s)
{
    for (; *s; s++)
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return false;
    return true;
}

static const char *header_name(struct reader *r, const char *path, const char *name)
{
    static const char *const framing[] = {
        "host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer",
        NULL};
    char *low = arena_text(&r->p->arena, name, strlen(name));
    if (!low || !is_token(name)) {
        read_fail(r, path, "that is no name of a header");
        return NULL;
    }
    for (char *p = low; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    for (const char *const *f = framing; *f; f++)
        if (!strcmp(*f, low))
            read_fail(r, path, "that header frames the message and cannot be set");
    return low;
}

/* ---- match ---- */

static void read_networks(struct reader *r, const char *path, const json_t *o,
                          struct policy_rule *rule)
{
    char at[PATH_TEXT], here[PATH_TEXT];
    const json_t *a = read_array(r, path, o, "cidrs"), *v;
    size_t i;
    read_join(here, path, "cidrs");
    if (!a || !(rule->networks = room(r, json_array_size(a), sizeof *rule->networks)))
        return;
    json_array_foreach (a, i, v) {
        const char *text = json_string_value(v);
        read_index(at, here, i);
        if (!text || !network_parse(text, strlen(text), &rule->networks[i])) {
            read_fail(r, at, "it is no network: address/bits, with no bit set behind the prefix");
            return;
        }
        rule->nnetworks++;
    }
}

static bool parse_port(const char *p, char **ret_end, uint16_t *ret)
{
    if (!isdigit((unsigned char)*p))
        return false;
    unsigned long v = strtoul(p, ret_end, 10);
    *ret = (uint16_t)v;
    return v >= 1 && v <= 65535 && *ret_end - p <= 5;
}

static bool parse_range(const json_t *v, struct port_range *ret)
{
    char *end;
    if (json_is_integer(v)) {
        json_int_t n = json_integer_value(v);
        *ret = (struct port_range){(uint16_t)n, (uint16_t)n};
        return n >= 1 && n <= 65535;
    }
    const char *text = json_string_value(v);
    return text && parse_port(text, &end, &ret->from) && *end == '-' &&
           parse_port(end + 1, &end, &ret->to) && !*end && ret->from <= ret->to;
}

static void read_ports(struct reader *r, const char *path, const json_t *o,
                       struct policy_rule *rule)
{
    char at[PATH_TEXT], here[PATH_TEXT];
    const json_t *a = read_array(r, path, o, "ports"), *v;
    size_t i;
    read_join(here, path, "ports");
    if (!a || !(rule->ports = room(r, json_array_size(a), sizeof *rule->ports)))
        return;
    json_array_foreach (a, i, v) {
        read_index(at, here, i);
        if (!parse_range(v, &rule->ports[i])) {
            read_fail(r, at, "it must be a port from 1 to 65535, or \"from-to\"");
            return;
        }
        rule->nports++;
    }
}

static void read_schemes(struct reader *r, const char *path, const json_t *o,
                         struct policy_rule *rule)
{
    struct text_list l = {0};
    char at[PATH_TEXT];
    read_texts(r, path, o, "schemes", &l);
    read_join(at, path, "schemes");
    for (size_t i = 0; i < l.n && !r->failed; i++) {
        rule->http |= !strcmp(l.items[i], "http");
        rule->https |= !strcmp(l.items[i], "https");
        if (strcmp(l.items[i], "http") && strcmp(l.items[i], "https"))
            read_fail(r, at, "schemes are http and https");
    }
}

static void read_paths(struct reader *r, const char *path, const json_t *o,
                       struct policy_rule *rule)
{
    struct text_list l = {0};
    char at[PATH_TEXT], here[PATH_TEXT];
    read_texts(r, path, o, "paths", &l);
    read_join(here, path, "paths");
    if (r->failed || !l.n || !(rule->paths = room(r, l.n, sizeof *rule->paths)))
        return;
    for (size_t i = 0; i < l.n; i++) {
        const char *text = l.items[i];
        size_t len = strlen(text);
        char *plain = room(r, len + 2, 1), *loose = room(r, len + 2, 1);
        if (!plain || !loose)
            return;
        read_index(at, here, i);
        if ((*text != '/' && *text != '*') || strpbrk(text, "?#")) {
            read_fail(r, at, "a path begins with / or *, and has no query: \"%.60s\"", text);
            return;
        }
        plain[path_plain(text, len, plain)] = 0;
        loose[path_loose(text, len, loose)] = 0;
        rule->paths[rule->npaths++] = (struct path_pattern){plain, loose};
    }
}

static void read_match(struct reader *r, const char *path, const json_t *o,
                       struct policy_rule *rule)
{
    static const char *const names[] = {"hosts", "cidrs",   "ports", "methods",
                                        "paths", "schemes", NULL};
    if (!read_only_members(r, path, o, names))
        return;
    for (const char *const *n = names; *n; n++) {
        const json_t *list = json_object_get(o, *n);
        if (json_is_array(list) && !json_array_size(list)) { /* nothing fits, or anything? */
            char at[PATH_TEXT];
            read_join(at, path, *n);
            read_fail(r, at, "it is empty; leave it out for any");
        }
    }
    read_hosts(r, path, o, "hosts", &rule->hosts);
    read_networks(r, path, o, rule);
    read_ports(r, path, o, rule);
    read_texts(r, path, o, "methods", &rule->methods);
    read_paths(r, path, o, rule);
    read_schemes(r, path, o, rule);
    for (size_t i = 0; i < rule->methods.n && !r->failed; i++)
        if (!is_token(rule->methods.items[i]))
            read_fail(r, path, "\"%s\" is no method", rule->methods.items[i]);
}

/* ---- what is done ---- */

static void read_answer(struct reader *r, const char *path, const json_t *o,
                        struct policy_answer *ret)
{
    static const char *const names[] = {"status", "headers", "body", NULL};
    const char *key;
    json_t *v;
    if (!read_only_members(r, path, o, names))
        return;
    ret->status = (uint16_t)read_number(r, path, o, "status", 200, 599);
    if (!ret->status)
        ret->status = 200;
    const char *body = read_string(r, path, o, "body", false);
    ret->body = body ? body : "";
    ret->body_len = strlen(ret->body);
    if (ret->body_len > BODY_MAX)
        read_fail(r, path, "its body is larger than %d bytes", BODY_MAX);
    const json_t *headers = read_object(r, path, o, "headers");
    if (!headers)
        return;
    struct head_pair *pairs = room(r, json_object_size(headers), sizeof *pairs);
    ret->fields = pairs;
    json_object_foreach ((json_t *)(uintptr_t)headers, key, v) {
        if (r->failed)
            return;
        if (!json_is_string(v) || !is_value(json_string_value(v))) {
            read_fail(r, path, "header \"%.60s\" must be a string on one line", key);
            return;
        }
        const char *name = header_name(r, path, key);
        pairs[ret->nfields++] = (struct head_pair){name, read_keep(r, json_string_value(v))};
    }
}

static void read_inject(struct reader *r, const char *path, const json_t *o,
                        struct policy_inject *ret)
{
    static const char *const names[] = {"header", "query",   "basic",  "bearer",
                                        "sigv4",  "secret",  "format", "username",
                                        "region", "service", NULL};
    if (!read_only_members(r, path, o, names))
        return;
    const char *header = read_string(r, path, o, "header", false),
               *query = read_string(r, path, o, "query", false);
    bool basic = read_bool(r, path, o, "basic", false),
         bearer = read_bool(r, path, o, "bearer", false),
         sigv4 = read_bool(r, path, o, "sigv4", false);
    ret->secret = read_string(r, path, o, "secret", true);
    ret->format = read_string(r, path, o, "format", false);
    ret->user = read_string(r, path, o, "username", false);
    ret->region = read_string(r, path, o, "region", false);
    ret->service = read_string(r, path, o, "service", false);
    if (r->failed)
        return;
    if (!!header + !!query + basic + bearer + sigv4 != 1) {
        read_fail(r, path, "it needs exactly one of header, query, basic, bearer and sigv4");
        return;
    }
    if (ret->format && (!strstr(ret->format, "{secret}") || !is_value(ret->format)))
        read_fail(r, path, "format must hold {secret}, on one line");
    ret->kind = header   ? INJECT_HEADER
                : query  ? INJECT_QUERY
                : basic  ? INJECT_BASIC
                : bearer ? INJECT_BEARER
                         : INJECT_SIGV4;
    ret->name = header ? header_name(r, path, header) : query;
}

static void read_changes(struct reader *r, const char *path, const json_t *o,
                         struct policy_rule *rule)
{
    char at[PATH_TEXT], here[PATH_TEXT];
    const json_t *list = read_array(r, path, o, "inject"),
                 *set = read_object(r, path, o, "setHeaders"), *v;
    struct text_list gone = {0};
    const char *key;
    json_t *value;
    size_t i;
    read_texts(r, path, o, "removeHeaders", &gone);
    if (r->failed)
        return;
    rule->injects =
        room(r, json_array_size(list) + json_object_size(set) + gone.n, sizeof *rule->injects);
    read_join(here, path, "removeHeaders");
    for (i = 0; i < gone.n && !r->failed; i++)
        rule->injects[rule->ninjects++] = (struct policy_inject){
            .kind = EDIT_REMOVE, .name = header_name(r, here, gone.items[i])};
    read_join(here, path, "setHeaders");
    json_object_foreach ((json_t *)(uintptr_t)set, key, value) {
        if (r->failed)
            return;
        if (!json_is_string(value) || !is_value(json_string_value(value))) {
            read_fail(r, here, "\"%.60s\" must be a string on one line", key);
            return;
        }
        const char *name = header_name(r, here, key);
        rule->injects[rule->ninjects++] = (struct policy_inject){
            .kind = EDIT_SET, .name = name, .format = read_keep(r, json_string_value(value))};
    }
    read_join(here, path, "inject");
    json_array_foreach (list, i, v) {
        if (r->failed)
            return;
        read_index(at, here, i);
        read_inject(r, at, v, &rule->injects[rule->ninjects++]);
    }
}

static const struct {
    const char *name;
    int action;
} actions[] = {{"allow", POLICY_PASS},    {"deny", POLICY_DENY}, {"respond", POLICY_RESPOND},
               {"splice", POLICY_SPLICE}, {"tcp", POLICY_TCP},   {"handler", POLICY_HANDLER}};

static void read_action(struct reader *r, const char *path, const json_t *o,
                        struct policy_rule *rule)
{
    char at[PATH_TEXT];
    const char *action = read_string(r, path, o, "action", false);
    const json_t *answer = read_object(r, path, o, "respond");
    rule->action = ACTION_NONE;
    read_join(at, path, "action");
    for (size_t i = 0; action && i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(action, actions[i].name))
            rule->action = actions[i].action;
    if (action && rule->action == ACTION_NONE)
        read_fail(r, at, "it must be allow, deny, respond, splice, tcp or handler");
    if (rule->action == POLICY_RESPOND) {
        read_join(at, path, "respond");
        if (answer)
            read_answer(r, at, answer, &rule->answer);
        else
            read_fail(r, at, "it is missing");
    }
    if (rule->action != POLICY_RESPOND && answer)
        read_fail(r, path, "respond needs \"action\": \"respond\"");
    if (rule->action != POLICY_HANDLER &&
        (json_object_get(o, "handler") || json_object_get(o, "params")))
        read_fail(r, path, "handler and params need \"action\": \"handler\"");
    rule->params = "null";
    if (rule->action == POLICY_HANDLER) {
        rule->handler = read_string(r, path, o, "handler", true);
        rule->params = read_json_text(r, json_object_get(o, "params"));
        if (rule->handler && !read_handler_name(rule->handler))
            read_fail(r, path, "\"%.60s\" is no name of a handler", rule->handler);
    }
    bool bytes = rule->action == POLICY_TCP || rule->action == POLICY_SPLICE;
    if (bytes && (rule->methods.n || rule->npaths))
        read_fail(r, path, "what is not looked into has no methods and no paths");
    if (rule->action == POLICY_TCP && ((!rule->hosts.n && !rule->nnetworks) || !rule->nports))
        read_fail(r, path, "action tcp needs hosts or cidrs, and ports");
    if (rule->action == POLICY_SPLICE && !rule->hosts.n)
        read_fail(r, path, "action splice needs hosts");
}

static void read_rule(struct reader *r, const char *path, const json_t *o, size_t index,
                      struct policy_rule *rule)
{
    static const char *const names[] = {
        "name",       "match",         "action",   "respond", "handler", "params", "inject",
        "setHeaders", "removeHeaders", "insecure", "rate",    "quota",   NULL};
    static const char *const decisive[] = {"match", "action"};
    char at[PATH_TEXT], number[32];
    const json_t *v;
    if (!read_only_members(r, path, o, names))
        return;
    for (size_t i = 0; i < sizeof decisive / sizeof *decisive; i++) {
        read_join(at, path, decisive[i]);
        if (json_is_null(json_object_get(o, decisive[i]))) /* it would be for all, or do nothing */
            read_fail(r, at, "it is null; leave it out, or say what it is");
    }
    rule->name = read_string(r, path, o, "name", false);
    if (!rule->name) {
        snprintf(number, sizeof number, "rules[%zu]", index);
        rule->name = read_keep(r, number);
    }
    if (!r->failed && (strlen(rule->name) > 64 || !is_value(rule->name)))
        read_fail(r, path, "a name has at most 64 characters, on one line");
    read_join(at, path, "match");
    if ((v = read_object(r, path, o, "match")))
        read_match(r, at, v, rule);
    rule->insecure = read_bool(r, path, o, "insecure", false);
    read_action(r, path, o, rule);
    read_changes(r, path, o, rule);
    read_join(at, path, "rate");
    if ((v = read_object(r, path, o, "rate")))
        read_rate(r, at, v, &rule->rate);
    read_join(at, path, "quota");
    if ((v = read_object(r, path, o, "quota")))
        read_quota(r, at, v, &rule->quota);
}

void read_rules(struct reader *r, const json_t *doc)
{
    char at[PATH_TEXT];
    const json_t *list = read_array(r, "", doc, "rules"), *v;
    size_t i;
    if (!list || r->failed)
        return;
    if (json_array_size(list) > RULES_MAX) {
        read_fail(r, "rules", "there are more than %d", RULES_MAX);
        return;
    }
    r->p->rules = room(r, json_array_size(list), sizeof *r->p->rules);
    json_array_foreach (list, i, v) {
        if (r->failed)
            return;
        read_index(at, "rules", i);
        read_rule(r, at, v, i, &r->p->rules[i]);
        for (size_t k = 0; k < i && !r->failed; k++)
            if (!strcmp(r->p->rules[k].name, r->p->rules[i].name))
                read_fail(r, at, "rule %zu has the same name", k);
        r->p->nrules++;
    }
}
