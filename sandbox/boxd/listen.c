#include "sandbox/boxd/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"

static int split(const char *where, char *host, size_t host_cap, const char **ret_port)
{
    const char *colon = strrchr(where, ':');
    if (!colon || colon == where || !colon[1] ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return -EINVAL;
    size_t n = (size_t)(colon - where);
    if (where[0] == '[' && where[n - 1] == ']') {
        where++;
        n -= 2;
    }
    if (n >= host_cap || strtoul(colon + 1, NULL, 10) > 65535)
        return -EINVAL;
    memcpy(host, where, n);
    host[n] = 0;
    *ret_port = colon + 1;
    return 0;
}

static int describe(int fd, char *text, size_t cap)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    char host[80], port[16];
    if (getsockname(fd, (struct sockaddr *)&a, &n) < 0)
        return -errno;
    if (getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return -EINVAL;
    snprintf(text, cap, strchr(host, ':') ? "http://[%s]:%s" : "http://%s:%s", host, port);
    return 0;
}

int listen_open(const char *where, int *ret_fd, char *ret_text, size_t cap, struct err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char host[100];
    const char *port;
    int on = 1;

    if (split(where, host, sizeof host, &port) < 0)
        return err_set(err, -EINVAL, "listen", "%s is not ADDR:PORT with a port from 0 to 65535",
                       where);
    int g = getaddrinfo(host, port, &hints, &found);
    if (g)
        return err_set(err, -EINVAL, "listen", "%s: %s", where, gai_strerror(g));
    CLEANUP_FD int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int r = 0;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 4096) < 0)
        r = -errno;
    freeaddrinfo(found);
    if (r == -EADDRINUSE)
        return err_set(err, r, "listen",
                       "%s is in use by another program; choose another with --listen ADDR:PORT",
                       where);
    if (r < 0)
        return err_set(err, r, "listen", "%s: %s", where, strerror(-r));
    describe(fd, ret_text, cap);
    *ret_fd = STEAL_FD(fd);
    return 0;
}
