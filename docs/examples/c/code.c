/* Code in a sandbox: variables that stay, output as it comes, results of many kinds, errors.
 * cc code.c $(pkg-config --cflags --libs cellbox) */
#include <cellbox.h>
#include <stdio.h>
#include <string.h>

static int on_output(void *user, int stream, const void *data, size_t len)
{
    (void)user;
    fwrite(data, 1, len, stream == CELLBOX_STDOUT ? stdout : stderr);
    return 0; /* anything else interrupts the run */
}

static int on_result(void *user, const struct cellbox_result *result)
{
    (void)user;
    for (size_t i = 0; i < result->n; i++)
        printf("  a result as %s, %zu bytes\n", result->data[i].type, result->data[i].len);
    return 0;
}

static int fail(const char *what, const struct cellbox_error *e)
{
    fprintf(stderr, "%s: %s (%s, HTTP %d)\n", what, e->message, e->code, e->http_status);
    return 1;
}

static int run_some(struct cellbox_client *client, struct cellbox_error *e)
{
    struct cellbox_execution *execution;
    const struct cellbox_run_options options = {.on_output = on_output, .on_result = on_result};

    if (cellbox_run_code(client, "c-code", "x = 20", NULL, NULL, e))
        return fail("x = 20", e);
    if (cellbox_run_code(client, "c-code", "print('hello'); x + 1", &options, &execution, e))
        return fail("x + 1", e);
    printf("x + 1 = %s, in %.1f ms\n", execution->text, execution->duration_ms);
    cellbox_free(execution);

    /* Code that raises is a result. */
    if (cellbox_run_code(client, "c-code", "1 / 0", NULL, &execution, e))
        return fail("1 / 0", e);
    printf("%s: %s: %s\n", execution->status, execution->error->name, execution->error->message);
    cellbox_free(execution);
    return 0;
}

static int draw(struct cellbox_client *client, struct cellbox_error *e)
{
    struct cellbox_execution *execution;
    if (cellbox_run_code(client, "c-code", "import matplotlib.pyplot as plt; plt.plot([1, 4, 9])",
                         NULL, &execution, e))
        return fail("plot", e);
    for (size_t i = 0; i < execution->n; i++) {
        const struct cellbox_mime *png = cellbox_result_find(&execution->results[i], "image/png");
        size_t len;
        char *bytes = png ? cellbox_mime_bytes(png, &len) : NULL;
        if (bytes)
            printf("a picture: %s, %zu bytes\n", memcmp(bytes, "\x89PNG", 4) ? "?" : "PNG", len);
        cellbox_free(bytes);
    }
    cellbox_free(execution);
    return 0;
}

static int other_languages(struct cellbox_client *client, struct cellbox_error *e)
{
    struct cellbox_context *context;
    struct cellbox_execution *execution;
    const struct cellbox_context_options options = {.language = "typescript", .cwd = "/tmp"};
    if (cellbox_context_create(client, "c-code", &options, &context, e))
        return fail("context", e);
    const struct cellbox_run_options in_it = {.context = context->id};
    if (cellbox_run_code(client, "c-code", "const n: number = 6; n * 7", &in_it, &execution, e))
        return fail("typescript", e);
    printf("%s says %s\n", context->language, execution->text);
    cellbox_free(execution);
    if (cellbox_context_delete(client, "c-code", context->id, e))
        return fail("delete", e);
    cellbox_free(context);
    return 0;
}

int main(void)
{
    struct cellbox_client *client; /* CELLBOX_URL, CELLBOX_TOKEN, or the server of this machine */
    struct cellbox_error e;
    if (cellbox_client_new(NULL, &client, &e))
        return fail("no server", &e);
    int status = run_some(client, &e);
    if (status == 0)
        status = draw(client, &e);
    if (status == 0)
        status = other_languages(client, &e);
    if (cellbox_sandbox_delete(client, "c-code", &e))
        status = fail("delete", &e);
    cellbox_client_free(client);
    if (status == 0)
        puts("ok");
    return status;
}
