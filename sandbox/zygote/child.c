#include "sandbox/zygote/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/title.h"
#include "sandbox/fs/confine.h"
#include "sandbox/fs/root.h"
#include "sandbox/init/init.h"
#include "sandbox/ns/bounds.h"
#include "sandbox/seccomp/filter.h"
#include "sandbox/zygote/zygote.h"

/* What root in a container needs; everything else is dropped from the bounding set, too. */
static const int kept_caps[] = {CAP_CHOWN,      CAP_DAC_OVERRIDE, CAP_FOWNER,
                                CAP_FSETID,     CAP_KILL,         CAP_SETGID,
                                CAP_SETUID,     CAP_SETPCAP,      CAP_NET_BIND_SERVICE,
                                CAP_SYS_CHROOT, CAP_SETFCAP,      CAP_AUDIT_WRITE};

static int become_root(struct err *err)
{
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return err_set(err, -errno, "become root of the box", NULL);
    return 0;
}

static int drop_caps(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    uint64_t keep = 0;

    for (size_t i = 0; i < sizeof kept_caps / sizeof *kept_caps; i++)
        keep |= 1ull << kept_caps[i];
    for (int cap = 0; cap <= 63; cap++) {
        if (!(keep & (1ull << cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
            return err_set(err, -errno, "drop capabilities", NULL);
    }
    data[0].effective = data[0].permitted = (uint32_t)keep;
    data[1].effective = data[1].permitted = (uint32_t)(keep >> 32);
    if (syscall(SYS_capset, &head, data) < 0)
        return err_set(err, -errno, "drop capabilities", NULL);
    return 0;
}

/* Its root is the group that the process is in, so B's attach comes first. */
static int enter_cgroup_namespace(int sync, struct err *err)
{
    struct wire_head go;
    if (fd_recv_wait(sync, &go, sizeof go, NULL, NULL, 30000) != (ssize_t)sizeof go)
        _exit(1); /* B changed its mind, or has died */
    if (unshare(CLONE_NEWCGROUP) < 0)
        return err_set(err, -errno, "unshare cgroup namespace", NULL);
    return 0;
}

static int build(const struct wire_clone *req, const int *fds, struct err *err)
{
    struct root_mounts mounts = {
        .image = fds[CLONE_FD_IMAGE], .runtime = fds[CLONE_FD_RUNTIME], .disk = fds[CLONE_FD_DISK]};

    int r = become_root(err);
    if (r == 0 && sethostname(req->hostname, strnlen(req->hostname, sizeof req->hostname)) < 0)
        r = err_set(err, -errno, "set host name", NULL);
    if (r == 0)
        r = bounds_enter(err);
    if (r == 0)
        r = root_enter(&mounts, err);
    if (r == 0)
        r = enter_cgroup_namespace(fds[CLONE_FD_SYNC], err);
    if (r == 0)
        r = confine_to_root(err);
    if (r == 0)
        r = filter_load(fds[CLONE_FD_FILTER], err);
    if (r == 0)
        r = drop_caps(err);
    if (r == 0 &&
        (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0))
        r = err_set(err, -errno, "protect init", NULL);
    return r;
}

static void report(int sync, const struct err *err, int phase)
{
    struct wire_reply r = {.h = {.type = WIRE_REPLY}, .err = *err, .value = phase};
    (void)fd_send(sync, &r, sizeof r, NULL, 0);
}

/* Only the link and the count of kills stay open; fd 0..2, which still lead to the server's log,
 * become /dev/null. */
static int keep_only(int link, int oom)
{
    int far = fcntl(oom, F_DUPFD_CLOEXEC, INIT_OOM_FD + 1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return -errno;
    for (int i = 0; i < 3; i++)
        if (dup2(null, i) < 0)
            return -errno;
    if (link != ZYGOTE_LINK_FD && dup3(link, ZYGOTE_LINK_FD, O_CLOEXEC) < 0)
        return -errno;
    if (far < 0 || dup3(far, INIT_OOM_FD, O_CLOEXEC) < 0)
        return -errno;
    syscall(SYS_close_range, INIT_OOM_FD + 1, ~0u, 0);
    return ZYGOTE_LINK_FD;
}

void child_main(const struct wire_clone *req, const int fds[CLONE_FDS], int mapped_fd,
                const struct interpreter_ops *ops)
{
    uint64_t mapped;
    struct err err = {0};

    title_set("cbx-init");
    if (read(mapped_fd, &mapped, sizeof mapped) != (ssize_t)sizeof mapped)
        _exit(1);
    if (build(req, fds, &err) < 0) {
        report(fds[CLONE_FD_SYNC], &err, 0);
        _exit(1);
    }
    report(fds[CLONE_FD_SYNC], &err, WIRE_PHASE_READY);
    int link = keep_only(fds[CLONE_FD_LINK], fds[CLONE_FD_OOM]);
    if (link < 0)
        _exit(1);
    _exit(init_main(link, ops));
}
