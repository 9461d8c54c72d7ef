/* cellbox notebook run: a notebook in, the executed one out, its progress on the terminal. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "clients/c/sse.h"
#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/pairs.h"

enum { BAR = 24 };

struct notebook_options {
    const char *sandbox, *language, *cwd;
    long long timeout;
    bool allow_errors, quiet, overwrite;
    struct opt_list parameters, texts, env;
};

struct progress {
    bool terminal, quiet;
    long long cells, done;
    json_t *last; /* the `done` event */
    struct sse sse;
};

/* ---- progress ---- */

static void draw(const struct progress *p, const char *what)
{
    char bar[BAR + 1];
    long long filled = p->cells ? p->done * BAR / p->cells : BAR;
    for (int i = 0; i < BAR; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR] = 0;
    if (p->quiet)
        return;
    if (p->terminal)
        fprintf(stderr, "\r[%s] %lld/%lld cells %s\033[K", bar, p->done, p->cells, what);
    else if (*what)
        fprintf(stderr, "%lld/%lld cells %s\n", p->done, p->cells, what);
}

static void on_cell_done(struct progress *p, const json_t *e)
{
    CLEANUP_FREE char *what =
        text_format("(cell %lld: %s, %.1f s)", json_integer_value(json_object_get(e, "index")) + 1,
                    json_text(e, "status"),
                    (double)json_integer_value(json_object_get(e, "durationMs")) / 1000);
    p->done = json_integer_value(json_object_get(e, "done"));
    draw(p, what);
}

static void on_event(void *user, const struct sse_event *ev)
{
    struct progress *p = user;
    json_t *e = json_loadb(ev->data, ev->len, JSON_ALLOW_NUL, NULL);
    const char *type = json_text(e, "type");
    if (!strcmp(type, "started")) {
        p->cells = json_integer_value(json_object_get(e, "cells"));
        draw(p, "");
    } else if (!strcmp(type, "cell_done")) {
        on_cell_done(p, e);
    } else if (!strcmp(type, "done") && !p->last) {
        p->last = json_incref(e);
    }
    json_decref(e);
}

static void on_data(void *user, const char *data, size_t len)
{
    sse_feed(user, data, len);
}

/* ---- the request ---- */

static json_t *parameter_value(const char *text)
{
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    if (!v && !strcmp(text, "True"))
        v = json_true();
    else if (!v && !strcmp(text, "False"))
        v = json_false();
    else if (!v && !strcmp(text, "None"))
        v = json_null();
    return v ? v : json_string(text);
}

static int make_body(const struct notebook_options *o, const char *path, json_t *body)
{
    CLEANUP_STR struct str text = {0};
    json_error_t e;
    int r = strcmp(path, "-") ? read_file(path, &text) : read_fd(STDIN_FILENO, &text);
    if (r < 0)
        return fail(STATUS_USAGE, "cannot read %s: %s", path, strerror(-r));
    json_t *notebook = json_loadb(text.len ? text.data : "", text.len, 0, &e);
    if (!notebook)
        return fail(STATUS_USAGE, "%s is no notebook: line %d: %s", path, e.line, e.text);
    json_object_set_new(body, "notebook", notebook);
    json_t *parameters = must(json_object()), *env = must(json_object());
    json_object_set_new(body, "parameters", parameters);
    json_object_set_new(body, "env", env);
    r = pairs_put(parameters, &o->parameters, "--parameter", parameter_value);
    r = r ? r : pairs_put(parameters, &o->texts, "--text", NULL);
    r = r ? r : pairs_put(env, &o->env, "--env", NULL);
    if (o->language)
        json_object_set_new(body, "language", json_string(o->language));
    if (o->cwd)
        json_object_set_new(body, "cwd", json_string(o->cwd));
    if (o->timeout)
        json_object_set_new(body, "timeout", json_integer(o->timeout));
    if (o->allow_errors)
        json_object_set_new(body, "allowErrors", json_true());
    return r;
}

/* ---- the run ---- */

static int open_interrupt(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Until the end of the stream, or Ctrl-C: leaving ends the run on the server. */
static int follow(const struct server *s, const char *box, const json_t *body, struct progress *p)
{
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/notebooks:execute", box);
    struct pollfd interrupt = {.fd = open_interrupt(), .events = POLLIN};
    struct http_stream *h =
        http_open(s, "POST", path, body, "text/event-stream", NULL, on_data, &p->sse);
    bool left = false;
    while (!left && http_step(h, &interrupt, 1, 1000))
        left = interrupt.revents & POLLIN;
    const struct reply *reply = http_result(h);
    int r = left ? STATUS_INTERRUPTED : 0;
    if (p->terminal && !p->quiet && p->cells)
        fputc('\n', stderr);
    if (!left && !p->last && (reply->status >= 300 || !reply->status))
        r = http_check(s, reply);
    else if (!left && !p->last)
        r = fail(STATUS_SERVER, "the connection to %s was lost before the notebook was done",
                 s->url);
    http_close(h);
    close(interrupt.fd);
    return r;
}

static int write_result(const struct notebook_options *o, const char *path, const json_t *last)
{
    CLEANUP_FREE char *text = must(json_dumps(json_object_get(last, "notebook"), JSON_INDENT(1)));
    if (!strcmp(path, "-"))
        return write_all(STDOUT_FILENO, text, strlen(text)) < 0 ? STATUS_FAILED : 0;
    CLEANUP_FREE char *tmp = text_format("%s.%d.new", path, (int)getpid());
    int r = !o->overwrite && access(path, F_OK) == 0 ? -EEXIST
                                                     : write_new_file(tmp, text, strlen(text));
    if (r == 0 && rename(tmp, path) < 0)
        r = -errno;
    if (r == 0)
        return 0;
    unlink(tmp);
    return fail(STATUS_FAILED, "cannot write %s: %s%s", path, strerror(-r),
                r == -EEXIST ? " (--overwrite replaces it)" : "");
}

static void remove_box(const struct server *s, const char *box)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s", box);
    http_call(s, "DELETE", path, NULL, 20000, &reply);
}

