/* A web server in a sandbox: started, waited for, shown under an address, ended.
 * cc processes.c $(pkg-config --cflags --libs cellbox) */
#include <cellbox.h>
#include <stdio.h>
#include <string.h>

#define BOX "c-processes"

static int fail(const char *what, const struct cellbox_error *e)
{
    fprintf(stderr, "%s: %s (%s, HTTP %d)\n", what, e->message, e->code, e->http_status);
    return 1;
}

static int show_line(void *user, int stream, const void *data, size_t len)
{
    (void)stream;
    fwrite(data, 1, len, user);
    return 0;
}

static int serve(struct cellbox_client *client, struct cellbox_error *e)
{
    struct cellbox_process *process;
    struct cellbox_port *port;
    const struct cellbox_process_options options = {.id = "web", .restart = "on-failure"};
    if (cellbox_process_start(client, BOX, "python3 -u -m http.server 8000", &options, &process, e))
        return fail("start", e);
    printf("%s is %s: %s\n", process->id, process->status, process->command);
    cellbox_free(process);

    const struct cellbox_wait ready = {.port = 8000, .timeout_ms = 20000};
    if (cellbox_process_wait(client, BOX, "web", &ready, NULL, e))
        return fail("wait", e);
    if (cellbox_port_expose(client, BOX, 8000, NULL, &port, e))
        return fail("expose", e);
    printf("port %d is %s, %s\n", port->port, port->status,
           strstr(port->path_url, "/preview/") ? "by path as well" : "?");
    cellbox_free(port);
    if (cellbox_port_unexpose(client, BOX, 8000, e))
        return fail("unexpose", e);

    if (cellbox_process_kill(client, BOX, "web", NULL, e) ||
        cellbox_process_wait_exit(client, BOX, "web", 20000, &process, e))
        return fail("kill", e);
    printf("%s is %s by %s\n", process->id, process->status, process->signal);
    cellbox_free(process);
    return 0;
}

static int read_logs(struct cellbox_client *client, struct cellbox_error *e)
{
    struct cellbox_log_match *match;
    struct cellbox_logs *logs;
    const struct cellbox_process_options options = {.id = "job"};
    if (cellbox_process_start(client, BOX, "for i in 1 2 3; do echo step $i; sleep 0.1; done",
                              &options, NULL, e))
        return fail("start", e);
    const struct cellbox_wait second = {.pattern = "step ([2-9])", .timeout_ms = 20000};
    if (cellbox_process_wait(client, BOX, "job", &second, &match, e))
        return fail("wait", e);
    printf("'%s' is step %s\n", match->line, match->groups[1]);
    cellbox_free(match);
    if (cellbox_process_follow(client, BOX, "job", 0, show_line, stdout, e))
        return fail("follow", e);
    if (cellbox_process_logs(client, BOX, "job", 7, &logs, e))
        return fail("logs", e);
    printf("behind the first line: %zu bytes\n", logs->out_len);
    cellbox_free(logs);
    return 0;
}

static int talk(struct cellbox_client *client, struct cellbox_error *e)
{
    struct cellbox_process *process;
    struct cellbox_logs *logs;
    const struct cellbox_process_options options = {.id = "sum", .input = true};
    if (cellbox_process_start(client, BOX, "awk '{ n += $1 } END { print n }'", &options, NULL, e))
        return fail("start", e);
    for (int i = 1; i <= 3; i++)
        if (cellbox_process_put(client, BOX, "sum", "14\n", 3, i == 3, e))
            return fail("put", e);
    if (cellbox_process_wait_exit(client, BOX, "sum", 20000, &process, e))
        return fail("wait", e);
    cellbox_free(process);
    if (cellbox_process_logs(client, BOX, "sum", 0, &logs, e))
        return fail("logs", e);
    printf("the sum is %.*s", (int)logs->out_len, logs->out);
    cellbox_free(logs);
    return 0;
}

int main(void)
{
    struct cellbox_client *client;
    struct cellbox_error e;
    if (cellbox_client_new(NULL, &client, &e))
        return fail("no server", &e);
    int status = serve(client, &e);
    if (status == 0)
        status = read_logs(client, &e);
    if (status == 0)
        status = talk(client, &e);
    if (cellbox_sandbox_delete(client, BOX, &e))
        status = fail("delete", &e);
    cellbox_client_free(client);
    if (status == 0)
        puts("ok");
    return status;
}
