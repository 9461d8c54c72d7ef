#include "clients/cli/watch.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "clients/cli/http.h"

#define RESUME_MS 15000 /* how long a lost connection is tried again */

/* The context that the run is in. Events name the execution only; a list of heads is cheap however
 * much it printed. */
static const char *find_context(struct watch *w)
{
    CLEANUP_REPLY struct reply reply = {0};
    size_t i;
    json_t *e;
    if (w->context || !w->execution)
        return w->context;
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/executions", w->box);
    CLEANUP_FREE char *query = text_format("%s?limit=1000", path);
    http_call(w->server, "GET", query, NULL, 5000, &reply);
    json_array_foreach (json_object_get(reply.json, "executions"), i, e) {
        if (!strcmp(json_text(e, "id"), w->execution) && *json_text(e, "context"))
            w->context = must(strdup(json_text(e, "context")));
        if (w->context)
            return w->context;
    }
    http_check(w->server, &reply);
    return NULL;
}

static void interrupt(struct watch *w)
{
    CLEANUP_REPLY struct reply reply = {0};
    w->interrupt_due = !w->execution;
    if (!find_context(w))
        return;
    CLEANUP_FREE char *path =
        http_path("/v1/sandboxes/%s/contexts/%s/interrupt", w->box, w->context);
    http_call(w->server, "POST", path, NULL, 5000, &reply);
    if (reply.status < 200 || reply.status > 299)
        http_check(w->server, &reply);
}

static void answer(struct watch *w, const char *text, size_t len)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_JSON json_t *body = json_object();
    if (json_object_set_new(must(body), "value", json_stringn(text, len)) < 0) {
        note("[that was not UTF-8 text; type it again]");
        return;
    }
    input_cancel(&w->input);
    if (!find_context(w))
        return;
    json_object_set_new(body, "executionId", json_string(w->execution));
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/contexts/%s/input", w->box, w->context);
    http_call(w->server, "POST", path, body, 10000, &reply);
    if (reply.status < 200 || reply.status > 299)
        http_check(w->server, &reply);
}

static void ask(struct watch *w, const json_t *event)
{
    if (w->input.fd >= 0) {
        input_ask(&w->input, json_text(event, "prompt"),
                  json_is_true(json_object_get(event, "password")));
        w->show.line_open = false;
        return;
    }
    note("[the code asks for input (%s) and there is no terminal to ask on: interrupted]",
         json_text(event, "prompt"));
    w->failed = true;
    interrupt(w);
}

static void on_input(struct watch *w)
{
    int r = input_read(&w->input);
    if (r > 0) {
        answer(w, w->input.line.len ? w->input.line.data : "", w->input.line.len);
        str_clear(&w->input.line);
    } else if (r < 0) {
        input_cancel(&w->input);
        note("[the code asks for input and there is no more: interrupted]");
        w->failed = true;
        interrupt(w);
    }
}

static void on_signal(struct watch *w)
{
    struct signalfd_siginfo info;
    if (read(w->signals, &info, sizeof info) != sizeof info)
        return;
    if (info.ssi_signo != SIGINT) {
        w->leave = 128 + (int)info.ssi_signo;
    } else if (w->interrupts++) {
        w->leave = STATUS_INTERRUPTED;
        if (w->execution)
            note("[left; the run goes on as %s]", w->execution);
    } else {
        input_cancel(&w->input);
        interrupt(w);
    }
}

static void on_text(struct watch *w, int fd, const json_t *event)
{
    const json_t *value = json_object_get(event, "text");
    if (json_is_string(value))
        show_text(&w->show, fd, json_string_value(value), json_string_length(value));
}

static void on_done(struct watch *w, const json_t *event)
{
    const char *status = json_text(event, "status");
    input_cancel(&w->input);
    w->done = true;
    if (*status && strcmp(status, "ok") != 0)
        w->failed = true;
    w->aborted = !strcmp(status, "aborted");
}

static void on_event(void *user, const struct sse_event *e)
{
    struct watch *w = user;
    CLEANUP_JSON json_t *event = json_loadb(e->data, e->len, JSON_ALLOW_NUL, NULL);
    const char *type = e->type;
    if (*json_text(event, "type"))
        type = json_text(event, "type");
    if (!w->execution && *json_text(event, "executionId"))
        w->execution = must(strdup(json_text(event, "executionId")));
    if (w->interrupt_due)
        interrupt(w);
    if (!strcmp(type, "stdout"))
        on_text(w, STDOUT_FILENO, event);
    else if (!strcmp(type, "stderr"))
        on_text(w, STDERR_FILENO, event);
    else if (!strcmp(type, "result") || !strcmp(type, "display"))
        show_bundle(&w->show, event, false);
    else if (!strcmp(type, "update_display"))
        show_bundle(&w->show, event, true);
    else if (!strcmp(type, "clear_output"))
        show_clear(&w->show, json_is_true(json_object_get(event, "wait")));
    else if (!strcmp(type, "notice"))
        note("[%s]", json_text(event, "text"));
    else if (!strcmp(type, "input_request"))
        ask(w, event);
    else if (!strcmp(type, "error")) {
        const json_t *inner = json_object_get(event, "error");
        w->failed = true;
        show_error(&w->show, json_is_object(inner) ? inner : event);
    } else if (!strcmp(type, "done"))
        on_done(w, event);
}

