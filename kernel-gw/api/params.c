#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contexts/manager/language.h"
#include "kernel-gw/api/api.h"
#include "sandbox/base/json.h"

static const struct api_field *find(const struct api_field *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(fields[i].name, name))
            return &fields[i];
    }
    return NULL;
}

/* Text goes to places where a NUL would end it. */
static bool is_text(const json_t *v)
{
    return json_is_string(v) && !memchr(json_string_value(v), 0, json_string_length(v));
}

static bool strings_in(const json_t *v, bool map)
{
    size_t i;
    json_t *item;
    const char *key;
    if (!map) {
        json_array_foreach (v, i, item) {
            if (!is_text(item))
                return false;
        }
        return json_is_array(v);
    }
    if (!json_is_object(v))
        return false;
    json_object_foreach ((json_t *)v, key, item) {
        if (!is_text(item) || !*key || strchr(key, '='))
            return false;
    }
    return true;
}

/* 1.0 is an integer as well (JSON Schema says so). */
static bool integral(const json_t *v, json_int_t *ret)
{
    double d = json_number_value(v);
    if (json_is_integer(v)) {
        *ret = json_integer_value(v);
        return true;
    }
    if (!json_is_real(v) || d > 9e15 || d < -9e15 || d != (double)(json_int_t)d)
        return false;
    *ret = (json_int_t)d;
    return true;
}

/* -1: it is none. */
static json_int_t duration(const json_t *v)
{
    static const struct {
        const char *unit;
        json_int_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    json_int_t n;
    if (integral(v, &n))
        return n;
    const char *s = json_string_value(v);
    size_t digits = s ? strspn(s, "0123456789") : 0;
    if (!digits || digits > 5)
        return -1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (!strcmp(s + digits, units[i].unit))
            return strtol(s, NULL, 10) * units[i].ms;
    }
    return -1;
}

/* NULL: fits, else what is expected. */
static const char *mismatch(const struct api_field *f, const json_t *v)
{
    json_int_t n;
    switch (f->type) {
    case API_STRING:
        if (!is_text(v))
            return "a string without NUL";
        return f->max && (json_int_t)json_string_length(v) > f->max ? "a shorter string" : NULL;
    case API_INTEGER:
        if (!integral(v, &n))
            return "an integer";
        return (f->min || f->max) && (n < f->min || n > f->max) ? "a number in range" : NULL;
    case API_BOOLEAN:
        return json_is_boolean(v) ? NULL : "true or false";
    case API_STRING_MAP:
        return strings_in(v, true) ? NULL : "an object of strings";
    case API_STRING_LIST:
        return strings_in(v, false) ? NULL : "a list of strings";
    case API_OBJECT:
        return json_is_object(v) ? NULL : "an object";
    case API_DURATION:
        n = duration(v);
        return n < f->min || n > f->max ? "milliseconds, or like 30s, 10m, 1h, in range" : NULL;
    case API_COMMAND:
        if (is_text(v) && json_string_length(v))
            return NULL;
        if (strings_in(v, false) && json_array_size(v) && json_string_length(json_array_get(v, 0)))
            return NULL;
        return "a string, or a list of strings whose first is a program";
    case API_ANY:
    case API_UNSUPPORTED:
        break;
    }
    return NULL;
}

static bool check(struct gateway *gw, struct exchange *x, const json_t *o,
                  const struct api_field *fields, size_t n)
{
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)o, key, v) {
        const struct api_field *f = find(fields, n, key);
        if (!f) {
            api_error_detail(gw, x, 400, "UNKNOWN_FIELD", "field", key, "unknown field %s", key);
            return false;
        }
        if (f->type == API_UNSUPPORTED) {
            api_error_detail(gw, x, 400, "NOT_SUPPORTED", "field", key,
                             "%s is not supported by this server", key);
            return false;
        }
        const char *want = mismatch(f, v);
        if (want) {
            api_error_detail(gw, x, 400, "INVALID_FIELD", "field", key, "%s must be %s", key, want);
            return false;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (fields[i].required && !json_object_get(o, fields[i].name)) {
            api_error_detail(gw, x, 400, "MISSING_FIELD", "field", fields[i].name, "%s is required",
                             fields[i].name);
            return false;
        }
    }
    return true;
}

