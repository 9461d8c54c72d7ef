#include "sandbox/ns/userns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/base/buf.h"
#include "sandbox/base/fd.h"

int userns_write_maps(pid_t pid, const struct userns_range *ranges, unsigned n, struct err *err)
{
    static const char *const files[] = {"uid_map", "gid_map"};
    CLEANUP_BUF struct buf map = {0};

    for (unsigned i = 0; i < n; i++)
        buf_printf(&map, "%u %u %u\n", ranges[i].inside, ranges[i].outside, ranges[i].count);
    if (map.err)
        return err_set(err, map.err, "compose id map", NULL);
    for (int i = 0; i < 2; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, files[i]);
        int r = fd_write_file_at(AT_FDCWD, path, buf_str(&map));
        if (r < 0)
            return err_set(err, r, i ? "write gid_map" : "write uid_map", NULL);
    }
    return 0;
}

/* Making the namespace may need a right (kernel.unprivileged_userns_clone), which a change of the
 * effective uid takes away from what is in effect only. */
static int become_owner(uid_t uid)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_setresuid, -1, uid, -1) < 0 || syscall(SYS_capget, &head, data) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        data[i].effective = data[i].permitted;
    return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

/* The child only has to exist until its namespace is open; it shares no stack because this is a
 * plain fork. */
static pid_t clone_for(uid_t owner)
{
    uid_t self = geteuid();
    int r = owner != self ? become_owner(owner) : 0;
    pid_t pid =
        r < 0 ? r : (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) {
        for (;;)
            pause();
    }
    if (pid == -1)
        pid = -errno;
    if (owner != self && syscall(SYS_setresuid, -1, self, -1) < 0)
        abort(); /* with another user's rights nothing here may go on */
    return pid;
}

int userns_new_fd(const struct userns_range *ranges, unsigned n, uid_t owner, int *ret_fd,
                  struct err *err)
{
    pid_t pid = clone_for(owner);
    if (pid < 0)
        return err_set(err, pid, "clone user namespace", NULL);
    int r = userns_write_maps(pid, ranges, n, err);
    if (r == 0) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
        *ret_fd = open(path, O_RDONLY | O_CLOEXEC);
        if (*ret_fd < 0)
            r = err_set(err, -errno, "open user namespace", NULL);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return r;
}
