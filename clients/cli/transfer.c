#include "clients/cli/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SHOW_AFTER_MS = 500, SHOW_EVERY_MS = 100 };

struct transfer {
    int in, out;       /* -1: none; the answer of an upload is kept instead */
    const char *shown; /* NULL: no progress line */
    long long began_ms, shown_ms;
    CURL *curl;
    int error; /* of the local side */
};

static size_t on_read(char *data, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    ssize_t n;
    do
        n = read(t->in, data, size * count);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        t->error = errno;
        return CURL_READFUNC_ABORT;
    }
    return (size_t)n;
}

static int on_data(void *user, const char *data, size_t len)
{
    struct transfer *t = user;
    int r = write_all(t->out, data, len);
    if (r < 0)
        t->error = -r;
    return r;
}

/* Only what takes long is worth a line. */
static int on_progress(void *user, curl_off_t down_all, curl_off_t down, curl_off_t up_all,
                       curl_off_t up)
{
    struct transfer *t = user;
    long long now = monotonic_ms(), done = down + up, all = up_all ? up_all : down_all;
    if (!t->shown || now - t->began_ms < SHOW_AFTER_MS || now - t->shown_ms < SHOW_EVERY_MS)
        return 0;
    double seconds = (double)(now - t->began_ms) / 1000;
    t->shown_ms = now;
    fprintf(stderr, "\r\033[K%s  %.1f MiB", t->shown, (double)done / 1048576);
    if (all > 0)
        fprintf(stderr, "  %d%%", (int)(100 * done / all));
    fprintf(stderr, "  %.1f MiB/s", (double)done / 1048576 / seconds);
    return 0;
}

static int result(const struct transfer *t, const struct server *s, const struct exchange *x)
{
    CLEANUP_REPLY struct reply reply = {.status = x->status};
    if (x->body.len)
        reply.json = json_loadb(x->body.data, x->body.len, 0, NULL);
    if (t->error)
        return fail(STATUS_FAILED, "%s", strerror(t->error));
    if (!x->complete && x->status >= 200 && x->status < 300)
        return fail(STATUS_SERVER, "the transfer broke off: %s", curl_easy_strerror(x->code));
    if (x->status == 0)
        snprintf(reply.problem, sizeof reply.problem, "%s", curl_easy_strerror(x->code));
    return http_check(s, &reply);
}

static int run(struct transfer *t, const struct server *s, const struct request *r)
{
    struct exchange x;
    t->curl = must(curl_easy_init());
    if (exchange_init(&x, t->curl, s, r) < 0)
        must(NULL);
    x.on_data = t->out >= 0 ? on_data : NULL;
    x.user = t;
    if (isatty(STDERR_FILENO)) {
        curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
    } else {
        t->shown = NULL;
    }
    t->began_ms = monotonic_ms();
    exchange_finish(&x, curl_easy_perform(t->curl));
    if (t->shown && t->shown_ms)
        fprintf(stderr, "\r\033[K");
    int status = result(t, s, &x);
    curl_easy_cleanup(t->curl);
    exchange_deinit(&x);
    return status;
}

int transfer_up(const struct server *s, const char *path, int fd, long long size, const char *shown)
{
    struct transfer t = {.in = fd, .out = -1, .shown = shown};
    struct request r = {.method = "PUT",
                        .path = path,
                        .type = "application/octet-stream",
                        .read = on_read,
                        .read_user = &t,
                        .size = size};
    return run(&t, s, &r);
}

int transfer_down(const struct server *s, const char *path, int fd, const char *shown)
{
    struct transfer t = {.in = -1, .out = fd, .shown = shown};
    return run(&t, s, &(struct request){.method = "GET", .path = path, .accept = "*/*"});
}
