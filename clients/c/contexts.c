#include "clients/c/wire.h"

#define CONTEXTS "/v1/sandboxes/%s/contexts"

static void fill_context(void *to, const json_t *from)
{
    *(struct cellbox_context *)to = (struct cellbox_context){
        .id = wire_text(from, "id"),
        .language = wire_text(from, "language"),
        .cwd = wire_text(from, "cwd"),
        .state = wire_text(from, "state"),
        .reason = wire_text(from, "reason"),
        .execution_count = wire_int(from, "executionCount"),
        .queued = wire_int(from, "queued"),
    };
}

int cellbox_context_create(struct cellbox_client *client, const char *sandbox,
                           const struct cellbox_context_options *options,
                           struct cellbox_context **ret_context, struct cellbox_error *error)
{
    CLEANUP_MEMBERS struct members m;
    struct cellbox_error e;
    json_t *answer;
    members_init(&m);
    if (options) {
        members_text(&m, "language", options->language);
        members_text(&m, "cwd", options->cwd);
        members_map(&m, "env", options->env);
        members_int(&m, "timeout", options->timeout_ms);
    }
    int r = client_json(client, "POST", false, &m, &answer, &e, CONTEXTS, sandbox);
    if (client_made(client, sandbox, &r, &e))
        r = client_json(client, "POST", false, &m, &answer, &e, CONTEXTS, sandbox);
    error_pass(r, &e, error);
    return WIRE_GIVE(r, ret_context, wire_new(answer, sizeof **ret_context, fill_context), error);
}

int cellbox_context_list(struct cellbox_client *client, const char *sandbox,
                         struct cellbox_contexts **ret_contexts, struct cellbox_error *error)
{
    json_t *answer;
    int r = client_json(client, "GET", true, NULL, &answer, error, CONTEXTS, sandbox);
    return WIRE_GIVE(r, ret_contexts,
                     WIRE_LIST(answer, "contexts", struct cellbox_contexts, struct cellbox_context,
                               fill_context),
                     error);
}

int cellbox_context_delete(struct cellbox_client *client, const char *sandbox, const char *context,
                           struct cellbox_error *error)
{
    return client_json(client, "DELETE", true, NULL, NULL, error, CONTEXTS "/%s", sandbox, context);
}

int cellbox_context_interrupt(struct cellbox_client *client, const char *sandbox,
                              const char *context, struct cellbox_error *error)
{
    return client_json(client, "POST", false, NULL, NULL, error, CONTEXTS "/%s/interrupt", sandbox,
                       context);
}

int cellbox_context_restart(struct cellbox_client *client, const char *sandbox, const char *context,
                            struct cellbox_error *error)
{
    return client_json(client, "POST", false, NULL, NULL, error, CONTEXTS "/%s/restart", sandbox,
                       context);
}
