#include "sandbox/egress/net/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/buf.h"
#include "sandbox/base/fd.h"

enum { FLUSH_AT = 64 << 10, QUEUE_MAX = 64 << 20, LINGER_MS = 5000, READS_A_TURN = 8 };

struct stream {
    uv_poll_t poll;
    uv_prepare_t flush; /* active while something is to be sent this turn */
    uv_idle_t awake; /* active with it: what is written while others are flushed must not wait for
                        an event */
    uv_idle_t again; /* active while TLS holds bytes that no poll would tell of */
    uv_timer_t linger;
    int fd, handles, events;
    SSL *ssl;
    bool connecting, handshaking, server, paused, eof, closing, lingering, shut, shut_done, full,
        failed, in_data;
    bool want_write; /* TLS cannot go on reading before it has written */
    struct buf out;
    size_t out_at;
    const struct stream_ops *ops;
    void *user;
};

static void on_poll(uv_poll_t *h, int status, int events);
static void on_flush(uv_prepare_t *h);
static void on_again(uv_idle_t *h);
static void do_read(struct stream *s);

static void watch(struct stream *s)
{
    int want = 0;
    if (s->closing)
        return;
    if (!s->paused && !s->eof && !s->connecting && !s->failed && !s->lingering)
        want |= UV_READABLE;
    if (s->handshaking)
        want |= UV_READABLE;
    if (s->connecting || s->want_write ||
        (s->out_at < s->out.len && !uv_is_active((uv_handle_t *)&s->flush)))
        want |= UV_WRITABLE;
    if (want == s->events)
        return;
    s->events = want;
    if (want)
        uv_poll_start(&s->poll, want, on_poll);
    else
        uv_poll_stop(&s->poll);
}

struct stream *stream_new(uv_loop_t *loop, int take_fd, bool connecting,
                          const struct stream_ops *ops, void *user)
{
    CLEANUP_FD int fd = take_fd;
    int one = 1;
    struct stream *s = calloc(1, sizeof *s);
    if (!s || uv_poll_init(loop, &s->poll, fd) < 0) {
        free(s);
        return NULL;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    uv_prepare_init(loop, &s->flush);
    uv_idle_init(loop, &s->awake);
    uv_idle_init(loop, &s->again);
    uv_timer_init(loop, &s->linger);
    s->poll.data = s->flush.data = s->awake.data = s->again.data = s->linger.data = s;
    s->handles = 5;
    s->fd = STEAL_FD(fd);
    s->connecting = connecting;
    s->paused = true;
    s->ops = ops;
    s->user = user;
    buf_init(&s->out, QUEUE_MAX);
    watch(s);
    return s;
}

void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *user)
{
    s->ops = ops;
    s->user = user;
}

static void on_closed(uv_handle_t *h)
{
    struct stream *s = h->data;
    if (--s->handles)
        return;
    SSL_free(s->ssl);
    close(s->fd);
    buf_deinit(&s->out);
    free(s);
}

void stream_close(struct stream *s)
{
    if (!s || s->closing)
        return;
    s->closing = true;
    uv_close((uv_handle_t *)&s->poll, on_closed);
    uv_close((uv_handle_t *)&s->flush, on_closed);
    uv_close((uv_handle_t *)&s->awake, on_closed);
    uv_close((uv_handle_t *)&s->again, on_closed);
    uv_close((uv_handle_t *)&s->linger, on_closed);
}

void stream_reset(struct stream *s)
{
    struct linger hard = {1, 0};
    if (!s || s->closing)
        return;
    setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    stream_close(s);
}

static void fail(struct stream *s, const char *reason)
{
    if (s->failed || s->closing)
        return;
    s->failed = true;
    buf_reset(&s->out);
    s->out_at = 0;
    watch(s);
    if (s->lingering)
        stream_close(s);
    else
        s->ops->failed(s->user, reason);
}

static void fail_errno(struct stream *s, int e)
{
    fail(s, e == ECONNRESET || e == EPIPE ? "the connection was reset" : strerror(e));
}

/* The reason that a TLS call gives, or that of the system. */
static void fail_tls(struct stream *s, int ret)
{
    char text[256];
    int e = errno;
    int code = SSL_get_error(s->ssl, ret);
    long verify = SSL_get_verify_result(s->ssl);
    unsigned long queued = ERR_peek_last_error();
    if (s->handshaking && !s->server && verify != X509_V_OK)
        snprintf(text, sizeof text, "its certificate is not trusted: %s",
                 X509_verify_cert_error_string(verify));
    else if (code == SSL_ERROR_SSL && queued)
        snprintf(text, sizeof text, "TLS: %s",
                 ERR_reason_error_string(queued) ? ERR_reason_error_string(queued) : "error");
    else
        snprintf(text, sizeof text, "%s", e ? strerror(e) : "the connection was closed");
    ERR_clear_error();
    fail(s, text);
}

