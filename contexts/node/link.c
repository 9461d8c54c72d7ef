/*
 * Frame socket. Two threads use it: main, and the watcher while main is busy. Sending is one
 * lock, so that the packets of a message follow each other; who receives holds watch.c's.
 */
#include "contexts/node/host.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { CHUNK_MAX = PACKET_MAX - PACKET_HEAD, MESSAGE_MAX = 65 << 20 };

static int link_socket = -1;
static pthread_mutex_t send_lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t packet[PACKET_MAX];
static uint8_t *partial;
static size_t partial_len, partial_cap;

void link_init(int fd)
{
    link_socket = fd;
}

int link_fd(void)
{
    return link_socket;
}

static int send_packet(const struct iovec *iov, unsigned n)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};

    for (;;) {
        if (sendmsg(link_socket, &msg, MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno == EAGAIN) {
            struct pollfd p = {.fd = link_socket, .events = POLLOUT};
            poll(&p, 1, -1);
        } else if (errno != EINTR && errno != ENOBUFS) {
            return -errno;
        }
    }
}

static int send_parts(struct iovec *part, unsigned nparts)
{
    struct iovec iov[2 + MESSAGE_SECTIONS_MAX];
    uint8_t flags = PACKET_FIRST;
    unsigned at = 0;

    while (at < nparts) {
        uint8_t head[PACKET_HEAD] = {0};
        size_t room = CHUNK_MAX;
        unsigned n = 1;
        iov[0] = (struct iovec){.iov_base = head, .iov_len = PACKET_HEAD};
        while (at < nparts && room) {
            size_t take = part[at].iov_len < room ? part[at].iov_len : room;
            iov[n++] = (struct iovec){.iov_base = part[at].iov_base, .iov_len = take};
            part[at].iov_base = (uint8_t *)part[at].iov_base + take;
            part[at].iov_len -= take;
            room -= take;
            if (part[at].iov_len == 0)
                at++;
        }
        while (at < nparts && part[at].iov_len == 0)
            at++; /* empty sections at the end belong to this packet */
        head[0] = flags | (at == nparts ? PACKET_LAST : 0);
        int r = send_packet(iov, n);
        if (r < 0)
            return r;
        flags = 0;
    }
    return 0;
}

int link_send(uint16_t type, uint32_t arg, uint64_t req, unsigned nsections,
              const struct section *sections)
{
    uint8_t head[MESSAGE_HEAD + 4 * MESSAGE_SECTIONS_MAX];
    struct iovec part[1 + MESSAGE_SECTIONS_MAX];

    if (nsections > MESSAGE_SECTIONS_MAX)
        return -EMSGSIZE;
    put_le(head, type, 2);
    put_le(head + 2, nsections, 2);
    put_le(head + 4, arg, 4);
    put_le(head + 8, req, 8);
    part[0] = (struct iovec){.iov_base = head, .iov_len = MESSAGE_HEAD + 4u * nsections};
    for (unsigned i = 0; i < nsections; i++) {
        if (sections[i].len > UINT32_MAX)
            return -EMSGSIZE;
        put_le(head + MESSAGE_HEAD + 4u * i, sections[i].len, 4);
        part[1 + i] =
            (struct iovec){.iov_base = (void *)sections[i].data, .iov_len = sections[i].len};
    }
    pthread_mutex_lock(&send_lock);
    int r = send_parts(part, nsections + 1);
    pthread_mutex_unlock(&send_lock);
    return r;
}

/* A message as it came, with its sections found. NULL: malformed, or no memory. */
static struct message *parse(const uint8_t *data, size_t len)
{
    if (len < MESSAGE_HEAD)
        return NULL;
    unsigned n = (unsigned)get_le(data + 2, 2);
    size_t at = MESSAGE_HEAD + 4u * (size_t)n;
    if (n > MESSAGE_SECTIONS_MAX || len < at)
        return NULL;
    struct message *m = malloc(sizeof *m + len);
    if (!m)
        return NULL;
    memset(m, 0, sizeof *m);
    memcpy(m->bytes, data, len);
    m->type = (uint16_t)get_le(data, 2);
    m->arg = (uint32_t)get_le(data + 4, 4);
    m->req = get_le(data + 8, 8);
    m->nsections = n;
    for (unsigned i = 0; i < n; i++) {
        size_t length = get_le(data + MESSAGE_HEAD + 4u * i, 4);
        if (length > len - at) {
            free(m);
            return NULL;
        }
        m->sections[i] = (struct section){m->bytes + at, length};
        at += length;
    }
    return m;
}

static int append(const uint8_t *data, size_t len)
{
    if (partial_len + len > MESSAGE_MAX)
        return -EPROTO;
    if (partial_len + len > partial_cap) {
        size_t cap = (partial_len + len) * 2;
        uint8_t *more = realloc(partial, cap);
        if (!more)
            return -ENOMEM;
        partial = more;
        partial_cap = cap;
    }
    memcpy(partial + partial_len, data, len);
    partial_len += len;
    return 0;
}

static void forget_partial(void)
{
    free(partial);
    partial = NULL;
    partial_len = partial_cap = 0;
}

/* A message that begins anew replaces an unfinished one: a restarted gateway sends it again. */
static int take_packet(size_t n, struct message **ret_message)
{
    const uint8_t *chunk = packet + PACKET_HEAD;
    size_t len = n - PACKET_HEAD;
    bool first = packet[0] & PACKET_FIRST, last = packet[0] & PACKET_LAST;

    if (first && partial)
        forget_partial();
    if (first && last) {
        *ret_message = parse(chunk, len);
        return *ret_message ? 1 : -EPROTO;
    }
    if (!first && !partial)
        return 0;
    int r = append(chunk, len);
    if (r < 0 || !last)
        return r;
    *ret_message = parse(partial, partial_len);
    forget_partial();
    return *ret_message ? 1 : -EPROTO;
}

int link_receive(struct message **ret_message)
{
    ssize_t n;
    do
        n = recv(link_socket, packet, sizeof packet, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? -EAGAIN : -EPIPE;
    if (n == 0)
        return -EPIPE;
    return n < PACKET_HEAD ? -EPROTO : take_packet((size_t)n, ret_message);
}
