#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/policy/reader.h"

bool read_fail(struct reader *r, const char *path, const char *fmt, ...)
{
    va_list ap;
    if (r->failed)
        return false;
    r->failed = true;
    snprintf(r->error->path, sizeof r->error->path, "%s", path);
    va_start(ap, fmt);
    vsnprintf(r->error->reason, sizeof r->error->reason, fmt, ap);
    va_end(ap);
    return false;
}

void read_join(char out[PATH_TEXT], const char *path, const char *name)
{
    snprintf(out, PATH_TEXT, "%.90s%s%.30s", path, *path ? "." : "", name);
}

void read_index(char out[PATH_TEXT], const char *path, size_t i)
{
    snprintf(out, PATH_TEXT, "%.100s[%zu]", path, i);
}

static bool fail_at(struct reader *r, const char *path, const char *name, const char *what)
{
    char at[PATH_TEXT];
    read_join(at, path, name);
    return read_fail(r, at, "%s", what);
}

bool read_only_members(struct reader *r, const char *path, const json_t *o,
                       const char *const *names)
{
    const char *key;
    json_t *v;
    if (!json_is_object(o))
        return read_fail(r, path, "it must be an object");
    json_object_foreach ((json_t *)(uintptr_t)o, key, v) {
        const char *const *n = names;
        while (*n && strcmp(*n, key))
            n++;
        if (!*n)
            return fail_at(r, path, key, "there is no such member");
    }
    return !r->failed;
}

const char *read_keep(struct reader *r, const char *text)
{
    char *copy = arena_text(&r->p->arena, text, strlen(text));
    if (!copy)
        r->failed = r->no_memory = true;
    return copy;
}

const char *read_json_text(struct reader *r, const json_t *v)
{
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("null");
    const char *kept = text ? read_keep(r, text) : NULL;
    free(text);
    if (!kept)
        r->failed = r->no_memory = true;
    return kept;
}

const char *read_string(struct reader *r, const char *path, const json_t *o, const char *name,
                        bool required)
{
    const json_t *v = json_object_get(o, name);
    if (!v || json_is_null(v)) {
        if (required)
            fail_at(r, path, name, "it is missing");
        return NULL;
    }
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v)) {
        fail_at(r, path, name, "it must be a string");
        return NULL;
    }
    return read_keep(r, json_string_value(v));
}

bool read_bool(struct reader *r, const char *path, const json_t *o, const char *name,
               bool otherwise)
{
    const json_t *v = json_object_get(o, name);
    if (!v)
        return otherwise;
    if (!json_is_boolean(v))
        fail_at(r, path, name, "it must be true or false");
    return json_is_true(v);
}

double read_number(struct reader *r, const char *path, const json_t *o, const char *name,
                   double min, double max)
{
    const json_t *v = json_object_get(o, name);
    char what[80];
    if (!v)
        return 0;
    double n = json_number_value(v);
    if (json_is_number(v) && n >= min && n <= max)
        return n;
    snprintf(what, sizeof what, "it must be a number from %g to %g", min, max);
    fail_at(r, path, name, what);
    return 0;
}

const json_t *read_array(struct reader *r, const char *path, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (!v)
        return NULL;
    if (!json_is_array(v)) {
        fail_at(r, path, name, "it must be a list");
        return NULL;
    }
    return v;
}

const json_t *read_object(struct reader *r, const char *path, const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (!v || json_is_null(v))
        return NULL;
    if (!json_is_object(v)) {
        fail_at(r, path, name, "it must be an object");
        return NULL;
    }
    return v;
}

static void *room(struct reader *r, size_t n, size_t size)
{
    void *p = arena_alloc(&r->p->arena, n ? n : 1, size);
    if (!p)
        r->failed = r->no_memory = true;
    return p;
}

