#include "contexts/python/host.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "contexts/proto/frame.h"

enum { CHUNK_MAX = PACKET_MAX - PACKET_HEAD };

static int wait_writable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

static int send_packet(int fd, const struct iovec *iov, unsigned n)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = n};

    for (;;) {
        if (sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno == EAGAIN) {
            int r = wait_writable(fd);
            if (r < 0)
                return r;
        } else if (errno != EINTR && errno != ENOBUFS) {
            return -errno;
        }
    }
}

int link_send(const struct link *l, uint16_t type, uint32_t arg, uint64_t req, unsigned nsections,
              const struct section *sections)
{
    uint8_t head[MESSAGE_HEAD + 4 * MESSAGE_SECTIONS_MAX];
    struct iovec part[1 + MESSAGE_SECTIONS_MAX];
    struct iovec iov[2 + MESSAGE_SECTIONS_MAX];
    unsigned nparts = nsections + 1, at = 0;
    uint8_t flags = PACKET_FIRST;

    if (nsections > MESSAGE_SECTIONS_MAX)
        return -EMSGSIZE;
    put_le(head, type, 2);
    put_le(head + 2, nsections, 2);
    put_le(head + 4, arg, 4);
    put_le(head + 8, req, 8);
    part[0] = (struct iovec){.iov_base = head, .iov_len = MESSAGE_HEAD + 4u * nsections};
    for (unsigned i = 0; i < nsections; i++) {
        put_le(head + MESSAGE_HEAD + 4u * i, sections[i].len, 4);
        part[1 + i] =
            (struct iovec){.iov_base = (void *)sections[i].data, .iov_len = sections[i].len};
    }
    while (at < nparts) {
        uint8_t packet_head[PACKET_HEAD] = {0};
        size_t room = CHUNK_MAX;
        unsigned n = 1;
        iov[0] = (struct iovec){.iov_base = packet_head, .iov_len = PACKET_HEAD};
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
        packet_head[0] = flags | (at == nparts ? PACKET_LAST : 0);
        int r = send_packet(l->fd, iov, n);
        if (r < 0)
            return r;
        flags = 0;
    }
    return 0;
}

ssize_t link_recv(const struct link *l, uint8_t *buf)
{
    for (;;) {
        ssize_t n = recv(l->fd, buf, PACKET_MAX, MSG_DONTWAIT);
        if (n >= 0)
            return n;
        if (errno == ECONNRESET)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}
