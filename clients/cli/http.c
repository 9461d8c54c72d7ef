#include "clients/cli/http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A body that a descriptor gives beside a stream. */
struct feed {
    int fd;
    bool waits, ready; /* for fd; something is there */
};

struct http_stream {
    CURLM *multi;
    CURL *easy;
    struct exchange exchange;
    char *body;
    http_data_fn *on_data;
    void *user;
    struct reply reply;
    bool over;
    struct http_stream *fed; /* the request that http_feed made, in the same multi */
    struct feed feed;        /* its body */
};

void reply_deinit(struct reply *r)
{
    str_deinit(&r->body);
    json_decref(r->json);
    *r = (struct reply){0};
}

static int pass_on(void *user, const char *data, size_t len)
{
    struct http_stream *h = user;
    h->on_data(h->user, data, len);
    return 0;
}

static char *body_text(const char *method, const json_t *body)
{
    if (body)
        return must(json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY));
    return !strcmp(method, "POST") || !strcmp(method, "PUT") ? must(strdup("{}")) : NULL;
}

/* take_body: a text, or NULL. */
static struct http_stream *prepare(const struct server *s, struct request *r, char *take_body)
{
    struct http_stream *h = must(calloc(1, sizeof *h));
    h->easy = must(curl_easy_init());
    h->body = take_body;
    r->body = h->body;
    r->len = h->body ? strlen(h->body) : 0;
    if (exchange_init(&h->exchange, h->easy, s, r) < 0)
        must(NULL);
    return h;
}

static void finish(struct http_stream *h, CURLcode code)
{
    struct reply *r = &h->reply;
    exchange_finish(&h->exchange, code);
    h->over = true;
    r->status = h->exchange.status;
    r->body = h->exchange.body;
    h->exchange.body = (struct str){0};
    snprintf(r->problem, sizeof r->problem, "%s", h->exchange.problem);
    if (r->body.len)
        r->json = json_loadb(r->body.data, r->body.len, JSON_ALLOW_NUL, NULL);
}

static void perform(struct http_stream *h, struct reply *ret)
{
    finish(h, curl_easy_perform(h->easy));
    *ret = h->reply;
    if (!h->exchange.complete)
        ret->status = 0;
    h->reply = (struct reply){0};
    http_close(h);
}

void http_call(const struct server *s, const char *method, const char *path, const json_t *body,
               long timeout_ms, struct reply *ret)
{
    struct request r = {
        .method = method, .path = path, .timeout_ms = timeout_ms ? timeout_ms : 60000L};
    perform(prepare(s, &r, body_text(method, body)), ret);
}

void http_put_text(const struct server *s, const char *path, const char *text, struct reply *ret)
{
    struct request r = {.method = "PUT", .path = path, .timeout_ms = 60000L};
    perform(prepare(s, &r, must(strdup(text))), ret);
}

int http_check(const struct server *s, const struct reply *r)
{
    if (r->status >= 200 && r->status < 300)
        return 0;
    if (r->status == 0)
        return fail(STATUS_SERVER, "cannot talk to the server at %s: %s; is it running?", s->url,
                    r->problem);
    if (r->status == 401)
        return fail(STATUS_SERVER, "the server at %s refused the token; check CELLBOX_TOKEN",
                    s->url);
    const json_t *e = json_object_get(r->json, "error");
    int status = r->status == 404 ? STATUS_FAILED : STATUS_SERVER;
    if (*json_text(e, "message"))
        return fail(status, "%s (%s)", json_text(e, "message"), json_text(e, "code"));
    return fail(status, "the server at %s answered HTTP %ld without saying why", s->url, r->status);
}

bool http_starting(const struct reply *r)
{
    return r->status == 503 &&
           !strcmp(json_text(json_object_get(r->json, "error"), "code"), "STARTING");
}

int http_do(const struct server *s, const char *method, const char *path, const json_t *body,
            struct reply *ret)
{
    long long give_up = monotonic_ms() + HTTP_STARTING_MS;
    http_call(s, method, path, body, 0, ret);
    while (http_starting(ret) && monotonic_ms() < give_up) {
        reply_deinit(ret);
        poll(NULL, 0, HTTP_RETRY_MS);
        http_call(s, method, path, body, 0, ret);
    }
    return http_check(s, ret);
}

