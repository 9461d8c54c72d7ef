#include "sandbox/seccomp/filter.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/seccomp/policy.h"

#define NEW_NAMESPACES                                                                         \
    (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | \
     CLONE_NEWCGROUP | 0x00000080 /* CLONE_NEWTIME */)

static int add_list(scmp_filter_ctx c, uint32_t action, const char *const *names)
{
    for (; *names; names++) {
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

static int add_conditional(scmp_filter_ctx c)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    static const unsigned long personalities[] = {0x0, 0x8, 0x40000, 0x20000, 0x20008, 0xffffffff};
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof families / sizeof *families; i++) {
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                             SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)families[i]));
        if (r == 0 && families[i] == AF_UNIX)
            r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 0);
    }
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
    /* Typing into somebody's terminal. Compared as 32 bits: the kernel ignores the upper half, so
     * must the filter. */
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                             SCMP_A1_32(SCMP_CMP_NE, (uint32_t)TIOCSTI));
    if (r == 0)
        r = seccomp_rule_add(c, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                             SCMP_A1_32(SCMP_CMP_EQ, (uint32_t)TIOCSTI));
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
            r = seccomp_rule_add(c, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                                 SCMP_A0_32(SCMP_CMP_EQ, (uint32_t)f));
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

int filter_compile(int *ret_fd, struct err *err)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    if (!c)
        return err_set(err, -ENOMEM, "compile seccomp filter", NULL);
    int r = seccomp_attr_set(c, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (r == 0)
        r = seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (r == 0)
        r = add_list(c, SCMP_ACT_ALLOW, policy_allowed);
    if (r == 0)
        r = add_list(c, SCMP_ACT_ERRNO(EPERM), policy_denied);
    if (r == 0)
        r = add_conditional(c);
    if (r == 0)
        r = add_refusals(c);
    if (r == 0)
        r = refuse_families(c);
    if (r < 0)
        r = err_set(err, r, "build seccomp filter", NULL);
    else
        r = export_program(c, ret_fd, err);
    seccomp_release(c);
    return r;
}