void read_hosts(struct reader *r, const char *path, const json_t *o, const char *name,
                struct host_list *ret)
{
    char here[PATH_TEXT], at[PATH_TEXT];
    const json_t *a = read_array(r, path, o, name), *v;
    size_t i;
    read_join(here, path, name);
    if (!a || !(ret->items = room(r, json_array_size(a), sizeof *ret->items)))
        return;
    json_array_foreach (a, i, v) {
        const char *text = json_string_value(v);
        const char *wrong =
            text ? host_pattern_read(&r->p->arena, text, &ret->items[i]) : "it must be a string";
        if (wrong) {
            read_index(at, here, i);
            read_fail(r, at, "%s", wrong);
            return;
        }
        ret->n++;
    }
}

void read_texts(struct reader *r, const char *path, const json_t *o, const char *name,
                struct text_list *ret)
{
    char here[PATH_TEXT], at[PATH_TEXT];
    const json_t *a = read_array(r, path, o, name), *v;
    size_t i;
    read_join(here, path, name);
    if (!a || !(ret->items = room(r, json_array_size(a), sizeof *ret->items)))
        return;
    json_array_foreach (a, i, v) {
        if (!json_is_string(v)) {
            read_index(at, here, i);
            read_fail(r, at, "it must be a string");
            return;
        }
        ret->items[ret->n++] = read_keep(r, json_string_value(v));
    }
}

void read_rate(struct reader *r, const char *path, const json_t *o, struct rate *ret)
{
    static const char *const names[] = {"requestsPerSecond", "requestsPerMinute", "burst", NULL};
    if (!read_only_members(r, path, o, names))
        return;
    double second = read_number(r, path, o, "requestsPerSecond", 0.001, 1e6);
    double minute = read_number(r, path, o, "requestsPerMinute", 0.001, 1e8);
    if (!second == !minute) {
        read_fail(r, path, "it needs one of requestsPerSecond and requestsPerMinute");
        return;
    }
    ret->per_ms = second ? second / 1e3 : minute / 6e4;
    ret->burst = read_number(r, path, o, "burst", 1, 1e6);
    if (ret->burst == 0)
        ret->burst = ret->per_ms > 1e-3 ? ret->per_ms * 1e3 : 1; /* a second's worth */
}

void read_quota(struct reader *r, const char *path, const json_t *o, struct quota *ret)
{
    static const char *const names[] = {"bytes", "per", NULL};
    if (!read_only_members(r, path, o, names))
        return;
    const char *per = read_string(r, path, o, "per", false);
    if (!json_object_get(o, "bytes"))
        fail_at(r, path, "bytes", "it is missing");
    ret->bytes = (uint64_t)read_number(r, path, o, "bytes", 1, 9e15);
    ret->window = !per || !strcmp(per, "total") ? QUOTA_TOTAL
                  : !strcmp(per, "hour")        ? QUOTA_HOUR
                                                : QUOTA_DAY;
    if (per && strcmp(per, "total") && strcmp(per, "hour") && strcmp(per, "day"))
        fail_at(r, path, "per", "it must be hour, day or total");
}

/* "module" or "module.handler" */
bool read_handler_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
    return n > 0 && n <= 128 && !name[n];
}

static void read_choice(struct reader *r, const char *path, const json_t *v,
                        struct handler_choice *ret)
{
    static const char *const names[] = {"name", "params", NULL};
    ret->params = "null";
    if (json_is_string(v)) {
        ret->name = read_keep(r, json_string_value(v));
    } else if (json_is_object(v)) {
        if (!read_only_members(r, path, v, names))
            return;
        ret->name = read_string(r, path, v, "name", true);
        ret->params = read_json_text(r, json_object_get(v, "params"));
    } else {
        read_fail(r, path, "it must be a handler's name, or {name, params}");
    }
    if (!r->failed && !read_handler_name(ret->name))
        read_fail(r, path, "that is no name of a handler");
}

static struct handler_choice *read_by_host(struct reader *r, const char *path, const json_t *o,
                                           size_t *ret_n)
{
    char at[PATH_TEXT];
    const char *host;
    json_t *v;
    size_t n = 0;
    struct handler_choice *list = room(r, json_object_size(o), sizeof *list);
    if (!list)
        return NULL;
    json_object_foreach ((json_t *)(uintptr_t)o, host, v) {
        struct host_pattern h;
        const char *wrong = host_pattern_read(&r->p->arena, host, &h);
        read_join(at, path, host);
        if (wrong || !h.glob || h.port) {
            read_fail(r, at, "%s", wrong ? wrong : "it must be a host, without a port");
            break;
        }
        list[n].host = h.glob;
        read_choice(r, at, v, &list[n++]);
    }
    *ret_n = n;
    return list;
}

