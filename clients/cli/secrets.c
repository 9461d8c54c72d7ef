/* cellbox secret, handler: what the egress of all sandboxes shares */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/table.h"

static int read_source(const char *file, struct str *ret)
{
    int e = strcmp(file, "-") ? read_file(file, ret) : read_fd(STDIN_FILENO, ret);
    return e < 0 ? fail(STATUS_FAILED, "%s: %s", file, strerror(-e)) : 0;
}

static int remove_one(const struct server *s, const char *pattern, const char *name)
{
    CLEANUP_REPLY struct reply r = {0};
    CLEANUP_FREE char *path = http_path(pattern, name);
    return http_do(s, "DELETE", path, NULL, &r);
}

/* ---- secrets ---- */

struct secret_options {
    bool json;
    struct opt_list hosts, sandboxes, handlers;
    const char *username, *key_id;
};

static json_t *texts(const struct opt_list *l)
{
    json_t *a = must(json_array());
    for (size_t i = 0; i < l->n; i++)
        json_array_append_new(a, json_string(l->items[i]));
    return a;
}

/* The value comes from a file or standard input, never from the command line, which others can see.
 */
static int set_secret(const struct server *s, const char *name, const char *file,
                      const struct secret_options *o)
{
    CLEANUP_STR struct str value = {0};
    CLEANUP_REPLY struct reply r = {0};
    CLEANUP_JSON json_t *body = must(json_object());
    if (!o->hosts.n)
        return fail(STATUS_USAGE, "--host says where the secret may be sent, '*' for everywhere");
    int status = read_source(file, &value);
    if (status)
        return status;
    while (value.len && (value.data[value.len - 1] == '\n' || value.data[value.len - 1] == '\r'))
        value.data[--value.len] = 0;
    const char *member = o->key_id ? "secretAccessKey" : o->username ? "password" : "value";
    json_object_set_new(body, member, json_string(value.data ? value.data : ""));
    if (o->username)
        json_object_set_new(body, "username", json_string(o->username));
    if (o->key_id)
        json_object_set_new(body, "accessKeyId", json_string(o->key_id));
    json_object_set_new(body, "hosts", texts(&o->hosts));
    if (o->sandboxes.n)
        json_object_set_new(body, "sandboxes", texts(&o->sandboxes));
    if (o->handlers.n)
        json_object_set_new(body, "handlers", texts(&o->handlers));
    CLEANUP_FREE char *path = http_path("/v1/secrets/%s", name);
    return http_do(s, "PUT", path, body, &r);
}

static char *joined(const json_t *list)
{
    struct str all = {0};
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v) {
        str_addf(&all, "%s%s", i ? " " : "", json_string_value(v));
    }
    return str_take(&all);
}

static int list_secrets(const struct server *s, bool json)
{
    CLEANUP_REPLY struct reply r = {0};
    struct table t = {.columns = 5};
    size_t i;
    json_t *v;
    int status = http_do(s, "GET", "/v1/secrets", NULL, &r);
    const json_t *list = json_object_get(r.json, "secrets");
    if (status == 0 && json)
        print_json(list);
    if (status || json)
        return status;
    table_row(&t, "NAME", "KIND", "AGE", "HOSTS", "SANDBOXES");
    json_array_foreach (list, i, v) {
        CLEANUP_FREE char *age = duration_text(age_ms(json_object_get(v, "updatedAt")));
        CLEANUP_FREE char *hosts = joined(json_object_get(v, "hosts"));
        CLEANUP_FREE char *boxes = joined(json_object_get(v, "sandboxes"));
        table_row(&t, json_text(v, "name"), json_text(v, "kind"), age, hosts, *boxes ? boxes : "*");
    }
    table_print(&t);
    return 0;
}

static int act_secret(const struct args *a, const struct secret_options *o)
{
    const char *verb = a->positional[0];
    bool ls = !strcmp(verb, "ls"), rm = !strcmp(verb, "rm"), set = !strcmp(verb, "set");
    struct server s;
    if (!(ls || rm || set) || a->n != (ls ? 1u : rm ? 2u : 3u))
        return fail(STATUS_USAGE, "usage: cellbox %s", a->synopsis);
    int status = server_find(&s);
    if (status)
        return status;
    status = ls   ? list_secrets(&s, o->json)
             : rm ? remove_one(&s, "/v1/secrets/%s", a->positional[1])
                  : set_secret(&s, a->positional[1], a->positional[2], o);
    server_deinit(&s);
    return status;
}

