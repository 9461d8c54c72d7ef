/*
 * Indices grow without bound and wrap at 2^32, which OUTRING_SIZE divides. Sleep and wake-up are
 * Dekker's pattern: each side stores its own word (head, idle; tail and busy, want) and then loads
 * the other's, all sequentially consistent, so that at least one of them sees the other and no
 * wake-up is lost.
 */
#include "sandbox/init/outring.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16, BELL_AT = OUTRING_SIZE / 4, SLICE_MS = 100 };

static_assert(sizeof(struct outring_shared) == 64 + OUTRING_SIZE,
              "layout is shared between processes");

struct record {
    uint32_t length;
    uint32_t stream;
    uint64_t req;
};

static uint32_t padded(uint32_t length)
{
    return HEAD + ((length + 7u) & ~7u);
}

static void copy_in(struct outring_shared *s, uint32_t at, const void *src, uint32_t n)
{
    uint32_t off = at % OUTRING_SIZE;
    uint32_t first = n < OUTRING_SIZE - off ? n : OUTRING_SIZE - off;

    memcpy(s->data + off, src, first);
    memcpy(s->data, (const uint8_t *)src + first, n - first);
}

static void copy_out(const struct outring_shared *s, uint32_t at, void *dst, uint32_t n)
{
    uint32_t off = at % OUTRING_SIZE;
    uint32_t first = n < OUTRING_SIZE - off ? n : OUTRING_SIZE - off;

    memcpy(dst, s->data + off, first);
    memcpy((uint8_t *)dst + first, s->data, n - first);
}

static void ring_doorbell(struct outring *r)
{
    uint64_t one = 1;
    /* EAGAIN: the counter is full, so the consumer is woken anyhow. */
    ssize_t n = write(r->doorbell, &one, sizeof one);
    (void)n;
}

static long futex(_Atomic uint32_t *word, int op, uint32_t val, const struct timespec *timeout)
{
    return syscall(SYS_futex, (uint32_t *)word, op, val, timeout, NULL, 0);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

size_t outring_try_write(struct outring *r, uint64_t req, int stream, const void *data, size_t len)
{
    struct outring_shared *s = r->shared;
    uint32_t head = atomic_load_explicit(&s->head, memory_order_relaxed);
    uint32_t used = head - atomic_load_explicit(&s->tail, memory_order_acquire);
    uint32_t before = used;
    size_t done = 0;

    if (used > OUTRING_SIZE)
        return 0;
    while (done < len && OUTRING_SIZE - used >= HEAD + 8) {
        uint32_t room = OUTRING_SIZE - used - HEAD;
        uint32_t n = room < OUTRING_RECORD_MAX ? room : OUTRING_RECORD_MAX;
        if (n > len - done)
            n = (uint32_t)(len - done);
        struct record rec = {.length = n, .stream = (uint32_t)stream, .req = req};
        copy_in(s, head, &rec, HEAD);
        copy_in(s, head + HEAD, (const uint8_t *)data + done, n);
        head += padded(n);
        used += padded(n);
        done += n;
    }
    if (!done)
        return 0;
    atomic_store(&s->head, head);
    uint32_t asleep = OUTRING_ASLEEP;
    if (atomic_load(&s->idle) == OUTRING_ASLEEP &&
        atomic_compare_exchange_strong(&s->idle, &asleep, OUTRING_AWAKE))
        ring_doorbell(r);
    else if (before < BELL_AT && used >= BELL_AT)
        ring_doorbell(r);
    return done;
}

/* Sleeps until the consumer ticks. The caller has set `want` and looked once more after that. */
static int wait_tick(struct outring *r, uint32_t seen, int64_t deadline)
{
    struct outring_shared *s = r->shared;
    int64_t left = deadline - now_ms();

    if (atomic_load(&s->idle) == OUTRING_GONE)
        return -EPIPE;
    if (left <= 0)
        return -ETIMEDOUT;
    /* In slices, for a consumer that died without saying so. */
    if (left > SLICE_MS)
        left = SLICE_MS;
    struct timespec ts = {.tv_sec = left / 1000, .tv_nsec = (left % 1000) * 1000000};
    if (futex(&s->ticks, FUTEX_WAIT, seen, &ts) < 0 && errno == EINTR)
        return -EINTR;
    return 0;
}

static int has_room(struct outring_shared *s)
{
    uint32_t used = atomic_load(&s->head) - atomic_load(&s->tail);
    return used <= OUTRING_SIZE - OUTRING_RECORD_MAX;
}

int outring_wait_room(struct outring *r, int timeout_ms)
{
    struct outring_shared *s = r->shared;
    int64_t deadline = now_ms() + timeout_ms;
    int ret = 0;

    atomic_fetch_add(&s->want, 1);
    for (;;) {
        uint32_t ticks = atomic_load(&s->ticks);
        if (has_room(s))
            break;
        ring_doorbell(r);
        ret = wait_tick(r, ticks, deadline);
        if (ret < 0)
            break;
    }
    atomic_fetch_sub(&s->want, 1);
    return ret;
}

int outring_write(struct outring *r, uint64_t req, int stream, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len) {
        size_t n = outring_try_write(r, req, stream, p, len);
        p += n;
        len -= n;
        if (!len)
            break;
        int ret = outring_wait_room(r, INT_MAX);
        if (ret < 0 && ret != -EINTR && ret != -ETIMEDOUT)
            return ret;
    }
    return 0;
}

