/* Commands: collected, as they come, with input, ended by their callback.
 * cc commands.c $(pkg-config --cflags --libs cellbox) */
#include <cellbox.h>
#include <stdio.h>
#include <string.h>

static int count(void *user, int stream, const void *data, size_t len)
{
    (void)data;
    size_t *bytes = user;
    if (stream == CELLBOX_STDOUT)
        *bytes += len;
    return *bytes > 1000000; /* enough: ends the command */
}

static int fail(const char *what, const struct cellbox_error *e)
{
    fprintf(stderr, "%s: %s: %s (%s)\n", what, cellbox_strerror(e->result), e->message, e->code);
    return 1;
}

static int run(struct cellbox_client *client)
{
    struct cellbox_exec_result *result;
    struct cellbox_error e;

    if (cellbox_exec(client, "c-commands", "echo out; echo err >&2; exit 3", NULL, &result, &e))
        return fail("exec", &e);
    printf("exit code %d, stdout %.*s, stderr %s", result->exit_code, (int)result->out_len - 1,
           result->out, result->err);
    cellbox_free(result);

    static const char text[] = "three\none\ntwo\n";
    const struct cellbox_exec_options sorted = {
        .argv = (const char *const[]){"sort", "-r", NULL},
        .env = (const char *const[]){"LC_ALL=C", NULL},
        .cwd = "/tmp",
        .input = text,
        .input_len = sizeof text - 1,
        .timeout_ms = 10000,
    };
    if (cellbox_exec(client, "c-commands", NULL, &sorted, &result, &e))
        return fail("sort", &e);
    printf("sorted: %s", result->out);
    cellbox_free(result);

    size_t bytes = 0;
    const struct cellbox_exec_options counted = {.on_output = count, .user = &bytes};
    int r = cellbox_exec(client, "c-commands", "yes", &counted, NULL, &e);
    printf("yes: %s after %s 1000000 bytes\n", cellbox_strerror(r), bytes > 1000000 ? "over" : "?");

    r = cellbox_exec(
        client, "c-commands", NULL,
        &(struct cellbox_exec_options){.argv = (const char *const[]){"no-such-program", NULL}},
        NULL, &e);
    printf("no-such-program: %s, %s\n", cellbox_strerror(r), e.code);
    return strcmp(e.code, "COMMAND_NOT_FOUND") != 0;
}

int main(void)
{
    struct cellbox_client *client;
    struct cellbox_error e;
    if (cellbox_client_new(NULL, &client, &e))
        return fail("no server", &e);
    int status = run(client);
    if (cellbox_sandbox_delete(client, "c-commands", &e))
        status = fail("delete", &e);
    cellbox_client_free(client);
    if (status == 0)
        puts("ok");
    return status;
}
