/*
 * The watcher: a thread that is awake when the main thread cannot be.
 *
 * Interrupts. The handler of SIGINT notes what came and rings. The watcher asks the main loop; if
 * that does not answer within a few milliseconds JavaScript is running and V8 is told to terminate
 * it. A termination is only ever sent under the lock while the question is open, and whoever
 * answers takes it back under the lock, so none is late.
 *
 * Frames. The main loop reads the socket itself, which costs no switch. A cell that runs for longer
 * than a moment makes the watcher look at the socket, too: what the main thread leaves lying there
 * is received, and what is meant to be answered meanwhile is answered, or runs on the main thread
 * between two steps of the cell. A short cell costs one timerfd_settime.
 */
#include "contexts/node/host.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "contexts/node/side.h"

enum {
    WATCH_AFTER_MS = 5, /* a cell that runs this long is watched */
    GRACE_MS = 4,       /* for the main loop to take a frame or an interrupt itself */
    AGAIN_MS = 100,     /* a termination may have hit code that was not the cell's */
};

struct queue {
    struct message *first, **end;
};

static struct {
    pthread_mutex_t lock;
    struct watch_ops ops;
    int bell, timer, wake; /* rung by the handler; a cell runs long; main sleeps in watch_wait */
    uint64_t running;
    uint64_t early;  /* 1 << 32 | value of an interrupt whose request has not begun */
    unsigned events; /* set of watch_event not taken yet */
    bool terminated;
    bool receiving; /* main sleeps in watch_wait and receives itself */
    bool gone;
    int64_t deadline_ms; /* of the question in `events` */
    struct queue side, main;
    uint64_t last_main, last_side, last_control;
} w = {.lock = PTHREAD_MUTEX_INITIALIZER, .bell = -1, .timer = -1, .wake = -1};

static _Atomic uint64_t signalled; /* 1 << 32 | value of a queued SIGINT */
static atomic_bool signalled_plain;
static atomic_uint open_events; /* copy of w.events */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static void ring(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);
    (void)n; /* full: it rings already */
}

static void quiet(int fd)
{
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n;
}

/* Runs on any thread. One from pid 1 without a value was meant for children (docs/protocol.md). */
static void on_sigint(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    (void)sig;
    (void)context;
    if (info->si_code == SI_QUEUE)
        atomic_store(&signalled, 1ull << 32 | (uint32_t)info->si_value.sival_int);
    else if (info->si_code == SI_USER && info->si_pid == 1)
        return;
    else
        atomic_store(&signalled_plain, true);
    ring(w.bell);
    errno = saved;
}

/* Queues; with the lock. */

static void push(struct queue *q, struct message *m)
{
    m->next = NULL;
    if (!q->first)
        q->end = &q->first;
    *q->end = m;
    q->end = &m->next;
}

static struct message *pop(struct queue *q)
{
    struct message *m = q->first;
    if (m)
        q->first = m->next;
    return m;
}

/* Whether this request has been seen before: a restarted gateway sends some again. */
static bool is_old(const struct message *m)
{
    uint64_t *last = &w.last_main;
    if (m->type == FRAME_INPUT || m->type == FRAME_SHUTDOWN)
        return false;
    if (m->type == FRAME_USAGE)
        last = &w.last_control;
    else if (side_is(m->type))
        last = &w.last_side;
    if (m->req <= *last)
        return true;
    *last = m->req;
    return false;
}

/* Receives everything that lies in the socket. */
static void receive_all(void)
{
    while (!w.gone) {
        struct message *m = NULL;
        int r = link_receive(&m);
        if (r == -EAGAIN)
            return;
        if (r < 0)
            w.gone = true;
        if (r <= 0)
            continue;
        if (is_old(m)) {
            free(m);
        } else if (m->type == FRAME_USAGE) {
            side_usage(m);
            free(m);
        } else {
            push(side_is(m->type) ? &w.side : &w.main, m);
        }
    }
}

/* Interrupts; with the lock. */

