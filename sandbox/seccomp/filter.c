#include "sandbox/seccomp/filter.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/seccomp/policy.h"

#define NEW_NAMESPACES                                                                         \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | \
     CLONE_NEWCGROUP | 0x00000080 /* CLONE_NEWTIME */)

static bool listed(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (!strcmp(*names, name))
            return true;
    return false;
}

static int add_list(scmp_filter_ctx c, uint32_t action, const char *const *names,
                    const char *const *except)
{
    for (; *names; names++) {
        if (listed(except, *names))
            continue;
        int nr = seccomp_syscall_resolve_name(*names);
        if (nr == __NR_SCMP_ERROR || nr < 0)
            continue; /* not on this architecture, or newer than this libseccomp: then it gets
                         ENOSYS */
        int r = seccomp_rule_add(c, action, nr, 0);
        if (r < 0)
            return r;
    }
    return 0;
}

/* The kernel takes these arguments as 32 bits and ignores the rest of the register, so must every
 * comparison. */
#define LOW32(arg, value) SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, 0xffffffff, (uint32_t)(value))
#define TYPE(value)       SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xf, value)

/* "Not equal" in the low 32 bits: some bit differs. SCMP_CMP_NE would compare all 64 and let a
 * stray high bit through. */
static int allow_unless(scmp_filter_ctx c, int nr, unsigned arg, uint32_t value)
{
    int r = 0;
    for (int i = 0; r == 0 && i < 32; i++) {
        uint32_t bit = 1u << i;
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, nr, 1,
                             SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, bit, ~value & bit));
    }
    return r;
}

/*
 * TCP, UDP and the ping kind of ICMP. Any other protocol would load and expose a module of the
 * host's kernel (SCTP, DCCP, MPTCP...), raw sockets want a privilege that nobody in a box has.
 */
static int add_internet(scmp_filter_ctx c, uint32_t family)
{
    static const uint32_t protocols[] = {0, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMPV6};
    static const uint32_t types[] = {SOCK_STREAM, SOCK_DGRAM};
    static const uint32_t odd_types[] = {SOCK_RDM, SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET};
    const uint32_t no_protocol = SCMP_ACT_ERRNO(EPROTONOSUPPORT);
    const struct scmp_arg_cmp fam = LOW32(0, family);
    const int nr = SCMP_SYS(socket);
    int r = seccomp_rule_add(c, SCMP_ACT_ERRNO(EPERM), nr, 2, fam, TYPE(SOCK_RAW));

    for (size_t i = 0; r == 0 && i < sizeof odd_types / sizeof *odd_types; i++)
        r = seccomp_rule_add(c, SCMP_ACT_ERRNO(ESOCKTNOSUPPORT), nr, 2, fam, TYPE(odd_types[i]));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const struct scmp_arg_cmp type = TYPE(types[i]);
        for (size_t j = 0; r == 0 && j < sizeof protocols / sizeof *protocols; j++)
            r = seccomp_rule_add(c, SCMP_ACT_ALLOW, nr, 3, fam, type,
                                 SCMP_A2_64(SCMP_CMP_EQ, protocols[j]));
        if (r == 0)
            r = seccomp_rule_add(c, no_protocol, nr, 3, fam, type,
                                 SCMP_A2_64(SCMP_CMP_EQ, IPPROTO_DCCP));
        if (r == 0)
            r = seccomp_rule_add(c, no_protocol, nr, 3, fam, type,
                                 SCMP_A2_64(SCMP_CMP_GT, IPPROTO_ICMPV6));
    }
    return r;
}

/* Addresses, routes, sockets and uevents can be asked for; netfilter, xfrm, audit, generic... only
 * widen the surface. */
static int add_netlink(scmp_filter_ctx c)
{
    enum { PROTOCOLS = 32 };
    const struct scmp_arg_cmp fam = LOW32(0, AF_NETLINK);
    const uint32_t no_protocol = SCMP_ACT_ERRNO(EPROTONOSUPPORT);
    int r = seccomp_rule_add(c, no_protocol, SCMP_SYS(socket), 2, fam,
                             SCMP_A2_64(SCMP_CMP_GE, PROTOCOLS));
    for (uint32_t p = 0; r == 0 && p < PROTOCOLS; p++) {
        bool useful = p == NETLINK_ROUTE || p == NETLINK_SOCK_DIAG || p == NETLINK_KOBJECT_UEVENT;
        r = seccomp_rule_add(c, useful ? SCMP_ACT_ALLOW : no_protocol, SCMP_SYS(socket), 2, fam,
                             SCMP_A2_64(SCMP_CMP_EQ, p));
    }
    return r;
}

static int add_sockets(scmp_filter_ctx c)
{
    int r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, LOW32(0, AF_UNIX));
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1, LOW32(0, AF_UNIX));
    if (r == 0)
        r = add_internet(c, AF_INET);
    if (r == 0)
        r = add_internet(c, AF_INET6);
    return r < 0 ? r : add_netlink(c);
}

/*
 * RLIMIT_CORE of a box is 1, which tells the kernel to start no helper of the host's when
 * core_pattern is a pipe (0 would start it). Setting it seems to work, so that gpg and the like go
 * on, but changes nothing.
 */
