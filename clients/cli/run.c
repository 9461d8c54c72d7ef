#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"
#include "clients/cli/pairs.h"
#include "clients/cli/watch.h"

struct run_options {
    const char *context, *language, *format, *dir;
    long long timeout;
    bool json;
    struct opt_list env;
};

/* 0, or an exit status after a message. */
static int read_code(const char *path, struct str *ret)
{
    bool from_stdin = !strcmp(path, "-");
    if (from_stdin && isatty(STDIN_FILENO))
        note("[type the program, then Ctrl-D]");
    int r = from_stdin ? read_fd(STDIN_FILENO, ret) : read_file(path, ret);
    return r < 0 ? fail(STATUS_USAGE, "cannot read %s: %s", from_stdin ? "standard input" : path,
                        strerror(-r))
                 : 0;
}

/* What a file's name says of its language; NULL: nothing. */
static const char *language_of(const char *path)
{
    static const struct {
        const char *ending, *language;
    } endings[] = {{".py", "python"},      {".js", "javascript"}, {".mjs", "javascript"},
                   {".cjs", "javascript"}, {".ts", "typescript"}, {".mts", "typescript"},
                   {".cts", "typescript"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (!strcmp(dot, endings[i].ending))
            return endings[i].language;
    return NULL;
}

static int make_body(const struct run_options *o, const struct str *code, const char *path,
                     json_t *body)
{
    if (json_object_set_new(body, "code", json_stringn(code->len ? code->data : "", code->len)) < 0)
        return fail(STATUS_USAGE, "%s is not UTF-8 text",
                    !strcmp(path, "-") ? "standard input" : path);
    if (o->context)
        json_object_set_new(body, "context", json_string(o->context));
    const char *language = o->language || o->context ? o->language : language_of(path);
    if (language)
        json_object_set_new(body, "language", json_string(language));
    if (o->timeout)
        json_object_set_new(body, "timeout", json_integer(o->timeout));
    if (o->format)
        json_object_set_new(body, "formats", json_pack("[s]", o->format));
    return pairs_member(body, "env", &o->env, "--env");
}

static int print_execution(const struct watch *w)
{
    CLEANUP_REPLY struct reply reply = {0};
    if (!w->execution)
        return 0;
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/executions/%s", w->box, w->execution);
    int r = http_do(w->server, "GET", path, NULL, &reply);
    if (r == 0)
        print_json(reply.json);
    return r;
}

static int run(const struct run_options *o, const char *box, const char *path)
{
    CLEANUP_STR struct str code = {0};
    CLEANUP_JSON json_t *body = must(json_object());
    struct server server;
    struct input input;
    struct stat st;
    int r = read_code(path, &code);
    if (r == 0)
        r = make_body(o, &code, path, body);
    if (r == 0 && stat(o->dir, &st) == 0 && !S_ISDIR(st.st_mode))
        r = fail(STATUS_USAGE, "--output-dir %s is not a directory", o->dir);
    if (r == 0)
        r = server_find(&server);
    if (r)
        return r;
    input_init(&input, !strcmp(path, "-"));
    json_object_set_new(body, "allowStdin", json_boolean(input.fd >= 0));
    struct watch w = {
        .server = &server, .box = box, .input = input, .show = {.dir = o->dir, .quiet = o->json}};
    if (o->context)
        w.context = must(strdup(o->context));
    int status = watch_run(&w, body);
    if (o->json && w.done && (r = print_execution(&w)))
        status = r;
    watch_deinit(&w);
    server_deinit(&server);
    return status;
}

int command_run(int argc, char **argv)
{
    struct run_options o = {.dir = "."};
    const struct opt opts[] = {
        {"context", OPT_TEXT, &o.context, "ID", "run in this context (default: the sandbox's own)"},
        {"language", OPT_TEXT, &o.language, "L",
         "python, javascript or typescript (default: by the ending of FILE, else python)"},
        {"timeout", OPT_NUMBER, &o.timeout, "MS", "interrupt the run after so many milliseconds"},
        {"env", OPT_LIST, &o.env, "NAME=VALUE",
         "environment variable for this run; may be repeated"},
        {"format", OPT_TEXT, &o.format, "png|svg", "what figures are drawn as (default: png)"},
        {"output-dir", OPT_TEXT, &o.dir, "DIR",
         "where pictures are saved (default: the current directory)"},
        {"json", OPT_FLAG, &o.json, NULL,
         "print the finished Execution as JSON instead of its output"},
    };
    struct args a = {
        .synopsis = "run NAME FILE|- [OPTION...]",
        .about = "Runs a program in the sandbox NAME, which is made when it does not exist, and "
                 "shows its output as it\n"
                 "comes. Variables and imports stay for the next run. Pictures are saved as "
                 "figure-N.png and named on\n"
                 "standard error. Ctrl-C interrupts the program; a second one leaves it running "
                 "and returns.\n\n"
                 "Exit status: 0 ok, 1 the program failed, 2 wrong arguments, 3 no server or "
                 "refused, 130 interrupted.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 2,
        .max = 2,
    };
    int status = STATUS_USAGE;
    if (!args_parse(&a, argc, argv))
        status = a.status;
    else if (o.format && strcmp(o.format, "png") != 0 && strcmp(o.format, "svg") != 0)
        fail(STATUS_USAGE, "--format is png or svg, not %s", o.format);
    else
        status = run(&o, a.positional[0], a.positional[1]);
    free(a.positional);
    return status;
}
