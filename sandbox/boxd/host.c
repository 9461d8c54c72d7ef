#include "sandbox/boxd/host.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"

/* clients/cli/probe.c has the same list. */
static const struct {
    const char *path, *want;
} limits[] = {
    {"/proc/sys/fs/inotify/max_user_instances", "1048576"},
    {"/proc/sys/fs/inotify/max_user_watches", "16777216"},
    {"/proc/sys/kernel/pty/max", "262144"},
    {"/proc/sys/kernel/pid_max", "4194304"},
    {"/proc/sys/fs/file-max", "9223372036854775807"},
};

void host_raise_limits(void)
{
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        char have[32];
        ssize_t n = fd_read_file_at(AT_FDCWD, limits[i].path, have, sizeof have);
        if (n <= 0 || strtoull(have, NULL, 10) >= strtoull(limits[i].want, NULL, 10))
            continue;
        have[strcspn(have, "\n")] = 0;
        int r = fd_write_file_at(AT_FDCWD, limits[i].path, limits[i].want);
        if (r < 0)
            log_warn("host", "limit_too_low", "file=%s have=%s want=%s reason=%s", limits[i].path,
                     have, limits[i].want, log_quote(strerror(-r)));
        else
            log_info("host", "limit_raised", "file=%s from=%s to=%s", limits[i].path, have,
                     limits[i].want);
    }
}
