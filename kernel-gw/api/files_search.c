/* POST /v1/sandboxes/{name}/files:search: ripgrep of the box; its JSON lines become one document.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/files_call.h"
#include "sandbox/base/json.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { LINE_MAX_BYTES = 1 << 20, QUERY_MAX = 4096 };

struct search {
    struct buf line;
    uint64_t limit;
    bool truncated;
};

/* A text of ripgrep: {"text": ...}, or {"bytes": base64} where it is no UTF-8. */
static void put_text(struct buf *out, const char *name, const json_t *o)
{
    const json_t *s = json_object_get(o, "text"), *raw = json_object_get(o, "bytes");
    buf_printf(out, ",\"%s%s\":", name, s ? "" : "Base64");
    s = s ? s : raw;
    json_put_string(out, json_is_string(s) ? json_string_value(s) : "",
                    json_is_string(s) ? json_string_length(s) : 0);
}

static void put_match(struct files_call *c, const json_t *data)
{
    struct buf *out = exchange_chunk(c->x);
    const json_t *subs = json_object_get(data, "submatches");
    size_t i;
    json_t *sub;
    buf_printf(out, "%s{\"line\":%lld", c->count++ ? "," : "",
               (long long)json_integer_value(json_object_get(data, "line_number")));
    buf_printf(out, ",\"offset\":%lld",
               (long long)json_integer_value(json_object_get(data, "absolute_offset")));
    put_text(out, "path", json_object_get(data, "path"));
    put_text(out, "text", json_object_get(data, "lines"));
    buf_puts(out, ",\"submatches\":[");
    json_array_foreach (subs, i, sub) {
        buf_printf(out, "%s{\"start\":%lld,\"end\":%lld}", i ? "," : "",
                   (long long)json_integer_value(json_object_get(sub, "start")),
                   (long long)json_integer_value(json_object_get(sub, "end")));
    }
    buf_puts(out, "]}");
}

static void begin_answer(struct files_call *c)
{
    if (c->begun)
        return;
    c->begun = true;
    api_count(c->gw, 200);
    exchange_begin(c->x, 200, "application/json");
    buf_puts(exchange_chunk(c->x), "{\"matches\":[");
}

static int take_line(struct files_call *c, const char *line, size_t len)
{
    struct search *s = c->user;
    if (json_check_object(line, len) < 0)
        return -EPROTO;
    json_t *o = json_loadb(line, len, JSON_ALLOW_NUL, NULL);
    const char *type = json_string_value(json_object_get(o, "type"));
    if (!o)
        return -EPROTO;
    if (type && !strcmp(type, "match")) {
        if (c->count < s->limit) {
            begin_answer(c);
            put_match(c, json_object_get(o, "data"));
        } else {
            s->truncated = true;
        }
    }
    json_decref(o);
    return 0;
}

static void end_answer(struct files_call *c)
{
    struct search *s = c->user;
    begin_answer(c);
    buf_printf(exchange_chunk(c->x), "],\"count\":%llu,\"truncated\":%s}",
               (unsigned long long)c->count, s->truncated ? "true" : "false");
    exchange_set_ops(c->x, NULL, NULL);
    exchange_end(c->x);
}

static int search_data(struct files_call *c, const struct files_head *head, const uint8_t *data,
                       size_t len)
{
    struct search *s = c->user;
    const char *nl;
    int r = 0;
    (void)head;
    if (buf_put(&s->line, data, len) < 0)
        return -EPROTO;
    size_t at = 0;
    while (r == 0 && !s->truncated &&
           (nl = memchr(buf_str(&s->line) + at, '\n', s->line.len - at))) {
        size_t n = (size_t)(nl - buf_str(&s->line)) - at;
        r = take_line(c, buf_str(&s->line) + at, n);
        at += n + 1;
    }
    buf_consume(&s->line, at);
    if (r == 0 && s->truncated) {
        end_answer(c);
        c->x = NULL;
        return -ECANCELED; /* nobody needs the rest */
    }
    if (r == 0 && c->begun)
        exchange_flush(c->x);
    return r;
}