static void ask(unsigned event)
{
    if (!w.events)
        w.deadline_ms = now_ms() + GRACE_MS;
    w.events |= event;
    atomic_store(&open_events, w.events);
    ring(w.wake);
    w.ops.wake_main();
}

static void terminate(void)
{
    w.terminated = true;
    w.events |= WATCH_TERMINATED;
    engine_terminate();
}

/* Runs in the garbage collector of the main thread. */
static void on_heap_limit(void)
{
    pthread_mutex_lock(&w.lock);
    ask(WATCH_HEAP);
    terminate();
    ring(w.bell); /* the watcher goes on asking: what is sent from inside the collector may be lost
                   */
    pthread_mutex_unlock(&w.lock);
}

/* A request that the main thread has not begun: code of an earlier cell keeps it from that. */
static void interrupt_waiting(uint32_t value)
{
    w.early = 1ull << 32 | value;
    receive_all();
    if (w.main.first || w.side.first)
        w.ops.wake_main(); /* the socket is empty now: it will not wake main */
    for (struct message *m = w.main.first; m; m = m->next) {
        if ((uint32_t)m->req != value || m->type == FRAME_INPUT)
            continue;
        m->interrupted = true;
        w.early = 0;
        ask(WATCH_STRAY);
    }
}

static void take_signals(void)
{
    uint64_t valued = atomic_exchange(&signalled, 0);
    if (valued && w.running && (uint32_t)w.running == (uint32_t)valued)
        ask(WATCH_INTERRUPT);
    else if (valued)
        interrupt_waiting((uint32_t)valued);
    if (atomic_exchange(&signalled_plain, false))
        ask(WATCH_PLAIN);
}

static void run_side(void)
{
    w.ops.side();
}

/* The watcher's frames. */

static bool wants_frames(void)
{
    pthread_mutex_lock(&w.lock);
    bool wants = w.running && !w.receiving && !w.gone;
    pthread_mutex_unlock(&w.lock);
    return wants;
}

static void take_frames(void)
{
    struct pollfd p = {.fd = link_fd(), .events = POLLIN}, bell = {.fd = w.bell, .events = POLLIN};
    poll(&bell, 1, GRACE_MS); /* the main loop was woken, too, and is to be preferred */
    if (poll(&p, 1, 0) <= 0 || !wants_frames())
        return;
    pthread_mutex_lock(&w.lock);
    receive_all();
    bool side = w.side.first != NULL;
    pthread_mutex_unlock(&w.lock);
    if (side)
        engine_request_interrupt(run_side);
    w.ops.wake_main();
}

static int timeout_ms(bool watching)
{
    pthread_mutex_lock(&w.lock);
    int64_t left = w.events ? w.deadline_ms - now_ms() : -1;
    bool late = watching && w.side.first;
    pthread_mutex_unlock(&w.lock);
    if (left < 0 && late)
        return AGAIN_MS;
    return left < 0 ? -1 : (int)left;
}

/* Nobody has taken what `ask` asked: JavaScript is busy. Side requests that nobody could take, for
 * the main thread is in a call that JavaScript cannot leave, get an answer after a while. */
static void check_deadlines(void)
{
    pthread_mutex_lock(&w.lock);
    if (w.events && now_ms() >= w.deadline_ms) {
        terminate();
        w.deadline_ms = now_ms() + AGAIN_MS;
    }
    for (struct message **m = &w.side.first; *m;) {
        struct message *one = *m;
        if (!side_give_up(one)) {
            m = &one->next;
            continue;
        }
        *m = one->next;
        free(one);
    }
    w.side.end = &w.side.first;
    while (*w.side.end)
        w.side.end = &(*w.side.end)->next;
    pthread_mutex_unlock(&w.lock);
}

