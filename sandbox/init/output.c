/*
 * Output of a context: ring and pipes to STREAM packets on the frame socket, in the order that
 * outring.h describes. When that socket is full (the gateway is slow, or being restarted) what is
 * held waits here and nothing more is read, so the writers feel it: pipes and ring fill up and they
 * block. Nothing is dropped.
 *
 * The first text after a pause waits COLLECT_US for its neighbours (a print is several writes),
 * later text up to TICK_US; meanwhile the pipes are not watched and the producer need not ring. A
 * producer that waits (ring nearly full, or the end of a cell) rings the doorbell, which sends at
 * once.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/init/context.h"

enum { COLLECT_US = 300, TICK_US = 2000 };

/* Where text stands in a packet, behind the heads, two lengths and the stream byte. */
enum { TEXT_AT = PACKET_HEAD + MESSAGE_HEAD + 8 + 1 };

int64_t output_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
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

static void arm_frame(struct init_context *c, bool on)
{
    if (c->frame_armed == on)
        return;
    c->frame_armed = on;
    arm(c, SOURCE_FRAME, c->frame, on ? EPOLLOUT : 0);
}

int output_watch(struct init_context *c)
{
    int fds[SOURCES] = {c->ring.doorbell, c->pipe[0], c->pipe[1], c->frame};
    for (int i = 0; i < SOURCES; i++) {
        c->watch[i] = (struct context_watch){c, (enum context_source)i};
        struct epoll_event ev = {.events = i == SOURCE_FRAME ? 0 : EPOLLIN,
                                 .data.ptr = &c->watch[i]};
        if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, fds[i], &ev) < 0)
            return -errno;
    }
    c->pipes_armed = true;
    if (outring_sleep(&c->ring, c->tail)) /* the child was quicker: it has written already */
        c->due_us = output_now_us();
    return 0;
}

void output_unwatch(struct init_context *c)
{
    int fds[SOURCES] = {c->ring.doorbell, c->pipe[0], c->pipe[1], c->frame};
    for (int i = 0; i < SOURCES; i++)
        if (fds[i] >= 0)
            epoll_ctl(c->epoll, EPOLL_CTL_DEL, fds[i], NULL);
}

/* 0: sent, or it can never be (the gateway closed the socket). -EAGAIN: kept as the pending packet.
 */
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
    arm_frame(c, true);
    return -EAGAIN;
}

static int flush_pending(struct init_context *c)
{
    if (c->pending && send_packet(c, c->pending, c->pending_len) < 0)
        return -EAGAIN;
    free(c->pending);
    c->pending = NULL;
    arm_frame(c, false);
    return 0;
}

/* Sends text that stands in the packet already. */
static int send_stream(struct init_context *c, uint8_t *packet, uint64_t req, int stream,
                       size_t len)
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

/* Takes what a pipe holds, at most a packet full, unless the last piece is still here. */
static void read_pipe(struct init_context *c, int i)
{
    if (c->pipe[i] < 0 || c->held_len[i])
        return;
    if (!c->held[i] && !(c->held[i] = malloc(PACKET_MAX)))
        return;
    ssize_t n;
    do
        n = read(c->pipe[i], c->held[i] + TEXT_AT, PACKET_STREAM_MAX);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        c->held_len[i] = (size_t)n;
    } else if (n == 0) {
        epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->pipe[i], NULL);
        c->pipe[i] = fd_close(c->pipe[i]);
    }
}

static int send_ring(struct init_context *c, size_t *moved)
{
    static uint8_t packet[PACKET_MAX];
    for (;;) {
        uint64_t req = 0;
        int stream = 1;
        ssize_t n = c->ring.shared ? outring_read(&c->ring, &c->tail, &req, &stream,
                                                  packet + TEXT_AT, PACKET_STREAM_MAX)
                                   : 0;
        if (n < 0) /* it broke its own ring and loses it; fd 1 and 2 still work */
            c->ring.shared = NULL;
        if (n <= 0)
            return 0;
        *moved += (size_t)n;
        if (send_stream(c, packet, req, stream, (size_t)n) < 0)
            return -EAGAIN;
    }
}

static int send_held(struct init_context *c, size_t *moved)
{
    for (int i = 0; i < 2; i++) {
        size_t n = c->held_len[i];
        if (!n)
            continue;
        c->held_len[i] = 0;
        *moved += n;
        if (send_stream(c, c->held[i], 0, i + 1, n) < 0)
            return -EAGAIN;
    }
    return 0;
}

/* One round. *moved: bytes sent; *full: a pipe gave as much as fits, so there is probably more. */
static int round_trip(struct init_context *c, size_t *moved, bool *full)
{
    *moved = 0;
    *full = false;
    if (flush_pending(c) < 0)
        return -EAGAIN;
    if (c->ring.shared)
        outring_begin(&c->ring, OUTRING_BUSY_PIPE);
    for (int i = 0; i < 2; i++) {
        read_pipe(c, i);
        *full |= c->held_len[i] == PACKET_STREAM_MAX;
    }
    if (send_ring(c, moved) < 0 || send_held(c, moved) < 0)
        return -EAGAIN;
    if (c->ring.shared)
        outring_sent(&c->ring);
    return 0;
}

static int send_exited(struct init_context *c)
{
    uint8_t packet[PACKET_HEAD + MESSAGE_HEAD];
    size_t n = packet_build(packet, PACKET_FIRST | PACKET_LAST | PACKET_INIT, MESSAGE_EXITED,
                            (uint32_t)c->status, 0, 0, NULL, NULL);
    c->exit_queued = true;
    return send_packet(c, packet, n);
}

static void rest(struct init_context *c)
{
    c->due_us = 0;
    arm_pipes(c, true);
    for (int i = 0; i < 2; i++) {
        free(c->held[i]);
        c->held[i] = NULL;
    }
    if (c->ring.shared && outring_sleep(&c->ring, c->tail))
        c->due_us = output_now_us();
}

bool output_pump(struct init_context *c)
{
    size_t moved;
    bool full;

    if (c->exit_queued)
        return flush_pending(c) == 0;
    do {
        if (round_trip(c, &moved, &full) < 0) {
            arm_pipes(c, false);
            c->due_us = 0; /* the socket tells when to go on */
            return false;
        }
    } while (c->exited && moved);
    if (c->exited)
        return send_exited(c) == 0;
    if (!moved) {
        rest(c);
    } else {
        arm_pipes(c, false);
        c->due_us = output_now_us() + (full ? 0 : TICK_US);
    }
    return false;
}

bool output_event(struct init_context *c, enum context_source source)
{
    bool resting = !c->due_us && !c->frame_armed;
    if (source == SOURCE_DOORBELL) {
        uint64_t rings;
        ssize_t ignored = read(c->ring.doorbell, &rings, sizeof rings);
        (void)ignored;
    }
    if (!resting || (c->ring.shared && outring_wanted(&c->ring)))
        return output_pump(c);
    c->due_us = output_now_us() + COLLECT_US;
    arm_pipes(c, false);
    return false;
}
