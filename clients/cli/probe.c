#include "clients/cli/probe.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clients/cli/util.h"

#ifndef SYS_fsopen
#define SYS_fsopen 430
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#define CGROUP2_MAGIC 0x63677270

#define FOUND(p, ...) snprintf((p)->found, sizeof(p)->found, __VA_ARGS__)

static void verdict(struct probe *p, bool ok, enum probe_state otherwise, const char *lost)
{
    p->state = ok ? PROBE_OK : otherwise;
    p->lost = ok ? NULL : lost;
}

/* Runs the check in a child of its own, whose namespaces end with it: 0 or the errno it found. */
static int in_child(int (*check)(const void *arg), const void *arg)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return errno;
    if (pid == 0)
        _exit(check(arg) & 0xff);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static int check_userns(const void *arg)
{
    (void)arg;
    return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
                   CLONE_NEWUTS) < 0
               ? errno
               : 0;
}

/* Asking for a context of the file system loads its module and mounts nothing. */
static int check_filesystem(const void *name)
{
    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return errno;
    return syscall(SYS_fsopen, name, 1u) < 0 ? errno : 0;
}

static void probe_root(struct probe *p)
{
    FOUND(p, geteuid() == 0 ? "root" : "uid %d", (int)geteuid());
    verdict(p, geteuid() == 0, PROBE_DEGRADED,
            "a server has to be started as root (sudo); this report sees less without");
}

static void probe_userns(struct probe *p)
{
    int e = in_child(check_userns, NULL);
    FOUND(p, "%s", e ? strerror(e) : "user, mount, pid, net, ipc and uts can be made");
    verdict(p, !e, PROBE_MISSING,
            "sandboxes cannot be isolated; allow user namespaces (sysctl user.max_user_namespaces, "
            "kernel.unprivileged_userns_clone) or leave the container that forbids them");
}

static void probe_timens(struct probe *p)
{
    bool ok = access("/proc/self/ns/time", F_OK) == 0;
    FOUND(p, ok ? "yes" : "no");
    verdict(p, ok, PROBE_DEGRADED,
            "sandboxes see the uptime of this machine; a kernel with CONFIG_TIME_NS hides it");
}

static void probe_filesystem(struct probe *p, const char *name, const char *lost)
{
    int e = in_child(check_filesystem, name);
    FOUND(p, "%s", e ? (e == ENODEV ? "not in this kernel" : strerror(e)) : "yes");
    verdict(p, !e, e == EPERM || e == ENOSYS ? PROBE_DEGRADED : PROBE_MISSING, lost);
}

/* Controllers that are needed but not in the list, as text. */
static char *missing_controllers(const char *have, const char *const *need)
{
    struct str missing = {0};
    for (; *need; need++) {
        bool found = false;
        size_t len = strlen(*need);
        for (const char *at = have; !found && (at = strstr(at, *need)); at += len)
            found =
                (at == have || strchr(" \n,", at[-1])) && (!at[len] || strchr(" \n,\t", at[len]));
        if (!found)
            str_addf(&missing, "%s%s", missing.len ? ", " : "", *need);
    }
    return str_take(&missing);
}

/*
 * Names of the enabled controllers of /proc/cgroups (version 1), separated by blanks. Its lines are
 * "name hierarchy groups enabled"; hierarchy 0 is not mounted, or version 2.
 */
static char *v1_controllers(void)
{
    struct str out = {0};
    char line[200];
    FILE *f = fopen("/proc/cgroups", "re");
    while (f && fgets(line, sizeof line, f)) {
        size_t name = strcspn(line, " \t#");
        char *at = line + name;
        long hierarchy = strtol(at, &at, 10), groups = strtol(at, &at, 10),
             enabled = strtol(at, &at, 10);
        if (name && hierarchy > 0 && groups > 0 && enabled == 1)
            str_addf(&out, "%.*s ", (int)name, line);
    }
    if (f)
        fclose(f);
    return str_take(&out);
}

static void probe_cgroup(struct probe *p)
{
    static const char *const need_v1[] = {"memory", "cpu", "cpuacct", "pids", "freezer", NULL};
    static const char *const need_v2[] = {"memory", "cpu", "pids", NULL};
    struct statfs fs;
    CLEANUP_STR struct str text = {0};
    bool v2 = statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_MAGIC;
    if (v2 && read_file("/sys/fs/cgroup/cgroup.controllers", &text) == 0)
        str_add(&text, "", 0);
    CLEANUP_FREE char *v1 = v1_controllers();
    CLEANUP_FREE char *missing =
        missing_controllers(v2 && text.data ? text.data : v1, v2 ? need_v2 : need_v1);
    bool none = !v2 && !*v1;
    if (none)
        FOUND(p, "none mounted");
    else if (*missing)
        FOUND(p, "v%d without %s", v2 ? 2 : 1, missing);
    else
        FOUND(p, "v%d, all controllers", v2 ? 2 : 1);
    verdict(p, !none && !*missing, PROBE_DEGRADED,
            "limits of memory, CPU and processes are not enforced where the controller is missing; "
            "mount cgroups with it");
}

