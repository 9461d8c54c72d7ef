/*
 * One reader of a process: what is kept of its output from a cursor on, then what is new, then its
 * end; and the way back: input and the size of the terminal. A reader that is slow holds up nobody
 * but itself: it has its own place in the log, and skips what the log has dropped meanwhile. Only
 * the owner of a command holds the command back, by the pipes that are not read (process.c).
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/init/process.h"
#include "sandbox/init/session.h"

enum { HEAD = sizeof(struct wire_frame), BURST = 16 };

struct stream {
    struct init_watch watch; /* first: cast */
    struct list item;
    struct list writer; /* of process->writers */
    struct process *process;
    int fd;
    uint64_t cursor;
    bool owner, read_only, follow, caught_up;
    bool released; /* it waits for nothing that is still to come */
    bool told;     /* the last frame was made */
    uint8_t out[HEAD + WIRE_FRAME_MAX];
    size_t out_len, out_at;
    uint8_t *extra; /* frames of stream_tell that wait behind `out` */
    size_t extra_len;
    uint8_t in[HEAD + WIRE_FRAME_MAX];
    size_t in_len, in_done; /* in_done: bytes of the first frame's payload that were taken */
    bool in_waits;
    uint64_t given, given_told; /* bytes of input */
};

struct stream *stream_of(struct list *item)
{
    return LIST_ENTRY(item, struct stream, item);
}

struct stream *stream_of_writer(struct list *item)
{
    return LIST_ENTRY(item, struct stream, writer);
}

bool stream_is_owner(const struct stream *s)
{
    return s->owner;
}

uint64_t stream_behind(const struct stream *s)
{
    uint64_t next = s->process->log.next;
    return s->owner && s->cursor < next ? next - s->cursor : 0;
}

void stream_free(struct stream *s)
{
    list_remove(&s->writer);
    list_remove(&s->item);
    watch_remove(&s->watch);
    close(s->fd);
    free(s->extra);
    free(s);
}

/* The reader has gone, or all was told. */
static void finish(struct stream *s)
{
    struct process *p = s->process;
    bool kills = s->owner && !p->settled && !s->released;
    stream_free(s);
    if (kills && p->shell)
        session_reader_gone(p);
    else if (kills)
        process_end(p, p->start.grace_ms ? SIGTERM : SIGKILL, p->start.grace_ms, WIRE_MARK_KILLED);
    process_resume(p); /* what is left of it is collected by the next tick */
}

static void frame(struct stream *s, uint16_t type, uint64_t cursor, uint64_t time_us,
                  const void *payload, size_t len)
{
    struct wire_frame f = {
        .type = type, .len = (uint32_t)len, .cursor = cursor, .time_us = time_us};
    memcpy(s->out, &f, HEAD);
    if (payload && len)
        memcpy(s->out + HEAD, payload, len);
    s->out_at = 0;
    s->out_len = HEAD + len;
}

/* Prepares what is to be sent next. false: nothing now. */
static bool next_frame(struct stream *s)
{
    struct process *p = s->process;
    struct ring_mark mark;
    struct wire_frame f = {.cursor = UINT64_MAX};
    long len = s->told ? 0 : wire_frame_parse(s->extra, s->extra_len, &f);
    if (len > 0 && s->caught_up && s->cursor >= f.cursor) {
        memcpy(s->out, s->extra, (size_t)len);
        s->out_at = 0;
        s->out_len = (size_t)len;
        s->extra_len -= (size_t)len;
        memmove(s->extra, s->extra + len, s->extra_len);
        s->told = f.type == WIRE_FRAME_DONE;
        return true;
    }
    if (s->told)
        return false;
    size_t cap = len > 0 && f.cursor > s->cursor && f.cursor - s->cursor < WIRE_FRAME_MAX
                     ? (size_t)(f.cursor - s->cursor)
                     : WIRE_FRAME_MAX;
    size_t n = ring_get(&p->log, &s->cursor, s->out + HEAD, cap, &mark);
    if (n) {
        frame(s, (uint16_t)mark.stream, s->cursor, mark.time_us, NULL, n);
        s->cursor += n;
        return true;
    }
    if (!s->caught_up) {
        s->caught_up = true;
        frame(s, WIRE_FRAME_CAUGHT_UP, s->cursor, 0, NULL, 0);
        return true;
    }
    if (s->follow && !p->settled)
        return false;
    if (s->given != s->given_told) {
        struct wire_given given = {s->given};
        s->given_told = s->given;
        frame(s, WIRE_FRAME_SYNCED, s->cursor, 0, &given, sizeof given);
        return true;
    }
    struct wire_process_info info;
    process_info(p, &info);
    s->told = true;
    frame(s, WIRE_FRAME_EXIT, s->cursor, info.ended_us, &info, sizeof info);
    return true;
}

