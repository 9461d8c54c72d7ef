#include "kernel-gw/preview/response.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum field { FIELD_NONE, FIELD_REASON, FIELD_NAME, FIELD_VALUE };

static struct response *self(llhttp_t *ll)
{
    return ll->data;
}

static int put(struct response *r, int field, const char *at, size_t len)
{
    if (r->headers_done) { /* trailers: counted, not kept */
        r->trailer += len;
        return r->trailer > RESPONSE_HEAD_MAX ? -1 : 0;
    }
    if (field == FIELD_NAME && !r->nstrings) /* a status line without a reason */
        put(r, FIELD_REASON, "", 0);
    if (r->field != field) {
        if (r->field != FIELD_NONE)
            buf_putc(&r->head, 0);
        if (r->nstrings == sizeof r->offsets / sizeof *r->offsets)
            return -1;
        r->offsets[r->nstrings++] = r->head.len;
        r->field = field;
    }
    if (r->head.len + len > RESPONSE_HEAD_MAX || buf_put(&r->head, at, len) < 0)
        return -1;
    if (field == FIELD_NAME) {
        for (size_t i = r->head.len - len; i < r->head.len; i++)
            r->head.data[i] = (uint8_t)tolower(r->head.data[i]);
    }
    return 0;
}

static int on_reason(llhttp_t *ll, const char *at, size_t len)
{
    return put(self(ll), FIELD_REASON, at, len);
}

static int on_name(llhttp_t *ll, const char *at, size_t len)
{
    return put(self(ll), FIELD_NAME, at, len);
}

static int on_value(llhttp_t *ll, const char *at, size_t len)
{
    return put(self(ll), FIELD_VALUE, at, len);
}

static int on_value_complete(llhttp_t *ll)
{
    return put(self(ll), FIELD_VALUE, "", 0);
}

static bool interim(const struct response *r)
{
    return r->status < 200 && r->status != 101;
}

static int on_headers(llhttp_t *ll)
{
    struct response *r = self(ll);
    r->status = llhttp_get_status_code(ll);
    if (!r->nstrings && put(r, FIELD_REASON, "", 0) < 0)
        return -1;
    if (buf_putc(&r->head, 0) < 0 || r->status < 100)
        return -1;
    r->headers_done = true;
    bool none = r->no_body || r->status < 200 || r->status == 204 || r->status == 304;
    bool sized = ll->flags & F_CONTENT_LENGTH;
    if (sized && ll->content_length > INT64_MAX)
        return -1;
    r->length = sized ? (int64_t)ll->content_length : none ? -2 : -1;
    r->keep_alive = llhttp_should_keep_alive(ll);
    if (interim(r))
        return 0;
    r->at_head = true;
    return HPE_PAUSED;
}

static int on_body(llhttp_t *ll, const char *at, size_t len)
{
    struct response *r = self(ll);
    if (!len)
        return 0;
    r->piece = at;
    r->piece_len = len;
    r->at_piece = true;
    return HPE_PAUSED;
}

static int on_complete(llhttp_t *ll)
{
    self(ll)->done = true;
    return HPE_PAUSED;
}

static void begin(struct response *r)
{
    llhttp_init(&r->parser, HTTP_RESPONSE, &r->settings);
    r->parser.data = r;
    buf_reset(&r->head);
    r->nstrings = r->trailer = 0;
    r->field = FIELD_NONE;
    r->at_head = r->at_piece = r->headers_done = r->done = false;
    r->status = 0;
}

void response_init(struct response *r)
{
    memset(r, 0, sizeof *r);
    llhttp_settings_init(&r->settings);
    r->settings.on_status = on_reason;
    r->settings.on_header_field = on_name;
    r->settings.on_header_value = on_value;
    r->settings.on_header_value_complete = on_value_complete;
    r->settings.on_headers_complete = on_headers;
    r->settings.on_body = on_body;
    r->settings.on_message_complete = on_complete;
    buf_init(&r->head, RESPONSE_HEAD_MAX + 4096);
    begin(r);
}

void response_deinit(struct response *r)
{
    buf_deinit(&r->head);
}

void response_next(struct response *r)
{
    r->no_body = false;
    begin(r);
}

/* One step; DONE also of interim responses. */
static int step(struct response *r, const char *data, size_t len, size_t *used)
{
    bool resume = r->at_head || r->at_piece;
    if (resume)
        llhttp_resume(&r->parser);
    /* llhttp cannot know: here the length tells of what was not sent. */
    if (r->at_head && (r->no_body || r->status == 204 || r->status == 304)) {
        r->at_head = false;
        r->done = true;
        *used = 0;
        return RESPONSE_DONE;
    }
    r->at_head = r->at_piece = false;
    llhttp_errno_t e = llhttp_execute(&r->parser, data, len);
    *used = len;
    if (e == HPE_OK)
        return RESPONSE_MORE;
    if (e != HPE_PAUSED && e != HPE_PAUSED_UPGRADE)
        return -EPROTO;
    const char *pos = llhttp_get_error_pos(&r->parser);
    *used = pos ? (size_t)(pos - data) : len;
    if (r->at_head)
        return RESPONSE_HEAD;
    if (r->at_piece)
        return RESPONSE_PIECE;
    return r->done ? RESPONSE_DONE : -EPROTO;
}

int response_feed(struct response *r, const char *data, size_t len, size_t *ret_used)
{
    size_t at = 0;
    for (;;) {
        size_t used = 0;
        int s = step(r, data + at, len - at, &used);
        at += used;
        *ret_used = at;
        if (s != RESPONSE_DONE || !interim(r))
            return s;
        bool no_body = r->no_body;
        begin(r);
        r->no_body = no_body;
        if (at == len)
            return RESPONSE_MORE;
    }
}

int response_end(struct response *r)
{
    if (!r->headers_done || r->done)
        return -EPROTO;
    if (r->at_head || r->at_piece)
        llhttp_resume(&r->parser);
    r->at_head = r->at_piece = false;
    llhttp_errno_t e = llhttp_finish(&r->parser);
    return r->done && (e == HPE_OK || e == HPE_PAUSED) ? RESPONSE_DONE : -EPROTO;
}

const char *response_reason(const struct response *r)
{
    return (const char *)r->head.data + r->offsets[0];
}

bool response_header(const struct response *r, size_t i, const char **ret_name,
                     const char **ret_value)
{
    if (2 + 2 * i >= r->nstrings)
        return false;
    *ret_name = (const char *)r->head.data + r->offsets[1 + 2 * i];
    *ret_value = (const char *)r->head.data + r->offsets[2 + 2 * i];
    return true;
}
