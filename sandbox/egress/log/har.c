#include "sandbox/egress/log/har.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sandbox/base/json.h"

static const char *text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

static double number(const json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

static json_t *entry(const json_t *r)
{
    char url[2048], when[40];
    double duration = number(r, "durationMs"), wait = number(r, "upstreamMs");
    const char *scheme = text(r, "scheme");
    unsigned port = (unsigned)number(r, "port");
    bool usual =
        (port == 443 && !strcmp(scheme, "https")) || (port == 80 && !strcmp(scheme, "http"));
    char number_text[8] = "";
    if (!usual)
        snprintf(number_text, sizeof number_text, ":%u", port);
    int n = snprintf(url, sizeof url, "%s://%.255s%s%.1500s", scheme, text(r, "host"), number_text,
                     text(r, "path"));
    /* a character cut in two would make the whole document invalid */
    if (n > 0 && (size_t)n < sizeof url)
        url[(size_t)n - utf8_incomplete_tail(url, (size_t)n)] = 0;
    snprintf(when, sizeof when, "%.39s", text(r, "time"));
    json_t *request =
        json_pack("{s:s,s:s,s:s,s:[],s:[],s:[],s:i,s:I}", "method", text(r, "method"), "url", url,
                  "httpVersion", text(r, "protocol"), "cookies", "headers", "queryString",
                  "headersSize", -1, "bodySize", (json_int_t)number(r, "bytesOut"));
    json_t *response = json_pack(
        "{s:i,s:s,s:s,s:[],s:[],s:{s:I,s:s},s:s,s:i,s:I}", "status", (int)number(r, "status"),
        "statusText", "", "httpVersion", text(r, "protocol"), "cookies", "headers", "content",
        "size", (json_int_t)number(r, "bytesIn"), "mimeType", "", "redirectURL", "", "headersSize",
        -1, "bodySize", (json_int_t)number(r, "bytesIn"));
    json_t *e = json_pack("{s:s,s:f,s:o,s:o,s:{},s:{s:f,s:f,s:f},s:s}", "startedDateTime", when,
                          "time", duration, "request", request, "response", response, "cache",
                          "timings", "send", 0.0, "wait", wait, "receive",
                          duration > wait ? duration - wait : 0.0, "comment", text(r, "decision"));
    return e;
}

int har_render(const char *lines, size_t len, struct buf *out)
{
    const char *p = lines, *end = lines + len;
    bool first = true;
    buf_puts(out, "{\"log\":{\"version\":\"1.2\",\"creator\":{\"name\":\"Cellbox\",\"version\":"
                  "\"" CELLBOX_VERSION "\"},\"entries\":[");
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (!stop)
            break;
        json_t *r = json_loadb(p, (size_t)(stop - p), 0, NULL);
        if (r && !strcmp(text(r, "kind"), "http")) {
            json_t *e = entry(r);
            char *s = e ? json_dumps(e, JSON_COMPACT) : NULL;
            json_decref(e);
            if (!s) {
                json_decref(r);
                return -ENOMEM;
            }
            buf_printf(out, "%s%s", first ? "" : ",", s);
            first = false;
            free(s);
        }
        json_decref(r);
        p = stop + 1;
    }
    return buf_puts(out, "]}}");
}
