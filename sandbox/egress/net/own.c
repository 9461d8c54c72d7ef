#include "sandbox/egress/net/own.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "sandbox/egress/policy/address.h"

struct own {
    struct mnl_socket *nl;
    unsigned port, seq;
};

int own_open(struct own **ret)
{
    struct timeval patience = {.tv_sec = 1}; /* the kernel answers within the call */
    struct own *o = calloc(1, sizeof *o);
    if (!o)
        return -ENOMEM;
    o->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!o->nl || mnl_socket_bind(o->nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
        setsockopt(mnl_socket_get_fd(o->nl), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) <
            0) {
        int r = -errno;
        if (o->nl)
            mnl_socket_close(o->nl);
        free(o);
        return r;
    }
    o->port = mnl_socket_get_portid(o->nl);
    *ret = o;
    return 0;
}

static int on_route(const struct nlmsghdr *h, void *user)
{
    const struct rtmsg *r = mnl_nlmsg_get_payload(h);
    int *type = user;
    if (h->nlmsg_type == RTM_NEWROUTE && mnl_nlmsg_get_payload_len(h) >= sizeof *r)
        *type = r->rtm_type;
    return MNL_CB_STOP;
}

/* The kind of route that a connection to it would take. */
static int route_type(struct own *o, const struct address *a)
{
    char space[MNL_NLMSG_HDRLEN + 1024];
    struct nlmsghdr *h = mnl_nlmsg_put_header(space);
    struct rtmsg *r;
    int type = -EPROTO;
    size_t len = a->v4 ? 4 : 16;
    h->nlmsg_type = RTM_GETROUTE;
    h->nlmsg_flags = NLM_F_REQUEST;
    h->nlmsg_seq = ++o->seq;
    r = mnl_nlmsg_put_extra_header(h, sizeof *r);
    r->rtm_family = a->v4 ? AF_INET : AF_INET6;
    r->rtm_dst_len = (uint8_t)(8 * len);
    mnl_attr_put(h, RTA_DST, len, a->bytes);
    if (mnl_socket_sendto(o->nl, h, h->nlmsg_len) < 0)
        return -errno;
    char answer[8192];
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(o->nl, answer, sizeof answer);
        if (n < 0)
            return -errno;
        int e = mnl_cb_run(answer, (size_t)n, o->seq, o->port, on_route, &type);
        if (e >= 0)
            return type;
        if (errno != ESRCH && errno != EPROTO) /* else it belongs to a question before */
            return -errno;
    }
}

static int own_one(struct own *o, const struct address *a)
{
    int type = route_type(o, a);
    if (type == -ENETUNREACH || type == -EHOSTUNREACH || type == -EACCES || type == -EINVAL)
        return 0; /* there is no way to it: the connection will say so */
    if (type < 0)
        return type;
    return type == RTN_LOCAL || type == RTN_BROADCAST || type == RTN_ANYCAST;
}

int own_holds(struct own *o, const struct sockaddr *addr)
{
    struct address a, inner[ADDRESS_INNER_MAX];
    if (!address_from(addr, &a))
        return -EAFNOSUPPORT;
    int r = own_one(o, &a);
    size_t n = address_inner(&a, inner);
    for (size_t i = 0; i < n && r == 0; i++)
        r = own_one(o, &inner[i]);
    return r;
}
