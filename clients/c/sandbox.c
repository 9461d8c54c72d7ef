#include <string.h>

#include "clients/c/wire.h"

#define BOX "/v1/sandboxes/%s"

static void fill_sandbox(void *to, const json_t *from)
{
    const json_t *limits = json_object_get(from, "limits");
    *(struct cellbox_sandbox *)to = (struct cellbox_sandbox){
        .name = wire_text(from, "name"),
        .state = wire_text(from, "state"),
        .image = wire_text(from, "image"),
        .created_at = wire_text(from, "createdAt"),
        .last_used_at = wire_text(from, "lastUsedAt"),
        .memory = wire_int(limits, "memory"),
        .pids = wire_int(limits, "pids"),
        .disk = wire_int(limits, "disk"),
        .cpu = wire_real(limits, "cpu"),
        .sleep_after_ms = wire_int(from, "sleepAfter"),
        .contexts = wire_int(from, "contexts"),
        .keep_alive = wire_true(from, "keepAlive"),
    };
}

static void fill_usage(void *to, const json_t *from)
{
    bool counted = json_is_integer(json_object_get(from, "diskBytes"));
    *(struct cellbox_usage *)to = (struct cellbox_usage){
        .state = wire_text(from, "state"),
        .active_cpu_ms = wire_real(from, "activeCpuMs"),
        .memory_gib_seconds = wire_real(from, "memoryGiBSeconds"),
        .memory = wire_int(from, "memoryBytes"),
        .disk = counted ? wire_int(from, "diskBytes") : -1,
        .processes = wire_int(from, "processes"),
        .oom_kills = wire_int(from, "oomKills"),
        .egress = wire_int(from, "egressBytes"),
    };
}

static void add_options(struct members *m, const struct cellbox_sandbox_options *o)
{
    CLEANUP_MEMBERS struct members limits;
    members_init(&limits);
    members_int(&limits, "memory", o->memory);
    members_real(&limits, "cpu", o->cpu);
    members_int(&limits, "pids", o->pids);
    members_int(&limits, "disk", o->disk);
    if (json_object_size(limits.json))
        json_object_set(m->json, "limits", limits.json);
    if (limits.problem)
        m->problem = limits.problem;
    members_text(m, "image", o->image);
    members_map(m, "env", o->env);
    members_map(m, "labels", o->labels);
    members_text(m, "instanceType", o->instance_type);
    members_int(m, "sleepAfter", o->sleep_after_ms);
    members_true(m, "keepAlive", o->keep_alive);
    members_json(m, "egress", o->egress);
}

static int put(struct cellbox_client *c, const char *method, const char *sandbox,
               const struct cellbox_sandbox_options *o, struct cellbox_sandbox **ret,
               struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    json_t *answer = NULL;
    members_init(&m);
    if (o)
        add_options(&m, o);
    int r = client_json(c, method, true, &m, &answer, error, BOX, sandbox);
    if (!ret) {
        json_decref(answer);
        return r;
    }
    return WIRE_GIVE(r, ret, wire_new(answer, sizeof **ret, fill_sandbox), error);
}

int cellbox_sandbox_start(struct cellbox_client *client, const char *sandbox,
                          const struct cellbox_sandbox_options *options,
                          struct cellbox_sandbox **ret_sandbox, struct cellbox_error *error)
{
    return put(client, "PUT", sandbox, options, ret_sandbox, error);
}

bool client_made(struct cellbox_client *c, const char *sandbox, int *r, struct cellbox_error *error)
{
    if (*r != CELLBOX_E_SERVER || strcmp(error->code, "SANDBOX_NOT_FOUND") != 0)
        return false;
    *r = cellbox_sandbox_start(c, sandbox, NULL, NULL, error);
    return *r == CELLBOX_OK;
}

int cellbox_sandbox_patch(struct cellbox_client *client, const char *sandbox,
                          const struct cellbox_sandbox_options *options,
                          struct cellbox_sandbox **ret_sandbox, struct cellbox_error *error)
{
    return put(client, "PATCH", sandbox, options, ret_sandbox, error);
}

int cellbox_sandbox_get(struct cellbox_client *client, const char *sandbox,
                        struct cellbox_sandbox **ret_sandbox, struct cellbox_error *error)
{
    json_t *answer;
    int r = client_json(client, "GET", true, NULL, &answer, error, BOX, sandbox);
    return WIRE_GIVE(r, ret_sandbox, wire_new(answer, sizeof **ret_sandbox, fill_sandbox), error);
}

int cellbox_sandbox_list(struct cellbox_client *client, struct cellbox_sandboxes **ret_sandboxes,
                         struct cellbox_error *error)
{
    json_t *answer;
    int r = client_json(client, "GET", true, NULL, &answer, error, "/v1/sandboxes");
    return WIRE_GIVE(r, ret_sandboxes,
                     WIRE_LIST(answer, "sandboxes", struct cellbox_sandboxes,
                               struct cellbox_sandbox, fill_sandbox),
                     error);
}

int cellbox_sandbox_usage(struct cellbox_client *client, const char *sandbox,
                          struct cellbox_usage **ret_usage, struct cellbox_error *error)
{
    json_t *answer;
    int r = client_json(client, "GET", true, NULL, &answer, error, BOX "/usage", sandbox);
    return WIRE_GIVE(r, ret_usage, wire_new(answer, sizeof **ret_usage, fill_usage), error);
}

int cellbox_sandbox_delete(struct cellbox_client *client, const char *sandbox,
                           struct cellbox_error *error)
{
    struct cellbox_error e;
    int r = client_json(client, "DELETE", true, NULL, NULL, &e, BOX, sandbox);
    if (r == CELLBOX_E_SERVER && !strcmp(e.code, "SANDBOX_NOT_FOUND"))
        return CELLBOX_OK;
    return error_pass(r, &e, error);
}
