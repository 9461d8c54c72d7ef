#include "sandbox/boxd/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/log.h"

/* "gateway-4711" and the like, which are empty: what was mounted there went with its namespace. */
static bool of_dead_server(const char *name)
{
    static const char *const kinds[] = {"gateway-", "egress-", "handlers-", "root-", "cgroup-"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(name, kinds[i], n))
            continue;
        char *end;
        long pid = strtol(name + n, &end, 10);
        return pid > 1 && end != name + n && !*end && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
    }
    return false;
}

void leftovers_sweep(void)
{
    unsigned removed = 0;
    DIR *d = opendir("/run/cellbox");
    for (struct dirent *e; d && (e = readdir(d));)
        removed += of_dead_server(e->d_name) && unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) == 0;
    if (d)
        closedir(d);
    if (removed)
        log_info("server", "swept", "mount_points=%u", removed);
}
