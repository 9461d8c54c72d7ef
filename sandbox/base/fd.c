#include "sandbox/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int fd_close(int fd)
{
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return -1;
}

void fd_cleanup(int *fd)
{
    *fd = fd_close(*fd);
}

int fd_steal(int *fd)
{
    int r = *fd;
    *fd = -1;
    return r;
}

int fd_seqpacket_pair(int ret_fds[2])
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        return -errno;
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

int fd_set_nonblock(int fd, int on)
{
    int fl = fcntl(fd, F_GETFL);
    if (fl < 0 || fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

int fd_set_cloexec(int fd, int on)
{
    return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) < 0 ? -errno : 0;
}

ssize_t fd_send(int sock, const void *data, size_t len, const int *fds, size_t nfds)
{
    struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
    union {
        char space[CMSG_SPACE(sizeof(int) * FD_MSG_MAX_FDS)];
        struct cmsghdr align;
    } u;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (nfds > FD_MSG_MAX_FDS)
        return -EINVAL;
    if (nfds) {
        memset(&u, 0, sizeof u);
        msg.msg_control = u.space;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
    }
    ssize_t n;
    do
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* Takes the descriptors out of a received message, keeps at most cap of them and closes the rest.
 */
static size_t take_fds(struct msghdr *msg, int *fds, size_t cap)
{
    size_t kept = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
            if (kept < cap)
                fds[kept++] = fd;
            else
                close(fd);
        }
    }
    return kept;
}

ssize_t fd_recv(int sock, void *data, size_t cap, int *fds, size_t *nfds)
{
    struct iovec iov = {.iov_base = data, .iov_len = cap};
    union {
        char space[CMSG_SPACE(sizeof(int) * FD_MSG_MAX_FDS)];
        struct cmsghdr align;
    } u;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    size_t room = nfds ? *nfds : 0;

    msg.msg_control = u.space;
    msg.msg_controllen = sizeof u.space;
    ssize_t n;
    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    size_t kept = take_fds(&msg, fds, room);
    if (nfds)
        *nfds = kept;
    if (msg.msg_flags & MSG_TRUNC) {
        for (size_t i = 0; i < kept; i++)
            close(fds[i]);
        if (nfds)
            *nfds = 0;
        return -EMSGSIZE;
    }
    return n;
}

static int wait_for(int sock, short events, int timeout_ms)
{
    struct pollfd p = {.fd = sock, .events = events};
    int r;
    do
        r = poll(&p, 1, timeout_ms);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

ssize_t fd_send_wait(int sock, const void *data, size_t len, const int *fds, size_t nfds,
                     int timeout_ms)
{
    for (;;) {
        ssize_t n = fd_send(sock, data, len, fds, nfds);
        if (n != -EAGAIN)
            return n;
        int r = wait_for(sock, POLLOUT, timeout_ms);
        if (r < 0)
            return r;
    }
}

ssize_t fd_recv_wait(int sock, void *data, size_t cap, int *fds, size_t *nfds, int timeout_ms)
{
    size_t room = nfds ? *nfds : 0;
    for (;;) {
        if (nfds)
            *nfds = room;
        ssize_t n = fd_recv(sock, data, cap, fds, nfds);
        if (n != -EAGAIN)
            return n;
        int r = wait_for(sock, POLLIN, timeout_ms);
        if (r < 0)
            return r;
    }
}

int fd_write_all(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int fd_write_file_at(int dirfd, const char *path, const char *text)
{
    CLEANUP_FD int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    size_t len = strlen(text);
    ssize_t n = write(fd, text, len);
    return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

ssize_t fd_read_file_at(int dirfd, const char *path, char *out, size_t cap)
{
    CLEANUP_FD int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, out + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
        if (len == cap)
            return -EFBIG;
    }
    out[len] = 0;
    return (ssize_t)len;
}
