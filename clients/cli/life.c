/* cellbox create, set, info: a sandbox's options, state and use */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/pairs.h"

struct life_options {
    const char *image, *type, *memory, *disk, *cpu, *sleep_after;
    long long pids;
    bool keep_alive, no_keep_alive, json;
    struct opt_list env, labels;
};

/* "512M", "4G"; -1: neither. */
static long long bytes_of(const char *text)
{
    char *end;
    long long v = strtoll(text, &end, 10);
    const char *unit = *end ? strchr("KMGT", *end) : NULL;
    if (end == text || v <= 0 || v > 1ll << 40 || (*end && (!unit || end[1])))
        return -1;
    return unit ? v << 10 * (unit - "KMGT" + 1) : v;
}

static int set_bytes(json_t *limits, const char *name, const char *text)
{
    long long v = text ? bytes_of(text) : 0;
    if (v < 0)
        return fail(STATUS_USAGE, "--%s %s is no size such as 512M or 4G", name, text);
    if (text)
        json_object_set_new(limits, name, json_integer(v));
    return 0;
}

static int set_limits(json_t *body, const struct life_options *o)
{
    json_t *limits = must(json_object());
    char *end = NULL;
    double cpu = o->cpu ? strtod(o->cpu, &end) : 0;
    int status = set_bytes(limits, "memory", o->memory);
    if (status == 0)
        status = set_bytes(limits, "disk", o->disk);
    if (status == 0 && o->cpu && (end == o->cpu || *end))
        status = fail(STATUS_USAGE, "--cpu %s is no number of CPUs", o->cpu);
    if (o->cpu)
        json_object_set_new(limits, "cpu", json_real(cpu));
    if (o->pids)
        json_object_set_new(limits, "pids", json_integer(o->pids));
    if (json_object_size(limits))
        json_object_set(body, "limits", limits);
    json_decref(limits);
    return status;
}

static int make_body(json_t *body, const struct life_options *o)
{
    if (o->image)
        json_object_set_new(body, "image", json_string(o->image));
    if (o->type)
        json_object_set_new(body, "instanceType", json_string(o->type));
    if (o->sleep_after)
        json_object_set_new(body, "sleepAfter",
                            strcmp(o->sleep_after, "never") ? json_string(o->sleep_after)
                                                            : json_integer(0));
    if (o->keep_alive || o->no_keep_alive)
        json_object_set_new(body, "keepAlive", json_boolean(o->keep_alive));
    int status = pairs_member(body, "env", &o->env, "--env");
    if (status == 0)
        status = pairs_member(body, "labels", &o->labels, "--label");
    return status ? status : set_limits(body, o);
}

static void print_size(const char *what, const json_t *v)
{
    double mib = json_number_value(v) / (1 << 20);
    if (v)
        printf("%-12s %.1f MiB\n", what, mib);
}

static void print_info(const json_t *info, const json_t *usage)
{
    const json_t *limits = json_object_get(info, "limits");
    double cpu = json_number_value(json_object_get(limits, "cpu"));
    json_int_t sleep = json_integer_value(json_object_get(info, "sleepAfter"));
    printf("%-12s %s\n%-12s %s\n", "name", json_text(info, "name"), "state",
           json_text(info, "state"));
    if (json_is_true(json_object_get(info, "keepAlive")))
        printf("%-12s never (keepAlive)\n", "sleeps");
    else if (sleep)
        printf("%-12s after %.1f s\n", "sleeps", (double)sleep / 1000);
    print_size("memory", json_object_get(limits, "memory"));
    print_size("disk", json_object_get(limits, "disk"));
    if (cpu > 0)
        printf("%-12s %g\n", "CPUs", cpu);
    printf("%-12s %.3f s\n", "CPU used",
           json_number_value(json_object_get(usage, "activeCpuMs")) / 1000);
    printf("%-12s %.3f GiB s\n", "memory used",
           json_number_value(json_object_get(usage, "memoryGiBSeconds")));
    print_size("memory now", json_object_get(usage, "memoryBytes"));
    print_size("disk now", json_object_get(usage, "diskBytes"));
    print_size("egress", json_object_get(usage, "egressBytes"));
}