static int add_core_limit(scmp_filter_ctx c)
{
    const struct scmp_arg_cmp core = LOW32(1, RLIMIT_CORE);
    int r = seccomp_rule_add(c, SCMP_ACT_ERRNO(0), SCMP_SYS(setrlimit), 1, LOW32(0, RLIMIT_CORE));
    if (r == 0)
        r = allow_unless(c, SCMP_SYS(setrlimit), 0, RLIMIT_CORE);
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, core,
                             SCMP_A2_64(SCMP_CMP_EQ, 0));
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ERRNO(0), SCMP_SYS(prlimit64), 2, core,
                             SCMP_A2_64(SCMP_CMP_NE, 0));
    return r < 0 ? r : allow_unless(c, SCMP_SYS(prlimit64), 1, RLIMIT_CORE);
}

static int add_conditional(scmp_filter_ctx c)
{
    static const unsigned long personalities[] = {0x0, 0x8, 0x40000, 0x20000, 0x20008, 0xffffffff};
    int r = add_sockets(c);

    if (r == 0)
        r = add_core_limit(c);
    for (size_t i = 0; r == 0 && i < sizeof personalities / sizeof *personalities; i++)
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1,
                             SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)personalities[i]));
    /* Threads and processes, but no namespaces. clone3 hides its flags in memory: ENOSYS makes libc
     * use clone. */
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                             SCMP_A0_64(SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0));
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(unshare), 1,
                             SCMP_A0_64(SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0));
    /* Typing into somebody's terminal. */
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1, LOW32(1, TIOCSTI));
    if (r == 0)
        r = allow_unless(c, SCMP_SYS(ioctl), 1, TIOCSTI);
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 0);
    return r;
}

/* AF_VSOCK above all: it is not bound to a network namespace. */
static int refuse_families(scmp_filter_ctx c)
{
    enum { FAMILY_END = 64 };
    int r = 0;
    for (int f = 0; r == 0 && f < FAMILY_END; f++) {
        if (f != AF_UNIX && f != AF_INET && f != AF_INET6 && f != AF_NETLINK)
            r = seccomp_rule_add(c, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, LOW32(0, f));
        if (r == 0 &&
            f != AF_UNIX) /* it makes the sockets before it finds that the family has no pairs */
            r = seccomp_rule_add(c, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socketpair), 1,
                                 LOW32(0, f));
    }
    return r;
}

/*
 * Rules that refuse with EPERM what add_conditional does not allow: unshare and clone with
 * namespace bits. One rule per bit, because a mask compare cannot say "not equal".
 */
static int add_refusals(scmp_filter_ctx c)
{
    static const uint64_t bits[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,    CLONE_NEWNET,
                                    CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80};
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof bits / sizeof *bits; i++) {
        r = seccomp_rule_add(c, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1,
                             SCMP_A0_64(SCMP_CMP_MASKED_EQ, bits[i], bits[i]));
        /* Bit 0x80 of clone is part of the exit signal, not a flag. */
        if (r == 0 && bits[i] != 0x80)
            r = seccomp_rule_add(c, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                 SCMP_A0_64(SCMP_CMP_MASKED_EQ, bits[i], bits[i]));
    }
    return r;
}

static int export_program(scmp_filter_ctx c, int *ret_fd, struct err *err)
{
    CLEANUP_FD int fd = memfd_create("cellbox-seccomp", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_set(err, -errno, "make seccomp memfd", NULL);
    int r = seccomp_export_bpf(c, fd);
    if (r < 0)
        return err_set(err, r, "compile seccomp filter", NULL);
    *ret_fd = STEAL_FD(fd);
    return 0;
}

static int add_box(scmp_filter_ctx c)
{
    int r = add_list(c, SCMP_ACT_ALLOW, policy_allowed, NULL);
    if (r == 0)
        r = add_conditional(c);
    if (r == 0)
        r = add_refusals(c);
    return r;
}

/* Threads, its own execution by B (execveat of a descriptor), and the socket families it serves. */
static int add_gateway(scmp_filter_ctx c)
{
    int r = add_list(c, SCMP_ACT_ALLOW, policy_allowed, policy_not_gateway);
    if (r == 0)
        r = add_sockets(c);
    if (r == 0)
        r = add_core_limit(c);
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                             SCMP_A0_64(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (r == 0)
        r = allow_unless(c, SCMP_SYS(ioctl), 1, TIOCSTI);
    return r == 0 ? seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 0) : r;
}

/* Like the gateway, and it starts the workers of handlers (sandbox/egress/handlers), which inherit
 * this. */
static int add_egress(scmp_filter_ctx c)
{
    static const char *const more[] = {"execve", "vfork", "kill", "setpgid", NULL};
    int r = add_gateway(c);
    if (r == 0)
        r = add_list(c, SCMP_ACT_ALLOW, more, NULL);
    return r == 0 ? seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                     SCMP_A0_64(SCMP_CMP_MASKED_EQ, NEW_NAMESPACES, 0))
                  : r;
}

static int add_kind(scmp_filter_ctx c, enum filter_kind kind)
{
    switch (kind) {
    case FILTER_BOX:
        return add_box(c);
    case FILTER_GATEWAY:
        return add_gateway(c);
    case FILTER_EGRESS:
        return add_egress(c);
    }
    return -EINVAL;
}

int filter_compile(enum filter_kind kind, int *ret_fd, struct err *err)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (!c)
        return err_set(err, -ENOMEM, "compile seccomp filter", NULL);
    int r = seccomp_attr_set(c, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (r == 0)
        r = seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r == 0)
        r = add_kind(c, kind);
    if (r == 0)
        r = add_list(c, SCMP_ACT_ERRNO(EPERM), policy_denied, NULL);
    if (r == 0)
        r = refuse_families(c);
    if (r < 0)
        r = err_set(err, r, "build seccomp filter", NULL);
    else
        r = export_program(c, ret_fd, err);
    seccomp_release(c);
    return r;
}
