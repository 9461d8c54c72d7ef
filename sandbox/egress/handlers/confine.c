#include "sandbox/egress/handlers/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define DATA(field)        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(what)       BPF_STMT(BPF_RET | BPF_K, what)
#define UNLESS(nr)         BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1)
#define REFUSE_WITH(nr, e) UNLESS(nr), ANSWER(SECCOMP_RET_ERRNO | (e))
#define REFUSE(nr)         REFUSE_WITH(nr, EPERM)

enum { X32 = 0x40000000 };

int confine_worker(void)
{
    struct sock_filter code[] = {
        DATA(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
        DATA(nr),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
        REFUSE(SYS_socket),
        REFUSE(SYS_connect),
        REFUSE(SYS_bind),
        REFUSE_WITH(SYS_io_uring_setup, ENOSYS), /* it opens sockets, too */
        /* E has the same uid */
        REFUSE(SYS_kill),
        REFUSE(SYS_tkill),
        REFUSE(SYS_tgkill),
        REFUSE(SYS_rt_sigqueueinfo),
        REFUSE(SYS_rt_tgsigqueueinfo),
        REFUSE(SYS_pidfd_send_signal),
        REFUSE(SYS_pidfd_getfd),
        REFUSE(SYS_ptrace),
        REFUSE(SYS_process_vm_readv),
        REFUSE(SYS_process_vm_writev),
        /* threads alone; clone3 keeps its flags in memory, so glibc has to fall back */
        REFUSE(SYS_fork),
        REFUSE(SYS_vfork),
        REFUSE(SYS_unshare),
        REFUSE(SYS_setns),
        REFUSE_WITH(SYS_clone3, ENOSYS),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        DATA(args[0]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0),
        ANSWER(SECCOMP_RET_ERRNO | EPERM),
        ANSWER(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        return -errno;
    return 0;
}
