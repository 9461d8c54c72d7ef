/* cellbox ls, cellbox rm */
#include <string.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/table.h"

/* A hash in full would fill the line; its first digits are what `cellbox image` takes. */
static char *image_text(const char *image)
{
    if (!*image)
        return must(strdup("default"));
    return strlen(image) == 64 ? must(strndup(image, 12)) : must(strdup(image));
}

static void print_boxes(const json_t *boxes)
{
    struct table t = {.columns = 6};
    size_t i;
    json_t *box;
    table_row(&t, "NAME", "STATE", "IMAGE", "CONTEXTS", "AGE", "LAST USED");
    json_array_foreach (boxes, i, box) {
        CLEANUP_FREE char *age = duration_text(age_ms(json_object_get(box, "createdAt")));
        CLEANUP_FREE char *used = duration_text(age_ms(json_object_get(box, "lastUsedAt")));
        CLEANUP_FREE char *used_ago = text_format("%s%s", used, *used == '-' ? "" : " ago");
        CLEANUP_FREE char *contexts =
            text_format("%lld", (long long)json_integer_value(json_object_get(box, "contexts")));
        CLEANUP_FREE char *image = image_text(json_text(box, "image"));
        table_row(&t, json_text(box, "name"), json_text(box, "state"), image, contexts, age,
                  used_ago);
    }
    table_print(&t);
}

static int list(bool json)
{
    CLEANUP_REPLY struct reply reply = {0};
    struct server server;
    int r = server_find(&server);
    if (r)
        return r;
    r = http_do(&server, "GET", "/v1/sandboxes", NULL, &reply);
    const json_t *boxes = json_object_get(reply.json, "sandboxes");
    if (r == 0 && json)
        print_json(boxes);
    else if (r == 0)
        print_boxes(boxes);
    server_deinit(&server);
    return r;
}

int command_ls(int argc, char **argv)
{
    bool json = false;
    const struct opt opts[] = {
        {"json", OPT_FLAG, &json, NULL, "print what the server knows as JSON"}};
    struct args a = {.synopsis = "ls [--json]",
                     .about = "Lists the sandboxes of the server.",
                     .opts = opts,
                     .nopts = 1};
    int status = args_parse(&a, argc, argv) ? list(json) : a.status;
    free(a.positional);
    return status;
}

static int remove_all(const char **names, size_t n)
{
    struct server server;
    int status = server_find(&server);
    if (status)
        return status;
    for (size_t i = 0; i < n; i++) {
        CLEANUP_REPLY struct reply reply = {0};
        CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s", names[i]);
        int r = http_do(&server, "DELETE", path, NULL, &reply);
        if (r)
            status = r;
    }
    server_deinit(&server);
    return status;
}

int command_rm(int argc, char **argv)
{
    struct args a = {
        .synopsis = "rm NAME...",
        .about =
            "Ends sandboxes and removes their disks. What runs in them is killed; nothing is kept.",
        .min = 1,
        .max = (size_t)argc,
    };
    int status = args_parse(&a, argc, argv) ? remove_all(a.positional, a.n) : a.status;
    free(a.positional);
    return status;
}
