/*
 * The origin: HTTP/1.1 by a parser of its own that takes nothing but the strictest reading, beside
 * llhttp, and HTTP/2 by nghttp2's server. What they do not agree on is a finding.
 */
#include <ctype.h>
#include <llhttp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/pair/pair.h"

enum answer {
    ANSWER_LENGTH,
    ANSWER_CHUNKED,
    ANSWER_EMPTY,
    ANSWER_ERROR,
    ANSWER_SWITCH,
    ANSWER_CLOSE,
    ANSWER_INTERIM,
    ANSWER_NONE,
    ANSWER_RAW,
    ANSWER_EARLY,
    ANSWER_SILENT,
    ANSWER_UNCHANGED,
    ANSWERS
};

struct origin {
    bool h2, upgrade, tunnel, closed;
    const uint8_t *control, *raw;
    size_t raw_len;
    unsigned *counter; /* requests of all origins */
    struct buf in;
    struct seen seen[PAIR_SEEN_MAX];
    size_t n, asked, answered;
    /* of the request that is being read */
    bool in_body, chunked, early;
    uint64_t left;
    enum answer answer;
    /* the second opinion */
    llhttp_t parser;
    bool strange;
    size_t counted;
    nghttp2_session *session;
    const char *wrong;
    struct origin_says *says;
};

void pair_loggable(const char *target, size_t len, char out[1100])
{
    size_t n = 0;
    bool query = false, skip = false;
    for (size_t i = 0; i < len && i < 1024; i++) {
        query |= target[i] == '?';
        if (target[i] == '&')
            skip = false;
        if (!skip)
            out[n++] = target[i];
        if (query && target[i] == '=')
            skip = true;
    }
    out[n] = 0;
}

/* ---- what one head may look like ---- */

static bool origin_token(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)p[i]) && (!p[i] || !strchr("!#$%&'*+-.^_`|~", p[i])))
            return false;
    return n > 0;
}

static bool origin_value(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
            return false;
    return true;
}

static bool origin_target(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] <= 0x20 || p[i] == 0x7f)
            return false;
    return n > 0 && (*p == '/' || (n == 1 && *p == '*'));
}

struct fields {
    unsigned host, key, length, coding, connection, upgrade;
    uint64_t body;
};

static bool origin_number(const char *p, size_t n, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)p[i]))
            return false;
        *ret = *ret * 10 + (uint64_t)(p[i] - '0');
    }
    return n > 0 && n < 19;
}

static bool origin_is(const char *p, size_t n, const char *text)
{
    return n == strlen(text) && !memcmp(p, text, n);
}

/* Names come in lower case, and each that frames the message once. */
static const char *one_field(const char *name, size_t n, const char *value, size_t len,
                             struct fields *f)
{
    if (!origin_token(name, n) || !origin_value(value, len))
        return "a field that is none";
    if (origin_is(name, n, "host"))
        f->host++;
    if (origin_is(name, n, "x-key")) {
        f->key++;
        if (!origin_is(value, len, PAIR_KEY))
            return "a credential that is not the injected one";
    }
    if (origin_is(name, n, "content-length")) {
        f->length++;
        if (!origin_number(value, len, &f->body))
            return "a length that is none";
    }
    if (origin_is(name, n, "transfer-encoding")) {
        f->coding++;
        if (!origin_is(value, len, "chunked"))
            return "a coding other than chunked";
    }
    if (origin_is(name, n, "connection")) {
        f->connection++;
        if (!origin_is(value, len, "upgrade"))
            return "a connection field";
    }
    if (origin_is(name, n, "upgrade")) {
        f->upgrade++;
        if (!origin_is(value, len, "websocket"))
            return "an upgrade to something else than websocket";
    }
    if (origin_is(name, n, "http2-settings") || origin_is(name, n, "keep-alive") ||
        origin_is(name, n, "proxy-connection"))
        return "a field of the box's own connection";
    return NULL;
}

static const char *check_fields(const struct fields *f)
{
    if (f->host != 1)
        return "not one host";
    if (f->key != 1)
        return "not one credential";
    if (f->length + f->coding > 1)
        return "its body is framed twice";
    if (f->connection != f->upgrade || f->upgrade > 1)
        return "half an upgrade";
    return f->upgrade && (f->length || f->coding) ? "an upgrade with a body" : NULL;
}

static struct seen *next_seen(struct origin *o, const char *method, size_t n, const char *target,
                              size_t len)
{
    if (o->n == PAIR_SEEN_MAX)
        return NULL;
    struct seen *s = &o->seen[o->n++];
    snprintf(s->method, sizeof s->method, "%.*s", (int)n, method);
    pair_loggable(target, len, s->path);
    return s;
}

