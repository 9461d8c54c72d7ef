#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "sandbox/netns/private.h"

enum { LO = 1 /* the first device of every namespace */ };

struct channel {
    struct mnl_socket *nl;
    char buf[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static struct nlmsghdr *begin(struct channel *c, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(c->buf);
    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    return h;
}

static int ask(struct channel *c, const struct nlmsghdr *h, const char *step, struct err *err)
{
    ssize_t n = -1;
    if (mnl_socket_sendto(c->nl, h, h->nlmsg_len) > 0)
        n = mnl_socket_recvfrom(c->nl, c->buf, sizeof c->buf);
    if (n < 0 || mnl_cb_run(c->buf, (size_t)n, 0, 0, NULL, NULL) < 0)
        return err_set(err, -errno, step, NULL);
    return 0;
}

static int lo_up(struct channel *c, struct err *err)
{
    struct nlmsghdr *h = begin(c, RTM_NEWLINK, 0);
    struct ifinfomsg *ifm = mnl_nlmsg_put_extra_header(h, sizeof *ifm);
    ifm->ifi_index = LO;
    ifm->ifi_flags = IFF_UP;
    ifm->ifi_change = IFF_UP;
    return ask(c, h, "bring lo up", err);
}

static int parse(int family, const char *text, uint8_t out[16])
{
    return inet_pton(family, text, out) == 1 ? family == AF_INET ? 4 : 16 : -EINVAL;
}

static int add_address(struct channel *c, int family, const char *text, struct err *err)
{
    uint8_t addr[16];
    int len = parse(family, text, addr);
    struct nlmsghdr *h = begin(c, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(h, sizeof *ifa);
    ifa->ifa_family = (uint8_t)family;
    ifa->ifa_prefixlen = (uint8_t)(len * 8);
    ifa->ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
    ifa->ifa_index = LO;
    mnl_attr_put(h, IFA_LOCAL, (size_t)len, addr);
    mnl_attr_put(h, IFA_ADDRESS, (size_t)len, addr);
    return ask(c, h, "add address to lo", err);
}

/* Without a preferred source the client's own address would become the destination. */
static int add_route(struct channel *c, int family, const char *source, struct err *err)
{
    uint8_t addr[16];
    int len = parse(family, source, addr);
    struct nlmsghdr *h = begin(c, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    struct rtmsg *rtm = mnl_nlmsg_put_extra_header(h, sizeof *rtm);
    rtm->rtm_family = (uint8_t)family;
    rtm->rtm_table = RT_TABLE_LOCAL;
    rtm->rtm_protocol = RTPROT_STATIC;
    rtm->rtm_scope = RT_SCOPE_HOST;
    rtm->rtm_type = RTN_LOCAL;
    mnl_attr_put(h, RTA_PREFSRC, (size_t)len, addr);
    mnl_attr_put_u32(h, RTA_OIF, LO);
    return ask(c, h, "make every address local", err);
}

int routes_make(struct err *err)
{
    struct channel c = {.nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC)};
    if (!c.nl)
        return err_set(err, -errno, "open rtnetlink", NULL);
    int r = mnl_socket_bind(c.nl, 0, MNL_SOCKET_AUTOPID) < 0
                ? err_set(err, -errno, "bind rtnetlink", NULL)
                : 0;
    if (r == 0)
        r = lo_up(&c, err);
    if (r == 0)
        r = add_address(&c, AF_INET, NETNS_ADDRESS4, err);
    if (r == 0)
        r = add_address(&c, AF_INET, NETNS_RESOLVER4, err);
    if (r == 0)
        r = add_address(&c, AF_INET6, NETNS_ADDRESS6, err);
    if (r == 0)
        r = add_address(&c, AF_INET6, NETNS_RESOLVER6, err);
    if (r == 0)
        r = add_route(&c, AF_INET, NETNS_ADDRESS4, err);
    if (r == 0)
        r = add_route(&c, AF_INET6, NETNS_ADDRESS6, err);
    mnl_socket_close(c.nl);
    return r;
}
