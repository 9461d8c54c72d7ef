/* Tracing: own children yes, init of the box and the filter no. */
#include "lib/attack.h"
#include <sys/ptrace.h>
#include <sys/uio.h>

int main(void)
{
    static char secret[] = "child's memory", copy[64];
    struct iovec to = {copy, sizeof secret}, from = {secret, sizeof secret};
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    WORKS("PTRACE_SEIZE of an own child", ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_EXITKILL));
    WORKS("process_vm_readv of an own child", process_vm_readv(child, &to, 1, &from, 1, 0));
    pid_t other = fork();
    if (other == 0) {
        pause();
        _exit(0);
    }
    REFUSED(EPERM, "suspend seccomp of a child",
            ptrace(PTRACE_SEIZE, other, 0, 0x00200000 /* SUSPEND_SECCOMP */));

    REFUSED(EPERM, "PTRACE_ATTACH to pid 1", ptrace(PTRACE_ATTACH, 1, 0, 0));
    REFUSED(EPERM, "PTRACE_SEIZE of pid 1", ptrace(PTRACE_SEIZE, 1, 0, 0));
    REFUSED(EPERM, "process_vm_readv of pid 1", process_vm_readv(1, &to, 1, &from, 1, 0));
    REFUSED(EPERM, "process_vm_writev of pid 1", process_vm_writev(1, &to, 1, &from, 1, 0));
    int init = (int)syscall(SYS_pidfd_open, 1, 0);
    check("pidfd_open of pid 1 must work", init >= 0, init, errno);
    for (int fd = 0; fd < 16; fd++)
        REFUSED(EPERM, "pidfd_getfd from pid 1", syscall(SYS_pidfd_getfd, init, fd, 0));
    REFUSED(EPERM, "SIGKILL of pid 1 by pidfd",
            syscall(SYS_pidfd_send_signal, init, SIGKILL, NULL, 0));
    REFUSED(EPERM, "SIGKILL of pid 1", kill(1, SIGKILL));
    REFUSED(EPERM, "SIGSTOP of pid 1", kill(1, SIGSTOP));
    REFUSED(EPERM, "kcmp with pid 1", syscall(SYS_kcmp, getpid(), 1, 0, 0, 0));
    kill(child, SIGKILL);
    kill(other, SIGKILL);
    return done();
}
