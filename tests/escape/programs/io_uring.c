/* io_uring: a second system call table that no filter sees. */
#include "lib/attack.h"

int main(void)
{
    char params[256] = {0};
    int fds[2];
    REFUSED(EPERM, "io_uring_setup", syscall(SYS_io_uring_setup, 8, params));
    REFUSED(EPERM, "io_uring_setup with a bad pointer", syscall(SYS_io_uring_setup, 8, 1));
    REFUSED(EPERM, "io_uring_enter", syscall(SYS_io_uring_enter, -1, 1, 0, 0, NULL, 0));
    REFUSED(EPERM, "io_uring_register", syscall(SYS_io_uring_register, -1, 0, NULL, 0));
    WORKS("pipe", pipe(fds));
    check("write and read must work", write(fds[1], "x", 1) == 1 && read(fds[0], params, 1) == 1, 0,
          errno);
    return done();
}