static void read_outbound(struct reader *r, const char *path, const json_t *o,
                          struct handler_choice *all, struct handler_choice **by_host,
                          size_t *nby_host)
{
    char at[PATH_TEXT];
    const json_t *v = json_object_get(o, "outbound");
    if (v && !json_is_null(v)) {
        read_join(at, path, "outbound");
        read_choice(r, at, v, all);
    }
    if ((v = read_object(r, path, o, "outboundByHost"))) {
        read_join(at, path, "outboundByHost");
        *by_host = read_by_host(r, at, v, nby_host);
    }
}

static void read_limits(struct reader *r, const json_t *doc)
{
    static const char *const names[] = {"rate", "quota", NULL};
    const json_t *o = read_object(r, "", doc, "limits"), *v;
    if (!o || !read_only_members(r, "limits", o, names))
        return;
    if ((v = read_object(r, "limits", o, "rate")))
        read_rate(r, "limits.rate", v, &r->p->rate);
    if ((v = read_object(r, "limits", o, "quota")))
        read_quota(r, "limits.quota", v, &r->p->quota);
}

static void read_document(struct reader *r, const json_t *doc)
{
    static const char *const names[] = {
        "enableInternet", "allowedHosts",   "deniedHosts", "rules",  "splice",
        "outbound",       "outboundByHost", "runtime",     "limits", NULL};
    static const char *const runtime_names[] = {"outbound", "outboundByHost", NULL};
    struct policy *p = r->p;
    const json_t *v;
    if (!read_only_members(r, "", doc, names))
        return;
    p->internet = read_bool(r, "", doc, "enableInternet", true);
    p->has_allowed = json_object_get(doc, "allowedHosts") != NULL;
    read_hosts(r, "", doc, "allowedHosts", &p->allowed);
    read_hosts(r, "", doc, "deniedHosts", &p->denied);
    read_hosts(r, "", doc, "splice", &p->splice);
    read_outbound(r, "", doc, &p->outbound, &p->by_host, &p->nby_host);
    if ((v = read_object(r, "", doc, "runtime")) &&
        read_only_members(r, "runtime", v, runtime_names))
        read_outbound(r, "runtime", v, &p->runtime_outbound, &p->runtime_by_host,
                      &p->nruntime_by_host);
    read_limits(r, doc);
    read_rules(r, doc);
}

int policy_parse(const char *json, size_t len, struct policy **ret, struct policy_error *ret_error)
{
    json_error_t e;
    struct policy *p = calloc(1, sizeof *p);
    struct reader r = {.p = p, .error = ret_error};
    memset(ret_error, 0, sizeof *ret_error);
    if (!p)
        return -ENOMEM;
    p->refs = 1;
    json_t *doc = len <= POLICY_JSON_MAX ? json_loadb(json, len, JSON_REJECT_DUPLICATES, &e) : NULL;
    if (len > POLICY_JSON_MAX) {
        read_fail(&r, "", "it is larger than %d bytes", POLICY_JSON_MAX);
    } else if (!doc) {
        read_fail(&r, "", "%s", e.text);
        ret_error->line = e.line > 0 ? (unsigned)e.line : 1;
        ret_error->column = e.column > 0 ? (unsigned)e.column : 1;
    } else {
        read_document(&r, doc);
        if (r.failed)
            locate(json, len, ret_error->path, &ret_error->line, &ret_error->column);
    }
    json_decref(doc);
    if (r.failed) {
        policy_unref(p);
        return r.no_memory ? -ENOMEM : POLICY_E_INVALID;
    }
    *ret = p;
    return 0;
}

struct policy *policy_ref(struct policy *p)
{
    p->refs++;
    return p;
}

void policy_unref(struct policy *p)
{
    if (!p || --p->refs)
        return;
    arena_deinit(&p->arena);
    free(p);
}
