/*
 * The nft rule set of a box, one batch:
 *
 *   table inet egress { chain in { type filter hook prerouting priority mangle;
 *     ip daddr != 127.0.0.0/8 ip daddr != OWN meta l4proto tcp tproxy ip to :1
 *     ip daddr != 127.0.0.0/8 udp dport 53 tproxy ip to RESOLVER:53
 *     and the same for IPv6 } }
 *
 * Its packets come back in over lo and are local already, so no mark and no routing rule is needed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/netns/private.h"

static const char table_name[] = "egress", chain_name[] = "in";
enum { BATCH_MAX = 16384, OFFSET_DADDR4 = 16, OFFSET_DADDR6 = 24, OFFSET_DPORT = 2 };

static bool add_expr(struct nftnl_rule *rule, struct nftnl_expr *e)
{
    if (e)
        nftnl_rule_add_expr(rule, e);
    return e != NULL;
}

static bool load_meta(struct nftnl_rule *rule, uint32_t key)
{
    struct nftnl_expr *e = nftnl_expr_alloc("meta");
    if (e) {
        nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
        nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
    }
    return add_expr(rule, e);
}

static bool load_payload(struct nftnl_rule *rule, uint32_t base, uint32_t offset, uint32_t len)
{
    struct nftnl_expr *e = nftnl_expr_alloc("payload");
    if (e) {
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
        nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
    }
    return add_expr(rule, e);
}

static bool compare(struct nftnl_rule *rule, uint32_t op, const void *value, uint32_t len)
{
    struct nftnl_expr *e = nftnl_expr_alloc("cmp");
    if (e) {
        nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
        nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
        nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, value, len);
    }
    return add_expr(rule, e);
}

static bool immediate(struct nftnl_rule *rule, uint32_t reg, const void *value, uint32_t len)
{
    struct nftnl_expr *e = nftnl_expr_alloc("immediate");
    if (e) {
        nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, reg);
        nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, value, len);
    }
    return add_expr(rule, e);
}

static bool tproxy(struct nftnl_rule *rule, uint32_t family, const char *address, uint16_t port)
{
    uint16_t be = htons(port);
    uint8_t addr[16];
    struct nftnl_expr *e = nftnl_expr_alloc("tproxy");
    if (!e)
        return false;
    nftnl_expr_set_u32(e, NFTNL_EXPR_TPROXY_FAMILY, family);
    bool ok = immediate(rule, NFT_REG_2, &be, sizeof be);
    nftnl_expr_set_u32(e, NFTNL_EXPR_TPROXY_REG_PORT, NFT_REG_2);
    if (address) {
        inet_pton(family == NFPROTO_IPV4 ? AF_INET : AF_INET6, address, addr);
        ok = ok && immediate(rule, NFT_REG_3, addr, family == NFPROTO_IPV4 ? 4 : 16);
        nftnl_expr_set_u32(e, NFTNL_EXPR_TPROXY_REG_ADDR, NFT_REG_3);
    }
    return add_expr(rule, e) && ok;
}

static bool match_elsewhere(struct nftnl_rule *rule, uint8_t family, const char *own)
{
    static const uint8_t loopback4 = 127, loopback6[16] = {[15] = 1};
    uint8_t addr[16];
    uint32_t len = family == NFPROTO_IPV4 ? 4 : 16;
    uint32_t at = family == NFPROTO_IPV4 ? OFFSET_DADDR4 : OFFSET_DADDR6;
    inet_pton(family == NFPROTO_IPV4 ? AF_INET : AF_INET6, own, addr);
    bool ok = load_meta(rule, NFT_META_NFPROTO) && compare(rule, NFT_CMP_EQ, &family, 1);
    if (family == NFPROTO_IPV4)
        ok = ok && load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, at, 1) &&
             compare(rule, NFT_CMP_NEQ, &loopback4, 1);
    ok = ok && load_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, at, len);
    if (family == NFPROTO_IPV6)
        ok = ok && compare(rule, NFT_CMP_NEQ, loopback6, 16);
    return ok && compare(rule, NFT_CMP_NEQ, addr, len);
}

static struct nftnl_rule *make_rule(uint8_t family, uint8_t protocol)
{
    static const uint16_t dns = 53;
    bool v4 = family == NFPROTO_IPV4;
    uint16_t port = htons(dns);
    struct nftnl_rule *rule = nftnl_rule_alloc();
    if (!rule)
        return NULL;
    nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, table_name);
    nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain_name);
    nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
    bool ok = match_elsewhere(rule, family, v4 ? NETNS_ADDRESS4 : NETNS_ADDRESS6) &&
              load_meta(rule, NFT_META_L4PROTO) && compare(rule, NFT_CMP_EQ, &protocol, 1);
    if (protocol == IPPROTO_UDP)
        ok = ok && load_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, OFFSET_DPORT, 2) &&
             compare(rule, NFT_CMP_EQ, &port, 2) &&
             tproxy(rule, family, v4 ? NETNS_RESOLVER4 : NETNS_RESOLVER6, dns);
    else
        ok = ok && tproxy(rule, family, NULL, NETNS_PORT);
    if (ok)
        return rule;
    nftnl_rule_free(rule);
    return NULL;
}

struct batch {
    char data[BATCH_MAX];
    struct mnl_nlmsg_batch *b;
    uint32_t seq;
};

static struct nlmsghdr *next(struct batch *b, uint16_t type, uint16_t flags)
{
    return nftnl_nlmsg_build_hdr(mnl_nlmsg_batch_current(b->b), type, NFPROTO_INET, flags,
                                 b->seq++);
}

static int put_table(struct batch *b)
{
    struct nftnl_table *t = nftnl_table_alloc();
    if (!t)
        return -ENOMEM;
    nftnl_table_set_str(t, NFTNL_TABLE_NAME, table_name);
    nftnl_table_nlmsg_build_payload(next(b, NFT_MSG_NEWTABLE, NLM_F_CREATE), t);
    nftnl_table_free(t);
    mnl_nlmsg_batch_next(b->b);
    return 0;
}

static int put_chain(struct batch *b)
{
    struct nftnl_chain *c = nftnl_chain_alloc();
    if (!c)
        return -ENOMEM;
    nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, table_name);
    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chain_name);
    nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter");
    nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, NF_INET_PRE_ROUTING);
    nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, NF_IP_PRI_MANGLE);
    nftnl_chain_nlmsg_build_payload(next(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE), c);
    nftnl_chain_free(c);
    mnl_nlmsg_batch_next(b->b);
    return 0;
}

static int put_rule(struct batch *b, uint8_t family, uint8_t protocol, bool last)
{
    struct nftnl_rule *rule = make_rule(family, protocol);
    if (!rule)
        return -ENOMEM;
    uint16_t flags = (uint16_t)(NLM_F_CREATE | NLM_F_APPEND | (last ? NLM_F_ACK : 0));
    nftnl_rule_nlmsg_build_payload(next(b, NFT_MSG_NEWRULE, flags), rule);
    nftnl_rule_free(rule);
    mnl_nlmsg_batch_next(b->b);
    return 0;
}

static int build(struct batch *b)
{
    nftnl_batch_begin(mnl_nlmsg_batch_current(b->b), b->seq++);
    mnl_nlmsg_batch_next(b->b);
    int r = put_table(b);
    if (r == 0)
        r = put_chain(b);
    if (r == 0)
        r = put_rule(b, NFPROTO_IPV4, IPPROTO_TCP, false);
    if (r == 0)
        r = put_rule(b, NFPROTO_IPV4, IPPROTO_UDP, false);
    if (r == 0)
        r = put_rule(b, NFPROTO_IPV6, IPPROTO_TCP, false);
    if (r == 0)
        r = put_rule(b, NFPROTO_IPV6, IPPROTO_UDP, true);
    nftnl_batch_end(mnl_nlmsg_batch_current(b->b), b->seq++);
    mnl_nlmsg_batch_next(b->b);
    return r;
}

/* Errors come one by one, for each message of the batch that failed; success is the last rule's
 * ACK. */
static int send_batch(const struct batch *b)
{
    char reply[8192];
    struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (!nl)
        return -errno;
    ssize_t n = -1;
    if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0 &&
        mnl_socket_sendto(nl, mnl_nlmsg_batch_head(b->b), mnl_nlmsg_batch_size(b->b)) > 0)
        n = mnl_socket_recvfrom(nl, reply, sizeof reply);
    int r = n < 0 || mnl_cb_run(reply, (size_t)n, 0, 0, NULL, NULL) < 0 ? -errno : 0;
    mnl_socket_close(nl);
    return r;
}

int redirect_make(struct err *err)
{
    struct batch b = {.seq = 1};
    b.b = mnl_nlmsg_batch_start(b.data, sizeof b.data);
    int r = b.b ? build(&b) : -ENOMEM;
    if (r == 0)
        r = send_batch(&b);
    if (b.b)
        mnl_nlmsg_batch_stop(b.b);
    return r < 0 ? err_set(err, r, "redirect to egress", NULL) : 0;
}
