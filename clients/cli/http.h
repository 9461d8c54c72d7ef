/* Calls of the server over libcurl: whole answers, and streams that are read while other
 * descriptors are watched. */
#pragma once

#include <poll.h>

#include "clients/c/exchange.h"
#include "clients/cli/server.h"
#include "clients/cli/util.h"

struct reply {
    long status; /* HTTP status; 0 when there was no answer */
    struct str body;
    json_t *json;                  /* NULL when the body is not JSON */
    char problem[CURL_ERROR_SIZE]; /* when status is 0 */
};

#define CLEANUP_REPLY __attribute__((cleanup(reply_deinit)))
void reply_deinit(struct reply *r);

/* One call and its whole answer; body may be NULL. timeout_ms 0: a minute. */
void http_call(const struct server *s, const char *method, const char *path, const json_t *body,
               long timeout_ms, struct reply *ret);
/* 0 when the answer is 2xx, else a message on stderr and the exit status. */
int http_check(const struct server *s, const struct reply *r);
/* The server is there but not ready: worth another try for HTTP_STARTING_MS. */
#define HTTP_STARTING_MS 15000
#define HTTP_RETRY_MS    100
bool http_starting(const struct reply *r);
/* Call and check; waits for a server that is starting. */
int http_do(const struct server *s, const char *method, const char *path, const json_t *body,
            struct reply *ret);

/* PUT of a text as it is; not checked. */
void http_put_text(const struct server *s, const char *path, const char *text, struct reply *ret);

/* POST of what fd gives until its end; not checked. */
void http_post_fd(const struct server *s, const char *path, int fd, struct reply *ret);

struct http_stream;
typedef void http_data_fn(void *user, const char *data, size_t len);

/* Starts a call whose 2xx body goes to on_data piece by piece. accept: wanted type; extra: one more
 * header or NULL. */
struct http_stream *http_open(const struct server *s, const char *method, const char *path,
                              const json_t *body, const char *accept, const char *extra,
                              http_data_fn *on_data, void *user);
/*
 * Waits at most timeout_ms for the stream or one of the watched descriptors and handles what came
 * in. true while the answer is not over. fds' revents are set as by poll().
 */
bool http_step(struct http_stream *h, struct pollfd *fds, unsigned int n, int timeout_ms);
/*
 * A POST of what fd gives, as it comes and until its end, beside the stream: http_step serves it.
 * Not from inside on_data.
 */
void http_feed(struct http_stream *h, const struct server *s, const char *path, int fd);
const struct reply *http_fed(const struct http_stream *h); /* NULL: it is not over, or none is */
/* The end of the stream: status, and the body unless it was 2xx. */
const struct reply *http_result(const struct http_stream *h);
bool http_complete(
    const struct http_stream *h); /* ended by the server in good order, not cut off */
void http_close(struct http_stream *h);

/* "/v1/sandboxes/NAME/..." with every argument percent-encoded: each %s of the pattern stands for
 * one. */
char *http_path(const char *pattern, ...);