/* What it is and what it uses; asking wakes nobody. */
static int show(const struct server *s, const char *box, bool json)
{
    CLEANUP_REPLY struct reply info = {0}, usage = {0};
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s", box);
    CLEANUP_FREE char *use = http_path("/v1/sandboxes/%s/usage", box);
    int status = http_do(s, "GET", path, NULL, &info);
    if (status == 0)
        status = http_do(s, "GET", use, NULL, &usage);
    if (status)
        return status;
    if (json) {
        json_object_set(info.json, "usage", usage.json);
        print_json(info.json);
    } else {
        print_info(info.json, usage.json);
    }
    return 0;
}

static int change(const char *method, const char *box, const struct life_options *o)
{
    CLEANUP_JSON json_t *body = must(json_object());
    CLEANUP_REPLY struct reply r = {0};
    struct server server;
    int status = make_body(body, o);
    if (status == 0)
        status = server_find(&server);
    if (status)
        return status;
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s", box);
    status = http_do(&server, method, path, body, &r);
    if (status == 0 && o->json)
        print_json(r.json);
    else if (status == 0)
        printf("%s\n", json_text(r.json, "name"));
    server_deinit(&server);
    return status;
}

static int parse(int argc, char **argv, const char *method, const char *synopsis, const char *about)
{
    struct life_options o = {0};
    bool create = !strcmp(method, "PUT");
    const struct opt opts[] = {
        {"type", OPT_TEXT, &o.type, "TYPE", "lite, basic, standard-1 to standard-4"},
        {"memory", OPT_TEXT, &o.memory, "SIZE", "limit, e.g. 512M"},
        {"disk", OPT_TEXT, &o.disk, "SIZE", "limit, e.g. 4G; only if it was made with one"},
        {"cpu", OPT_TEXT, &o.cpu, "N", "limit, in CPUs"},
        {"pids", OPT_NUMBER, &o.pids, "N", "limit of processes and threads"},
        {"sleep-after", OPT_TEXT, &o.sleep_after, "TIME", "30s, 10m, 1h, or never"},
        {"keep-alive", OPT_FLAG, &o.keep_alive, NULL, "it never sleeps"},
        {"no-keep-alive", OPT_FLAG, &o.no_keep_alive, NULL, "it may sleep"},
        {"env", OPT_LIST, &o.env, "NAME=VALUE", "a variable of everything that starts in it"},
        {"label", OPT_LIST, &o.labels, "NAME=VALUE", "a label"},
        {"json", OPT_FLAG, &o.json, NULL, "print what the server says as JSON"},
        {"image", OPT_TEXT, &o.image, "IMAGE", "what it starts from"},
    };
    struct args a = {
        .synopsis = synopsis,
        .about = about,
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts - !create,
        .min = 1,
        .max = 1,
    };
    int status = args_parse(&a, argc, argv) ? change(method, a.positional[0], &o) : a.status;
    free(a.positional);
    return status;
}

int command_create(int argc, char **argv)
{
    return parse(argc, argv, "PUT", "create NAME",
                 "Makes a sandbox, or starts the one that there is. Every other command that needs "
                 "one makes it, too.");
}

int command_set(int argc, char **argv)
{
    return parse(argc, argv, "PATCH", "set NAME",
                 "Changes a sandbox, also while it runs. Variables and labels replace those that "
                 "it had.");
}

int command_info(int argc, char **argv)
{
    bool json = false;
    struct server server;
    const struct opt opts[] = {
        {"json", OPT_FLAG, &json, NULL, "print what the server says as JSON"},
    };
    struct args a = {
        .synopsis = "info NAME",
        .about = "Shows the state, the limits and the use of a sandbox, and wakes it not.",
        .opts = opts,
        .nopts = 1,
        .min = 1,
        .max = 1,
    };
    int status = a.status;
    if (args_parse(&a, argc, argv) && (status = server_find(&server)) == 0) {
        status = show(&server, a.positional[0], json);
        server_deinit(&server);
    } else if (!status) {
        status = a.status;
    }
    free(a.positional);
    return status;
}