json_t *api_body(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct api_field *fields, size_t n)
{
    json_error_t e;
    /* jansson is lenient about what it calls UTF-8 and NUL; our own check is exact. */
    if (r->body.len && json_check(r->body.data, r->body.len) < 0) {
        api_error(gw, x, 400, "INVALID_JSON", "the body is not well-formed JSON in UTF-8");
        return NULL;
    }
    json_t *o = r->body.len ? json_loadb((const char *)r->body.data, r->body.len,
                                         JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e)
                            : json_object();
    if (!o) {
        api_error(gw, x, 400, "INVALID_JSON", "the body could not be read: %s", e.text);
        return NULL;
    }
    if (!json_is_object(o))
        api_error(gw, x, 400, "INVALID_JSON", "the body must be a JSON object");
    else if (check(gw, x, o, fields, n))
        return o;
    json_decref(o);
    return NULL;
}

const char *api_string(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

json_int_t api_integer(const json_t *o, const char *name, json_int_t otherwise)
{
    json_int_t n;
    return integral(json_object_get(o, name), &n) ? n : otherwise;
}

json_int_t api_duration(const json_t *o, const char *name, json_int_t otherwise)
{
    const json_t *v = json_object_get(o, name);
    return v ? duration(v) : otherwise;
}

bool api_query_int(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const char *name, long min, long max, long *value)
{
    char text[32], *end;
    if (!strstr(r->query, name))
        return true;
    if (!http_query(r, name, text, sizeof text))
        text[0] = 0;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (!*text || *end || errno || v < min || v > max) {
        api_error_detail(gw, x, 400, "INVALID_PARAMETER", "parameter", name,
                         "%s must be a number from %ld to %ld", name, min, max);
        return false;
    }
    *value = v;
    return true;
}

struct sandbox *api_sandbox(struct gateway *gw, struct exchange *x, const char *name)
{
    struct sandbox *sb = NULL;
    if (!sandbox_name_valid(name))
        api_error_detail(gw, x, 400, "SANDBOX_NAME_INVALID", "name", name,
                         "a sandbox name is 1-63 of a-z, 0-9 and -, with no - at its ends");
    else if (!(sb = sandbox_get(gw->manager, name)))
        api_error_detail(gw, x, 404, "SANDBOX_NOT_FOUND", "name", name, "no sandbox %s", name);
    return sb;
}

struct context *api_context(struct gateway *gw, struct exchange *x, const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    struct context_info info = {0};
    if (!sb)
        return NULL;
    struct context *c = context_get(gw->manager, p->value[1]);
    if (c)
        context_get_info(c, &info);
    if (c && info.sandbox == sb)
        return c;
    api_error_detail(gw, x, 404, "CONTEXT_NOT_FOUND", "context", p->value[1],
                     "no context %s in this sandbox", p->value[1]);
    return NULL;
}

bool api_typecheck(struct gateway *gw, struct exchange *x, const json_t *o)
{
    const char *mode = api_string(o, "typecheck");
    if (!mode || !strcmp(mode, "off") || !strcmp(mode, "warn") || !strcmp(mode, "error"))
        return true;
    api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "typecheck",
                     "typecheck is off, warn or error");
    return false;
}

const char *api_language(struct gateway *gw, struct exchange *x, const char *name)
{
    const struct language *l = name ? language_find(name) : language_next(NULL);
    if (!l)
        api_error_detail(gw, x, 400, "INVALID_LANGUAGE", "language", name, "unknown language %s",
                         name);
    return l ? l->name : NULL;
}