void stream_pump(struct stream *s)
{
    for (int i = 0; i < BURST; i++) {
        if (s->out_at == s->out_len && !next_frame(s)) {
            if (s->told) {
                finish(s);
                return;
            }
            watch_set(&s->watch, s->in_waits ? EPOLLRDHUP : EPOLLIN);
            process_resume(s->process);
            return;
        }
        ssize_t n =
            send(s->fd, s->out + s->out_at, s->out_len - s->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            finish(s);
            return;
        }
        if (n < 0)
            break;
        s->out_at += (size_t)n;
    }
    watch_set(&s->watch, EPOLLOUT | (s->in_waits ? EPOLLRDHUP : EPOLLIN));
    process_resume(s->process);
}

/* In its place: behind all output so far. */
void stream_tell(struct stream *s, uint16_t type, const void *payload, size_t len)
{
    struct wire_frame f = {.type = type, .len = (uint32_t)len, .cursor = s->process->log.next};
    uint8_t *more = realloc(s->extra, s->extra_len + HEAD + len);
    if (!more)
        return;
    memcpy(more + s->extra_len, &f, HEAD);
    if (len)
        memcpy(more + s->extra_len + HEAD, payload, len);
    s->extra = more;
    s->released |= type == WIRE_FRAME_DONE;
    s->extra_len += HEAD + len;
}

/* Takes one frame of the reader. false: its input has to wait. */
static bool take(struct stream *s, const struct wire_frame *f, const uint8_t *payload)
{
    struct process *p = s->process;
    struct wire_resize size;
    struct wire_given given = {s->given};
    switch (f->type) {
    case WIRE_FRAME_STDIN:
        while (s->in_done < f->len && !s->read_only) {
            long n = process_input(p, payload + s->in_done, f->len - s->in_done);
            if (n == 0) {
                process_input_wait(p, &s->writer);
                return false;
            }
            if (n < 0)
                break;
            s->in_done += (size_t)n;
            s->given += (size_t)n;
        }
        s->in_done = 0;
        return true;
    case WIRE_FRAME_STDIN_END:
        if (!s->read_only)
            process_input_end(p);
        return true;
    case WIRE_FRAME_SYNC:
        s->given_told = given.bytes;
        stream_tell(s, WIRE_FRAME_SYNCED, &given, sizeof given);
        watch_set(&s->watch, s->watch.events | EPOLLOUT);
        return true;
    case WIRE_FRAME_RESIZE:
        if (f->len == sizeof size && !s->read_only) {
            memcpy(&size, payload, sizeof size);
            process_set_size(p, size.cols, size.rows);
        }
        return true;
    default:
        return true;
    }
}

/* false: the reader broke the protocol. */
static bool take_all(struct stream *s)
{
    for (;;) {
        struct wire_frame f;
        long n = wire_frame_parse(s->in, s->in_len, &f);
        if (n <= 0)
            return n == 0;
        if (!take(s, &f, s->in + HEAD)) {
            s->in_waits = true;
            return true;
        }
        s->in_len -= (size_t)n;
        memmove(s->in, s->in + n, s->in_len);
    }
}

void stream_input(struct stream *s)
{
    s->in_waits = false;
    if (!take_all(s))
        finish(s);
    else if (!s->in_waits)
        watch_set(&s->watch, (s->watch.events & ~(uint32_t)EPOLLRDHUP) | EPOLLIN);
}

static void on_ready(struct init_watch *w, uint32_t events)
{
    struct stream *s = (struct stream *)w;
    if (events & EPOLLIN && !s->in_waits) {
        ssize_t n = recv(s->fd, s->in + s->in_len, sizeof s->in - s->in_len, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            finish(s);
            return;
        }
        s->in_len += n > 0 ? (size_t)n : 0;
        if (!take_all(s)) {
            finish(s);
            return;
        }
        if (s->in_waits)
            watch_set(&s->watch, (s->watch.events & ~(uint32_t)EPOLLIN) | EPOLLRDHUP);
    } else if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
        finish(s);
        return;
    }
    if (events & EPOLLOUT)
        stream_pump(s);
}

int stream_new(struct process *p, int take_fd, uint64_t cursor, uint8_t flags, bool owner)
{
    CLEANUP_FD int fd = take_fd;
    struct stream *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->process = p;
    list_init(&s->writer);
    s->cursor = cursor < p->log.next ? cursor : p->log.next;
    s->owner = owner;
    s->read_only = flags & WIRE_ATTACH_READ_ONLY;
    s->follow = !(flags & WIRE_ATTACH_NO_FOLLOW);
    fd_set_nonblock(fd, 1);
    int r = watch_add(&s->watch, p->table->epoll, fd, EPOLLIN, on_ready);
    if (r < 0) {
        free(s);
        return r;
    }
    s->fd = STEAL_FD(fd);
    list_append(&p->streams, &s->item);
    return 0;
}