static void linger_over(uv_timer_t *t)
{
    stream_close(t->data);
}

/* ---- writing ---- */

static void finish_shutdown(struct stream *s)
{
    if (!s->shut || s->shut_done || s->failed)
        return;
    s->shut_done = true;
    if (s->ssl && !s->handshaking) {
        SSL_shutdown(s->ssl);
        ERR_clear_error();
    }
    shutdown(s->fd, SHUT_WR);
}

/* Sends what it can. */
static void do_write(struct stream *s)
{
    while (s->out_at < s->out.len && !s->failed && !s->connecting && !s->handshaking) {
        size_t len = s->out.len - s->out_at;
        const uint8_t *p = s->out.data + s->out_at;
        ssize_t n;
        if (s->ssl) {
            ERR_clear_error();
            errno = 0;
            n = SSL_write(s->ssl, p, len > INT32_MAX ? INT32_MAX : (int)len);
            if (n <= 0) {
                int code = SSL_get_error(s->ssl, (int)n);
                if (code != SSL_ERROR_WANT_WRITE && code != SSL_ERROR_WANT_READ)
                    fail_tls(s, (int)n);
                break;
            }
        } else {
            n = send(s->fd, p, len, MSG_NOSIGNAL);
            if (n < 0) {
                if (errno != EAGAIN && errno != EINTR)
                    fail_errno(s, errno);
                break;
            }
        }
        s->out_at += (size_t)n;
    }
    if (s->failed)
        return;
    if (s->out_at == s->out.len) {
        buf_reset(&s->out);
        s->out_at = 0;
        finish_shutdown(s);
        if (s->lingering) {
            stream_close(s);
            return;
        }
    } else if (s->out_at > STREAM_HIGH) {
        buf_consume(&s->out, s->out_at);
        s->out_at = 0;
    }
    watch(s);
    if (s->full && stream_unsent(s) < STREAM_LOW) {
        s->full = false;
        if (s->ops->drained)
            s->ops->drained(s->user);
    }
}

static void on_flush(uv_prepare_t *h)
{
    struct stream *s = h->data;
    uv_prepare_stop(h);
    uv_idle_stop(&s->awake);
    do_write(s);
}

static void on_awake(uv_idle_t *h)
{
    (void)h;
}

static void flush_soon(struct stream *s)
{
    uv_prepare_start(&s->flush, on_flush);
    uv_idle_start(&s->awake, on_awake);
}

int stream_write(struct stream *s, const void *data, size_t len)
{
    if (s->failed || s->closing || s->shut)
        return STREAM_OK;
    if (buf_put(&s->out, data, len) < 0) {
        s->out.err = 0;
        fail(s, "too much is waiting to be sent");
        return STREAM_OK;
    }
    if (!s->connecting && !s->handshaking && !uv_is_active((uv_handle_t *)&s->flush) &&
        !(s->events & UV_WRITABLE))
        flush_soon(s);
    if (stream_unsent(s) > STREAM_HIGH)
        s->full = true;
    return s->full ? STREAM_FULL : STREAM_OK;
}

bool stream_full(const struct stream *s)
{
    return s->full;
}

size_t stream_unsent(const struct stream *s)
{
    return s->out.len - s->out_at;
}

void stream_shutdown(struct stream *s)
{
    if (s->shut)
        return;
    s->shut = true;
    if (s->out_at == s->out.len && !s->connecting && !s->handshaking)
        finish_shutdown(s);
}

void stream_close_sent(struct stream *s)
{
    if (!s || s->closing)
        return;
    if (s->failed || (s->out_at == s->out.len)) {
        stream_shutdown(s);
        stream_close(s);
        return;
    }
    s->shut = s->lingering = true;
    watch(s);
    uv_timer_start(&s->linger, linger_over, LINGER_MS, 0);
}

/* ---- reading ---- */

static void deliver(struct stream *s, const uint8_t *data, size_t len)
{
    s->in_data = true;
    s->ops->data(s->user, data, len);
    s->in_data = false;
}

static void at_eof(struct stream *s)
{
    s->eof = true;
    watch(s);
    if (!s->lingering)
        s->ops->eof(s->user);
}

