/* Control over the machine: kernels, modules, clocks, swap, quotas, ports, power. */
#include "lib/attack.h"
#include <sys/timex.h>
#include <time.h>

int main(void)
{
    struct timespec now;
    char buf[256] = {0};
    clock_gettime(CLOCK_REALTIME, &now);

    REFUSED(EPERM, "kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    REFUSED(EPERM, "kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0));
    REFUSED(EPERM, "init_module", syscall(SYS_init_module, buf, sizeof buf, ""));
    REFUSED(EPERM, "finit_module", syscall(SYS_finit_module, -1, "", 0));
    REFUSED(EPERM, "delete_module", syscall(SYS_delete_module, "loop", O_NONBLOCK));
    REFUSED(
        EPERM, "reboot",
        syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL)); /* CAD off: harmless if it worked */
    REFUSED(EPERM, "clock_settime", syscall(SYS_clock_settime, CLOCK_REALTIME, &now));
    REFUSED(EPERM, "clock_settime with a bad pointer",
            syscall(SYS_clock_settime, CLOCK_REALTIME, 1));
    REFUSED(EPERM, "settimeofday with a bad pointer", syscall(SYS_settimeofday, 1, NULL));
    REFUSED(EPERM, "adjtimex", syscall(SYS_adjtimex, buf));
    REFUSED(EPERM, "clock_adjtime", syscall(SYS_clock_adjtime, CLOCK_REALTIME, buf));
    REFUSED(EPERM, "swapon", syscall(SYS_swapon, "/tmp/swap", 0));
    REFUSED(EPERM, "swapoff", syscall(SYS_swapoff, "/tmp/swap"));
    REFUSED(EPERM, "acct", syscall(SYS_acct, "/tmp/acct"));
    REFUSED(EPERM, "quotactl", syscall(SYS_quotactl, 0x80000000u, NULL, 0, buf));
    REFUSED(EPERM, "quotactl_fd", syscall(SYS_quotactl_fd, -1, 0, 0, buf));
    REFUSED(EPERM, "vhangup", syscall(SYS_vhangup));
#ifdef __x86_64__
    REFUSED(EPERM, "iopl", syscall(SYS_iopl, 3));
    REFUSED(EPERM, "iopl 0", syscall(SYS_iopl, 0));
    REFUSED(EPERM, "ioperm", syscall(SYS_ioperm, 0x80, 1, 1));
    REFUSED(EPERM, "modify_ldt", syscall(SYS_modify_ldt, 0, buf, sizeof buf));
#endif
    REFUSED(EPERM, "sethostname", sethostname("owned", 5));
    REFUSED(ENOSYS, "an unknown system call", syscall(1023));
    WORKS("clock_gettime", clock_gettime(CLOCK_MONOTONIC, &now));
    return done();
}
