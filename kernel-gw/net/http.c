#include "kernel-gw/net/http.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

enum field { FIELD_NONE, FIELD_TARGET, FIELD_NAME, FIELD_VALUE };

const char *http_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->nheaders; i++) {
        if (!strcmp(r->headers[i].name, name))
            return r->headers[i].value;
    }
    return NULL;
}

bool http_has_token(const char *value, const char *token)
{
    size_t n = strlen(token);
    for (const char *p = value; p && *p;) {
        p += strspn(p, " \t,");
        size_t len = strcspn(p, ",; \t");
        if (len == n && !strncasecmp(p, token, n))
            return true;
        p += strcspn(p, ",");
    }
    return false;
}

static int hex(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

int http_percent_decode(const char *s, size_t len, bool plus, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (c == '%') {
            if (len - i < 3)
                return -1;
            int hi = hex(s[i + 1]), lo = hex(s[i + 2]);
            if (hi < 0 || lo < 0)
                return -1;
            c = (char)(hi * 16 + lo);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        if (!c || n + 1 >= cap)
            return -1;
        out[n++] = c;
    }
    out[n] = 0;
    return (int)n;
}

bool http_query(const struct http_request *r, const char *name, char *out, size_t cap)
{
    size_t n = strlen(name);
    for (const char *p = r->query; *p;) {
        size_t len = strcspn(p, "&");
        if (len > n && !strncmp(p, name, n) && p[n] == '=')
            return http_percent_decode(p + n + 1, len - n - 1, true, out, cap) >= 0;
        p += len + (p[len] == '&');
    }
    return false;
}

static int refuse(struct http_parser *p, int status)
{
    p->status = status;
    return -1;
}

static struct http_parser *self(llhttp_t *ll)
{
    return ll->data;
}

/* Pieces of one string come in several calls; a new kind of piece ends the string before. */
static int put_piece(struct http_parser *p, int field, const char *at, size_t len)
{
    if (p->headers_done) { /* trailers: counted, not kept */
        p->trailer += len;
        return p->trailer > p->limits.head_max ? refuse(p, 431) : 0;
    }
    if (p->field != field) {
        if (p->field != FIELD_NONE)
            buf_putc(&p->head, 0);
        if (p->nstrings == sizeof p->offsets / sizeof *p->offsets)
            return refuse(p, 431);
        p->offsets[p->nstrings++] = p->head.len;
        p->field = field;
    }
    if (p->head.len + len > p->limits.head_max)
        return refuse(p, field == FIELD_TARGET ? 414 : 431);
    if (buf_put(&p->head, at, len) < 0)
        return refuse(p, p->head.err == -ENOMEM ? 503 : 431);
    if (field == FIELD_NAME) {
        for (size_t i = p->head.len - len; i < p->head.len; i++)
            p->head.data[i] = (uint8_t)tolower(p->head.data[i]);
    }
    return 0;
}

static int on_begin(llhttp_t *ll)
{
    self(ll)->in_message = true;
    return 0;
}

static int on_url(llhttp_t *ll, const char *at, size_t len)
{
    return put_piece(self(ll), FIELD_TARGET, at, len);
}

static int on_name(llhttp_t *ll, const char *at, size_t len)
{
    return put_piece(self(ll), FIELD_NAME, at, len);
}

static int on_value(llhttp_t *ll, const char *at, size_t len)
{
    return put_piece(self(ll), FIELD_VALUE, at, len);
}

/* Called with every value, also an empty one, for which on_value may not have been. */
static int on_value_complete(llhttp_t *ll)
{
    return put_piece(self(ll), FIELD_VALUE, "", 0);
}

static int fill_request(struct http_parser *p)
{
    struct http_request *r = &p->request;
    buf_putc(&p->head, 0);
    if (p->head.err || !p->nstrings)
        return refuse(p, 400);
    char *base = (char *)p->head.data;
    char *target = base + p->offsets[0];
    r->target = target;
    r->nheaders = 0;
    for (size_t i = 1; i + 1 < p->nstrings; i += 2) {
        r->headers[r->nheaders].name = base + p->offsets[i];
        r->headers[r->nheaders++].value = base + p->offsets[i + 1];
    }
    return 0;
}

static int on_headers(llhttp_t *ll)
{
    struct http_parser *p = self(ll);
    if (fill_request(p) < 0)
        return -1;
    struct http_request *r = &p->request;
    p->headers_done = true;
    r->method = llhttp_get_method(ll);
    r->method_name = llhttp_method_name(r->method);
    r->http10 = ll->http_major == 1 && ll->http_minor == 0;
    r->keep_alive = llhttp_should_keep_alive(ll);
    r->upgrade = ll->upgrade;
    if (ll->http_major != 1)
        return refuse(p, 505);
    if (!r->http10 && !http_header(r, "host"))
        return refuse(p, 400);
    r->body_length = ll->flags & F_CHUNKED ? UINT64_MAX : ll->content_length;
    r->has_body = (ll->flags & (F_CHUNKED | F_CONTENT_LENGTH)) && r->body_length;
    const char *expect = http_header(r, "expect");
    if (expect && strcasecmp(expect, "100-continue") != 0)
        return refuse(p, 417);
    p->want_continue = expect && !r->http10;
    if (p->stop_at_head && r->has_body) {
        p->at_head = true;
        return HPE_PAUSED;
    }
    int status = http_parser_body(p, (int64_t)p->limits.body_max);
    return status ? refuse(p, status) : 0;
}

int http_parser_body(struct http_parser *p, int64_t max)
{
    const struct http_request *r = &p->request;
    p->streaming = max == HTTP_BODY_STREAM;
    p->body_max =
        p->streaming || (uint64_t)max > p->limits.body_max ? p->limits.body_max : (size_t)max;
    if (p->streaming || !r->has_body || r->body_length == UINT64_MAX)
        return 0;
    return r->body_length > p->body_max ? 413 : 0;
}

static int on_body(llhttp_t *ll, const char *at, size_t len)
{
    struct http_parser *p = self(ll);
    if (p->streaming && !len)
        return 0;
    if (p->streaming) {
        p->piece = at;
        p->piece_len = len;
        p->at_piece = true;
        return HPE_PAUSED;
    }
    if (len > p->body_max - p->request.body.len)
        return refuse(p, 413);
    if (buf_put(&p->request.body, at, len) < 0)
        return refuse(p, p->request.body.err == -ENOMEM ? 503 : 413);
    return 0;
}

static int on_complete(llhttp_t *ll)
{
    struct http_parser *p = self(ll);
    p->done = true;
    return HPE_PAUSED;
}

void http_parser_init(struct http_parser *p, const struct http_limits *limits)
{
    memset(p, 0, sizeof *p);
    p->limits = *limits;
    llhttp_settings_init(&p->settings);
    p->settings.on_message_begin = on_begin;
    p->settings.on_url = on_url;
    p->settings.on_header_field = on_name;
    p->settings.on_header_value = on_value;
    p->settings.on_header_value_complete = on_value_complete;
    p->settings.on_headers_complete = on_headers;
    p->settings.on_body = on_body;
    p->settings.on_message_complete = on_complete;
    llhttp_init(&p->parser, HTTP_REQUEST, &p->settings);
    p->parser.data = p;
    buf_init(&p->head, limits->head_max + 4096);
    buf_init(&p->request.body, limits->body_max + 1);
}

void http_parser_deinit(struct http_parser *p)
{
    buf_deinit(&p->head);
    buf_deinit(&p->request.body);
}

/* Splits the target once nothing is added to the string any more. */
static void split_target(struct http_parser *p)
{
    char *target = (char *)p->head.data + p->offsets[0];
    char *q = strchr(target, '?');
    if (p->request.path)
        return; /* at the head already */
    p->request.path = target;
    p->request.query = "";
    if (q) {
        *q = 0;
        p->request.query = q + 1;
    }
}

int http_parser_feed(struct http_parser *p, const char *data, size_t len, size_t *ret_used)
{
    if (p->at_head || p->at_piece)
        llhttp_resume(&p->parser);
    p->at_head = p->at_piece = false;
    llhttp_errno_t e = llhttp_execute(&p->parser, data, len);
    *ret_used = len;
    if (e == HPE_OK)
        return 0;
    if (e == HPE_PAUSED && (p->at_head || p->at_piece)) {
        *ret_used = (size_t)(llhttp_get_error_pos(&p->parser) - data);
        split_target(p);
        return p->at_head ? HTTP_FED_HEAD : HTTP_FED_PIECE;
    }
    if (p->done && (e == HPE_PAUSED || e == HPE_PAUSED_UPGRADE)) {
        const char *pos = llhttp_get_error_pos(&p->parser);
        *ret_used = pos ? (size_t)(pos - data) : len;
        split_target(p);
        return 1;
    }
    return p->status ? p->status : 400;
}

void http_parser_next(struct http_parser *p)
{
    /* The next request is parsed from scratch: nothing of this one can leak into it. */
    llhttp_init(&p->parser, HTTP_REQUEST, &p->settings);
    p->parser.data = p;
    buf_reset(&p->head);
    struct buf body = p->request.body;
    buf_reset(&body);
    p->request = (struct http_request){.body = body};
    p->nstrings = p->trailer = 0;
    p->field = FIELD_NONE;
    p->status = 0;
    p->in_message = p->headers_done = p->done = p->want_continue = false;
    p->streaming = p->at_head = p->at_piece = false;
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } texts[] = {{101, "Switching Protocols"},
                 {200, "OK"},
                 {201, "Created"},
                 {204, "No Content"},
                 {206, "Partial Content"},
                 {302, "Found"},
                 {304, "Not Modified"},
                 {308, "Permanent Redirect"},
                 {400, "Bad Request"},
                 {401, "Unauthorized"},
                 {403, "Forbidden"},
                 {404, "Not Found"},
                 {405, "Method Not Allowed"},
                 {406, "Not Acceptable"},
                 {408, "Request Timeout"},
                 {409, "Conflict"},
                 {413, "Content Too Large"},
                 {414, "URI Too Long"},
                 {412, "Precondition Failed"},
                 {415, "Unsupported Media Type"},
                 {416, "Range Not Satisfiable"},
                 {417, "Expectation Failed"},
                 {410, "Gone"},
                 {426, "Upgrade Required"},
                 {429, "Too Many Requests"},
                 {431, "Request Header Fields Too Large"},
                 {500, "Internal Server Error"},
                 {501, "Not Implemented"},
                 {502, "Bad Gateway"},
                 {503, "Service Unavailable"},
                 {504, "Gateway Timeout"},
                 {505, "HTTP Version Not Supported"},
                 {507, "Insufficient Storage"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].status == status)
            return texts[i].text;
    }
    return "Unknown";
}

int http_put_head(struct buf *out, int status, const char *content_type, int64_t length,
                  bool keep_alive, const char *extra)
{
    buf_printf(out, "HTTP/1.1 %d %s\r\n", status, http_status_text(status));
    if (content_type)
        buf_printf(out, "Content-Type: %s\r\n", content_type);
    if (length >= 0)
        buf_printf(out, "Content-Length: %lld\r\n", (long long)length);
    else if (length == -1)
        buf_puts(out, "Transfer-Encoding: chunked\r\n");
    if (!keep_alive)
        buf_puts(out, "Connection: close\r\n");
    if (extra)
        buf_puts(out, extra);
    return buf_puts(out, "\r\n");
}