static void *watcher(void *unused)
{
    bool watching = false;
    (void)unused;
    for (;;) {
        struct pollfd p[] = {{.fd = w.bell, .events = POLLIN},
                             {.fd = w.timer, .events = POLLIN},
                             {.fd = watching ? link_fd() : -1, .events = POLLIN}};
        int n = poll(p, 3, timeout_ms(watching));
        if (n < 0 && errno != EINTR)
            return NULL;
        if (n > 0 && p[0].revents) {
            quiet(w.bell);
            pthread_mutex_lock(&w.lock);
            take_signals();
            pthread_mutex_unlock(&w.lock);
        }
        if (n > 0 && p[1].revents) {
            quiet(w.timer);
            watching = wants_frames();
        }
        if (n > 0 && p[2].revents) {
            watching = wants_frames();
            if (watching)
                take_frames();
        }
        check_deadlines();
    }
}

static int start_thread(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    int r = pthread_attr_init(&attributes);
    if (r)
        return -r;
    pthread_attr_setstacksize(&attributes, 128 << 10);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&thread, &attributes, watcher, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -r;
}

int watch_start(const struct watch_ops *ops)
{
    struct sigaction sa = {.sa_sigaction = on_sigint,
                           .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    w.ops = *ops;
    w.bell = host_move_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    w.wake = host_move_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    w.timer = host_move_fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (w.bell < 0 || w.wake < 0 || w.timer < 0)
        return -errno;
    int r = start_thread();
    if (r < 0)
        return r;
    engine_watch_heap(on_heap_limit);
    sigemptyset(&sa.sa_mask);
    return sigaction(SIGINT, &sa, NULL) < 0 ? -errno : 0;
}

void watch_begin(uint64_t req)
{
    struct itimerspec soon = {.it_value.tv_nsec = WATCH_AFTER_MS * 1000000l};
    pthread_mutex_lock(&w.lock);
    w.running = req;
    if (w.early == (1ull << 32 | (uint32_t)req))
        ask(WATCH_INTERRUPT);
    w.early = 0;
    pthread_mutex_unlock(&w.lock);
    timerfd_settime(w.timer, 0, &soon, NULL);
}

void watch_end(void)
{
    pthread_mutex_lock(&w.lock);
    w.running = 0;
    pthread_mutex_unlock(&w.lock);
}

bool watch_recover(void)
{
    pthread_mutex_lock(&w.lock);
    bool was = w.terminated;
    if (was)
        engine_cancel_terminate();
    w.terminated = false;
    pthread_mutex_unlock(&w.lock);
    return was;
}

unsigned watch_take(void)
{
    pthread_mutex_lock(&w.lock);
    take_signals();
    unsigned events = w.events;
    w.events = 0;
    atomic_store(&open_events, 0);
    if (w.terminated)
        engine_cancel_terminate();
    w.terminated = false;
    pthread_mutex_unlock(&w.lock);
    return events;
}

bool watch_signalled(void)
{
    return watch_interrupted() || atomic_load(&signalled) || atomic_load(&signalled_plain);
}

bool watch_interrupted(void)
{
    return atomic_load(&open_events) != 0;
}

struct message *watch_next(bool *ret_gone)
{
    pthread_mutex_lock(&w.lock);
    if (!w.side.first && !w.main.first)
        receive_all();
    struct message *m = pop(&w.side);
    if (!m)
        m = pop(&w.main);
    *ret_gone = w.gone && !m;
    pthread_mutex_unlock(&w.lock);
    return m;
}

bool watch_queued(void)
{
    pthread_mutex_lock(&w.lock);
    bool some = w.side.first || w.main.first;
    pthread_mutex_unlock(&w.lock);
    return some;
}

struct message *watch_next_side(void)
{
    pthread_mutex_lock(&w.lock);
    struct message *m = pop(&w.side);
    pthread_mutex_unlock(&w.lock);
    return m;
}

void watch_wait(void)
{
    struct pollfd p[] = {{.fd = link_fd(), .events = POLLIN}, {.fd = w.wake, .events = POLLIN}};
    pthread_mutex_lock(&w.lock);
    bool ready = w.events || w.side.first || w.main.first || w.gone;
    w.receiving = true;
    pthread_mutex_unlock(&w.lock);
    if (!ready)
        poll(p, 2, -1);
    quiet(w.wake);
    pthread_mutex_lock(&w.lock);
    w.receiving = false;
    pthread_mutex_unlock(&w.lock);
}
