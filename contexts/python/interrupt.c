/*
 * SIGINT of a context (docs/protocol.md, "Interrupt"). Init queues SIGINT with the low 32 bits of
 * the request as value and then signals the children of the cell plainly. A queued signal for
 * another request is late; a plain one from pid 1 was meant for the children; outside of a cell
 * nobody is there to be interrupted.
 */
#include "contexts/python/host.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic uint64_t running;

static void on_sigint(int sig, siginfo_t *info, void *ctx)
{
    int saved = errno;
    uint64_t req = atomic_load(&running);
    (void)ctx;

    if (!host.detached) {
        if (req == 0)
            return;
        if (info->si_code == SI_QUEUE && (uint32_t)info->si_value.sival_int != (uint32_t)req)
            return;
        if (info->si_code == SI_USER && info->si_pid == 1)
            return;
    }
    /* The kernel may have picked any thread; only the main one has a system call to break. */
    if (gettid() != getpid())
        syscall(SYS_tgkill, getpid(), getpid(), sig);
    else
        PyErr_SetInterruptEx(sig);
    errno = saved;
}

int interrupt_install(void)
{
    struct sigaction sa = {.sa_sigaction = on_sigint, .sa_flags = SA_SIGINFO};

    /* No SA_RESTART: sleeps and reads must return for the exception to be raised. */
    sigemptyset(&sa.sa_mask);
    return sigaction(SIGINT, &sa, NULL) < 0 ? -errno : 0;
}

bool interrupt_is_installed(void)
{
    struct sigaction sa;
    return sigaction(SIGINT, NULL, &sa) == 0 && (sa.sa_flags & SA_SIGINFO) &&
           sa.sa_sigaction == on_sigint;
}

void interrupt_set_running(uint64_t req)
{
    atomic_store(&running, req);
}

uint64_t interrupt_running(void)
{
    return atomic_load(&running);
}
