#include "sandbox/egress/http/h2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int h2_init(struct h2 *h, struct stream *s, bool server,
            void (*set_callbacks)(nghttp2_session_callbacks *c))
{
    nghttp2_option *o;
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS},
                                         {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW},
                                         {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEAD_TEXT_MAX},
                                         {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    list_init(&h->streams);
    h->stream = s;
    if (nghttp2_option_new(&o) != 0)
        return -ENOMEM;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        nghttp2_option_del(o);
        return -ENOMEM;
    }
    set_callbacks(callbacks);
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_peer_max_concurrent_streams(o, 100);
    int r = server ? nghttp2_session_server_new2(&h->session, callbacks, h, o)
                   : nghttp2_session_client_new2(&h->session, callbacks, h, o);
    nghttp2_option_del(o);
    nghttp2_session_callbacks_del(callbacks);
    /* A server says nothing about push. */
    if (r != 0 ||
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, server ? 3 : 4) != 0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
                                              H2_CONNECTION_WINDOW) != 0) {
        nghttp2_session_del(h->session);
        h->session = NULL;
        return -ENOMEM;
    }
    return 0;
}

void h2_deinit(struct h2 *h)
{
    nghttp2_session_del(h->session);
    h->session = NULL;
}

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id)
{
    struct h2_stream *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->h = h;
    s->id = id;
    head_init(&s->head);
    head_init(&s->trailers);
    head_init(&s->out_trailers);
    buf_init(&s->out, 16 << 20);
    list_append(&h->streams, &s->link);
    h->nstreams++;
    return s;
}

void h2_stream_free(struct h2_stream *s)
{
    if (s->owed && s->h->session)
        nghttp2_session_consume_connection(s->h->session, s->owed);
    list_remove(&s->link);
    s->h->nstreams--;
    head_deinit(&s->head);
    head_deinit(&s->trailers);
    head_deinit(&s->out_trailers);
    buf_deinit(&s->out);
    free(s);
}

/* Inside nghttp2 nothing can be sent, and no exchange may be told of room: that waits for the end
 * of the call. */
int h2_pump(struct h2 *h)
{
    if (h->busy || h->dead)
        return 0;
    h->busy = true;
    ssize_t n = 0;
    while (!stream_full(h->stream)) {
        const uint8_t *data;
        n = nghttp2_session_mem_send(h->session, &data);
        if (n <= 0)
            break;
        stream_write(h->stream, data, (size_t)n);
    }
    h->busy = false;
    if (n < 0)
        return -EPROTO;
    LIST_FOREACH_SAFE (it, &h->streams) {
        struct h2_stream *s = LIST_ENTRY(it, struct h2_stream, link);
        if (s->out_full && s->out.len - s->out_at < H2_OUT_LOW) {
            s->out_full = false;
            h->drained(s);
            if (h->dead)
                return 0;
        }
    }
    return 0;
}

int h2_receive(struct h2 *h, const uint8_t *data, size_t len, const char **ret_why)
{
    h->busy = true;
    ssize_t n = nghttp2_session_mem_recv(h->session, data, len);
    h->busy = false;
    if (h->dead)
        return 0;
    if (n < 0) {
        *ret_why = nghttp2_strerror((int)n);
        return -EPROTO;
    }
    *ret_why = "it cannot be sent to";
    int r = h2_pump(h);
    if (r == 0 && !h->dead && !nghttp2_session_want_read(h->session) &&
        !nghttp2_session_want_write(h->session)) {
        *ret_why = "the session has ended";
        return -ECONNRESET;
    }
    return r;
}

/* ---- bodies going out ---- */

int h2_write(struct h2_stream *s, const uint8_t *data, size_t len)
{
    if (buf_put(&s->out, data, len) < 0) {
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
        return EXCHANGE_OK;
    }
    if (s->waiting) {
        s->waiting = false;
        nghttp2_session_resume_data(s->h->session, s->id);
    }
    if (s->out.len - s->out_at > H2_OUT_HIGH)
        s->out_full = true;
    h2_pump(s->h);
    return s->out_full ? EXCHANGE_FULL : EXCHANGE_OK;
}