static void on_data(void *user, const char *data, size_t len)
{
    sse_feed(user, data, len);
}

/* Lets the stream flow until it ends, the run is done or the program has to leave. */
static void flow(struct watch *w, struct http_stream *h)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = w->signals, .events = POLLIN},
                                {.fd = w->input.fd, .events = POLLIN}};
        bool going = http_step(h, fds, w->input.asking && w->input.fd >= 0 ? 2 : 1, 1000);
        if (w->done || w->leave || w->show.broken || w->sse.broken || !going)
            return;
        if (fds[0].revents)
            on_signal(w);
        if (w->input.asking && fds[1].revents)
            on_input(w);
    }
}

/* Ends of one connection that end the run's watching. */
static bool is_over(const struct watch *w)
{
    return w->done || w->leave || w->show.broken || w->sse.broken;
}

static void pause_ms(struct watch *w, int ms)
{
    struct pollfd wait = {.fd = w->signals, .events = POLLIN};
    if (poll(&wait, 1, ms) > 0)
        on_signal(w);
}

/* The connection was lost and the run is known: read its events again. 0, or an exit status after a
 * message. */
static int resume(struct watch *w)
{
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/executions/%s", w->box, w->execution);
    long long give_up = monotonic_ms() + RESUME_MS;
    int r = 0;
    while (!is_over(w)) {
        unsigned long before = w->sse.events;
        CLEANUP_FREE char *last =
            text_format("Last-Event-ID: %s", w->sse.id.len ? w->sse.id.data : "0");
        sse_restart(&w->sse);
        struct http_stream *h =
            http_open(w->server, "GET", path, NULL, "text/event-stream", last, on_data, &w->sse);
        flow(w, h);
        const struct reply *reply = http_result(h);
        bool refused =
            !is_over(w) && reply->status >= 300 && reply->status != 502 && reply->status != 503;
        if (w->sse.events > before)
            give_up = monotonic_ms() + RESUME_MS;
        if (refused)
            r = http_check(w->server, reply);
        else if (!is_over(w) && monotonic_ms() > give_up)
            r = fail(STATUS_SERVER,
                     "the connection to %s was lost and the run %s could not be taken up again: %s",
                     w->server->url, w->execution,
                     *reply->problem ? reply->problem : "the stream ended early");
        http_close(h);
        if (r)
            return r;
        if (!is_over(w))
            pause_ms(w, HTTP_RETRY_MS);
    }
    return 0;
}

static int first_connection(struct watch *w, const json_t *body)
{
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s/run", w->box);
    long long give_up = monotonic_ms() + HTTP_STARTING_MS;
    struct http_stream *h = NULL;
    int r = 0;
    do {
        if (h)
            pause_ms(w, HTTP_RETRY_MS);
        http_close(h);
        h = http_open(w->server, "POST", path, body, "text/event-stream", NULL, on_data, &w->sse);
        flow(w, h);
    } while (!is_over(w) && http_starting(http_result(h)) && monotonic_ms() < give_up);
    const struct reply *reply = http_result(h);
    if (!is_over(w) && (reply->status >= 300 || reply->status == 0))
        r = http_check(w->server, reply);
    else if (!is_over(w) && !w->execution)
        r = fail(STATUS_SERVER, "the connection to %s was lost before the run had begun: %s",
                 w->server->url, *reply->problem ? reply->problem : "the stream ended");
    http_close(h);
    return r;
}

/* Signals that the caller has set to be ignored (nohup, a shell's background job) stay ignored. */
static int open_signals(void)
{
    static const int wanted[] = {SIGINT, SIGTERM, SIGHUP};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct sigaction old;
        if (sigaction(wanted[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaddset(&set, wanted[i]);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* The run never began: the sandbox could not be started, or what was before it in the queue ended
 * it. */
static int explain_abort(const struct watch *w)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *path = http_path("/v1/sandboxes/%s", w->box);
    http_call(w->server, "GET", path, NULL, 5000, &reply);
    const json_t *error = json_object_get(reply.json, "error");
    if (reply.status == 200 && *json_text(error, "message"))
        return fail(STATUS_SERVER, "the sandbox %s could not be started: %s: %s", w->box,
                    json_text(error, "step"), json_text(error, "message"));
    note("[not run: an earlier run in this context failed or the context was restarted]");
    return STATUS_FAILED;
}

int watch_run(struct watch *w, const json_t *body)
{
    w->sse = (struct sse){.on_event = on_event, .user = w};
    w->signals = open_signals();
    if (w->signals < 0)
        return fail(STATUS_SERVER, "cannot watch signals: %s", strerror(errno));
    int r = first_connection(w, body);
    if (r == 0 && !is_over(w))
        r = resume(w);
    input_cancel(&w->input);
    if (r || w->leave)
        return r ? r : w->leave;
    if (w->sse.broken)
        return fail(STATUS_SERVER, "the server sent an event of more than %zu MiB", SSE_MAX >> 20);
    if (w->interrupts && w->failed)
        return STATUS_INTERRUPTED;
    if (w->aborted)
        return explain_abort(w);
    return w->failed || w->show.broken ? STATUS_FAILED : STATUS_OK;
}

void watch_deinit(struct watch *w)
{
    show_deinit(&w->show);
    input_deinit(&w->input);
    sse_deinit(&w->sse);
    free(w->execution);
    free(w->context);
    if (w->signals > 0)
        close(w->signals);
}
