#include "clients/cli/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct http_stream {
    CURLM *multi;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    http_data_fn *on_data;
    void *user;
    struct reply reply;
    bool over, complete;
};

void reply_deinit(struct reply *r)
{
    str_deinit(&r->body);
    json_decref(r->json);
    *r = (struct reply){0};
}

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct http_stream *h = user;
    long status = 0;
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
    if (h->on_data && status >= 200 && status < 300)
        h->on_data(h->user, data, size * count);
    else
        str_add(&h->reply.body, data, size * count);
    return size * count;
}

/* A proxy that the environment names for the world must not get what is meant for this machine. */
bool http_is_local(const char *url)
{
    static const char *const local[] = {"127.", "localhost", "[::1]", "0.0.0.0", "[::]"};
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (!strncmp(host, local[i], strlen(local[i])))
            return true;
    return false;
}

static void add_header(struct http_stream *h, const char *name, const char *value)
{
    CLEANUP_FREE char *line = text_format("%s%s", name, value);
    h->headers = must(curl_slist_append(h->headers, line));
}

static struct http_stream *prepare(const struct server *s, const char *method, const char *path,
                                   const json_t *body, const char *accept, const char *extra)
{
    struct http_stream *h = must(calloc(1, sizeof *h));
    CLEANUP_FREE char *url = text_format("%s%s", s->url, path);
    CURL *c = h->easy = must(curl_easy_init());
    add_header(h, "Authorization: Bearer ", s->token);
    add_header(h, "Accept: ", accept);
    add_header(h, "Expect:", ""); /* no round trip before a large body */
    if (extra)
        add_header(h, extra, "");
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    if (body || !strcmp(method, "POST") || !strcmp(method, "PUT")) {
        h->body =
            body ? must(json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY)) : must(strdup("{}"));
        add_header(h, "Content-Type: application/json", "");
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, h->body);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(h->body));
    }
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, h->reply.problem);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, h);
    if (http_is_local(s->url))
        curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    return h;
}

static void finish(struct http_stream *h, CURLcode code)
{
    curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &h->reply.status);
    h->over = true;
    h->complete = code == CURLE_OK;
    if (code != CURLE_OK && !*h->reply.problem)
        snprintf(h->reply.problem, sizeof h->reply.problem, "%s", curl_easy_strerror(code));
    if (h->reply.body.len)
        h->reply.json = json_loadb(h->reply.body.data, h->reply.body.len, JSON_ALLOW_NUL, NULL);
}

void http_call(const struct server *s, const char *method, const char *path, const json_t *body,
               long timeout_ms, struct reply *ret)
{
    struct http_stream *h = prepare(s, method, path, body, "application/json", NULL);
    curl_easy_setopt(h->easy, CURLOPT_TIMEOUT_MS, timeout_ms ? timeout_ms : 60000L);
    finish(h, curl_easy_perform(h->easy));
    *ret = h->reply;
    if (!h->complete)
        ret->status = 0;
    h->reply = (struct reply){0};
    http_close(h);
}

void http_put_text(const struct server *s, const char *path, const char *text, struct reply *ret)
{
    struct http_stream *h = prepare(s, "PUT", path, NULL, "application/json", NULL);
    free(h->body);
    h->body = must(strdup(text));
    curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, h->body);
    curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(h->body));
    finish(h, curl_easy_perform(h->easy));
    *ret = h->reply;
    if (!h->complete)
        ret->status = 0;
    h->reply = (struct reply){0};
    http_close(h);
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

struct http_stream *http_open(const struct server *s, const char *method, const char *path,
                              const json_t *body, const char *accept, const char *extra,
                              http_data_fn *on_data, void *user)
{
    struct http_stream *h = prepare(s, method, path, body, accept, extra);
    h->on_data = on_data;
    h->user = user;
    h->multi = must(curl_multi_init());
    curl_multi_add_handle(h->multi, h->easy);
    return h;
}

static void collect(struct http_stream *h)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));)
        if (m->msg == CURLMSG_DONE)
            finish(h, m->data.result);
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
    curl_multi_poll(h->multi, wait, n, timeout_ms, &ready);
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
    return h->complete;
}

void http_close(struct http_stream *h)
{
    if (!h)
        return;
    if (h->multi) {
        curl_multi_remove_handle(h->multi, h->easy);
        curl_multi_cleanup(h->multi);
    }
    curl_easy_cleanup(h->easy);
    curl_slist_free_all(h->headers);
    free(h->body);
    reply_deinit(&h->reply);
    free(h);
}

char *http_path(const char *pattern, ...)
{
    struct str path = {0};
    va_list ap;
    va_start(ap, pattern);
    for (const char *p = pattern; *p; p++) {
        if (p[0] != '%' || p[1] != 's') {
            str_add(&path, p, 1);
            continue;
        }
        char *escaped = must(curl_easy_escape(NULL, va_arg(ap, const char *), 0));
        str_add(&path, escaped, strlen(escaped));
        curl_free(escaped);
        p++;
    }
    va_end(ap);
    return str_take(&path);
}
