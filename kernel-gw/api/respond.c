#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernel-gw/api/api.h"
#include "sandbox/base/json.h"

void api_count(struct gateway *gw, int status)
{
    gw->http.requests++;
    gw->http.by_class[status / 100 % 6]++;
}

/* Notebook clients look for the sentence at the top. */
static bool asked_by_notebook(const struct exchange *x)
{
    const char *path = exchange_request(x)->path;
    return path && (!strncmp(path, "/api", 4) || strstr(path, "/jupyter/api"));
}

static void put_error(struct exchange *x, struct buf *b, const char *code, const char *fmt,
                      va_list ap)
{
    char text[512];
    vsnprintf(text, sizeof text, fmt, ap);
    buf_putc(b, '{');
    if (asked_by_notebook(x)) {
        buf_puts(b, "\"message\":");
        json_put_cstring(b, text);
        buf_puts(b, ",\"reason\":null,");
    }
    buf_printf(b, "\"error\":{\"code\":\"%s\",\"message\":", code);
    json_put_cstring(b, text);
}

void api_json(struct gateway *gw, struct exchange *x, int status, struct buf *body)
{
    if (body->err) {
        api_error(gw, x, 500, "INTERNAL", "out of memory");
        return;
    }
    api_count(gw, status);
    exchange_respond(x, status, "application/json", body->data, body->len);
}

void api_empty(struct gateway *gw, struct exchange *x, int status)
{
    api_count(gw, status);
    exchange_respond(x, status, NULL, NULL, 0);
}

void api_error(struct gateway *gw, struct exchange *x, int status, const char *code,
               const char *fmt, ...)
{
    CLEANUP_BUF struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    put_error(x, &b, code, fmt, ap);
    va_end(ap);
    buf_puts(&b, "}}");
    api_count(gw, status);
    exchange_respond(x, status, "application/json", b.data, b.len);
}

void api_error_detail(struct gateway *gw, struct exchange *x, int status, const char *code,
                      const char *key, const char *value, const char *fmt, ...)
{
    CLEANUP_BUF struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    put_error(x, &b, code, fmt, ap);
    va_end(ap);
    buf_printf(&b, ",\"details\":{\"%s\":", key);
    json_put_cstring(&b, value);
    buf_puts(&b, "}}}");
    api_count(gw, status);
    exchange_respond(x, status, "application/json", b.data, b.len);
}

void api_error_err(struct gateway *gw, struct exchange *x, int status, const char *code,
                   const struct err *e)
{
    api_error_detail(gw, x, status, code, "step", e->step, "%s: %s", e->step, e->text);
}

uint64_t api_now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int api_put_time(struct buf *out, uint64_t us)
{
    time_t t = (time_t)(us / 1000000);
    struct tm tm;
    char text[40];
    gmtime_r(&t, &tm);
    size_t n = strftime(text, sizeof text, "\"%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%03uZ\"", (unsigned)(us / 1000 % 1000));
    return buf_puts(out, text);
}

void api_member(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, ",\"%s\":", name);
    json_put_cstring(out, value);
}

void api_put_env(struct buf *out, const char *env, bool listed)
{
    const char *name;
    json_t *value, *o = listed ? json_loads(env, 0, NULL) : NULL;
    char between = '{';
    if (!listed) {
        buf_printf(out, ",\"env\":%s", env);
        return;
    }
    buf_puts(out, ",\"env\":");
    json_object_foreach (o, name, value) {
        buf_putc(out, between);
        json_put_cstring(out, name);
        buf_puts(out, ":\"***\"");
        between = ',';
    }
    buf_puts(out, between == '{' ? "{}" : "}");
    json_decref(o);
}