/* ---- HTTP/1.1 ---- */

static const char *read_line(const char *head, size_t len, size_t *ret_end)
{
    const char *end = memmem(head, len, "\r\n", 2);
    *ret_end = end ? (size_t)(end - head) : len;
    return memchr(head, '\n', *ret_end) || memchr(head, '\r', *ret_end) ? "a bare CR or LF" : NULL;
}

static const char *read_request_line(struct origin *o, const char *p, size_t n)
{
    const char *a = memchr(p, ' ', n), *b = a ? memchr(a + 1, ' ', n - (size_t)(a + 1 - p)) : NULL;
    if (!b || !origin_is(b + 1, n - (size_t)(b + 1 - p), "HTTP/1.1") ||
        !origin_token(p, (size_t)(a - p)) || !origin_target(a + 1, (size_t)(b - a - 1)))
        return "a request line that is none";
    return next_seen(o, p, (size_t)(a - p), a + 1, (size_t)(b - a - 1)) ? NULL : "too many";
}

/* head: with the CRLF of its last line. */
static const char *read_fields(const char *head, size_t len, struct fields *f)
{
    while (len) {
        size_t n;
        const char *wrong = read_line(head, len, &n);
        const char *colon = memchr(head, ':', n);
        if (wrong)
            return wrong;
        if (!colon || colon + 1 >= head + n + 1 || (colon + 1 < head + n && colon[1] != ' '))
            return "a line that is no field";
        size_t name = (size_t)(colon - head), skip = name + 2 <= n ? name + 2 : n;
        if ((wrong = one_field(head, name, head + skip, n - skip, f)))
            return wrong;
        head += n + 2;
        len -= n + 2;
    }
    return NULL;
}

static const char *read_head(struct origin *o, const char *head, size_t len)
{
    struct fields f = {0};
    size_t n;
    if (o->asked > o->answered)
        return "a request before the answer to the one before";
    if (o->upgrade)
        return "a request on a connection that carried an upgrade";
    const char *wrong = read_line(head, len, &n);
    if (!wrong)
        wrong = read_request_line(o, head, n);
    if (!wrong)
        wrong = read_fields(head + n + 2, len - n - 2, &f);
    if (!wrong)
        wrong = check_fields(&f);
    if (wrong)
        return wrong;
    o->asked++;
    o->upgrade = f.upgrade > 0;
    o->chunked = f.coding > 0;
    o->left = f.body;
    o->in_body = o->chunked || o->left;
    o->answer = (enum answer)(o->control[1 + (*o->counter)++ % 7] % ANSWERS);
    return NULL;
}

static void say(struct origin *o, const char *text)
{
    buf_puts(&o->says->out, text);
}