static void search_end(struct files_call *c, const struct files_head *head)
{
    (void)head;
    end_answer(c);
}

static void search_freed(struct files_call *c)
{
    struct search *s = c->user;
    if (s)
        buf_deinit(&s->line);
    free(s);
}

static const struct files_call_ops search_ops = {
    .data = search_data, .end = search_end, .freed = search_freed};

static const struct api_field fields[] = {
    {.name = "path", .type = API_STRING},
    {.name = "query", .type = API_STRING, .required = true, .max = QUERY_MAX},
    {.name = "user", .type = API_STRING},
    {.name = "regex", .type = API_BOOLEAN},
    {.name = "ignoreCase", .type = API_BOOLEAN},
    {.name = "wholeWord", .type = API_BOOLEAN},
    {.name = "includeHidden", .type = API_BOOLEAN},
    {.name = "includeIgnored", .type = API_BOOLEAN},
    {.name = "include", .type = API_STRING_LIST},
    {.name = "exclude", .type = API_STRING_LIST},
    {.name = "limit", .type = API_INTEGER, .min = 1, .max = 100000},
};

static bool put_globs(struct files_call *c, const json_t *list, bool exclude)
{
    size_t i;
    json_t *item;
    char glob[FILES_GLOB_LEN + 16];
    json_array_foreach (list, i, item) {
        size_t n = json_string_length(item);
        if (i == FILES_GLOBS_MAX || !n || n > FILES_GLOB_LEN)
            return false;
        snprintf(glob, sizeof glob, "--glob=%s%s", exclude ? "!" : "", json_string_value(item));
        files_call_string(c, glob);
    }
    return true;
}

/* Everything that the client wrote is the value of an option, never an option. */
static bool put_options(struct files_call *c, const json_t *o)
{
    static const char *const flags[][2] = {{"ignoreCase", "--ignore-case"},
                                           {"wholeWord", "--word-regexp"},
                                           {"includeHidden", "--hidden"},
                                           {"includeIgnored", "--no-ignore"}};
    char query[QUERY_MAX + 16];
    for (size_t i = 0; i < COUNT(flags); i++) {
        if (json_is_true(json_object_get(o, flags[i][0])))
            files_call_string(c, flags[i][1]);
    }
    if (!json_is_true(json_object_get(o, "regex")))
        files_call_string(c, "--fixed-strings");
    snprintf(query, sizeof query, "--regexp=%s", api_string(o, "query"));
    files_call_string(c, query);
    return put_globs(c, json_object_get(o, "include"), false) &&
           put_globs(c, json_object_get(o, "exclude"), true);
}

static void start(struct gateway *gw, struct exchange *x, struct sandbox *sb, const json_t *o)
{
    const char *path = api_string(o, "path"), *user = api_string(o, "user");
    path = path ? path : ".";
    if (user && strcmp(user, "user") != 0 && strcmp(user, "root") != 0) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "user", "user must be user or root");
        return;
    }
    struct files_call *c = files_path_text(gw, x, path)
                               ? files_call_new(gw, x, sb, &search_ops, FILES_SEARCH, path)
                               : NULL;
    struct search *s = c ? calloc(1, sizeof *s) : NULL;
    if (!c)
        return;
    if (s) {
        buf_init(&s->line, LINE_MAX_BYTES + FILES_DATA_MAX);
        s->limit = (uint64_t)api_integer(o, "limit", 1000);
    }
    c->user = s;
    c->root = user && !strcmp(user, "root");
    if (s && *api_string(o, "query") && put_options(c, o)) {
        files_call_start(c);
        return;
    }
    files_call_free(c);
    api_error(gw, x, s ? 400 : 503, s ? "INVALID_FIELD" : "OUT_OF_MEMORY",
              "a query, and at most %d patterns of 1 to %d bytes", FILES_GLOBS_MAX, FILES_GLOB_LEN);
}

void files_search_route(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    json_t *o = sb ? api_body(gw, x, r, fields, COUNT(fields)) : NULL;
    if (o)
        start(gw, x, sb, o);
    json_decref(o);
}
