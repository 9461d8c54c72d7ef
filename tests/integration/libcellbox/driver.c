/* What test_libcellbox.py tells the library to do: driver VERB ARGUMENT... One line a result. */
#include <cellbox.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOX "libcellbox"

enum { THREADS = 8, ROUNDS = 20 };

static int say(int result, const struct cellbox_error *e)
{
    if (result == CELLBOX_OK)
        puts("ok");
    else
        printf("%s | %d | %s | %s\n", cellbox_strerror(result), e->http_status, e->code,
               e->message);
    return result;
}

/* The test does something to the server meanwhile. */
static void ask_test(void)
{
    char line[16];
    puts("now");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(2);
}

struct heard {
    size_t pieces, stop_after;
    bool asks;
};

static int on_output(void *user, int stream, const void *data, size_t len)
{
    struct heard *h = user;
    printf("%s", stream == CELLBOX_STDOUT ? "out:" : "err:");
    fwrite(data, 1, len, stdout);
    fflush(stdout);
    if (++h->pieces == 1 && h->asks)
        ask_test();
    return h->stop_after && h->pieces >= h->stop_after;
}

static int on_input(void *user, const char *prompt, bool password, char **ret_answer)
{
    (void)user;
    printf("asked: %s%s\n", prompt, password ? " (secret)" : "");
    *ret_answer = strdup("forty-two");
    return 0;
}

static int on_result(void *user, const struct cellbox_result *result)
{
    const struct cellbox_mime *plain = cellbox_result_find(result, "text/plain");
    (void)user;
    printf("result: %s%s%s\n", plain ? plain->data : "-", result->is_main ? " main" : "",
           result->is_update ? " update" : "");
    return 0;
}

static int on_error(void *user, const struct cellbox_code_error *error)
{
    (void)user;
    printf("error: %s: %s\n", error->name, error->message);
    return 0;
}

static int run(struct cellbox_client *c, const char *code, struct heard *h, bool with_input,
               struct cellbox_error *e)
{
    struct cellbox_execution *x = NULL;
    const struct cellbox_run_options o = {.on_output = on_output,
                                          .on_result = on_result,
                                          .on_error = on_error,
                                          .on_input = with_input ? on_input : NULL,
                                          .user = h};
    int r = cellbox_run_code(c, BOX, code, &o, &x, e);
    if (r == CELLBOX_OK)
        printf("%s | %s | %s|%s\n", x->status, x->text ? x->text : "-", x->out, x->err);
    cellbox_free(x);
    return say(r, e);
}

static int file(struct cellbox_client *c, const char *path, struct cellbox_error *e)
{
    char *data = NULL;
    size_t len = 0;
    int r = cellbox_file_get(c, BOX, path, &data, &len, e);
    if (r == CELLBOX_OK)
        printf("%zu bytes\n", len);
    cellbox_free(data);
    return say(r, e);
}

static int no_data(void *user, void *data, size_t size, size_t *ret_len)
{
    int *calls = user;
    memset(data, 'x', size);
    *ret_len = size;
    return ++*calls > 3;
}

/* An upload that its callback gives up leaves the file that was there. */
static int half_file(struct cellbox_client *c, struct cellbox_error *e)
{
    int calls = 0;
    char *data = NULL;
    size_t len;
    if (cellbox_file_put(c, BOX, "half", "old", 3, NULL, e))
        return say(e->result, e);
    say(cellbox_file_write(c, BOX, "half", no_data, &calls, NULL, e), e);
    int r = cellbox_file_get(c, BOX, "half", &data, &len, e);
    if (r == CELLBOX_OK)
        puts(data);
    cellbox_free(data);
    return r;
}

