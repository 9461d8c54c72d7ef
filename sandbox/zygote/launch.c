#include "sandbox/zygote/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/oom.h"
#include "sandbox/fs/mount.h"
#include "sandbox/fs/root.h"
#include "sandbox/image/verify.h"
#include "sandbox/wire/wire.h"
#include "sandbox/zygote/zygote.h"

static int mount_in(const char *type, const char *source, const char *root, const char *dir,
                    unsigned long flags, const char *data, struct err *err)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", root, dir);
    if (mount(source, path, type, flags, data) < 0)
        return err_set(err, -errno, "prepare zygote root", "mount %s: %s", dir, strerror(errno));
    return 0;
}

/* The devices, made while still root of the host; then frozen read-only for every box that will
 * bind them. */
static int dev_tree(const char *root, struct err *err)
{
    char path[512];
    int r = mount_in("tmpfs", "tmpfs", root, "/mnt", MS_NOSUID, "size=64k,mode=0755", err);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "%s" ROOT_DEV_TREE, root);
    if (mkdir(path, 0755) < 0)
        return err_set(err, -errno, "make device directory", NULL);
    r = mount_in("tmpfs", "tmpfs", root, ROOT_DEV_TREE, MS_NOSUID | MS_NOEXEC, "size=64k,mode=0755",
                 err);
    if (r == 0)
        r = root_make_dev_tree(path, err);
    if (r == 0)
        r = mount_in(NULL, NULL, root, ROOT_DEV_TREE,
                     MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NOEXEC | MS_RDONLY, NULL, err);
    return r;
}

static int build_root(const struct zygote_launch *l, struct err *err)
{
    const char *root = l->mount_point;
    char path[512];
    int r, image = -1, runtime = -1;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_set(err, -errno, "unshare mounts", NULL);
    r = mount_clone(AT_FDCWD, l->image_path, 1, &image, err);
    if (r == 0)
        r = mount_attach(image, root, err);
    if (r == 0)
        r = mount_clone(AT_FDCWD, l->runtime_path, 1, &runtime, err);
    snprintf(path, sizeof path, "%s/opt/cellbox", root);
    if (r == 0)
        r = mount_attach(runtime, path, err);
    if (r == 0)
        r = mount_in(NULL, "/proc", root, "/proc", MS_BIND, NULL, err);
    if (r == 0)
        r = mount_in("tmpfs", "tmpfs", root, "/tmp", MS_NOSUID | MS_NODEV, "mode=1777", err);
    if (r == 0)
        r = dev_tree(root, err);
    snprintf(path, sizeof path, "%s" ROOT_DEV_TREE, root);
    if (r == 0) /* the interpreter's start-up wants /dev/urandom and /dev/null */
        r = mount_in(NULL, path, root, "/dev", MS_BIND, NULL, err);
    if (r == 0 && (chdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
                   umount2(".", MNT_DETACH) < 0 || chdir("/") < 0))
        r = err_set(err, -errno, "enter zygote root", NULL);
    return r;
}

static int drop_to(int userns, struct err *err)
{
    if (setns(userns, CLONE_NEWUSER) < 0)
        return err_set(err, -errno, "enter zygote user namespace", NULL);
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return err_set(err, -errno, "drop to zygote user", NULL);
    if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        return err_set(err, -errno, "unshare zygote namespaces", NULL);
    return 0;
}

static void run(const struct zygote_launch *l, int link)
{
    static char *const env[] = {(char *)"HOME=/home/user",
                                (char *)"PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin",
                                (char *)"LANG=C.UTF-8",
                                (char *)"MPLBACKEND=module://matplotlib_inline.backend_inline",
                                (char *)"OMP_NUM_THREADS=1",
                                (char *)"OPENBLAS_NUM_THREADS=1",
                                (char *)"PYTHONDONTWRITEBYTECODE=1",
                                NULL};
    char *argv[] = {(char *)"cbx-zygote", (char *)"--zygote", NULL};
    /* 1, not 0: at 1 the kernel starts no core helper of the host's for a box. seccomp/filter.c
     * keeps it there. */
    static const struct rlimit core = {1, 1};
    struct err err = {0};
    sigset_t none;

    setrlimit(RLIMIT_CORE, &core);
    oom_set_own(OOM_ZYGOTE);
    /* The namespace descriptor must be reachable after the root is gone; the link gets its fixed
     * number. */
    int r = image_verify(l->image_dir, l->image, &err);
    if (r < 0) {
        struct wire_reply reply = {.h = {.type = WIRE_REPLY}, .err = err};
        (void)fd_send(link, &reply, sizeof reply, NULL, 0);
    }
    if (r == 0)
        r = build_root(l, &err);
    if (r == 0)
        r = drop_to(l->userns, &err);
    if (r < 0) {
        dprintf(STDERR_FILENO, "cellbox: cannot start the zygote: %s: %s\n", err.step, err.text);
        _exit(1);
    }
    int high = fcntl(link, F_DUPFD, 16); /* dup2 onto itself would keep CLOEXEC */
    dup2(high, ZYGOTE_LINK_FD);
    fd_set_nonblock(ZYGOTE_LINK_FD, 1);
    syscall(SYS_close_range, ZYGOTE_LINK_FD + 1, ~0u, 0);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct rlimit files = {65536,
                           1 << 20}; /* B's own limit is far higher; boxes inherit this one */
    setrlimit(RLIMIT_NOFILE, &files);
    execve(CBX_PYTHON_PATH, argv, env);
    dprintf(STDERR_FILENO, "cellbox: cannot execute the zygote: %s\n", strerror(errno));
    _exit(1);
}

int zygote_launch(const struct zygote_launch *l, pid_t *ret_pid, int *ret_link, struct err *err)
{
    int pair[2];
    int r = fd_seqpacket_pair(pair);
    if (r < 0)
        return err_set(err, r, "make zygote link", NULL);
    CLEANUP_FD int ours = pair[0];
    CLEANUP_FD int theirs = pair[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_set(err, -errno, "fork zygote", NULL);
    if (pid == 0)
        run(l, theirs);
    *ret_pid = pid;
    *ret_link = STEAL_FD(ours);
    return 0;
}
