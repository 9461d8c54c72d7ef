/* G's end of a stream. The box is as hostile as ever: frames are checked, queues are bounded. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contexts/manager/links/process_link.h"
#include "sandbox/base/fd.h"

enum { HEAD = sizeof(struct wire_frame), READ_MAX = 128 << 10, READS_PER_WAKEUP = 4 };

struct process_stream {
    uv_poll_t poll;
    int fd, armed; /* events that libuv waits for */
    bool freed, paused, dead;
    const struct process_stream_ops *ops;
    void *user;
    struct buf in, out;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void rearm(struct process_stream *s)
{
    int events = (s->paused ? 0 : UV_READABLE) | (s->out.len ? UV_WRITABLE : 0);
    if (s->freed || s->dead || events == s->armed)
        return;
    s->armed = events;
    if (events)
        uv_poll_start(&s->poll, events, on_poll);
    else
        uv_poll_stop(&s->poll);
}

struct process_stream *process_stream_new(uv_loop_t *loop, const struct process_stream_ops *ops,
                                          void *user, int *ret_theirs)
{
    int fds[2];
    struct process_stream *s = calloc(1, sizeof *s);
    if (!s || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0) {
        free(s);
        return NULL;
    }
    s->ops = ops;
    s->user = user;
    s->fd = fds[0];
    if (uv_poll_init(loop, &s->poll, s->fd) < 0) {
        close(fds[0]);
        close(fds[1]);
        free(s);
        return NULL;
    }
    s->poll.data = s;
    *ret_theirs = fds[1];
    rearm(s);
    return s;
}

static void on_closed(uv_handle_t *h)
{
    struct process_stream *s = h->data;
    buf_deinit(&s->in);
    buf_deinit(&s->out);
    free(s);
}

void process_stream_free(struct process_stream *s)
{
    if (!s || s->freed)
        return;
    s->freed = true;
    uv_poll_stop(&s->poll);
    close(s->fd); /* now: its end is what tells init */
    uv_close((uv_handle_t *)&s->poll, on_closed);
}

static void dead(struct process_stream *s)
{
    uv_poll_stop(&s->poll);
    s->dead = true;
    s->ops->closed(s->user);
}

/* Hands out whole frames until it is paused. false: gone. */
static bool deliver(struct process_stream *s)
{
    size_t at = 0;
    while (!s->paused && !s->freed) {
        struct wire_frame f;
        long n = wire_frame_parse(s->in.data + at, s->in.len - at, &f);
        if (n < 0 || (n > 0 && f.type > WIRE_FRAME_SYNCED)) {
            dead(s);
            return false;
        }
        if (n == 0)
            break;
        at += (size_t)n;
        s->ops->frame(s->user, &f, s->in.data + at - f.len);
    }
    if (s->freed)
        return false;
    buf_consume(&s->in, at);
    return true;
}

static void receive(struct process_stream *s)
{
    for (int i = 0; i < READS_PER_WAKEUP && !s->paused && !s->freed; i++) {
        if (buf_reserve(&s->in, READ_MAX) < 0) {
            dead(s);
            return;
        }
        ssize_t n = recv(s->fd, s->in.data + s->in.len, READ_MAX, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            dead(s);
            return;
        }
        s->in.len += (size_t)n;
        if (!deliver(s))
            return;
        if ((size_t)n < READ_MAX)
            return;
    }
}

static void flush(struct process_stream *s)
{
    size_t at = 0;
    bool had = s->out.len > 0;
    while (at < s->out.len) {
        ssize_t n = send(s->fd, s->out.data + at, s->out.len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN) {
            at = s->out.len; /* its end is read, too */
            break;
        }
        if (n < 0)
            break;
        at += (size_t)n;
    }
    buf_consume(&s->out, at);
    if (had && !s->out.len && s->ops->drained)
        s->ops->drained(s->user);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct process_stream *s = poll->data;
    if (status < 0) { /* it closed with input unread; what it said before is still to be had */
        s->armed = 0;
        events = UV_READABLE;
    }
    if (events & UV_WRITABLE)
        flush(s);
    if ((events & UV_READABLE) && !s->freed && !s->dead)
        receive(s);
    rearm(s);
}

void process_stream_pause(struct process_stream *s)
{
    s->paused = true;
    rearm(s);
}

void process_stream_resume(struct process_stream *s)
{
    if (!s->paused || s->freed)
        return;
    s->paused = false;
    if (deliver(s))
        rearm(s);
}

static int put_frame(struct process_stream *s, uint16_t type, const void *data, size_t len)
{
    struct wire_frame f = {.type = type, .len = (uint32_t)len};
    buf_put(&s->out, &f, HEAD);
    if (len)
        buf_put(&s->out, data, len);
    return s->out.err;
}

static int send_now(struct process_stream *s)
{
    if (s->dead || s->freed)
        return -EPIPE;
    if (s->out.err)
        return s->out.err;
    const struct process_stream_ops *ops = s->ops;
    static const struct process_stream_ops quiet; /* not from inside */
    s->ops = &quiet;
    flush(s);
    s->ops = ops;
    rearm(s);
    return 0;
}

int process_stream_input(struct process_stream *s, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len) {
        size_t n = len < WIRE_FRAME_MAX ? len : WIRE_FRAME_MAX;
        int r = put_frame(s, WIRE_FRAME_STDIN, p, n);
        if (r < 0)
            return r;
        p += n;
        len -= n;
    }
    return send_now(s);
}

int process_stream_input_end(struct process_stream *s)
{
    int r = put_frame(s, WIRE_FRAME_STDIN_END, NULL, 0);
    return r < 0 ? r : send_now(s);
}

int process_stream_sync(struct process_stream *s)
{
    int r = put_frame(s, WIRE_FRAME_SYNC, NULL, 0);
    return r < 0 ? r : send_now(s);
}

int process_stream_resize(struct process_stream *s, uint16_t cols, uint16_t rows)
{
    struct wire_resize size = {cols, rows};
    int r = put_frame(s, WIRE_FRAME_RESIZE, &size, sizeof size);
    return r < 0 ? r : send_now(s);
}

size_t process_stream_queued(const struct process_stream *s)
{
    return s->out.len;
}
