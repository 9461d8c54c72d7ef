/* cellbox exec */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clients/c/sse.h"
#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/events.h"
#include "clients/cli/http.h"
#include "clients/cli/pairs.h"

struct exec_options {
    const char *cwd, *session, *id, *restart;
    long long timeout;
    bool input, background, keep_awake, json;
    struct opt_list env;
};

/* What the events of one command have said so far. */
struct exec_watch {
    struct sse sse;
    bool done, failed;
    int status;
    bool feeds; /* our standard input is the command's */
    char *to;   /* id of the process that takes it, once known */
};

/* One word is a line for the shell, several are a program and its arguments. */
static json_t *command_of(const char **words, size_t n)
{
    if (n == 1)
        return json_string(words[0]);
    json_t *list = must(json_array());
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(list, json_string(words[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* As it comes, beside the events; for one JSON document all of it goes along. */
static int add_input(const struct exec_options *o, json_t *body)
{
    if (!o->input)
        return 0;
    if (o->background || !o->json) {
        json_object_set_new(body, o->background ? "stdin" : "stdinStream", json_true());
        return 0;
    }
    CLEANUP_STR struct str data = {0};
    CLEANUP_STR struct str text = {0};
    int r = read_fd(STDIN_FILENO, &data);
    if (r < 0)
        return fail(STATUS_USAGE, "cannot read standard input: %s", strerror(-r));
    base64_encode(data.data, data.len, &text);
    json_object_set_new(body, "stdin", json_stringn(text.len ? text.data : "", text.len));
    json_object_set_new(body, "stdinEncoding", json_string("base64"));
    return 0;
}

static int make_body(const struct exec_options *o, const char **words, size_t n, json_t *body)
{
    json_t *command = command_of(words, n);
    if (!command || json_object_set_new(body, "command", command) < 0)
        return fail(STATUS_USAGE, "the command is not UTF-8 text");
    if (o->cwd)
        json_object_set_new(body, "cwd", json_string(o->cwd));
    if (o->timeout)
        json_object_set_new(body, "timeout", json_integer(o->timeout));
    if (o->id)
        json_object_set_new(body, "processId", json_string(o->id));
    if (o->restart)
        json_object_set_new(body, "restart", json_string(o->restart));
    if (o->keep_awake)
        json_object_set_new(body, "keepAwake", json_true());
    int r = pairs_member(body, "env", &o->env, "--env");
    return r == 0 ? add_input(o, body) : r;
}

static void show_piece(const json_t *event, int fd)
{
    const json_t *data = json_object_get(event, "data");
    CLEANUP_STR struct str bytes = {0};
    if (!strcmp(json_text(event, "encoding"), "base64"))
        base64_decode(json_string_value(data), json_string_length(data), &bytes);
    else if (json_string_length(data))
        str_add(&bytes, json_string_value(data), json_string_length(data));
    if (bytes.len)
        write_all(fd, bytes.data, bytes.len);
}

static void on_event(void *user, const struct sse_event *e)
{
    struct exec_watch *w = user;
    CLEANUP_JSON json_t *event = json_loadb(e->data, e->len, JSON_ALLOW_NUL, NULL);
    if (!strcmp(e->type, "start") && w->feeds) {
        w->to = must(strdup(json_text(event, "processId")));
    } else if (!strcmp(e->type, "stdout") || !strcmp(e->type, "stderr")) {
        show_piece(event, e->type[3] == 'o' ? STDOUT_FILENO : STDERR_FILENO);
    } else if (!strcmp(e->type, "complete") || !strcmp(e->type, "exit")) {
        w->done = true;
        w->status = (int)json_integer_value(json_object_get(event, "exitCode"));
        if (json_is_true(json_object_get(event, "timedOut")))
            note("[ended: the time was over]");
        if (json_is_true(json_object_get(event, "truncated")))
            note("[some output was lost]");
    } else if (!strcmp(e->type, "gap")) {
        note("[older output is not kept any more]");
    } else if (!strcmp(e->type, "error")) {
        w->failed = true;
        w->status =
            fail(STATUS_SERVER, "%s (%s)", json_text(event, "message"), json_text(event, "code"));
    }
}

static void on_data(void *user, const char *data, size_t len)
{
    sse_feed(user, data, len);
}

/* The command has what it wants of its input (409), or all of it. */
static int check_fed(const struct server *s, const struct http_stream *h)
{
    const struct reply *fed = http_fed(h);
    return fed && fed->status != 409 ? http_check(s, fed) : 0;
}

static int show(const struct server *s, const char *method, const char *path, const json_t *body,
                const char *feed_box)
{
    struct exec_watch w = {.feeds = feed_box != NULL};
    w.sse = (struct sse){.on_event = on_event, .user = &w};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    struct http_stream *h =
        http_open(s, method, path, body, "text/event-stream", NULL, on_data, &w.sse);
    int r = 0;
    while (http_step(h, NULL, 0, 1000) && r == 0) {
        r = check_fed(s, h);
        if (!w.to)
            continue;
        CLEANUP_FREE char *to =
            http_path("/v1/sandboxes/%s/processes/%s/input?end=true", feed_box, w.to);
        http_feed(h, s, to, STDIN_FILENO);
        free(w.to);
        w.to = NULL;
    }
    if (r == 0)
        r = http_check(s, http_result(h));
    if (r == 0 && !w.done && !w.failed)
        r = fail(STATUS_SERVER, "the connection to %s was lost", s->url);
    http_close(h);
    sse_deinit(&w.sse);
    free(w.to);
    return r ? r : w.status;
}

int events_show(const struct server *s, const char *method, const char *path, const json_t *body)
{
    return show(s, method, path, body, NULL);
}

static int start_background(const struct server *s, const char *box, const json_t *body, bool json)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/processes", box);
    int r = http_do(s, "POST", path, body, &reply);
    if (r == 0 && json)
        print_json(reply.json);
    else if (r == 0)
        puts(json_text(reply.json, "id"));
    return r;
}

static int run_json(const struct server *s, const char *path, const json_t *body)
{
    CLEANUP_REPLY struct reply reply = {0};
    enum { DAY_MS = 24 * 3600 * 1000 };
    http_call(s, "POST", path, body, DAY_MS, &reply);
    int r = http_check(s, &reply);
    if (r)
        return r;
    print_json(reply.json);
    return (int)json_integer_value(json_object_get(reply.json, "exitCode"));
}

static int exec(const struct exec_options *o, const char *box, const char **words, size_t n)
{
    CLEANUP_JSON json_t *body = must(json_object());
    struct server server;
    int r = make_body(o, words, n, body);
    if (r == 0)
        r = server_find(&server);
    if (r)
        return r;
    CLEANUP_FREE char *path = o->session
                                  ? http_path("/v1/sandboxes/%s/sessions/%s/exec", box, o->session)
                                  : http_path("/v1/sandboxes/%s/exec", box);
    if (o->background)
        r = start_background(&server, box, body, o->json);
    else if (o->json)
        r = run_json(&server, path, body);
    else
        r = show(&server, "POST", path, body, o->input ? box : NULL);
    server_deinit(&server);
    return r;
}

/* NULL: fine. */
static const char *contradiction(const struct exec_options *o, size_t words)
{
    if (!o->background && (o->id || o->restart || o->keep_awake))
        return "--id and --restart are for --background";
    if (o->background && o->session)
        return "--background does not take --session";
    if (o->session && (o->cwd || o->env.n || o->input))
        return "--session has its own directory, environment and input";
    if (o->session && words > 1)
        return "--session takes one line for its shell; quote it";
    return NULL;
}

int command_exec(int argc, char **argv)
{
    struct exec_options o = {0};
    const struct opt opts[] = {
        {"cwd", OPT_TEXT, &o.cwd, "DIR", "directory to start in (default: /workspace)"},
        {"env", OPT_LIST, &o.env, "NAME=VALUE", "environment variable; may be repeated"},
        {"timeout", OPT_NUMBER, &o.timeout, "MS", "end it after so many milliseconds"},
        {"stdin", OPT_FLAG, &o.input, NULL,
         "give it this command's standard input, as it comes; with --background: what cellbox "
         "stdin gives"},
        {"session", OPT_TEXT, &o.session, "ID", "run it in that persistent shell"},
        {"background", OPT_FLAG, &o.background, NULL, "start it and print its id"},
        {"id", OPT_TEXT, &o.id, "ID", "with --background: the id it gets"},
        {"restart", OPT_TEXT, &o.restart, "POLICY",
         "with --background: never, on-failure or always"},
        {"keep-awake", OPT_FLAG, &o.keep_awake, NULL,
         "with --background: the sandbox does not sleep while it runs"},
        {"json", OPT_FLAG, &o.json, NULL, "print the result as JSON once it has ended"},
    };
    struct args a = {
        .synopsis = "exec NAME [OPTION...] COMMAND [ARGUMENT...]",
        .about = "Runs a command in the sandbox NAME, which is made when it does not exist. One "
                 "word is a line for the\n"
                 "shell (quote it), several are a program and its arguments. Ctrl-C ends the "
                 "command and all that it\n"
                 "started. With --background it goes on by itself: see cellbox ps, logs, kill.\n\n"
                 "Exit status: that of the command (128 + the signal that ended it, 124 when the "
                 "time was over); 2 wrong\n"
                 "arguments, 3 no server or refused.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 2,
        .max = (size_t)argc,
        .command = 2,
    };
    int status = STATUS_USAGE;
    if (!args_parse(&a, argc, argv)) {
        status = a.status;
    } else {
        const char *wrong = contradiction(&o, a.n - 1);
        status = wrong ? fail(STATUS_USAGE, "%s", wrong)
                       : exec(&o, a.positional[0], a.positional + 1, a.n - 1);
    }
    free(a.positional);
    return status;
}