static void *one_thread(void *user)
{
    struct cellbox_client *c = user;
    intptr_t bad = 0;
    for (int i = 0; i < ROUNDS; i++) {
        struct cellbox_exec_result *x = NULL;
        char command[64];
        snprintf(command, sizeof command, "echo %d", i);
        if (cellbox_exec(c, BOX, command, NULL, &x, NULL) != CELLBOX_OK ||
            strtol(x->out, NULL, 10) != i)
            bad++;
        cellbox_free(x);
    }
    return (void *)bad;
}

static int threads(struct cellbox_client *c)
{
    pthread_t ids[THREADS];
    intptr_t all = 0;
    for (int i = 0; i < THREADS; i++)
        pthread_create(&ids[i], NULL, one_thread, c);
    for (int i = 0; i < THREADS; i++) {
        void *bad;
        pthread_join(ids[i], &bad);
        all += (intptr_t)bad;
    }
    printf("%d bad\n", (int)all);
    return (int)all;
}

/* ---- a terminal whose connection is lost ---- */

struct seen {
    char text[1 << 16];
    size_t len;
};

static int on_bytes(void *user, const void *data, size_t len)
{
    struct seen *s = user;
    if (len > sizeof s->text - 1 - s->len)
        return 1;
    memcpy(s->text + s->len, data, len);
    s->len += len;
    return 0;
}

static int step_until(struct cellbox_terminal *t, const struct seen *s, const char *text,
                      struct cellbox_error *e)
{
    bool going = true;
    int r = CELLBOX_OK;
    while (r == CELLBOX_OK && going && !(text && strstr(s->text, text)))
        r = cellbox_terminal_step(t, -1, &going, e);
    return r;
}

/* What was typed into a connection that is gone would be lost: steps first, and until it is back.
 */
static int type_once_connected(struct cellbox_terminal *t, struct cellbox_error *e)
{
    bool going;
    int r = cellbox_terminal_step(t, 0, &going, e);
    while (r == CELLBOX_OK && cellbox_terminal_write(t, "go\n", 3, e) != CELLBOX_OK)
        r = cellbox_terminal_step(t, 100, &going, e);
    return r;
}

static int terminal(struct cellbox_client *c, const char *script, bool read_only,
                    struct cellbox_error *e)
{
    static struct seen seen;
    struct cellbox_terminal *t = NULL;
    char *id = NULL, *again = NULL;
    const struct cellbox_terminal_options made = {.id = "main", .command = script};
    const struct cellbox_attach_options o = {
        .on_output = on_bytes, .user = &seen, .read_only = read_only, .cols = 90, .rows = 20};
    int r = cellbox_terminal_open(c, BOX, &made, &id, e);
    if (r == CELLBOX_OK)
        r = cellbox_terminal_open(c, BOX, &made, &again, e);
    if (r == CELLBOX_OK)
        r = cellbox_terminal_attach(c, BOX, again, &o, &t, e);
    if (r == CELLBOX_OK)
        r = step_until(t, &seen, "ready", e);
    if (r == CELLBOX_OK)
        ask_test();
    if (r == CELLBOX_OK)
        r = type_once_connected(t, e);
    if (r == CELLBOX_OK)
        r = step_until(t, &seen, NULL, e);
    fwrite(seen.text, 1, seen.len, stdout);
    if (r == CELLBOX_OK)
        printf("exit %d at %d\n", cellbox_terminal_exit_code(t), (int)cellbox_terminal_cursor(t));
    cellbox_terminal_close(t);
    cellbox_free(id);
    cellbox_free(again);
    return say(r, e);
}

