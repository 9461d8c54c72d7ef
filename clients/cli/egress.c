/* cellbox egress: what a sandbox may reach, and what it reached */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clients/c/sse.h"
#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/table.h"

struct egress_options {
    bool json, follow, har;
    const char *cursor;
};

/* ---- policy ---- */

static int print_policy(const struct server *s, const char *method, const char *path,
                        const json_t *body)
{
    CLEANUP_REPLY struct reply r = {0};
    int status = http_do(s, method, path, body, &r);
    if (status == 0)
        print_json(r.json);
    return status;
}

/* As it was written, so that an error has its line. */
static int set(const struct server *s, const char *path, const char *file)
{
    CLEANUP_STR struct str text = {0};
    CLEANUP_REPLY struct reply r = {0};
    int e = strcmp(file, "-") ? read_file(file, &text) : read_fd(STDIN_FILENO, &text);
    if (e < 0)
        return fail(STATUS_FAILED, "%s: %s", file, strerror(-e));
    http_put_text(s, path, text.data ? text.data : "", &r);
    const json_t *details = json_object_get(json_object_get(r.json, "error"), "details");
    if (json_object_get(details, "line"))
        return fail(STATUS_FAILED, "%s:%lld:%lld: %s", file,
                    (long long)json_integer_value(json_object_get(details, "line")),
                    (long long)json_integer_value(json_object_get(details, "column")),
                    json_text(json_object_get(r.json, "error"), "message"));
    return http_check(s, &r);
}

/* Hosts are added to a list of the policy. */
static int add_hosts(const struct server *s, const char *path, const char *member,
                     const char *const *hosts, size_t n)
{
    CLEANUP_REPLY struct reply now = {0};
    int status = http_do(s, "GET", path, NULL, &now);
    if (status)
        return status;
    json_t *list = json_deep_copy(json_object_get(now.json, member));
    CLEANUP_JSON json_t *change = must(json_object());
    list = list ? list : must(json_array());
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(hosts[i]));
    json_object_set_new(change, member, list);
    return print_policy(s, "PATCH", path, change);
}

/* ---- log ---- */

static void print_record(const json_t *r)
{
    const json_t *ms = json_object_get(r, "durationMs"), *status = json_object_get(r, "status");
    const char *reason = json_text(r, "reason"), *method = json_text(r, "method");
    char code[16] = "-";
    if (json_is_integer(status))
        snprintf(code, sizeof code, "%lld", (long long)json_integer_value(status));
    CLEANUP_FREE char *line = text_format(
        "%.12s %-7s %-4s %-4s %s%s %.1fms %s", json_text(r, "time") + 11, json_text(r, "decision"),
        code, *method ? method : json_text(r, "kind"), json_text(r, "host"), json_text(r, "path"),
        json_number_value(ms), *reason ? reason : json_text(r, "rule"));
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    puts(line);
}

static void show_record(const json_t *r, bool json)
{
    if (!json) {
        print_record(r);
        return;
    }
    CLEANUP_FREE char *text = json_dumps(r, JSON_COMPACT);
    puts(text ? text : "");
}

static int page(const struct server *s, const char *path, const struct egress_options *o)
{
    CLEANUP_REPLY struct reply r = {0};
    CLEANUP_FREE char *full =
        text_format("%s/log?cursor=%s%s", path, o->cursor ? o->cursor : "0",
                    o->har ? "&format=har&maxBytes=8388608" : "&maxBytes=8388608");
    size_t i;
    json_t *e;
    int status = http_do(s, "GET", full, NULL, &r);
    if (status)
        return status;
    if (o->har)
        print_json(r.json);
    json_array_foreach (json_object_get(r.json, "entries"), i, e) {
        show_record(e, o->json);
    }
    return 0;
}

struct follower {
    struct sse sse;
    bool json;
};

static void on_event(void *user, const struct sse_event *event)
{
    const struct follower *f = user;
    CLEANUP_JSON json_t *r = json_loadb(event->data, event->len, 0, NULL);
    if (r && !strcmp(event->type, "request"))
        show_record(r, f->json);
    fflush(stdout);
}

static void on_data(void *user, const char *data, size_t len)
{
    struct follower *f = user;
    sse_feed(&f->sse, data, len);
}

static int follow(const struct server *s, const char *path, const struct egress_options *o)
{
    struct follower f = {.sse = {.on_event = on_event}, .json = o->json};
    CLEANUP_FREE char *full = text_format("%s/log?cursor=%s", path, o->cursor ? o->cursor : "0");
    int status = 0;
    f.sse.user = &f;
    for (bool first = true; status == 0; first = false) {
        CLEANUP_FREE char *resume =
            text_format("Last-Event-ID: %s", f.sse.id.len ? f.sse.id.data : "0");
        CLEANUP_FREE char *again = text_format("%s/log", path);
        struct http_stream *h = http_open(s, "GET", first ? full : again, NULL, "text/event-stream",
                                          first ? NULL : resume, on_data, &f);
        while (http_step(h, NULL, 0, 1000))
            ;
        if (!http_complete(h) || http_result(h)->status != 200)
            status = http_check(s, http_result(h));
        http_close(h);
        sse_restart(&f.sse);
    }
    sse_deinit(&f.sse);
    return status;
}

/* ---- the command ---- */

static int act(const struct args *a, const struct egress_options *o)
{
    const char *verb = a->positional[0];
    struct server server;
    bool file = !strcmp(verb, "set"), hosts = !strcmp(verb, "allow") || !strcmp(verb, "deny");
    bool alone = !strcmp(verb, "get") || !strcmp(verb, "reset") || !strcmp(verb, "log");
    if (!(file || hosts || alone) || (alone && a->n != 2) || (file && a->n != 3) ||
        (hosts && a->n < 3))
        return fail(STATUS_USAGE, "usage: cellbox %s", a->synopsis);
    int status = server_find(&server);
    if (status)
        return status;
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/egress", a->positional[1]);
    if (file)
        status = set(&server, path, a->positional[2]);
    else if (hosts)
        status = add_hosts(&server, path, *verb == 'a' ? "allowedHosts" : "deniedHosts",
                           a->positional + 2, a->n - 2);
    else if (!strcmp(verb, "log"))
        status = o->follow ? follow(&server, path, o) : page(&server, path, o);
    else
        status = print_policy(&server, *verb == 'g' ? "GET" : "DELETE", path, NULL);
    server_deinit(&server);
    return status;
}

int command_egress(int argc, char **argv)
{
    struct egress_options o = {0};
    const struct opt opts[] = {
        {"follow", OPT_FLAG, &o.follow, NULL, "log: go on with what happens (also -f)"},
        {"cursor", OPT_TEXT, &o.cursor, "CURSOR", "log: from there on"},
        {"har", OPT_FLAG, &o.har, NULL, "log: as an HTTP Archive"},
        {"json", OPT_FLAG, &o.json, NULL, "log: one JSON object a line"},
    };
    struct args a = {
        .synopsis = "egress get|set|reset|allow|deny|log NAME [FILE|- | HOST...]",
        .about = "What a sandbox may reach, and what it reached. A policy is a JSON document; "
                 "allow and deny add hosts to it.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 2,
        .max = 100,
    };
    static char follow_option[] = "--follow";
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "-f"))
            argv[i] = follow_option;
    int status = args_parse(&a, argc, argv) ? act(&a, &o) : a.status;
    free(a.positional);
    return status;
}
