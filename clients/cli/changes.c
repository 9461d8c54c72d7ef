/* cellbox watch */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "clients/c/sse.h"
#include "clients/cli/args.h"
#include "clients/cli/commands.h"
#include "clients/cli/http.h"

struct watching {
    struct sse sse;
    bool json, stopped;
};

/* Names are data of others: control characters are shown as '?'. */
static void print_path(const char *path)
{
    for (; *path; path++)
        putchar((unsigned char)*path < 32 || *path == 127 ? '?' : *path);
}

static void on_event(void *user, const struct sse_event *e)
{
    struct watching *w = user;
    CLEANUP_JSON json_t *o = json_loadb(e->data, e->len, 0, NULL);
    w->stopped = w->stopped || !strcmp(e->type, "stopped");
    if (w->json) {
        printf("%.*s\n", (int)e->len, e->data);
    } else if (!strcmp(e->type, "stopped") || !strcmp(e->type, "resync")) {
        note("%s: %s", e->type, json_text(o, "reason"));
    } else if (strcmp(e->type, "watching") != 0) {
        printf("%-10s ", e->type);
        if (*json_text(o, "oldPath")) {
            print_path(json_text(o, "oldPath"));
            printf(" -> ");
        }
        print_path(json_text(o, "path"));
        printf("%s\n", json_is_true(json_object_get(o, "isDirectory")) ? "/" : "");
    }
    fflush(stdout);
}

static void on_data(void *user, const char *data, size_t len)
{
    struct watching *w = user;
    sse_feed(&w->sse, data, len);
}

static int interrupts(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* One connection. Returns -1 when it broke and may be taken up again, else an exit status. */
static int follow(const struct server *s, const char *path, struct watching *w, int signals)
{
    CLEANUP_FREE char *last =
        w->sse.id.len ? text_format("Last-Event-ID: %s", w->sse.id.data) : NULL;
    struct http_stream *h = http_open(s, "GET", path, NULL, "text/event-stream", last, on_data, w);
    struct pollfd p = {.fd = signals, .events = POLLIN};
    bool interrupted = false;
    while (!interrupted && http_step(h, &p, 1, 1000))
        interrupted = p.revents & POLLIN;
    const struct reply *r = http_result(h);
    int status = interrupted                                         ? STATUS_INTERRUPTED
                 : w->stopped                                        ? STATUS_OK
                 : r->status >= 200 && r->status < 300               ? -1
                 : w->sse.id.len && (!r->status || http_starting(r)) ? -1
                                                                     : http_check(s, r);
    http_close(h);
    sse_restart(&w->sse);
    return status;
}

static int watch(const char *box, const char *dir, const struct opt_list *include,
                 const struct opt_list *exclude, long long coalesce, bool json)
{
    struct watching w = {.sse = {.on_event = on_event, .user = NULL}, .json = json};
    CLEANUP_FREE char *base =
        http_path("/v1/sandboxes/%s/watch?path=%s", box, dir ? dir : "/workspace");
    struct str path = {0};
    struct server server;
    int status = server_find(&server), signals = interrupts();
    if (status)
        return status;
    w.sse.user = &w;
    str_addf(&path, "%s&coalesce=%lld", base, coalesce);
    for (int k = 0; k < 2; k++) {
        const struct opt_list *list = k ? exclude : include;
        for (size_t i = 0; i < list->n; i++) {
            CLEANUP_FREE char *pattern =
                http_path(k ? "&exclude=%s" : "&include=%s", list->items[i]);
            str_addf(&path, "%s", pattern);
        }
    }
    long long give_up = monotonic_ms() + HTTP_STARTING_MS;
    while ((status = follow(&server, path.data, &w, signals)) < 0 && monotonic_ms() < give_up) {
        struct pollfd p = {.fd = signals, .events = POLLIN};
        if (poll(&p, 1, HTTP_RETRY_MS) > 0)
            break;
    }
    status = status < 0 ? fail(STATUS_SERVER, "the connection was lost") : status;
    close(signals);
    str_deinit(&path);
    sse_deinit(&w.sse);
    server_deinit(&server);
    return status;
}

int command_watch(int argc, char **argv)
{
    struct opt_list include = {0}, exclude = {0};
    long long coalesce = 75;
    bool json = false;
    const struct opt opts[] = {
        {"include", OPT_LIST, &include, "PATTERN", "only these; may be given several times"},
        {"exclude", OPT_LIST, &exclude, "PATTERN",
         "not these; default .git, node_modules and .DS_Store"},
        {"coalesce", OPT_NUMBER, &coalesce, "MS", "collect changes for so long; default 75"},
        {"json", OPT_FLAG, &json, NULL, "one JSON object a line"},
    };
    struct args a = {
        .synopsis = "watch NAME [PATH]",
        .about = "Shows what changes below a directory of a sandbox, /workspace by default, until "
                 "Ctrl-C.",
        .opts = opts,
        .nopts = sizeof opts / sizeof *opts,
        .min = 1,
        .max = 2,
    };
    int status = args_parse(&a, argc, argv)
                     ? watch(a.positional[0], a.n > 1 ? a.positional[1] : NULL, &include, &exclude,
                             coalesce, json)
                     : a.status;
    free(a.positional);
    return status;
}