static int wrong_arguments(struct cellbox_client *c, struct cellbox_error *e)
{
    const struct cellbox_exec_options env = {.env = (const char *const[]){"NO", NULL}};
    const struct cellbox_exec_options both = {.argv = (const char *const[]){"ls", NULL}};
    const struct cellbox_wait none = {0};
    const struct cellbox_sandbox_options policy = {.egress = "{"};
    say(cellbox_exec(c, BOX, "ls", &env, NULL, e), e);
    say(cellbox_exec(c, BOX, "ls", &both, NULL, e), e);
    say(cellbox_exec(c, "", "ls", NULL, NULL, e), e);
    say(cellbox_exec(c, BOX, "\xff", NULL, NULL, e), e);
    say(cellbox_run_code(c, BOX, NULL, NULL, NULL, e), e);
    say(cellbox_process_wait(c, BOX, "p", &none, NULL, e), e);
    say(cellbox_sandbox_start(c, BOX, &policy, NULL, e), e);
    say(cellbox_file_put(c, BOX, "", "", 0, NULL, e), e);
    say(cellbox_request(c, "GET", "v1", NULL, NULL, e), e);
    return 0;
}

/* What puts something into a sandbox makes it; what looks does not. */
static int on_demand(struct cellbox_client *c, struct cellbox_error *e)
{
    struct cellbox_contexts *list = NULL;
    struct cellbox_context *made = NULL;
    say(cellbox_context_list(c, BOX "-1", &list, e), e);
    say(cellbox_context_create(c, BOX "-1", NULL, &made, e), e);
    say(cellbox_context_list(c, BOX "-1", &list, e), e);
    printf("%zu\n", list ? list->n : 0);
    say(cellbox_file_mkdir(c, BOX "-2", "d", false, e), e);
    say(cellbox_egress_put(c, BOX "-3", "{\"enableInternet\":false}", e), e);
    for (int i = 1; i <= 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s-%d", BOX, i);
        cellbox_sandbox_delete(c, name, NULL);
    }
    cellbox_free(list);
    cellbox_free(made);
    return say(cellbox_sandbox_delete(c, BOX "-1", e), e);
}

static int request(struct cellbox_client *c, const char *method, const char *path,
                   struct cellbox_error *e)
{
    char *body = NULL;
    int r = cellbox_request(c, method, path, NULL, &body, e);
    if (r == CELLBOX_OK)
        printf("%s\n", body);
    cellbox_free(body);
    return say(r, e);
}

static int interrupted(void *user)
{
    const struct heard *h = user;
    return h->pieces > 0;
}

int main(int argc, char **argv)
{
    struct cellbox_client *c;
    struct cellbox_error e = {0};
    struct heard h = {0};
    struct cellbox_client_options o = {.retry_delay_ms = 50, .retries = 8};
    const char *verb = argc > 1 ? argv[1] : "", *what = argc > 2 ? argv[2] : "";
    if (!strcmp(verb, "interrupted")) {
        o.interrupted = interrupted;
        o.user = &h;
    }
    if (cellbox_client_new(&o, &c, &e))
        return say(e.result, &e), 0;
    h.asks = !strcmp(verb, "run-lost") || !strcmp(verb, "exec-lost") || !strcmp(verb, "follow");
    h.stop_after = strstr(verb, "stop") ? 1 : 0;
    const struct cellbox_exec_options heard = {.on_output = on_output, .user = &h};
    if (!strcmp(verb, "request"))
        request(c, what, argv[3], &e);
    else if (!strncmp(verb, "exec", 4))
        say(cellbox_exec(c, BOX, what, &heard, NULL, &e), &e);
    else if (!strcmp(verb, "follow"))
        say(cellbox_process_follow(c, BOX, what, 0, on_output, &h, &e), &e);
    else if (!strcmp(verb, "file"))
        file(c, what, &e);
    else if (!strcmp(verb, "half-file"))
        half_file(c, &e);
    else if (!strcmp(verb, "threads"))
        threads(c);
    else if (!strcmp(verb, "terminal") || !strcmp(verb, "viewer"))
        terminal(c, what, *verb == 'v', &e);
    else if (!strcmp(verb, "on-demand"))
        on_demand(c, &e);
    else if (!strcmp(verb, "arguments"))
        wrong_arguments(c, &e);
    else
        run(c, what, &h, !strcmp(verb, "input"), &e);
    cellbox_client_free(c);
    return 0;
}
