#include "clients/c/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    struct exchange *t = user;
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (t->on_data && status >= 200 && status < 300)
        return t->on_data(t->user, data, size * count) == 0 ? size * count : 0;
    t->no_memory = t->body.len + size * count > EXCHANGE_BODY_MAX ||
                   text_add(&t->body, data, size * count) < 0;
    return t->no_memory ? 0 : size * count;
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    static const char name[] = "retry-after:";
    struct exchange *t = user;
    size_t len = size * count, n = sizeof name - 1;
    if (len > n && !strncasecmp(data, name, n)) {
        while (n < len && data[n] == ' ')
            n++;
        snprintf(t->retry_after, sizeof t->retry_after, "%.*s", (int)(len - n), data + n);
    }
    return len;
}

static int add_header(struct exchange *t, const char *name, const char *value)
{
    CLEANUP_STR struct str line = {0};
    if (text_addf(&line, "%s%s", name, value) < 0)
        return -ENOMEM;
    struct curl_slist *longer = curl_slist_append(t->headers, line.data);
    if (!longer)
        return -ENOMEM;
    t->headers = longer;
    return 0;
}

static int add_headers(struct exchange *t, const struct server *s, const struct request *r)
{
    int bad = add_header(t, "Authorization: Bearer ", s->token);
    bad |= add_header(t, "Accept: ", r->accept ? r->accept : "application/json");
    bad |= add_header(t, "Expect:", ""); /* no round trip before a large body */
    if (r->body || r->read)
        bad |= add_header(t, "Content-Type: ", r->type ? r->type : "application/json");
    for (size_t i = 0; i < sizeof r->headers / sizeof *r->headers && r->headers[i]; i++)
        bad |= add_header(t, r->headers[i], "");
    return bad ? -ENOMEM : 0;
}

static void set_body(CURL *c, const struct request *r)
{
    if (r->read) {
        curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(c, CURLOPT_READFUNCTION, r->read);
        curl_easy_setopt(c, CURLOPT_READDATA, r->read_user);
        curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
        if (r->size >= 0)
            curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, r->size);
    } else if (r->body) {
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, r->body);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->len);
    }
    if (!strcmp(r->method, "HEAD"))
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r->method);
}

int exchange_init(struct exchange *t, CURL *easy, const struct server *s, const struct request *r)
{
    CLEANUP_STR struct str url = {0};
    *t = (struct exchange){.easy = easy};
    if (text_addf(&url, "%s%s", s->url, r->path) < 0 || add_headers(t, s, r) < 0 ||
        curl_easy_setopt(easy, CURLOPT_URL, url.data) != CURLE_OK) {
        exchange_deinit(t);
        return -ENOMEM;
    }
    set_body(easy, r);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 512L << 10);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)EXCHANGE_CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, r->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)r->fresh);
    curl_easy_setopt(easy, CURLOPT_MAXCONNECTS, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->problem);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    if (server_is_local(s->url))
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    return 0;
}

void exchange_finish(struct exchange *t, CURLcode code)
{
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
    t->code = code;
    t->complete = code == CURLE_OK;
    if (code != CURLE_OK && !*t->problem)
        snprintf(t->problem, sizeof t->problem, "%s", curl_easy_strerror(code));
}

void exchange_deinit(struct exchange *t)
{
    curl_slist_free_all(t->headers);
    str_deinit(&t->body);
    *t = (struct exchange){0};
}
