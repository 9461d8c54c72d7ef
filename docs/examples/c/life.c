/* A sandbox from its beginning to its end: options, usage, what it may reach, any other call.
 * cc life.c $(pkg-config --cflags --libs cellbox) */
#include <cellbox.h>
#include <stdio.h>
#include <string.h>

#define BOX "c-life"

static int fail(const char *what, const struct cellbox_error *e)
{
    fprintf(stderr, "%s: %s (%s, HTTP %d)\n", what, e->message, e->code, e->http_status);
    return 1;
}

static int begin(struct cellbox_client *client, struct cellbox_error *e)
{
    struct cellbox_sandbox *box;
    struct cellbox_sandboxes *all;
    const struct cellbox_sandbox_options options = {
        .env = (const char *const[]){"REGION=eu", NULL},
        .labels = (const char *const[]){"team=blue", NULL},
        .memory = 1 << 30,
        .sleep_after_ms = 10 * 60 * 1000,
    };
    if (cellbox_sandbox_start(client, BOX, &options, &box, e))
        return fail("start", e);
    printf("%s is %s, with %lld MiB\n", box->name, box->state, (long long)box->memory >> 20);
    cellbox_free(box);

    const struct cellbox_sandbox_options awake = {.keep_alive = true};
    if (cellbox_sandbox_patch(client, BOX, &awake, &box, e))
        return fail("patch", e);
    char *json = cellbox_json(box); /* what the struct does not have */
    printf("%s; labels: %s\n", box->keep_alive ? "never sleeps" : "?",
           json && strstr(json, "blue") ? "blue" : "?");
    cellbox_free(json);
    cellbox_free(box);

    if (cellbox_sandbox_list(client, &all, e))
        return fail("list", e);
    for (size_t i = 0; i < all->n; i++)
        if (!strcmp(all->items[i].name, BOX))
            printf("it is in the list\n");
    cellbox_free(all);
    return 0;
}

static int look(struct cellbox_client *client, struct cellbox_error *e)
{
    struct cellbox_usage *usage;
    char *policy, *answer;
    if (cellbox_sandbox_usage(client, BOX, &usage, e))
        return fail("usage", e);
    printf("CPU time and disk %s\n",
           usage->active_cpu_ms >= 0 && usage->disk >= 0 ? "are counted" : "?");
    cellbox_free(usage);

    if (cellbox_secret_put(client, "c-life", "{\"value\":\"s3cret\",\"hosts\":[\"api.example\"]}",
                           e) ||
        cellbox_egress_put(client, BOX, "{\"allowedHosts\":[\"api.example\"]}", e) ||
        cellbox_egress_get(client, BOX, &policy, e))
        return fail("egress", e);
    printf("policy: %s\n", strstr(policy, "api.example") ? "api.example" : "?");
    cellbox_free(policy);
    if (cellbox_secret_delete(client, "c-life", e))
        return fail("secret", e);

    /* Whatever has no function of its own. */
    if (cellbox_request(client, "POST", "/v1/sandboxes/" BOX "/files:symlink",
                        "{\"path\":\"here\",\"target\":\"/workspace\"}", &answer, e))
        return fail("symlink", e);
    printf("symlink: %s\n", strstr(answer, "\"symlink\"") ? "made" : "?");
    cellbox_free(answer);
    return 0;
}

int main(void)
{
    struct cellbox_client *client;
    struct cellbox_sandbox *box;
    struct cellbox_error e;
    if (cellbox_client_new(NULL, &client, &e))
        return fail("no server", &e);
    int status = begin(client, &e);
    if (status == 0)
        status = look(client, &e);
    if (cellbox_sandbox_delete(client, BOX, &e))
        status = fail("delete", &e);
    int r = cellbox_sandbox_get(client, BOX, &box, &e);
    printf("afterwards: %s, %s\n", cellbox_strerror(r), e.code);
    cellbox_client_free(client);
    if (status == 0)
        puts("ok");
    return status;
}