static char *fresh_name(void)
{
    unsigned id = 0;
    if (getrandom(&id, sizeof id, 0) < 0)
        id = (unsigned)getpid();
    return text_format("notebook-%08x", id);
}

static int run_notebook(const struct notebook_options *o, const char *in, const char *out)
{
    CLEANUP_JSON json_t *body = must(json_object());
    CLEANUP_FREE char *box = o->sandbox ? must(strdup(o->sandbox)) : fresh_name();
    struct server server;
    struct progress p = {.terminal = isatty(STDERR_FILENO), .quiet = o->quiet};
    int r = make_body(o, in, body);
    if (r == 0 && strcmp(out, "-") != 0 && !o->overwrite && access(out, F_OK) == 0)
        r = fail(STATUS_USAGE, "%s exists (--overwrite replaces it)", out);
    if (r == 0)
        r = server_find(&server);
    if (r)
        return r;
    p.sse = (struct sse){.on_event = on_event, .user = &p};
    r = follow(&server, box, body, &p);
    if (!o->sandbox)
        remove_box(&server, box);
    if (r == 0)
        r = write_result(o, out, p.last);
    const json_t *error = json_object_get(p.last, "error");
    if (r == 0 && !strcmp(json_text(p.last, "status"), "error"))
        r = fail(STATUS_FAILED, "cell %lld failed: %s: %s",
                 json_integer_value(json_object_get(error, "cell")) + 1, json_text(error, "name"),
                 json_text(error, "message"));
    json_decref(p.last);
    sse_deinit(&p.sse);
    server_deinit(&server);
    return r;
}

int command_notebook(int argc, char **argv)
{
    struct notebook_options o = {0};
    const struct opt opts[] = {
        {"parameter", OPT_LIST, &o.parameters, "NAME=VALUE",
         "a parameter: JSON, else text; may be repeated (also -p)"},
        {"text", OPT_LIST, &o.texts, "NAME=TEXT",
         "a parameter that is text whatever it looks like (also -r)"},
        {"sandbox", OPT_TEXT, &o.sandbox, "NAME",
         "run in this sandbox (default: a new one, removed afterwards)"},
        {"language", OPT_TEXT, &o.language, "L", "whatever the notebook says"},
        {"cwd", OPT_TEXT, &o.cwd, "DIR", "working directory in the sandbox"},
        {"env", OPT_LIST, &o.env, "NAME=VALUE", "environment variable; may be repeated"},
        {"timeout", OPT_NUMBER, &o.timeout, "MS", "interrupt a cell after so many milliseconds"},
        {"allow-errors", OPT_FLAG, &o.allow_errors, NULL, "go on after a cell that fails"},
        {"overwrite", OPT_FLAG, &o.overwrite, NULL, "replace OUT"},
        {"quiet", OPT_FLAG, &o.quiet, NULL, "show no progress"},
    };
    struct args a = {
        .synopsis = "notebook run IN.ipynb|- OUT.ipynb|- [OPTION...]",
        .about = "Runs a notebook from its first cell to its last in an interpreter of its own and "
                 "writes it "
                 "with its outputs.\n"
                 "Parameters go into a cell behind the one tagged \"parameters\", as papermill "
                 "does. When a cell "
                 "fails the run\n"
                 "ends, and OUT holds what there was until then.\n\n"
                 "Exit status: 0 ok, 1 a cell failed, 2 wrong arguments, 3 no server or refused, "
                 "130 interrupted.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 3,
        .max = 3,
    };
    int status = STATUS_USAGE;
    for (int i = 1; i < argc; i++) { /* the short forms that papermill has */
        if (!strcmp(argv[i], "-p"))
            argv[i] = (char *)"--parameter";
        else if (!strcmp(argv[i], "-r"))
            argv[i] = (char *)"--text";
    }
    if (!args_parse(&a, argc, argv))
        status = a.status;
    else if (strcmp(a.positional[0], "run") != 0)
        fail(STATUS_USAGE, "'notebook %s' is not a command; 'notebook run' is", a.positional[0]);
    else
        status = run_notebook(&o, a.positional[1], a.positional[2]);
    free(a.positional);
    return status;
}
