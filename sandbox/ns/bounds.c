#include "sandbox/ns/bounds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

#include "sandbox/base/fd.h"

static const struct {
    int resource;
    rlim_t box;
} limits[] = {
    {RLIMIT_SIGPENDING, BOUND_SIGNALS},
    {RLIMIT_MSGQUEUE, BOUND_MESSAGE_QUEUES},
    {RLIMIT_MEMLOCK, BOUND_LOCKED},
    {RLIMIT_NPROC, RLIM_INFINITY}, /* the box's control group counts them */
};

static const struct {
    const char *path;
    unsigned value;
} counters[] = {
    {"/proc/sys/user/max_inotify_instances", BOUND_INOTIFY_INSTANCES},
    {"/proc/sys/user/max_inotify_watches", BOUND_INOTIFY_WATCHES},
    {"/proc/sys/user/max_user_namespaces", 0},
};

void bounds_lift(void)
{
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit l = {RLIM_INFINITY, RLIM_INFINITY};
        if (setrlimit(limits[i].resource, &l) == 0 || getrlimit(limits[i].resource, &l) < 0)
            continue;
        l.rlim_cur = l.rlim_max;
        setrlimit(limits[i].resource, &l);
    }
}

int bounds_enter(struct err *err)
{
    char text[16];
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        snprintf(text, sizeof text, "%u", counters[i].value);
        int r = fd_write_file_at(AT_FDCWD, counters[i].path, text);
        if (r < 0 && r != -ENOENT) /* a kernel without inotify has nothing to bound */
            return err_set(err, r, "bound the box", "%s", counters[i].path);
    }
    /* A segment of System V memory that nobody has attached would outlive the process that filled
     * it, and be nobody's to kill. Kernels before 6.0 do not let us. */
    (void)fd_write_file_at(AT_FDCWD, "/proc/sys/kernel/shm_rmid_forced", "1");
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit l;
        if (getrlimit(limits[i].resource, &l) < 0)
            return err_set(err, -errno, "bound the box", NULL);
        if (l.rlim_max <= limits[i].box)
            continue;
        l = (struct rlimit){limits[i].box, limits[i].box};
        if (setrlimit(limits[i].resource, &l) < 0)
            return err_set(err, -errno, "bound the box", NULL);
    }
    return 0;
}