static void probe_seccomp(struct probe *p)
{
    CLEANUP_STR struct str text = {0};
    int r = read_file("/proc/sys/kernel/seccomp/actions_avail", &text);
    bool ok = r == 0 && text.data && strstr(text.data, "errno");
    FOUND(p, ok ? "filters" : "no filters");
    verdict(p, ok, PROBE_MISSING,
            "system calls of sandboxes cannot be filtered; the kernel needs CONFIG_SECCOMP_FILTER");
}

static void probe_landlock(struct probe *p)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1u);
    if (abi > 0)
        FOUND(p, "ABI %ld", abi);
    else
        FOUND(p, errno == EOPNOTSUPP ? "built in but not enabled" : "not in this kernel");
    verdict(p, abi > 0, PROBE_DEGRADED,
            "one layer of protection around the interpreter's files is missing; boot with "
            "lsm=landlock,...");
}

static void probe_kernel(struct probe *p)
{
    struct utsname u;
    char *end;
    uname(&u);
    long major = strtol(u.release, &end, 10), minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    bool ok = major > 5 || (major == 5 && minor >= 19);
    FOUND(p, "Linux %.60s", u.release);
    verdict(p, ok, PROBE_MISSING, "overlays on id-mapped mounts need Linux 5.19 or newer");
}

static void probe_pidfd(struct probe *p)
{
    long fd = syscall(SYS_pidfd_open, getpid(), 0);
    bool ok = fd >= 0;
    FOUND(p, ok ? "yes" : "%s", strerror(errno));
    verdict(
        p, ok, PROBE_MISSING,
        "processes cannot be watched; a seccomp profile around this shell may forbid pidfd_open");
    if (ok)
        close((int)fd);
}

static void probe_disk_limits(struct probe *p)
{
    bool loop = access("/dev/loop-control", F_OK) == 0;
    bool make = access("/sbin/mke2fs", X_OK) == 0;
    FOUND(p, loop && make ? "yes" : loop ? "no mke2fs" : "no loop devices");
    verdict(
        p, loop && make, PROBE_DEGRADED,
        "sandboxes with a disk limit cannot be made; they need loop devices (modprobe loop) and "
        "the package e2fsprogs");
}

/* The server raises them when it starts (sandbox/boxd/host.c has the same list). */
static void probe_host_limits(struct probe *p)
{
    static const struct {
        const char *path;
        unsigned long long want;
    } limits[] = {{"/proc/sys/fs/inotify/max_user_instances", 1048576},
                  {"/proc/sys/fs/inotify/max_user_watches", 16777216},
                  {"/proc/sys/kernel/pty/max", 262144},
                  {"/proc/sys/kernel/pid_max", 4194304},
                  {"/proc/sys/fs/file-max", 9223372036854775807ull}};
    int low = 0, fixed = 0;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        CLEANUP_STR struct str text = {0};
        bool known = read_file(limits[i].path, &text) == 0 && text.data;
        if (!known || strtoull(text.data, NULL, 10) >= limits[i].want)
            continue;
        low++;
        fixed += geteuid() == 0 && access(limits[i].path, W_OK) < 0;
    }
    if (!low)
        FOUND(p, "high enough");
    else if (fixed)
        FOUND(p, "%d too low, and /proc/sys is read-only", low);
    else
        FOUND(p, "%d to be raised when the server starts", low);
    verdict(
        p, !fixed, PROBE_DEGRADED,
        "many sandboxes together can run out of inotify instances, terminals, processes or open "
        "files; raise fs.inotify.max_user_instances, fs.inotify.max_user_watches, "
        "kernel.pty.max, kernel.pid_max and fs.file-max on the host");
}

/* Raising a hard limit by nothing that lasts: only in the child. */
static int check_resource_right(const void *arg)
{
    struct rlimit l = {RLIM_INFINITY, RLIM_INFINITY};
    (void)arg;
    return setrlimit(RLIMIT_SIGPENDING, &l) < 0 ? errno : 0;
}

static void probe_memory_order(struct probe *p)
{
    int e = in_child(check_resource_right, NULL);
    FOUND(p, e ? "no CAP_SYS_RESOURCE" : "yes");
    verdict(
        p, !e, PROBE_DEGRADED,
        "when memory runs out the kernel may choose the server or a sandbox's init, and pending "
        "signals are one count for all sandboxes; start the server with CAP_SYS_RESOURCE");
}

void probe_machine(struct probe *p)
{
    static const char *const names[PROBE_MACHINE_COUNT] = {
        "privilege",   "namespaces",  "time namespaces", "id-mapped mounts", "overlayfs",
        "erofs",       "cgroups",     "seccomp",         "landlock",         "pidfd",
        "disk limits", "host limits", "resource rights"};
    for (int i = 0; i < PROBE_MACHINE_COUNT; i++)
        p[i] = (struct probe){.name = names[i]};
    probe_root(&p[0]);
    probe_userns(&p[1]);
    probe_timens(&p[2]);
    probe_kernel(&p[3]);
    probe_filesystem(&p[4], "overlay",
                     "sandboxes have no writable root; load the overlay module (modprobe overlay)");
    probe_filesystem(&p[5], "erofs",
                     "images cannot be mounted; load the erofs module (modprobe erofs)");
    probe_cgroup(&p[6]);
    probe_seccomp(&p[7]);
    probe_landlock(&p[8]);
    probe_pidfd(&p[9]);
    probe_disk_limits(&p[10]);
    probe_host_limits(&p[11]);
    probe_memory_order(&p[12]);
}
