/* Apart from filter.c so that the interpreter host, which only loads the program, needs no
 * libseccomp. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/seccomp/filter.h"

int filter_load(int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set(err, -errno, "read seccomp filter", NULL);
    size_t size = (size_t)st.st_size;
    CLEANUP_FREE struct sock_filter *code = malloc(size ? size : 1);
    if (!code)
        return err_set(err, -ENOMEM, "read seccomp filter", NULL);
    if (pread(fd, code, size, 0) != st.st_size || size % sizeof *code ||
        size / sizeof *code > BPF_MAXINSNS)
        return err_set(err, -EINVAL, "read seccomp filter", "bad program");
    struct sock_fprog prog = {.len = (unsigned short)(size / sizeof *code), .filter = code};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
        return err_set(err, -errno, "load seccomp filter", NULL);
    return 0;
}
