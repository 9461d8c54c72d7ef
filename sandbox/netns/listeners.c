#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "sandbox/base/fd.h"
#include "sandbox/netns/private.h"

enum { BACKLOG = 1024, FLAGS = SOCK_CLOEXEC | SOCK_NONBLOCK };

static int on(int fd, int level, int option)
{
    int one = 1;
    return setsockopt(fd, level, option, &one, sizeof one);
}

static int open4(int type, const char *address, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    CLEANUP_FD int fd = socket(AF_INET, type | FLAGS, 0);
    inet_pton(AF_INET, address, &a.sin_addr);
    if (fd < 0 || on(fd, SOL_IP, IP_TRANSPARENT) < 0 || on(fd, SOL_IP, IP_PKTINFO) < 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
        (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
        return -errno;
    return STEAL_FD(fd);
}

static int open6(int type, const char *address, uint16_t port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    CLEANUP_FD int fd = socket(AF_INET6, type | FLAGS, 0);
    inet_pton(AF_INET6, address, &a.sin6_addr);
    if (fd < 0 || on(fd, SOL_IPV6, IPV6_V6ONLY) < 0 || on(fd, SOL_IPV6, IPV6_TRANSPARENT) < 0 ||
        on(fd, SOL_IPV6, IPV6_RECVPKTINFO) < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
        (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
        return -errno;
    return STEAL_FD(fd);
}

int listeners_open(int ret_fds[NETNS_LISTENERS], struct err *err)
{
    int fds[NETNS_LISTENERS] = {
        [NETNS_TCP4] = open4(SOCK_STREAM, "0.0.0.0", NETNS_PORT),
        [NETNS_TCP6] = open6(SOCK_STREAM, "::", NETNS_PORT),
        [NETNS_UDP4] = open4(SOCK_DGRAM, NETNS_RESOLVER4, 53),
        [NETNS_UDP6] = open6(SOCK_DGRAM, NETNS_RESOLVER6, 53),
    };
    int r = 0;
    for (int i = 0; i < NETNS_LISTENERS; i++)
        if (fds[i] < 0 && r == 0)
            r = fds[i];
    if (r < 0) {
        for (int i = 0; i < NETNS_LISTENERS; i++)
            if (fds[i] >= 0)
                fd_close(fds[i]);
        return err_set(err, r, "open egress listeners", NULL);
    }
    memcpy(ret_fds, fds, sizeof fds);
    return 0;
}