void h2_end(struct h2_stream *s, const struct http_head *trailers)
{
    s->out_ended = true;
    s->has_trailers = trailers && trailers->nfields && head_copy(&s->out_trailers, trailers) == 0;
    if (s->waiting) {
        s->waiting = false;
        nghttp2_session_resume_data(s->h->session, s->id);
    }
    h2_pump(s->h);
}

void h2_reset(struct h2_stream *s, uint32_t code)
{
    nghttp2_submit_rst_stream(s->h->session, NGHTTP2_FLAG_NONE, s->id, code);
    h2_pump(s->h);
}

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
                        uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2_stream *s = source->ptr;
    size_t left = s->out.len - s->out_at, n = left < room ? left : room;
    (void)user;
    if (n)
        memcpy(to, s->out.data + s->out_at, n);
    s->out_at += n;
    if (s->out_at == s->out.len) {
        buf_reset(&s->out);
        s->out_at = 0;
    } else if (s->out_at > H2_OUT_HIGH) {
        buf_consume(&s->out, s->out_at);
        s->out_at = 0;
    }
    if (n == left && s->out_ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->has_trailers) {
            nghttp2_nv nv[HEAD_FIELDS_MAX + 8];
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            nghttp2_submit_trailer(session, id, nv, h2_fields(&s->out_trailers, nv, 0));
        }
    } else if (n == 0) {
        s->waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

nghttp2_data_provider h2_provider(struct h2_stream *s)
{
    return (nghttp2_data_provider){.source.ptr = s, .read_callback = read_out};
}

/* ---- bodies coming in ---- */

void h2_taken(struct h2_stream *s, size_t len, bool full)
{
    s->paused |= full;
    if (s->paused)
        s->owed += len;
    else
        nghttp2_session_consume(s->h->session, s->id, len);
}

void h2_pause(struct h2_stream *s, bool paused)
{
    s->paused = paused;
    if (paused || !s->owed)
        return;
    size_t owed = s->owed;
    s->owed = 0;
    nghttp2_session_consume(s->h->session, s->id, owed);
    h2_pump(s->h);
}

/* ---- heads ---- */

void h2_collect(struct h2_stream *s, const uint8_t *name, size_t name_len, const uint8_t *value,
                size_t len)
{
    struct http_head *h = s->trailing ? &s->trailers : &s->head;
    const char *n = (const char *)name, *v = (const char *)value;
    int r;
    if (name_len && *n == ':') {
        if (name_len == 7 && !memcmp(n, ":method", 7))
            r = head_put(h, v, len, &h->method);
        else if (name_len == 5 && !memcmp(n, ":path", 5))
            r = head_put(h, v, len, &h->target);
        else if (name_len == 10 && !memcmp(n, ":authority", 10))
            r = head_put(h, v, len, &h->authority);
        else if (name_len == 7 && !memcmp(n, ":status", 7))
            r = len == 3
                    ? (h->status = (uint16_t)((v[0] - '0') * 100 + (v[1] - '0') * 10 + v[2] - '0'),
                       0)
                    : -EINVAL;
        else
            r = 0; /* :scheme is what the connection is */
    } else {
        r = head_add(h, n, name_len, v, len);
    }
    if (r < 0)
        s->too_large = true;
}

int h2_join_cookies(struct http_head *h)
{
    CLEANUP_BUF struct buf all = {0};
    unsigned n = 0;
    for (uint16_t i = 0; i < h->nfields; i++) {
        if (!head_slice_is(h, h->fields[i].name, "cookie"))
            continue;
        if (n++)
            buf_puts(&all, "; ");
        buf_put(&all, head_at(h, h->fields[i].value), h->fields[i].value.len);
    }
    if (n < 2)
        return 0;
    return all.err ? all.err : head_set(h, "cookie", buf_str(&all), all.len);
}

nghttp2_nv h2_pair(const char *name, const char *value, size_t len)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .namelen = strlen(name),
                        .value = (uint8_t *)(uintptr_t)value,
                        .valuelen = len};
}

size_t h2_fields(const struct http_head *h, nghttp2_nv *nv, size_t npseudo)
{
    size_t n = npseudo;
    for (uint16_t i = 0; i < h->nfields; i++)
        nv[n++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)head_at(h, h->fields[i].name),
                               .namelen = h->fields[i].name.len,
                               .value = (uint8_t *)(uintptr_t)head_at(h, h->fields[i].value),
                               .valuelen = h->fields[i].value.len};
    return n;
}