static size_t read_blocking(char *to, size_t size, size_t n, void *user)
{
    ssize_t got;
    do
        got = read(*(int *)user, to, size * n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

void http_post_fd(const struct server *s, const char *path, int fd, struct reply *ret)
{
    struct request r = {.method = "POST",
                        .path = path,
                        .type = "application/octet-stream",
                        .read = read_blocking,
                        .read_user = &fd,
                        .size = -1};
    perform(prepare(s, &r, NULL), ret);
}

static size_t read_ready(char *to, size_t size, size_t n, void *user)
{
    struct feed *f = user;
    ssize_t got = f->ready ? read(f->fd, to, size * n) : -1;
    bool again = !f->ready || (got < 0 && (errno == EINTR || errno == EAGAIN));
    f->ready = false;
    f->waits = again;
    if (again)
        return CURL_READFUNC_PAUSE;
    return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

void http_feed(struct http_stream *h, const struct server *s, const char *path, int fd)
{
    struct request r = {.method = "POST",
                        .path = path,
                        .type = "application/octet-stream",
                        .read = read_ready,
                        .read_user = &h->feed,
                        .size = -1};
    h->feed.fd = fd;
    h->fed = prepare(s, &r, NULL);
    curl_multi_add_handle(h->multi, h->fed->easy);
}

const struct reply *http_fed(const struct http_stream *h)
{
    return h->fed && h->fed->over ? &h->fed->reply : NULL;
}

struct http_stream *http_open(const struct server *s, const char *method, const char *path,
                              const json_t *body, const char *accept, const char *extra,
                              http_data_fn *on_data, void *user)
{
    struct request r = {.method = method, .path = path, .accept = accept, .headers = {extra}};
    struct http_stream *h = prepare(s, &r, body_text(method, body));
    h->on_data = on_data;
    h->user = user;
    h->exchange.on_data = pass_on;
    h->exchange.user = h;
    h->multi = must(curl_multi_init());
    curl_multi_add_handle(h->multi, h->easy);
    return h;
}

static void collect(struct http_stream *h)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));)
        if (m->msg == CURLMSG_DONE)
            finish(m->easy_handle == h->easy ? h : h->fed, m->data.result);
}

static void go_on_feeding(struct http_stream *h)
{
    struct pollfd p = {.fd = h->feed.fd, .events = POLLIN};
    if (poll(&p, 1, 0) <= 0)
        return;
    h->feed.ready = true;
    h->feed.waits = false;
    curl_easy_pause(h->fed->easy, CURLPAUSE_CONT);
}

bool http_step(struct http_stream *h, struct pollfd *fds, unsigned int n, int timeout_ms)
{
    struct curl_waitfd wait[8] = {0};
    int running = 0, ready = 0;
    curl_multi_perform(h->multi, &running);
    collect(h);
    if (h->over)
        return false;
    for (unsigned int i = 0; i < n; i++)
        wait[i] = (struct curl_waitfd){.fd = fds[i].fd, .events = CURL_WAIT_POLLIN};
    bool feed_waits = h->fed && !h->fed->over && h->feed.waits;
    if (feed_waits)
        wait[n] = (struct curl_waitfd){.fd = h->feed.fd, .events = CURL_WAIT_POLLIN};
    curl_multi_poll(h->multi, wait, n + feed_waits, timeout_ms, &ready);
    if (feed_waits)
        go_on_feeding(h);
    /* libcurl knows only POLLIN and POLLOUT: what really happened, a hang-up too, comes from poll()
     */
    if (n && poll(fds, n, 0) < 0)
        for (unsigned int i = 0; i < n; i++)
            fds[i].revents = 0;
    return true;
}

const struct reply *http_result(const struct http_stream *h)
{
    return &h->reply;
}

bool http_complete(const struct http_stream *h)
{
    return h->exchange.complete;
}

void http_close(struct http_stream *h)
{
    if (!h)
        return;
    if (h->fed)
        curl_multi_remove_handle(h->multi, h->fed->easy);
    http_close(h->fed);
    if (h->multi) {
        curl_multi_remove_handle(h->multi, h->easy);
        curl_multi_cleanup(h->multi);
    }
    curl_easy_cleanup(h->easy);
    exchange_deinit(&h->exchange);
    free(h->body);
    reply_deinit(&h->reply);
    free(h);
}

char *http_path(const char *pattern, ...)
{
    struct str path = {0};
    va_list ap;
    va_start(ap, pattern);
    int r = text_addressv(&path, pattern, ap);
    va_end(ap);
    if (r < 0)
        must(NULL);
    return str_take(&path);
}
