/* cellbox git: repositories into a sandbox */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clients/c/sse.h"
#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"

struct git_options {
    const char *branch, *cwd, *user, *token_file;
    long long depth, timeout;
    bool json, quiet;
};

struct git_watch {
    struct sse sse;
    bool terminal, drawn, done, json;
    int status;
};

static void end_line(struct git_watch *w)
{
    if (w->drawn)
        fprintf(stderr, "\r\033[K");
    w->drawn = false;
}

static void on_event(void *user, const struct sse_event *e)
{
    struct git_watch *w = user;
    CLEANUP_JSON json_t *event = json_loadb(e->data, e->len, 0, NULL);
    if (!strcmp(e->type, "progress") && w->terminal) {
        fprintf(stderr, "\r\033[K%s: %lld%% (%lld/%lld)", json_text(event, "phase"),
                (long long)json_integer_value(json_object_get(event, "percent")),
                (long long)json_integer_value(json_object_get(event, "current")),
                (long long)json_integer_value(json_object_get(event, "total")));
        w->drawn = true;
    } else if (!strcmp(e->type, "complete")) {
        end_line(w);
        w->done = true;
        if (w->json)
            print_json(event);
        else
            printf("%s\n", json_text(event, "targetDir"));
    } else if (!strcmp(e->type, "error")) {
        end_line(w);
        w->done = true;
        w->status =
            fail(STATUS_FAILED, "%s (%s)", json_text(event, "message"), json_text(event, "code"));
    }
}

static void on_data(void *user, const char *data, size_t len)
{
    sse_feed(user, data, len);
}

static int watch(const struct server *s, const char *path, const json_t *body,
                 const struct git_options *o)
{
    struct git_watch w = {.terminal = !o->quiet && !o->json && isatty(STDERR_FILENO),
                          .json = o->json};
    w.sse = (struct sse){.on_event = on_event, .user = &w};
    struct http_stream *h =
        http_open(s, "POST", path, body, "text/event-stream", NULL, on_data, &w.sse);
    while (http_step(h, NULL, 0, 1000))
        ;
    int r = http_check(s, http_result(h));
    end_line(&w);
    if (r == 0 && !w.done)
        r = fail(STATUS_SERVER, "the connection to %s was lost", s->url);
    http_close(h);
    sse_deinit(&w.sse);
    return r ? r : w.status;
}

/* From a file or standard input: arguments are seen by others. */
static int add_token(json_t *body, const struct git_options *o)
{
    CLEANUP_STR struct str token = {0};
    if (!o->token_file)
        return 0;
    int e = strcmp(o->token_file, "-") ? read_file(o->token_file, &token)
                                       : read_fd(STDIN_FILENO, &token);
    if (e < 0)
        return fail(STATUS_USAGE, "%s: %s", o->token_file, strerror(-e));
    while (token.len && strchr("\r\n", token.data[token.len - 1]))
        token.data[--token.len] = 0;
    json_t *c = must(json_object());
    json_object_set_new(body, "credentials", c);
    if (json_object_set_new(c, "token", json_string(token.data ? token.data : "")) < 0)
        return fail(STATUS_USAGE, "%s is not UTF-8 text", o->token_file);
    if (o->user)
        json_object_set_new(c, "username", json_string(o->user));
    return 0;
}

static int clone(const struct args *a, const struct git_options *o)
{
    CLEANUP_JSON json_t *body = must(json_object());
    struct server server;
    if (strcmp(a->positional[0], "clone") != 0)
        return fail(STATUS_USAGE, "no command 'git %s'; usage: cellbox %s", a->positional[0],
                    a->synopsis);
    json_object_set_new(body, "url", json_string(a->positional[2]));
    if (a->n > 3)
        json_object_set_new(body, "targetDir", json_string(a->positional[3]));
    if (o->branch)
        json_object_set_new(body, "branch", json_string(o->branch));
    if (o->cwd)
        json_object_set_new(body, "cwd", json_string(o->cwd));
    if (o->depth)
        json_object_set_new(body, "depth", json_integer(o->depth));
    if (o->timeout)
        json_object_set_new(body, "timeout", json_integer(o->timeout));
    int status = add_token(body, o);
    if (status == 0)
        status = server_find(&server);
    if (status)
        return status;
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/git:checkout", a->positional[1]);
    status = watch(&server, path, body, o);
    server_deinit(&server);
    return status;
}

int command_git(int argc, char **argv)
{
    struct git_options o = {0};
    const struct opt opts[] = {
        {"branch", OPT_TEXT, &o.branch, "NAME", "a branch or a tag"},
        {"depth", OPT_NUMBER, &o.depth, "N", "only so many commits"},
        {"cwd", OPT_TEXT, &o.cwd, "DIR", "where DIR is looked for; default /workspace"},
        {"token", OPT_TEXT, &o.token_file, "FILE",
         "a token or password for the repository's host, from FILE or - for standard input"},
        {"username", OPT_TEXT, &o.user, "NAME", "the user that the token is for"},
        {"timeout", OPT_NUMBER, &o.timeout, "MS", "time limit; default 600000"},
        {"quiet", OPT_FLAG, &o.quiet, NULL, "show no progress"},
        {"json", OPT_FLAG, &o.json, NULL, "print what the server says as JSON"},
    };
    struct args a = {
        .synopsis = "git clone NAME URL [DIR]",
        .about = "Clones a repository into a directory of a sandbox and prints the directory.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 3,
        .max = 4,
    };
    int status = args_parse(&a, argc, argv) ? clone(&a, &o) : a.status;
    free(a.positional);
    return status;
}
