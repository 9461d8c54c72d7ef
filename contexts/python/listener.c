/*
 * Most cells end within a millisecond and most contexts are idle, so the listener stays away from
 * both. The main thread counts in `turn` (odd: it works). The listener sleeps on that word, is
 * woken by a cell, and reads the socket only if the same turn still lasts after GRACE. Having woken
 * for nothing it looks again a few times by itself before it sleeps deeply, so a burst of cells
 * costs one wake-up.
 */
#include "contexts/python/listener.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "contexts/python/host.h"
#include "contexts/python/inbox.h"

enum { GRACE_NS = 4000000, LOOKS = 10, STACK = 512 << 10 };

static _Atomic uint32_t turn; /* odd: the main thread works */
static _Atomic bool asleep, polling;
static bool started;
static int stop_fd = -1; /* eventfd: stop polling, the main thread reads */
static listener_call control_call;

static long futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    return syscall(SYS_futex, (uint32_t *)word, op, value, NULL, NULL, 0);
}

static uint32_t served; /* the turn that is being served; listener only */

static bool same_turn(void)
{
    return atomic_load(&turn) == served;
}

static uint32_t sleep_until_work(void)
{
    for (;;) {
        uint32_t now = atomic_load(&turn);
        if (now & 1)
            return now;
        atomic_store(&asleep, true);
        if (atomic_load(&turn) == now)
            futex(&turn, FUTEX_WAIT_PRIVATE, now);
        atomic_store(&asleep, false);
    }
}

static void call_control(void)
{
    PyGILState_STATE state = PyGILState_Ensure();
    control_call();
    PyGILState_Release(state);
}

static void forget_stop(void)
{
    uint64_t count;
    ssize_t n = read(stop_fd, &count, sizeof count);
    (void)n;
}

/* Reads until the turn ends. */
static void serve(void)
{
    struct pollfd p[2] = {{.fd = host.link.fd, .events = POLLIN},
                          {.fd = stop_fd, .events = POLLIN}};

    atomic_store(&polling, true);
    while (same_turn()) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[1].revents)
            forget_stop();
        if (!p[0].revents)
            continue;
        if (inbox_receive(same_turn) == INBOX_END)
            p[0].fd = -1; /* the main thread will see it: wait for it */
        else if (inbox_control_waits())
            call_control();
    }
    atomic_store(&polling, false);
}

static void *listen_forever(void *unused)
{
    const struct timespec grace = {.tv_nsec = GRACE_NS};
    (void)unused;

    prctl(PR_SET_NAME, "cbx-listener");
    for (;;) {
        served = sleep_until_work();
        for (int idle = 0; idle < LOOKS;) {
            nanosleep(&grace, NULL);
            uint32_t now = atomic_load(&turn);
            if (!(now & 1)) {
                idle++;
                continue;
            }
            idle = 0;
            if (now == served)
                serve();
            served = now;
        }
    }
    return NULL;
}

static void start(void)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;

    started = true; /* tried once: without the thread control waits for the end of a cell */
    stop_fd = host_move_up(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (stop_fd < 0 || inbox_open(INBOX_MAIN, 0) < 0)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_create(&thread, &attr, listen_forever, NULL);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void listener_main_waits(void)
{
    uint64_t one = 1;

    if (!(atomic_load_explicit(&turn, memory_order_relaxed) & 1))
        return;
    atomic_fetch_add(&turn, 1);
    if (atomic_load(&polling)) {
        ssize_t n = write(stop_fd, &one, sizeof one);
        (void)n;
    }
}

void listener_main_works(listener_call on_control)
{
    if (atomic_load_explicit(&turn, memory_order_relaxed) & 1)
        return;
    control_call = on_control;
    if (!started)
        start();
    atomic_fetch_add(&turn, 1);
    if (atomic_load(&asleep))
        futex(&turn, FUTEX_WAKE_PRIVATE, 1);
}

void listener_forget(void)
{
    if (stop_fd >= 0)
        close(stop_fd);
    stop_fd = -1;
    atomic_store(&turn, 0);
    atomic_store(&asleep, false);
    atomic_store(&polling, false);
    started = true;
}
