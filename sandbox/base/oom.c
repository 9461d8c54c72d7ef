#include "sandbox/base/oom.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "sandbox/base/fd.h"

int oom_set_own(int score)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d", score);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = write(fd, text, (size_t)n) == n ? 0 : -errno;
    close(fd);
    return r == -EACCES && score >= 0 ? 0 : r;
}

int oom_set_child(int score)
{
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return -errno;
    int r = oom_set_own(score);
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : r;
}

/*
 * A privileged write sets the floor of what comes after by fork, too. The old file beside it sets
 * the value alone; -17 there means never. Where either cannot be, init keeps what it had, which is
 * less than what its children take.
 */
int oom_protect_init(pid_t pid)
{
    char path[64], old_path[64], before[16], floor[16];
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
    snprintf(old_path, sizeof old_path, "/proc/%d/oom_adj", (int)pid);
    snprintf(floor, sizeof floor, "%d", OOM_CONTEXT);
    ssize_t n = fd_read_file_at(AT_FDCWD, path, before, sizeof before);
    if (n < 0)
        return (int)n;
    int r = fd_write_file_at(AT_FDCWD, path, floor);
    if (r == 0 && (r = fd_write_file_at(AT_FDCWD, old_path, "-17")) < 0)
        (void)fd_write_file_at(AT_FDCWD, path, before);
    return r;
}
