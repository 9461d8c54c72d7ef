#include "sandbox/zygote/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/ns/userns.h"
#include "sandbox/wire/wire.h"
#include "sandbox/zygote/child.h"

static void reply(const struct wire_head *to, const struct err *err, int64_t value, const int *fds,
                  size_t nfds)
{
    struct wire_reply r = {.h = {.type = WIRE_REPLY, .seq = to->seq, .box = to->box},
                           .value = value};
    if (err)
        r.err = *err;
    if (fd_send_wait(ZYGOTE_LINK_FD, &r, sizeof r, fds, nfds, -1) < 0)
        _exit(1);
}

/*
 * The raw call, because libc has no wrapper that takes namespaces; CHILD_SETTID with libc's own tid
 * address keeps its cached thread id true. CLONE_PARENT makes the box a child of B, which reaps it
 * whatever becomes of this zygote.
 */
static pid_t clone_box(int *ret_pidfd)
{
    int *tid_address = NULL;
    prctl(PR_GET_TID_ADDRESS, &tid_address, 0, 0, 0);
    struct clone_args a = {
        .flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
                 CLONE_NEWTIME | CLONE_PARENT | CLONE_PIDFD | CLONE_CHILD_SETTID |
                 CLONE_CHILD_CLEARTID,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .child_tid = (uint64_t)(uintptr_t)tid_address,
    };
    return (pid_t)syscall(SYS_clone3, &a, sizeof a);
}

static void handle_clone(const struct wire_clone *req, int *fds, const struct interpreter_ops *ops)
{
    struct err err = {0};
    CLEANUP_FD int pidfd = -1;
    CLEANUP_FD int mapped = eventfd(0, EFD_CLOEXEC);
    pid_t pid = -1;

    /* The namespace belongs to our user namespace, not to the box's: root in the box cannot
     * reconfigure it. */
    if (mapped < 0 || setns(fds[CLONE_FD_NETNS], CLONE_NEWNET) < 0) {
        err_set(&err, -errno, "enter network namespace", NULL);
    } else {
        ops->before_fork();
        pid = clone_box(&pidfd);
        if (pid == 0)
            child_main(req, fds, mapped, ops);
        int saved = errno;
        ops->after_fork_parent();
        if (pid < 0)
            err_set(&err, -saved, "clone box", NULL);
    }
    if (pid > 0) {
        struct userns_range map = {0, req->uid_offset, req->uid_count};
        if (userns_write_maps(pid, &map, 1, &err) == 0 && eventfd_write(mapped, 1) < 0)
            err_set(&err, -errno, "release box", NULL);
        if (err.code)
            syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    }
    reply(&req->h, err.code ? &err : NULL, pid, &pidfd, pidfd >= 0);
}

static void handle_netns(const struct wire_head *h)
{
    struct err err = {0};
    CLEANUP_FD int fd = -1;
    if (unshare(CLONE_NEWNET) < 0 || (fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
        err_set(&err, -errno, "make network namespace", NULL);
    reply(h, err.code ? &err : NULL, 0, &fd, fd >= 0);
}

static void handle(const uint8_t *m, size_t n, int *fds, size_t nfds,
                   const struct interpreter_ops *ops)
{
    const struct wire_head *h = (const void *)m;
    struct err err = {0};

    if (h->type == WIRE_CLONE && n == sizeof(struct wire_clone) && nfds == CLONE_FDS)
        handle_clone((const void *)m, fds, ops);
    else if (h->type == WIRE_NETNS)
        handle_netns(h);
    else
        reply(h, (err_set(&err, -EINVAL, "read request", "unknown request %u", h->type), &err), 0,
              NULL, 0);
    for (size_t i = 0; i < nfds; i++)
        fd_close(fds[i]);
}

int zygote_main(const struct interpreter_ops *ops, int argc, char **argv)
{
    static uint8_t message[sizeof(struct wire_clone) + 64] __attribute__((aligned(16)));
    (void)argc;
    (void)argv;

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_NAME, "cbx-zygote");
    struct wire_head hello = {.type = WIRE_REPLY};
    struct err err = {0};
    int r = ops->preload();
    if (r < 0)
        err_set(&err, r, "preload interpreter", NULL);
    reply(&hello, r < 0 ? &err : NULL, getpid(), NULL, 0);
    if (r < 0)
        return 1;
    for (;;) {
        int fds[FD_MSG_MAX_FDS];
        size_t nfds = FD_MSG_MAX_FDS;
        ssize_t n = fd_recv_wait(ZYGOTE_LINK_FD, message, sizeof message, fds, &nfds, -1);
        if (n < (ssize_t)sizeof(struct wire_head))
            return 0;
        handle(message, (size_t)n, fds, nfds, ops);
    }
}