static bool read_plain(struct stream *s, uint8_t *space)
{
    ssize_t n = recv(s->fd, space, STREAM_READ, 0);
    if (n > 0) {
        deliver(s, space, (size_t)n);
        return n == STREAM_READ;
    }
    if (n == 0)
        at_eof(s);
    else if (errno != EAGAIN && errno != EINTR)
        fail_errno(s, errno);
    return false;
}

/* As many records as are there fill the space before they are handed on. */
static bool read_tls(struct stream *s, uint8_t *space)
{
    size_t have = 0;
    int n = 0, code = 0;
    ERR_clear_error();
    errno = 0;
    while (have < STREAM_READ &&
           (n = SSL_read(s->ssl, space + have, (int)(STREAM_READ - have))) > 0)
        have += (size_t)n;
    int e = errno;
    if (n <= 0)
        code = SSL_get_error(s->ssl, n);
    s->want_write = code == SSL_ERROR_WANT_WRITE;
    if (have)
        deliver(s, space, have);
    if (s->closing || s->failed || n > 0)
        return n > 0;
    if (code == SSL_ERROR_ZERO_RETURN || (code == SSL_ERROR_SYSCALL && e == 0)) {
        at_eof(s);
    } else if (code == SSL_ERROR_SSL &&
               ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        ERR_clear_error(); /* many servers end without close_notify; framing above tells a cut from
                              an end */
        at_eof(s);
    } else if (code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE) {
        errno = e;
        fail_tls(s, n);
    }
    return false;
}

static void do_read(struct stream *s)
{
    static uint8_t space[STREAM_READ];
    bool more = true;
    for (int i = 0; i < READS_A_TURN && more && !s->paused && !s->closing && !s->failed && !s->eof;
         i++)
        more = s->ssl ? read_tls(s, space) : read_plain(s, space);
    if (s->closing)
        return;
    if (more && s->ssl && !s->failed && !s->eof && !s->paused)
        uv_idle_start(&s->again, on_again);
    watch(s);
}

static void on_again(uv_idle_t *h)
{
    struct stream *s = h->data;
    uv_idle_stop(h);
    if (!s->paused && !s->failed && !s->eof && !s->handshaking)
        do_read(s);
}

void stream_pause(struct stream *s, bool paused)
{
    if (s->paused == paused || s->closing)
        return;
    s->paused = paused;
    if (paused)
        uv_idle_stop(&s->again);
    else if (s->ssl && !s->handshaking && SSL_has_pending(s->ssl))
        uv_idle_start(&s->again, on_again);
    watch(s);
}

/* ---- beginning ---- */

static void handshake(struct stream *s)
{
    ERR_clear_error();
    errno = 0;
    int r = SSL_do_handshake(s->ssl);
    if (r == 1) {
        s->handshaking = s->want_write = false;
        if (SSL_has_pending(s->ssl) && !s->paused)
            uv_idle_start(&s->again, on_again);
        watch(s);
        s->ops->open(s->user);
        if (!s->closing && stream_unsent(s))
            do_write(s);
        return;
    }
    int code = SSL_get_error(s->ssl, r);
    if (code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE) {
        fail_tls(s, r);
        return;
    }
    s->want_write = code == SSL_ERROR_WANT_WRITE;
    watch(s);
}

int stream_tls(struct stream *s, SSL *take_ssl, bool server)
{
    s->ssl = take_ssl;
    s->server = server;
    if (!SSL_set_fd(s->ssl, s->fd))
        return -ENOMEM;
    if (server)
        SSL_set_accept_state(s->ssl);
    else
        SSL_set_connect_state(s->ssl);
    s->handshaking = true;
    handshake(s);
    return 0;
}

SSL *stream_ssl(const struct stream *s)
{
    return s->ssl;
}

static void connected(struct stream *s)
{
    int e = 0;
    socklen_t len = sizeof e;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &e, &len);
    if (e) {
        fail_errno(s, e);
        return;
    }
    s->connecting = false;
    watch(s);
    s->ops->open(s->user);
    if (!s->closing && !s->ssl && stream_unsent(s))
        do_write(s);
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct stream *s = h->data;
    if (status < 0)
        events = UV_READABLE | UV_WRITABLE; /* the call itself will tell what is wrong */
    if (s->connecting) {
        connected(s);
        return;
    }
    if (s->handshaking) {
        handshake(s);
        return;
    }
    bool read_wanted_write = s->want_write;
    if (events & UV_WRITABLE)
        do_write(s);
    if (!s->closing && !s->failed && ((events & UV_READABLE) || read_wanted_write))
        do_read(s);
}

int stream_fd(const struct stream *s)
{
    return s->fd;
}
