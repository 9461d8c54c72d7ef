/*
 * Output of a context: ring first, then fd 1, then fd 2, each into STREAM packets on the frame socket. When that socket
 * is full (the gateway is slow, or being restarted) one packet waits here and nothing more is read, so the writers feel
 * it: pipes and ring fill up and they block. Nothing is dropped.
 *
 * The first output after a pause is sent at once. After that the context is "hot": until the next tick of the loop its
 * pipes are not watched and the producer need not ring, so that many small writes travel in one packet. A producer that
 * waits (ring full, or the end of a cell) rings the doorbell, which always pumps.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/init/context.h"

static uint8_t *packet_space(void)
{
    static uint8_t space[PACKET_MAX];
    return space;
}

static void arm(struct init_context *c, enum context_source s, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = &c->watch[s]};
    if (fd >= 0)
        epoll_ctl(c->epoll, EPOLL_CTL_MOD, fd, &ev);
}

static void arm_pipes(struct init_context *c, bool on)
{
    if (c->pipes_armed == on)
        return;
    c->pipes_armed = on;
    arm(c, SOURCE_OUT, c->pipe[0], on ? EPOLLIN : 0);
    arm(c, SOURCE_ERR, c->pipe[1], on ? EPOLLIN : 0);
}

int output_watch(struct init_context *c)
{
    int fds[SOURCES] = {c->ring.doorbell, c->pipe[0], c->pipe[1], c->frame};
    for (int i = 0; i < SOURCES; i++) {
        c->watch[i] = (struct context_watch){c, (enum context_source)i};
        struct epoll_event ev = {.events = i == SOURCE_FRAME ? 0 : EPOLLIN, .data.ptr = &c->watch[i]};
        if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, fds[i], &ev) < 0)
            return -errno;
    }
    c->pipes_armed = true;
    atomic_store(&c->ring.shared->idle, 1);
    return 0;
}

void output_unwatch(struct init_context *c)
{
    int fds[SOURCES] = {c->ring.doorbell, c->pipe[0], c->pipe[1], c->frame};
    for (int i = 0; i < SOURCES; i++)
        if (fds[i] >= 0)
            epoll_ctl(c->epoll, EPOLL_CTL_DEL, fds[i], NULL);
}

/* 0 sent, or it can never be sent (the gateway closed the socket); -EAGAIN: kept as pending. */
static int send_packet(struct init_context *c, const uint8_t *p, size_t n)
{
    ssize_t r;
    do
        r = send(c->frame, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    if (r >= 0 || errno != EAGAIN)
        return 0;
    if (c->pending != p) {
        c->pending = malloc(n);
        if (!c->pending)
            return 0;
        memcpy(c->pending, p, n);
        c->pending_len = n;
    }
    if (!c->frame_armed) {
        c->frame_armed = true;
        arm(c, SOURCE_FRAME, c->frame, EPOLLOUT);
    }
    return -EAGAIN;
}

static int flush_pending(struct init_context *c)
{
    if (!c->pending)
        return 0;
    if (send_packet(c, c->pending, c->pending_len) < 0)
        return -EAGAIN;
    free(c->pending);
    c->pending = NULL;
    if (c->frame_armed) {
        c->frame_armed = false;
        arm(c, SOURCE_FRAME, c->frame, 0);
    }
    return 0;
}

/* Sends text that already stands in the packet space, behind room for the heads. */
enum { TEXT_AT = PACKET_HEAD + MESSAGE_HEAD + 8 + 1 };

static int send_stream(struct init_context *c, uint8_t *packet, uint64_t req, int stream, size_t len)
{
    put_le(packet, PACKET_FIRST | PACKET_LAST | PACKET_INIT, PACKET_HEAD);
    put_le(packet + 4, MESSAGE_STREAM, 2);
    put_le(packet + 6, 2, 2);
    put_le(packet + 8, 0, 4);
    put_le(packet + 12, req, 8);
    put_le(packet + 20, 1, 4);
    put_le(packet + 24, len, 4);
    packet[28] = (uint8_t)stream;
    return send_packet(c, packet, TEXT_AT + len);
}

/* Returns bytes moved, -EAGAIN when the socket is full. */
static ssize_t pump_ring(struct init_context *c)
{
    uint8_t *packet = packet_space();
    ssize_t total = 0;

    while (c->ring.shared) {
        uint64_t req;
        int stream;
        ssize_t n = outring_read(&c->ring, &c->tail, &req, &stream, packet + TEXT_AT, PACKET_STREAM_MAX);
        if (n < 0) {
            /* It broke its own ring: it loses it. fd 1/2 still work. */
            c->ring.shared = NULL;
            break;
        }
        if (n == 0)
            break;
        total += n;
        if (send_stream(c, packet, req, stream, (size_t)n) < 0)
            return -EAGAIN;
    }
    return total;
}

static ssize_t pump_pipe(struct init_context *c, int i)
{
    uint8_t *packet = packet_space();
    ssize_t total = 0;

    /* Bounded, so that one flooding context cannot keep the loop from the others. */
    for (int round = 0; round < 16 && c->pipe[i] >= 0; round++) {
        ssize_t n = read(c->pipe[i], packet + TEXT_AT, PACKET_STREAM_MAX);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        if (n == 0) {
            epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->pipe[i], NULL);
            c->pipe[i] = fd_close(c->pipe[i]);
            break;
        }
        total += n;
        if (send_stream(c, packet, 0, i + 1, (size_t)n) < 0)
            return -EAGAIN;
    }
    return total;
}

static void wake_producer(struct outring_shared *s)
{
    atomic_fetch_add(&s->ticks, 1);
    syscall(SYS_futex, &s->ticks, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static int send_exited(struct init_context *c)
{
    uint8_t packet[PACKET_HEAD + MESSAGE_HEAD];
    size_t n = packet_build(packet, PACKET_FIRST | PACKET_LAST | PACKET_INIT, MESSAGE_EXITED, (uint32_t)c->status, 0, 0,
                            NULL, NULL);
    return send_packet(c, packet, n);
}

bool output_pump(struct init_context *c)
{
    struct outring_shared *s = c->ring.shared;
    ssize_t moved = 0;

    if (flush_pending(c) < 0)
        return false;
    if (c->exit_queued)
        return true;
    if (s)
        atomic_store(&s->busy, 1);
    for (;;) {
        ssize_t a = pump_ring(c);
        ssize_t b = a < 0 ? a : pump_pipe(c, 0);
        ssize_t d = b < 0 ? b : pump_pipe(c, 1);
        if (d < 0) {
            arm_pipes(c, false);
            return false; /* busy stays set: what is pending has not been sent */
        }
        moved += a + b + d;
        if (!c->exited || a + b + d == 0)
            break;
    }
    if (s) {
        atomic_store(&s->busy, 0);
        wake_producer(s);
    }
    if (c->exited) {
        c->exit_queued = true;
        return send_exited(c) == 0;
    }
    c->hot = moved > 0;
    arm_pipes(c, !c->hot);
    if (s)
        atomic_store(&s->idle, !c->hot);
    /* The producer may have written between the last read and idle = 1 without ringing. */
    if (s && !c->hot && atomic_load(&s->head) != c->tail)
        c->hot = true;
    return false;
}