static void answer(struct origin *o)
{
    struct seen *s = &o->seen[o->n - 1];
    o->answered++;
    s->answered = o->answer != ANSWER_SILENT && o->answer != ANSWER_NONE;
    switch (o->answer) {
    case ANSWER_CHUNKED:
        say(o,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-t: 1\r\n\r\n");
        break;
    case ANSWER_EMPTY:
        say(o, "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n");
        break;
    case ANSWER_ERROR:
        say(o, "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno");
        break;
    case ANSWER_SWITCH:
        say(o, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: "
               "websocket\r\n\r\n");
        o->tunnel = s->switched = true;
        break;
    case ANSWER_CLOSE:
        say(o, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end");
        o->says->end = o->closed = true;
        break;
    case ANSWER_INTERIM:
        say(o, "HTTP/1.1 103 Early Hints\r\ncontent-length: 30\r\n\r\n"
               "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        break;
    case ANSWER_NONE:
        o->says->end = o->closed = true;
        break;
    case ANSWER_RAW:
        buf_put(&o->says->out, o->raw, o->raw_len);
        o->tunnel = s->switched =
            o->raw_len > 12 && o->upgrade && !memcmp(o->raw, "HTTP/1.1 101", 12);
        break;
    case ANSWER_SILENT:
        break;
    case ANSWER_UNCHANGED:
        say(o, "HTTP/1.1 304 Not Modified\r\ncontent-length: 30\r\n\r\n");
        break;
    default:
        say(o, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    }
}

static void request_over(struct origin *o)
{
    o->seen[o->n - 1].whole = true;
    o->in_body = false;
    if (!o->early)
        answer(o);
    o->early = false;
}

/* One chunk with its head, or the last with its trailers. 0: more is needed. */
static size_t read_chunk(struct origin *o, const char *p, size_t n)
{
    const char *line = memmem(p, n, "\r\n", 2);
    uint64_t size = 0;
    if (!line) {
        o->wrong = n > 20 ? "a chunk without a head" : NULL;
        return 0;
    }
    for (const char *c = p; c < line; c++) {
        if (!isxdigit((unsigned char)*c) || line - p > 15) {
            o->wrong = "a chunk's size that is none";
            return 0;
        }
        size = size * 16 + (uint64_t)(isdigit((unsigned char)*c) ? *c - '0' : (*c | 32) - 'a' + 10);
    }
    size_t head = (size_t)(line + 2 - p);
    if (line == p || (size && n < head + size + 2))
        return line == p ? (o->wrong = "a chunk without a size", 0) : 0;
    if (size) {
        if (memcmp(p + head + size, "\r\n", 2) != 0)
            o->wrong = "a chunk that is longer than its size";
        o->seen[o->n - 1].body += size;
        return head + size + 2;
    }
    if (n >= head + 2 && !memcmp(p + head, "\r\n", 2)) {
        request_over(o);
        return head + 2;
    }
    const char *end = memmem(p + head, n - head, "\r\n\r\n", 4);
    struct fields f = {0};
    if (!end)
        return 0;
    o->wrong = read_fields(p + head, (size_t)(end + 2 - (p + head)), &f);
    if (!o->wrong && (f.host || f.length || f.coding || f.connection || f.upgrade))
        o->wrong = "trailers that frame";
    if (!o->wrong)
        request_over(o);
    return (size_t)(end + 4 - p);
}

/* What can be read of the front. 0: nothing. */
static size_t origin_step(struct origin *o)
{
    const char *p = (const char *)o->in.data;
    size_t n = o->in.len;
    if (!n)
        return 0;
    if (o->tunnel || o->closed) /* no HTTP any more; or it reads nothing */
        return n;
    if (o->in_body && o->chunked)
        return read_chunk(o, p, n);
    if (o->in_body) {
        size_t take = n < o->left ? n : (size_t)o->left;
        o->seen[o->n - 1].body += take;
        o->left -= take;
        if (!o->left)
            request_over(o);
        return take;
    }
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if ((o->wrong = read_head(o, p, (size_t)(end + 2 - p))))
        return 0;
    if (!o->in_body) {
        request_over(o);
    } else if (o->answer == ANSWER_EARLY) {
        o->early = true;
        answer(o);
    }
    return (size_t)(end + 4 - p);
}

static int on_message(llhttp_t *p)
{
    struct origin *o = p->data;
    o->counted++;
    return 0;
}

static const char *feed_http1(struct origin *o, const uint8_t *data, size_t len)
{
    bool quiet = o->tunnel || o->closed;
    buf_put(&o->in, data, len);
    for (size_t took; !o->wrong && (took = origin_step(o));)
        buf_consume(&o->in, took);
    if (o->wrong || quiet)
        return o->wrong;
    llhttp_errno_t e = o->strange ? HPE_OK : llhttp_execute(&o->parser, (const char *)data, len);
    if (e == HPE_INVALID_METHOD || o->strange) { /* it knows no method that it has not heard of */
        o->strange = true;
        return NULL;
    }
    size_t whole = 0;
    for (size_t i = 0; i < o->n; i++)
        whole += o->seen[i].whole;
    if (e != HPE_OK && e != HPE_PAUSED_UPGRADE && !o->closed)
        return "llhttp does not understand it";
    return o->counted != whole && !o->tunnel && !o->closed ? "llhttp counts other requests" : NULL;
}

/* ---- HTTP/2 ---- */

struct h2_request {
    struct fields f;
    char method[32], target[4096];
    bool https, has_length;
    unsigned pseudo;
    size_t index; /* of seen */
};

static int h2_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)user;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id,
                                             calloc(1, sizeof(struct h2_request)));
    return 0;
}

static int h2_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                    size_t n, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
    struct origin *o = user;
    struct h2_request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    struct fields trailers = {0};
    const char *v = (const char *)value, *wrong = NULL;
    (void)flags;
    if (!r)
        return 0;
    bool head = frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    if (n && *name == ':') {
        r->pseudo++;
        if (origin_is((const char *)name, n, ":method"))
            snprintf(r->method, sizeof r->method, "%.*s", (int)len, v);
        if (origin_is((const char *)name, n, ":path"))
            snprintf(r->target, sizeof r->target, "%.*s", (int)len, v);
        if (origin_is((const char *)name, n, ":path") && !origin_target(v, len))
            wrong = "a path that is none";
        r->https |= origin_is((const char *)name, n, ":scheme") && origin_is(v, len, "https");
    } else {
        wrong = one_field((const char *)name, n, v, len, head ? &r->f : &trailers);
        if (trailers.host || trailers.length || trailers.coding)
            wrong = "trailers that frame";
    }
    if (wrong && !o->wrong)
        o->wrong = wrong;
    return 0;
}

