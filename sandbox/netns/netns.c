#include "sandbox/netns/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/netns/private.h"

static int enter(int netns_fd, int *ret_own, struct err *err)
{
    CLEANUP_FD int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return err_set(err, -errno, "open own network namespace", NULL);
    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return err_set(err, -errno, "enter network namespace", NULL);
    *ret_own = STEAL_FD(own);
    return 0;
}

/* In the wrong network nothing may go on. */
static void leave(int own)
{
    if (setns(own, CLONE_NEWNET) < 0)
        abort();
    close(own);
}

int netns_configure(int netns_fd, int ret_fds[NETNS_LISTENERS], struct err *err)
{
    int own = -1;
    int r = enter(netns_fd, &own, err);
    if (r < 0)
        return r;
    r = routes_make(err);
    if (r == 0)
        r = listeners_open(ret_fds, err);
    if (r == 0 && (r = redirect_make(err)) < 0)
        for (int i = 0; i < NETNS_LISTENERS; i++)
            ret_fds[i] = fd_close(ret_fds[i]);
    leave(own);
    return r;
}

int netns_sockets(int netns_fd, int ret_fds[2], struct err *err)
{
    enum { TYPE = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK };
    int own = -1;
    int r = enter(netns_fd, &own, err);
    if (r < 0)
        return r;
    int v4 = socket(AF_INET, TYPE, 0), e = errno, v6 = socket(AF_INET6, TYPE, 0);
    leave(own);
    if (v4 < 0) {
        fd_close(v6);
        return err_set(err, -e, "make socket", NULL);
    }
    ret_fds[0] = v4;
    ret_fds[1] = v6;
    return 0;
}
