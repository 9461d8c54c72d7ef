/* cellbox bucket: object stores as directories */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/table.h"

struct bucket_options {
    const char *endpoint, *region, *prefix, *secret;
    bool read_only, force, json;
    struct opt_list options;
};

static int fetch(const struct server *s, const char *box, struct reply *ret)
{
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/buckets", box);
    return http_do(s, "GET", path, NULL, ret);
}

static int list(const struct server *s, const char *box, bool json)
{
    CLEANUP_REPLY struct reply r = {0};
    struct table t = {.columns = 5};
    size_t i;
    json_t *b;
    int status = fetch(s, box, &r);
    if (status)
        return status;
    const json_t *buckets = json_object_get(r.json, "buckets");
    if (json) {
        print_json(buckets);
        return 0;
    }
    table_row(&t, "PATH", "BUCKET", "STATE", "MODE", "ENDPOINT");
    json_array_foreach (buckets, i, b) {
        CLEANUP_FREE char *bucket =
            text_format("%s%s", json_text(b, "bucket"), json_text(b, "prefix"));
        table_row(&t, json_text(b, "path"), bucket, json_text(b, "state"),
                  json_is_true(json_object_get(b, "readOnly")) ? "ro" : "rw",
                  json_text(b, "endpoint"));
    }
    table_print(&t);
    return 0;
}

/* Arguments are seen by others: keys come from where S3's own tools look for them. */
static int add_keys(json_t *body, const char *secret)
{
    static const char *const names[][2] = {{"accessKeyId", "AWS_ACCESS_KEY_ID"},
                                           {"secretAccessKey", "AWS_SECRET_ACCESS_KEY"},
                                           {"sessionToken", "AWS_SESSION_TOKEN"}};
    if (secret) {
        json_object_set_new(body, "secret", json_string(secret));
        return 0;
    }
    json_t *keys = must(json_object());
    json_object_set_new(body, "credentials", keys);
    for (size_t i = 0; i < 3; i++) {
        const char *value = getenv(names[i][1]);
        if (value && *value)
            json_object_set_new(keys, names[i][0], json_string(value));
        else if (i < 2)
            return fail(STATUS_USAGE,
                        "%s is not set; it and the other key are taken from the environment, or "
                        "--secret names a secret of the server",
                        names[i][1]);
    }
    return 0;
}

static int mount(const struct server *s, const struct args *a, const struct bucket_options *o)
{
    CLEANUP_REPLY struct reply r = {0};
    CLEANUP_JSON json_t *body = must(json_object());
    if (a->n != 4 || !o->endpoint)
        return fail(STATUS_USAGE,
                    a->n == 4 ? "--endpoint is missing; usage: cellbox %s" : "usage: cellbox %s",
                    a->synopsis);
    json_object_set_new(body, "bucket", json_string(a->positional[2]));
    json_object_set_new(body, "path", json_string(a->positional[3]));
    json_object_set_new(body, "endpoint", json_string(o->endpoint));
    if (o->region)
        json_object_set_new(body, "region", json_string(o->region));
    if (o->prefix)
        json_object_set_new(body, "prefix", json_string(o->prefix));
    if (o->read_only)
        json_object_set_new(body, "readOnly", json_true());
    json_t *options = must(json_array());
    json_object_set_new(body, "s3fsOptions", options);
    for (size_t i = 0; i < o->options.n; i++)
        json_array_append_new(options, json_string(o->options.items[i]));
    int status = add_keys(body, o->secret);
    if (status)
        return status;
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/buckets", a->positional[1]);
    status = http_do(s, "POST", path, body, &r);
    if (status == 0 && o->json)
        print_json(r.json);
    else if (status == 0)
        printf("%s\n", json_text(r.json, "path"));
    return status;
}

static int take_off(const struct server *s, const struct args *a, bool force)
{
    CLEANUP_REPLY struct reply r = {0}, gone = {0};
    size_t i;
    json_t *b;
    if (a->n != 3)
        return fail(STATUS_USAGE, "usage: cellbox %s", a->synopsis);
    int status = fetch(s, a->positional[1], &r);
    if (status)
        return status;
    json_array_foreach (json_object_get(r.json, "buckets"), i, b) {
        if (strcmp(json_text(b, "path"), a->positional[2]) != 0 &&
            strcmp(json_text(b, "id"), a->positional[2]) != 0)
            continue;
        CLEANUP_FREE char *path =
            http_path("/v1/sandboxes/%s/buckets/%s", a->positional[1], json_text(b, "id"));
        CLEANUP_FREE char *whole = text_format("%s%s", path, force ? "?force=true" : "");
        return http_do(s, "DELETE", whole, NULL, &gone);
    }
    return fail(STATUS_FAILED, "no bucket is mounted at %s", a->positional[2]);
}

static int act(const struct args *a, const struct bucket_options *o)
{
    const char *verb = a->positional[0];
    struct server server;
    bool ls = !strcmp(verb, "ls"), on = !strcmp(verb, "mount"), off = !strcmp(verb, "umount");
    if (!(ls || on || off))
        return fail(STATUS_USAGE, "usage: cellbox %s", a->synopsis);
    int status = server_find(&server);
    if (status)
        return status;
    status = ls   ? list(&server, a->positional[1], o->json)
             : on ? mount(&server, a, o)
                  : take_off(&server, a, o->force);
    server_deinit(&server);
    return status;
}

int command_bucket(int argc, char **argv)
{
    struct bucket_options o = {0};
    const struct opt opts[] = {
        {"endpoint", OPT_TEXT, &o.endpoint, "URL", "mount: https://host:port of the store"},
        {"region", OPT_TEXT, &o.region, "NAME", "mount: default us-east-1"},
        {"prefix", OPT_TEXT, &o.prefix, "/PATH", "mount: only what is below it"},
        {"secret", OPT_TEXT, &o.secret, "NAME", "mount: a secret of the server instead of keys"},
        {"read-only", OPT_FLAG, &o.read_only, NULL, "mount: nothing can be written"},
        {"option", OPT_LIST, &o.options, "NAME=VALUE", "mount: one of s3fs"},
        {"force", OPT_FLAG, &o.force, NULL, "umount: also while a program uses it"},
        {"json", OPT_FLAG, &o.json, NULL, "print what the server says as JSON"},
    };
    struct args a = {
        .synopsis = "bucket mount|ls|umount NAME [BUCKET] [PATH]",
        .about = "Makes a bucket of an object store a directory of a sandbox. The keys are taken "
                 "from AWS_ACCESS_KEY_ID and\nAWS_SECRET_ACCESS_KEY; the sandbox never sees them.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 2,
        .max = 4,
    };
    int status = args_parse(&a, argc, argv) ? act(&a, &o) : a.status;
    free(a.positional);
    return status;
}