int command_secret(int argc, char **argv)
{
    struct secret_options o = {0};
    const struct opt opts[] = {
        {"host", OPT_LIST, &o.hosts, "PATTERN", "set: a host that it may be sent to"},
        {"sandbox", OPT_LIST, &o.sandboxes, "PATTERN", "set: a sandbox that may use it"},
        {"handler", OPT_LIST, &o.handlers, "NAME",
         "set: a handler that gets it in clear text; the others get a placeholder"},
        {"username", OPT_TEXT, &o.username, "NAME",
         "set: the file holds the password of this user"},
        {"access-key-id", OPT_TEXT, &o.key_id, "ID",
         "set: the file holds the secret key of this AWS key"},
        {"json", OPT_FLAG, &o.json, NULL, "ls: print what the server says as JSON"},
    };
    struct args a = {
        .synopsis = "secret ls|set|rm [NAME] [FILE|-]",
        .about = "Credentials that egress rules inject and sandboxes never see. They cannot be "
                 "read again.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 1,
        .max = 3,
    };
    int status = args_parse(&a, argc, argv) ? act_secret(&a, &o) : a.status;
    free(a.positional);
    return status;
}

/* ---- handlers ---- */

struct handler_options {
    bool json;
    struct opt_list env;
};

static int set_handler(const struct server *s, const char *name, const char *file,
                       const struct handler_options *o)
{
    CLEANUP_STR struct str source = {0};
    CLEANUP_REPLY struct reply r = {0};
    CLEANUP_JSON json_t *body = must(json_object());
    json_t *env = must(json_object());
    int status = read_source(file, &source);
    json_object_set_new(body, "env", env);
    if (status)
        return status;
    for (size_t i = 0; i < o->env.n; i++) {
        CLEANUP_FREE char *pair = must(strdup(o->env.items[i]));
        char *eq = strchr(pair, '=');
        if (!eq)
            return fail(STATUS_USAGE, "--env is NAME=SECRET, not %s", pair);
        *eq = 0;
        json_object_set_new(env, pair, json_string(eq + 1));
    }
    json_object_set_new(body, "source", json_string(source.data ? source.data : ""));
    CLEANUP_FREE char *path = http_path("/v1/handlers/%s", name);
    return http_do(s, "PUT", path, body, &r);
}

static int list_handlers(const struct server *s, bool json)
{
    CLEANUP_REPLY struct reply r = {0};
    struct table t = {.columns = 3};
    size_t i;
    json_t *v;
    int status = http_do(s, "GET", "/v1/handlers", NULL, &r);
    const json_t *list = json_object_get(r.json, "handlers");
    if (status == 0 && json)
        print_json(list);
    if (status || json)
        return status;
    table_row(&t, "NAME", "STATUS", "BYTES");
    json_array_foreach (list, i, v) {
        CLEANUP_FREE char *bytes =
            text_format("%lld", (long long)json_integer_value(json_object_get(v, "bytes")));
        table_row(&t, json_text(v, "name"),
                  json_is_true(json_object_get(v, "loaded")) ? "loaded" : "waiting", bytes);
    }
    table_print(&t);
    return 0;
}

static int show_handler(const struct server *s, const char *name)
{
    CLEANUP_REPLY struct reply r = {0};
    CLEANUP_FREE char *path = http_path("/v1/handlers/%s", name);
    int status = http_do(s, "GET", path, NULL, &r);
    if (status == 0)
        fputs(json_text(r.json, "source"), stdout);
    return status;
}

static int act_handler(const struct args *a, const struct handler_options *o)
{
    const char *verb = a->positional[0];
    bool ls = !strcmp(verb, "ls"), rm = !strcmp(verb, "rm"), set = !strcmp(verb, "set");
    bool show = !strcmp(verb, "show");
    struct server s;
    if (!(ls || rm || set || show) || a->n != (ls ? 1u : set ? 3u : 2u))
        return fail(STATUS_USAGE, "usage: cellbox %s", a->synopsis);
    int status = server_find(&s);
    if (status)
        return status;
    status = ls     ? list_handlers(&s, o->json)
             : rm   ? remove_one(&s, "/v1/handlers/%s", a->positional[1])
             : show ? show_handler(&s, a->positional[1])
                    : set_handler(&s, a->positional[1], a->positional[2], o);
    server_deinit(&s);
    return status;
}

int command_handler(int argc, char **argv)
{
    struct handler_options o = {0};
    const struct opt opts[] = {
        {"env", OPT_LIST, &o.env, "NAME=SECRET", "set: a secret in the handler's env"},
        {"json", OPT_FLAG, &o.json, NULL, "ls: print what the server says as JSON"},
    };
    struct args a = {
        .synopsis = "handler ls|set|show|rm [NAME] [FILE|-]",
        .about = "JavaScript modules that answer requests of sandboxes where a policy says so.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 1,
        .max = 3,
    };
    int status = args_parse(&a, argc, argv) ? act_handler(&a, &o) : a.status;
    free(a.positional);
    return status;
}