static int pipe_is_empty(int fd)
{
    int n = 0;
    return fd < 0 || ioctl(fd, FIONREAD, &n) < 0 || n == 0;
}

/*
 * Pipes and ring first, `busy` last: bytes that left them were announced in `busy` before they
 * left.
 */
static int is_settled(const struct outring *r, int out_fd, int err_fd, uint32_t mask)
{
    return pipe_is_empty(out_fd) && pipe_is_empty(err_fd) &&
           !(atomic_load(&r->shared->busy) & mask);
}

int outring_is_drained(const struct outring *r, int out_fd, int err_fd)
{
    return atomic_load(&r->shared->head) == atomic_load(&r->shared->tail) &&
           is_settled(r, out_fd, err_fd, OUTRING_BUSY_RING | OUTRING_BUSY_PIPE);
}

/*
 * Waits for: the ring consumed up to `head` and everything sent. Two ticks after the ring was seen
 * consumed are enough whatever the pipes hold by then: a whole round began after the call.
 */
static int wait_sent(struct outring *r, int out_fd, int err_fd, uint32_t mask, int timeout_ms)
{
    struct outring_shared *s = r->shared;
    int64_t deadline = now_ms() + timeout_ms;
    uint32_t head = atomic_load(&s->head);
    uint32_t mark = 0;
    int passed = 0, ret = 0;

    atomic_fetch_add(&s->want, 1);
    for (;;) {
        uint32_t ticks = atomic_load(&s->ticks);
        int consumed = !(mask & OUTRING_BUSY_RING) || (int32_t)(atomic_load(&s->tail) - head) >= 0;
        if (consumed && is_settled(r, out_fd, err_fd, mask))
            break;
        if (consumed && !passed) {
            passed = 1;
            mark = ticks;
        }
        if (passed && ticks - mark >= 2)
            break;
        ring_doorbell(r);
        ret = wait_tick(r, ticks, deadline);
        if (ret < 0 && ret != -EINTR)
            break;
        ret = 0;
    }
    atomic_fetch_sub(&s->want, 1);
    return ret;
}

int outring_sync(struct outring *r, int out_fd, int err_fd, int timeout_ms)
{
    if (outring_is_drained(r, out_fd, err_fd))
        return 0;
    return wait_sent(r, out_fd, err_fd, OUTRING_BUSY_RING | OUTRING_BUSY_PIPE, timeout_ms);
}

int outring_settle(struct outring *r, int out_fd, int err_fd, int timeout_ms)
{
    if (is_settled(r, out_fd, err_fd, OUTRING_BUSY_PIPE))
        return 0;
    return wait_sent(r, out_fd, err_fd, OUTRING_BUSY_PIPE, timeout_ms);
}

ssize_t outring_read(struct outring *r, uint32_t *tail, uint64_t *ret_req, int *ret_stream,
                     void *out, size_t cap)
{
    struct outring_shared *s = r->shared;
    uint32_t at = *tail;
    uint32_t left = atomic_load(&s->head) - at;
    struct record run = {0};
    size_t got = 0;

    if (left == 0)
        return 0;
    if (left > OUTRING_SIZE || left % 8)
        return -EPROTO;
    if (cap < OUTRING_RECORD_MAX)
        return -EINVAL;
    atomic_fetch_or(&s->busy, OUTRING_BUSY_RING);
    while (left) {
        struct record rec = {0};
        if (left >= HEAD)
            copy_out(s, at, &rec, HEAD);
        if (rec.length == 0 || rec.length > OUTRING_RECORD_MAX || padded(rec.length) > left ||
            (rec.stream != 1 && rec.stream != 2)) {
            if (got)
                break; /* what came before is good; the next call says so */
            return -EPROTO;
        }
        if (got && (rec.stream != run.stream || rec.req != run.req))
            break;
        if (rec.length > cap - got)
            break;
        run = rec;
        copy_out(s, at + HEAD, (uint8_t *)out + got, rec.length);
        got += rec.length;
        at += padded(rec.length);
        left -= padded(rec.length);
    }
    *tail = at;
    atomic_store(&s->tail, at);
    *ret_req = run.req;
    *ret_stream = (int)run.stream;
    return (ssize_t)got;
}

void outring_begin(struct outring *r, uint32_t what)
{
    atomic_fetch_or(&r->shared->busy, what);
}

void outring_sent(struct outring *r)
{
    struct outring_shared *s = r->shared;

    atomic_store(&s->busy, 0);
    atomic_fetch_add(&s->ticks, 1);
    if (atomic_load(&s->want))
        futex(&s->ticks, FUTEX_WAKE, INT_MAX, NULL);
}

int outring_wanted(const struct outring *r)
{
    return atomic_load(&r->shared->want) != 0;
}

int outring_sleep(struct outring *r, uint32_t tail)
{
    atomic_store(&r->shared->idle, OUTRING_ASLEEP);
    if (atomic_load(&r->shared->head) == tail)
        return 0;
    atomic_store(&r->shared->idle, OUTRING_AWAKE);
    return 1;
}

void outring_close(struct outring *r)
{
    atomic_store(&r->shared->idle, OUTRING_GONE);
    atomic_fetch_add(&r->shared->ticks, 1);
    futex(&r->shared->ticks, FUTEX_WAKE, INT_MAX, NULL);
}
