/* LINK: cbx_outring */
/* LABELS: threads */
/* Output ring: both sides in one process, with a second thread where waiting matters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sandbox/init/outring.h"

static struct outring ring;
static uint32_t tail;
static uint8_t out[1 << 16];

static int setup(void **state)
{
    (void)state;
    ring.shared = aligned_alloc(64, sizeof *ring.shared);
    memset(ring.shared, 0, sizeof *ring.shared);
    ring.doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    tail = 0;
    return ring.doorbell < 0;
}

static int teardown(void **state)
{
    (void)state;
    free(ring.shared);
    close(ring.doorbell);
    return 0;
}

static int bell(void)
{
    uint64_t n = 0;
    return read(ring.doorbell, &n, sizeof n) == sizeof n;
}

static ssize_t take(uint64_t *req, int *stream)
{
    return outring_read(&ring, &tail, req, stream, out, sizeof out);
}

static void runs_are_merged_and_cut(void **state)
{
    uint64_t req = 0;
    int stream = 0;
    (void)state;

    assert_int_equal(take(&req, &stream), 0);
    assert_int_equal(outring_try_write(&ring, 7, 1, "ab", 2), 2);
    assert_int_equal(outring_try_write(&ring, 7, 1, "cde", 3), 3);
    assert_int_equal(outring_try_write(&ring, 7, 2, "f", 1), 1);
    assert_int_equal(outring_try_write(&ring, 8, 2, "g", 1), 1);
    assert_int_equal(take(&req, &stream), 5);
    assert_memory_equal(out, "abcde", 5);
    assert_int_equal(req, 7);
    assert_int_equal(stream, 1);
    assert_int_equal(take(&req, &stream), 1);
    assert_int_equal(stream, 2);
    assert_int_equal(take(&req, &stream), 1);
    assert_int_equal(req, 8);
    assert_int_equal(take(&req, &stream), 0);
}

static void full_ring_takes_a_part(void **state)
{
    static uint8_t big[2 * OUTRING_SIZE];
    uint64_t req;
    int stream;
    size_t wrote = 0, got = 0;
    (void)state;

    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int round = 0; wrote < sizeof big; round++) {
        wrote += outring_try_write(&ring, 1, 1, big + wrote, sizeof big - wrote);
        assert_int_equal(outring_try_write(&ring, 1, 1, "x", 1), wrote < sizeof big ? 0 : 1);
        ssize_t n;
        while ((n = take(&req, &stream)) > 0) {
            size_t cmp = got + (size_t)n > sizeof big ? sizeof big - got : (size_t)n;
            assert_memory_equal(out, big + got, cmp);
            got += (size_t)n;
        }
        assert_int_equal(n, 0);
    }
    assert_int_equal(got, sizeof big + 1);
}

static void doorbell_rings_once(void **state)
{
    uint64_t req;
    int stream;
    (void)state;

    outring_try_write(&ring, 1, 1, "a", 1);
    assert_false(bell()); /* the consumer is awake */
    assert_int_equal(outring_sleep(&ring, tail), 1);
    assert_int_equal(take(&req, &stream), 1);
    outring_sent(&ring);
    assert_int_equal(outring_sleep(&ring, tail), 0);
    outring_try_write(&ring, 1, 1, "b", 1);
    assert_true(bell());
    outring_try_write(&ring, 1, 1, "c", 1);
    assert_false(bell());
}

static void drained_is_told_by_busy(void **state)
{
    int p[2];
    uint64_t req;
    int stream;
    (void)state;

    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    assert_true(outring_is_drained(&ring, p[1], -1));
    outring_try_write(&ring, 1, 1, "a", 1);
    assert_false(outring_is_drained(&ring, p[1], -1));
    take(&req, &stream);
    assert_false(outring_is_drained(&ring, p[1], -1));
    assert_int_equal(outring_settle(&ring, p[1], -1, 0), 0);
    outring_sent(&ring);
    assert_true(outring_is_drained(&ring, p[1], -1));
    assert_int_equal(write(p[1], "x", 1), 1);
    assert_false(outring_is_drained(&ring, p[1], -1));
    assert_int_equal(outring_sync(&ring, p[1], -1, 10), -ETIMEDOUT);
    assert_int_equal(outring_settle(&ring, p[1], -1, 10), -ETIMEDOUT);
    outring_close(&ring);
    assert_int_equal(outring_sync(&ring, p[1], -1, 1000), -EPIPE);
    close(p[0]);
    close(p[1]);
}

static void broken_records_are_refused(void **state)
{
    uint64_t req;
    int stream;
    uint32_t lengths[] = {0, OUTRING_RECORD_MAX + 1, 0xffffffff, 64};
    (void)state;

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        memset(ring.shared->data, 0, 64);
        memcpy(ring.shared->data, &lengths[i], 4);
        ring.shared->data[4] = 1;
        tail = 0;
        atomic_store(&ring.shared->head, 32);
        assert_int_equal(take(&req, &stream), -EPROTO);
    }
    atomic_store(&ring.shared->head, 12);
    assert_int_equal(take(&req, &stream), -EPROTO);
    atomic_store(&ring.shared->head, 0x80000000);
    assert_int_equal(take(&req, &stream), -EPROTO);
}

enum { TOTAL = 8 << 20 };

static void *consume(void *arg)
{
    uint64_t req;
    int stream;
    size_t got = 0;
    (void)arg;

    while (got < TOTAL) {
        ssize_t n;
        while ((n = take(&req, &stream)) > 0) {
            for (ssize_t i = 0; i < n; i++, got++)
                if (out[i] != (uint8_t)(got % 251))
                    return "wrong byte";
        }
        outring_sent(&ring);
        if (got < TOTAL && outring_sleep(&ring, tail) == 0) {
            fd_set s;
            FD_ZERO(&s);
            FD_SET(ring.doorbell, &s);
            struct timeval tv = {.tv_sec = 10};
            if (select(ring.doorbell + 1, &s, NULL, NULL, &tv) == 0)
                return "never woken";
            bell();
        }
    }
    return NULL;
}

static void two_sides_at_once(void **state)
{
    pthread_t t;
    void *ret;
    uint8_t *all = malloc(TOTAL);
    (void)state;

    for (size_t i = 0; i < TOTAL; i++)
        all[i] = (uint8_t)(i % 251);
    assert_int_equal(pthread_create(&t, NULL, consume, NULL), 0);
    for (size_t at = 0, n = 1; at < TOTAL; at += n, n = n * 3 % 70001 + 1) {
        if (n > TOTAL - at)
            n = TOTAL - at;
        assert_int_equal(outring_write(&ring, 3, 1, all + at, n), 0);
    }
    pthread_join(t, &ret);
    if (ret)
        fail_msg("%s", (char *)ret);
    assert_int_equal(outring_sync(&ring, -1, -1, 5000), 0);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(runs_are_merged_and_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(full_ring_takes_a_part, setup, teardown),
        cmocka_unit_test_setup_teardown(doorbell_rings_once, setup, teardown),
        cmocka_unit_test_setup_teardown(drained_is_told_by_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_records_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(two_sides_at_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
