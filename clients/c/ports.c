/* Ports, and what a sandbox may reach. */
#include <string.h>

#include "clients/c/wire.h"

#define PORTS "/v1/sandboxes/%s/ports"

static void fill_port(void *to, const json_t *from)
{
    *(struct cellbox_port *)to = (struct cellbox_port){
        .port = (int)wire_int(from, "port"),
        .status = wire_text(from, "status"),
        .name = wire_text(from, "name"),
        .token = wire_text(from, "token"),
        .url = wire_text(from, "url"),
        .path_url = wire_text(from, "pathUrl"),
    };
}

int cellbox_port_expose(struct cellbox_client *client, const char *sandbox, int port,
                        const struct cellbox_port_options *options, struct cellbox_port **ret_port,
                        struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    CLEANUP_STR struct str number = {0};
    json_t *answer = NULL;
    members_init(&m);
    if (options) {
        members_text(&m, "name", options->name);
        members_text(&m, "token", options->token);
        members_int(&m, "expiresIn", options->expires_in_ms);
        members_true(&m, "rotate", options->rotate);
    }
    if (text_addf(&number, "%d", port) < 0)
        return error_memory(error);
    int r = client_json(client, "PUT", !options || !options->rotate, &m, &answer, error,
                        PORTS "/%s", sandbox, number.data);
    if (!ret_port) {
        json_decref(answer);
        return r;
    }
    return WIRE_GIVE(r, ret_port, wire_new(answer, sizeof **ret_port, fill_port), error);
}

int cellbox_port_unexpose(struct cellbox_client *client, const char *sandbox, int port,
                          struct cellbox_error *error)
{
    CLEANUP_STR struct str number = {0};
    if (text_addf(&number, "%d", port) < 0)
        return error_memory(error);
    return client_json(client, "DELETE", true, NULL, NULL, error, PORTS "/%s", sandbox,
                       number.data);
}

int cellbox_port_list(struct cellbox_client *client, const char *sandbox,
                      struct cellbox_ports **ret_ports, struct cellbox_error *error)
{
    json_t *answer;
    int r = client_json(client, "GET", true, NULL, &answer, error, PORTS, sandbox);
    return WIRE_GIVE(
        r, ret_ports,
        WIRE_LIST(answer, "ports", struct cellbox_ports, struct cellbox_port, fill_port), error);
}

/* ---- egress ---- */

/* A call whose body and answer are the caller's JSON. */
static int document(struct cellbox_client *client, const char *method, const char *pattern,
                    const char *name, const char *body, struct str *ret,
                    struct cellbox_error *error)
{
    CLEANUP_STR struct str path = {0};
    int r = client_address(&path, error, pattern, name);
    if (r != CELLBOX_OK)
        return r;
    struct call call = {.request = {.method = method, .path = path.data, .body = body},
                        .idempotent = true};
    call.request.len = body ? strlen(body) : 0;
    return client_call(client, &call, ret, error);
}

int cellbox_egress_get(struct cellbox_client *client, const char *sandbox, char **ret_policy,
                       struct cellbox_error *error)
{
    CLEANUP_STR struct str policy = {0};
    int r = document(client, "GET", "/v1/sandboxes/%s/egress", sandbox, NULL, &policy, error);
    return r == CELLBOX_OK ? client_give_text(&policy, ret_policy, error) : r;
}

int cellbox_egress_put(struct cellbox_client *client, const char *sandbox, const char *policy,
                       struct cellbox_error *error)
{
    if (!policy)
        return error_set(error, CELLBOX_E_ARGUMENT, "a policy is missing");
    struct cellbox_error e;
    int r = document(client, "PUT", "/v1/sandboxes/%s/egress", sandbox, policy, NULL, &e);
    if (client_made(client, sandbox, &r, &e))
        r = document(client, "PUT", "/v1/sandboxes/%s/egress", sandbox, policy, NULL, &e);
    return error_pass(r, &e, error);
}

int cellbox_secret_put(struct cellbox_client *client, const char *name, const char *secret,
                       struct cellbox_error *error)
{
    if (!secret)
        return error_set(error, CELLBOX_E_ARGUMENT, "a secret is missing");
    return document(client, "PUT", "/v1/secrets/%s", name, secret, NULL, error);
}

int cellbox_secret_delete(struct cellbox_client *client, const char *name,
                          struct cellbox_error *error)
{
    return document(client, "DELETE", "/v1/secrets/%s", name, NULL, NULL, error);
}
