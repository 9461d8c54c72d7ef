/* A terminal: typed into, resized, read until its shell ends.
 * cc terminal.c $(pkg-config --cflags --libs cellbox) */
#include <cellbox.h>
#include <stdio.h>
#include <string.h>

#define BOX "c-terminal"

struct seen {
    char text[65536];
    size_t len;
};

static int fail(const char *what, const struct cellbox_error *e)
{
    fprintf(stderr, "%s: %s (%s, HTTP %d)\n", what, e->message, e->code, e->http_status);
    return 1;
}

static int on_output(void *user, const void *data, size_t len)
{
    struct seen *seen = user;
    size_t room = sizeof seen->text - 1 - seen->len;
    len = len < room ? len : room;
    memcpy(seen->text + seen->len, data, len);
    seen->len += len;
    return 0;
}

/* Steps until a text was shown or the program has ended. */
static int step_until(struct cellbox_terminal *terminal, const struct seen *seen, const char *text,
                      struct cellbox_error *e)
{
    bool going = true;
    while (going && !(text && strstr(seen->text, text)))
        if (cellbox_terminal_step(terminal, -1, &going, e))
            return fail("step", e);
    return 0;
}

static int converse(struct cellbox_terminal *terminal, const struct seen *seen,
                    struct cellbox_error *e)
{
    static const char size[] = "stty size\n", bye[] = "exit 7\n";
    if (cellbox_terminal_resize(terminal, 100, 30, e) ||
        cellbox_terminal_write(terminal, size, sizeof size - 1, e))
        return fail("write", e);
    if (step_until(terminal, seen, "30 100", e))
        return 1;
    if (cellbox_terminal_write(terminal, bye, sizeof bye - 1, e))
        return fail("write", e);
    if (step_until(terminal, seen, NULL, e))
        return 1;
    printf("it has 30 lines of 100 and ended with %d\n", cellbox_terminal_exit_code(terminal));
    return 0;
}

int main(void)
{
    struct cellbox_client *client;
    struct cellbox_error e;
    struct cellbox_terminal *terminal = NULL;
    static struct seen seen;
    char *id = NULL;
    if (cellbox_client_new(NULL, &client, &e))
        return fail("no server", &e);
    const struct cellbox_attach_options options = {.on_output = on_output, .user = &seen};
    int status = 1;
    if (cellbox_terminal_open(client, BOX, NULL, &id, &e) ||
        cellbox_terminal_attach(client, BOX, id, &options, &terminal, &e))
        fail("open", &e);
    else
        status = converse(terminal, &seen, &e);
    cellbox_terminal_close(terminal);
    cellbox_free(id);
    if (cellbox_sandbox_delete(client, BOX, &e))
        status = fail("delete", &e);
    cellbox_client_free(client);
    if (status == 0)
        puts("ok");
    return status;
}
