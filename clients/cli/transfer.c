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
    struct str problem; /* body of an answer that is not 2xx */
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

static size_t on_write(char *data, size_t size, size_t count, void *user)
{
    struct transfer *t = user;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status >= 300 || t->out < 0) {
        str_add(&t->problem, data, size * count);
    } else if (write_all(t->out, data, size * count) < 0) {
        t->error = errno;
        return 0;
    }
    return size * count;
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

static void set_common(struct transfer *t, const struct server *s, const char *path, char *problem)
{
    CLEANUP_FREE char *url = text_format("%s%s", s->url, path);
    curl_easy_setopt(t->curl, CURLOPT_URL, url);
    curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(t->curl, CURLOPT_BUFFERSIZE, 512L << 10);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, problem);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, on_write);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    if (http_is_local(s->url))
        curl_easy_setopt(t->curl, CURLOPT_NOPROXY, "*");
    if (isatty(STDERR_FILENO)) {
        curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
    } else {
        t->shown = NULL;
    }
    t->began_ms = monotonic_ms();
}

static int perform(struct transfer *t, const struct server *s)
{
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_FREE char *auth = text_format("Authorization: Bearer %s", s->token);
    struct curl_slist *headers = must(curl_slist_append(NULL, auth));
    headers = must(curl_slist_append(headers, "Content-Type: application/octet-stream"));
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
    CURLcode code = curl_easy_perform(t->curl);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &reply.status);
    curl_slist_free_all(headers);
    if (t->shown && t->shown_ms)
        fprintf(stderr, "\r\033[K");
    if (t->problem.len)
        reply.json = json_loadb(t->problem.data, t->problem.len, 0, NULL);
    if (t->error)
        return fail(STATUS_FAILED, "%s", strerror(t->error));
    if (code != CURLE_OK && reply.status >= 200 && reply.status < 300)
        return fail(STATUS_SERVER, "the transfer broke off: %s", curl_easy_strerror(code));
    if (reply.status == 0)
        snprintf(reply.problem, sizeof reply.problem, "%s", curl_easy_strerror(code));
    return http_check(s, &reply);
}

static int run(struct transfer *t, const struct server *s)
{
    int status = perform(t, s);
    curl_easy_cleanup(t->curl);
    str_deinit(&t->problem);
    return status;
}

int transfer_up(const struct server *s, const char *path, int fd, long long size, const char *shown)
{
    char problem[CURL_ERROR_SIZE] = "";
    struct transfer t = {.in = fd, .out = -1, .shown = shown, .curl = must(curl_easy_init())};
    set_common(&t, s, path, problem);
    curl_easy_setopt(t.curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(t.curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(t.curl, CURLOPT_READDATA, &t);
    curl_easy_setopt(t.curl, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
    if (size >= 0)
        curl_easy_setopt(t.curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
    return run(&t, s);
}

int transfer_down(const struct server *s, const char *path, int fd, const char *shown)
{
    char problem[CURL_ERROR_SIZE] = "";
    struct transfer t = {.in = -1, .out = fd, .shown = shown, .curl = must(curl_easy_init())};
    set_common(&t, s, path, problem);
    return run(&t, s);
}
