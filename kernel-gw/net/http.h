/*
 * HTTP/1.1 engine: bytes in, one request after the other; response heads and chunks out. No I/O, no
 * clock, so that it can be fuzzed. Grammar by llhttp in its strict mode; the caps are here.
 */
#pragma once

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum { HTTP_HEADERS_MAX = 100 };

struct http_limits {
    size_t head_max; /* request line and headers, bytes */
    size_t body_max;
};

struct http_request {
    llhttp_method_t method;
    const char *method_name;
    const char *target; /* as sent */
    const char *path;   /* up to '?', still percent-encoded */
    const char *query;  /* behind '?', "" if none */
    struct {
        const char *name; /* lower case */
        const char *value;
    } headers[HTTP_HEADERS_MAX];
    size_t nheaders;
    struct buf body;
    bool keep_alive, http10, upgrade;
    bool has_body;        /* the head announces one */
    uint64_t body_length; /* announced, UINT64_MAX = chunked */
};

/* Value of the first such header (name in lower case), NULL if there is none. */
const char *http_header(const struct http_request *r, const char *name);
/* Whether a comma-separated header value holds the token, parameters ignored: http_has_token("a,
 * b;q=1", "b"). */
bool http_has_token(const char *value, const char *token);
/*
 * Decodes %XX in place of len bytes into out (NUL-terminated, cap bytes). plus: '+' is a space.
 * Returns the length, -1 when malformed, too long or holding a NUL.
 */
int http_percent_decode(const char *s, size_t len, bool plus, char *out, size_t cap);
/* First value of a query parameter, decoded; false when it is missing or malformed. */
bool http_query(const struct http_request *r, const char *name, char *out, size_t cap);

struct http_parser {
    llhttp_t parser;
    llhttp_settings_t settings;
    struct http_limits limits;
    struct http_request request;
    struct buf head; /* strings of the request, each with its NUL */
    size_t offsets[2 + 2 * HTTP_HEADERS_MAX];
    size_t nstrings, trailer;
    int field;  /* what the open string is */
    int status; /* HTTP status to refuse with */
    bool in_message, headers_done, done;
    bool want_continue; /* Expect: 100-continue came and the body has not; the caller clears it */
    bool stop_at_head;  /* set after _init by a caller that decides there how the body is read */
    bool streaming, at_head, at_piece;
    size_t body_max;   /* of this request */
    const char *piece; /* of the body, into the bytes that were fed */
    size_t piece_len;
};

/* Pointers into itself: must not move. */
void http_parser_init(struct http_parser *p, const struct http_limits *limits);
void http_parser_deinit(struct http_parser *p);
/*
 * Feeds bytes. 0: all were used, more are needed. 1: a request is complete in p->request, *ret_used
 * bytes belong to it; call http_parser_next before feeding on. HTTP_FED_HEAD (only with
 * stop_at_head): the head of a request with a body is there; call http_parser_body, then feed on.
 * HTTP_FED_PIECE: p->piece is a piece of a body that is streamed; feed on even if no byte is left,
 * since its end takes none. 400..599: refuse with that status
 * and close.
 */
enum { HTTP_FED_HEAD = 2, HTTP_FED_PIECE = 3 };
int http_parser_feed(struct http_parser *p, const char *data, size_t len, size_t *ret_used);
/* max: bytes to collect; HTTP_BODY_STREAM: the body comes in pieces and has no bound here. 0, or
 * 413.
 */
enum { HTTP_BODY_STREAM = -1 };
int http_parser_body(struct http_parser *p, int64_t max);
void http_parser_next(struct http_parser *p);

const char *http_status_text(int status);
/*
 * Status line and headers up to and including the empty line. length: Content-Length, -1 = chunked,
 * -2 = neither (until the connection closes, or a status without a body). extra: further header
 * lines, each with CRLF, or NULL.
 */
int http_put_head(struct buf *out, int status, const char *content_type, int64_t length,
                  bool keep_alive, const char *extra);