static void h2_answer(struct origin *o, int32_t id, struct h2_request *r)
{
    const char *status = o->control[1 + (*o->counter)++ % 7] % 2 ? "204" : "400";
    nghttp2_nv nv = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t)status, 7, 3, 0};
    o->seen[r->index].answered = true;
    nghttp2_submit_response(o->session, id, &nv, 1, NULL);
}

static void h2_head(struct origin *o, struct h2_request *r)
{
    struct fields *f = &r->f;
    struct seen *s = next_seen(o, r->method, strlen(r->method), r->target, strlen(r->target));
    if (f->host || f->coding || f->connection || f->upgrade || f->length > 1 || r->pseudo != 4 ||
        !r->https)
        o->wrong = "a head that is none of HTTP/2";
    else if (f->key != 1)
        o->wrong = "not one credential";
    else if (!s)
        o->wrong = "too many";
    else
        r->index = o->n - 1;
}

static int h2_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct origin *o = user;
    struct h2_request *r = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!r || o->wrong)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_head(o, r);
    if (o->wrong || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    o->seen[r->index].whole = true;
    if (r->f.length && r->f.body != o->seen[r->index].body)
        o->wrong = "a body that is not as long as its head says";
    h2_answer(o, frame->hd.stream_id, r);
    return 0;
}

static int h2_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    struct origin *o = user;
    struct h2_request *r = nghttp2_session_get_stream_user_data(session, id);
    (void)flags;
    (void)data;
    if (r && !o->wrong)
        o->seen[r->index].body += len;
    return 0;
}

/* nghttp2 has found fault with what our own nghttp2 let through. */
static int h2_invalid(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user)
{
    struct origin *o = user;
    (void)session;
    (void)frame;
    if (!o->wrong)
        o->wrong = nghttp2_strerror(code);
    return 0;
}

static int h2_over(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    (void)code;
    (void)user;
    free(nghttp2_session_get_stream_user_data(session, id));
    nghttp2_session_set_stream_user_data(session, id, NULL);
    return 0;
}

static void h2_start(struct origin *o)
{
    nghttp2_session_callbacks *c;
    nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100};
    nghttp2_session_callbacks_new(&c);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, h2_begin);
    nghttp2_session_callbacks_set_on_header_callback(c, h2_field);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, h2_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, h2_data);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, h2_invalid);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, h2_over);
    nghttp2_session_server_new(&o->session, c, o);
    nghttp2_session_callbacks_del(c);
    nghttp2_submit_settings(o->session, NGHTTP2_FLAG_NONE, &settings, 1);
}

static const char *feed_http2(struct origin *o, const uint8_t *data, size_t len)
{
    ssize_t n = nghttp2_session_mem_recv(o->session, data, len);
    if (n < 0 && !o->wrong)
        o->wrong = nghttp2_strerror((int)n);
    for (const uint8_t *out; (n = nghttp2_session_mem_send(o->session, &out)) > 0;)
        buf_put(&o->says->out, out, (size_t)n);
    return o->wrong;
}

/* ---- */

struct origin *origin_new(bool h2, const uint8_t *control, const uint8_t *raw, size_t raw_len,
                          unsigned *counter)
{
    static const llhttp_settings_t settings = {.on_message_complete = on_message};
    struct origin *o = calloc(1, sizeof *o);
    if (!o)
        abort();
    o->h2 = h2;
    o->control = control;
    o->raw = raw;
    o->raw_len = raw_len;
    o->counter = counter;
    llhttp_init(&o->parser, HTTP_REQUEST, &settings);
    o->parser.data = o;
    if (h2)
        h2_start(o);
    return o;
}

void origin_free(struct origin *o)
{
    nghttp2_session_del(o->session);
    buf_deinit(&o->in);
    free(o);
}

const char *origin_feed(struct origin *o, const uint8_t *data, size_t len, struct origin_says *says)
{
    o->says = says;
    return o->h2 ? feed_http2(o, data, len) : feed_http1(o, data, len);
}

const struct seen *origin_seen(const struct origin *o, size_t *ret_n)
{
    *ret_n = o->n;
    return o->seen;
}
