/* cellbox port */
#include <stdio.h>
#include <string.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/table.h"

struct port_options {
    bool json, rotate, login;
    const char *name, *token;
    long long expires;
};

static void print_ports(const json_t *ports)
{
    struct table t = {.columns = 5};
    size_t i;
    json_t *p;
    table_row(&t, "PORT", "STATUS", "NAME", "AGE", "URL");
    json_array_foreach (ports, i, p) {
        CLEANUP_FREE char *age = duration_text(age_ms(json_object_get(p, "createdAt")));
        CLEANUP_FREE char *port =
            text_format("%lld", (long long)json_integer_value(json_object_get(p, "port")));
        const char *name = json_text(p, "name");
        table_row(&t, port, json_text(p, "status"), *name ? name : NULL, age, json_text(p, "url"));
    }
    table_print(&t);
}

static int list(const struct server *s, const char *box, bool json)
{
    CLEANUP_REPLY struct reply r = {0};
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/ports", box);
    int status = http_do(s, "GET", path, NULL, &r);
    const json_t *ports = json_object_get(r.json, "ports");
    if (status == 0 && json)
        print_json(ports);
    else if (status == 0)
        print_ports(ports);
    return status;
}

static int expose(const struct server *s, const char *path, const struct port_options *o)
{
    CLEANUP_REPLY struct reply r = {0};
    CLEANUP_JSON json_t *body = must(json_object());
    if (o->name)
        json_object_set_new(body, "name", json_string(o->name));
    if (o->token)
        json_object_set_new(body, "token", json_string(o->token));
    if (o->expires)
        json_object_set_new(body, "expiresIn", json_integer(o->expires));
    if (o->rotate)
        json_object_set_new(body, "rotate", json_true());
    if (o->login)
        json_object_set_new(body, "login", json_true());
    int status = http_do(s, "PUT", path, body, &r);
    if (status == 0 && o->json)
        print_json(r.json);
    else if (status == 0)
        printf("%s\n", json_text(r.json, *json_text(r.json, "loginUrl") ? "loginUrl" : "url"));
    return status;
}

static int act(const struct args *a, const struct port_options *o)
{
    const char *verb = a->positional[0], *box = a->positional[1];
    struct server server;
    bool ls = !strcmp(verb, "ls"), rm = !strcmp(verb, "rm"), show = !strcmp(verb, "show");
    if (!(ls || rm || show) || (a->n == 3) == ls)
        return fail(STATUS_USAGE, "usage: cellbox %s", a->synopsis);
    int status = server_find(&server);
    if (status)
        return status;
    CLEANUP_FREE char *path =
        ls ? NULL : http_path("/v1/sandboxes/%s/ports/%s", box, a->positional[2]);
    if (ls) {
        status = list(&server, box, o->json);
    } else if (show) {
        status = expose(&server, path, o);
    } else {
        CLEANUP_REPLY struct reply r = {0};
        status = http_do(&server, "DELETE", path, NULL, &r);
    }
    server_deinit(&server);
    return status;
}

int command_port(int argc, char **argv)
{
    struct port_options o = {0};
    const struct opt opts[] = {
        {"name", OPT_TEXT, &o.name, "TEXT", "show: a name for people"},
        {"token", OPT_TEXT, &o.token, "TOKEN", "show: this token instead of a random one"},
        {"expires", OPT_NUMBER, &o.expires, "MS",
         "show: the address ends after so many milliseconds"},
        {"rotate", OPT_FLAG, &o.rotate, NULL, "show: a new address; the old one is gone"},
        {"login", OPT_FLAG, &o.login, NULL,
         "show: the address alone opens nothing; a browser must open the printed one once"},
        {"json", OPT_FLAG, &o.json, NULL, "print what the server says as JSON"},
    };
    struct args a = {
        .synopsis = "port show|ls|rm NAME [PORT]",
        .about = "Shows a port of a sandbox as a web site, and prints its address. Who has the "
                 "address may use it.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 2,
        .max = 3,
    };
    int status = args_parse(&a, argc, argv) ? act(&a, &o) : a.status;
    free(a.positional);
    return status;
}
