#include "sandbox/netns/netns.h"

#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"

static int lo_up(struct err *err)
{
    char buf[8192];
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!nl)
        return err_set(err, -errno, "open rtnetlink", NULL);
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    h->nlmsg_type = RTM_NEWLINK;
    h->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    struct ifinfomsg *ifm = mnl_nlmsg_put_extra_header(h, sizeof *ifm);
    ifm->ifi_index = 1; /* lo is the first device of every namespace */
    ifm->ifi_flags = IFF_UP;
    ifm->ifi_change = IFF_UP;
    ssize_t n = -1;
    if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0 &&
        mnl_socket_sendto(nl, h, h->nlmsg_len) > 0)
        n = mnl_socket_recvfrom(nl, buf, sizeof buf);
    int r = n < 0 ? -errno : mnl_cb_run(buf, (size_t)n, 0, 0, NULL, NULL) < 0 ? -errno : 0;
    mnl_socket_close(nl);
    return r < 0 ? err_set(err, r, "bring lo up", NULL) : 0;
}

int netns_configure(int netns_fd, struct err *err)
{
    CLEANUP_FD int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return err_set(err, -errno, "open own network namespace", NULL);
    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return err_set(err, -errno, "enter network namespace", NULL);
    int r = lo_up(err);
    if (setns(own, CLONE_NEWNET) < 0)
        abort();
    return r;
}

int netns_sockets(int netns_fd, int ret_fds[2], struct err *err)
{
    enum { TYPE = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK };
    CLEANUP_FD int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return err_set(err, -errno, "open own network namespace", NULL);
    if (setns(netns_fd, CLONE_NEWNET) < 0)
        return err_set(err, -errno, "enter network namespace", NULL);
    int v4 = socket(AF_INET, TYPE, 0), e = errno, v6 = socket(AF_INET6, TYPE, 0);
    if (setns(own, CLONE_NEWNET) < 0)
        abort();
    if (v4 < 0) {
        fd_close(v6);
        return err_set(err, -e, "make socket", NULL);
    }
    ret_fds[0] = v4;
    ret_fds[1] = v6;
    return 0;
}
