/* Kernel interfaces that watch or instrument the kernel: bpf, perf, userfaultfd, fanotify, handles,
 * logs. */
#include "lib/attack.h"
#include <sys/inotify.h>

int main(void)
{
    char attr[128] = {0};
    REFUSED(EPERM, "bpf map", syscall(SYS_bpf, 0, attr, 72));
    REFUSED(EPERM, "bpf with a bad command", syscall(SYS_bpf, 0xffff, attr, sizeof attr));
    REFUSED(EPERM, "perf_event_open", syscall(SYS_perf_event_open, attr, 0, -1, -1, 0));
    REFUSED(EPERM, "perf_event_open with a bad pointer",
            syscall(SYS_perf_event_open, 1, 0, -1, -1, 0));
    REFUSED(EPERM, "userfaultfd", syscall(SYS_userfaultfd, 0));
    REFUSED(EPERM, "userfaultfd, user mode only", syscall(SYS_userfaultfd, 1));
    REFUSED(EPERM, "fanotify_init", syscall(SYS_fanotify_init, 0, 0));
    REFUSED(EPERM, "fanotify_init, unprivileged", syscall(SYS_fanotify_init, 0x200, 0));
    REFUSED(EPERM, "fanotify_mark", syscall(SYS_fanotify_mark, -1, 1, 1ull, AT_FDCWD, "/"));
    REFUSED(EPERM, "name_to_handle_at",
            syscall(SYS_name_to_handle_at, AT_FDCWD, "/", attr, attr + 64, 0));
    REFUSED(EPERM, "open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, attr, 0));
    REFUSED(EPERM, "open_by_handle_at with a bad pointer",
            syscall(SYS_open_by_handle_at, AT_FDCWD, 1, 0));
    REFUSED(EPERM, "syslog", syscall(SYS_syslog, 3, attr, sizeof attr));
    REFUSED(EPERM, "syslog size", syscall(SYS_syslog, 10, NULL, 0));
    REFUSED(EPERM, "memfd_secret", syscall(SYS_memfd_secret, 0));
    REFUSED(EPERM, "move_pages", syscall(SYS_move_pages, 1, 0, NULL, NULL, NULL, 0));
    REFUSED(EPERM, "migrate_pages", syscall(SYS_migrate_pages, 1, 0, NULL, NULL));
#ifdef SYS_lookup_dcookie
    REFUSED(EPERM, "lookup_dcookie", syscall(SYS_lookup_dcookie, 0ull, attr, sizeof attr));
#endif
    WORKS("inotify", inotify_add_watch(inotify_init1(IN_CLOEXEC), "/tmp", IN_CREATE));
    return done();
}
