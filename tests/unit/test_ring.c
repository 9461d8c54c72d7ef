/* LINK: cbx_init */
/* The log of a process: cursors, pieces, growth, what gives way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/init/ring.h"

static size_t read_all(const struct ring *r, uint64_t from, uint32_t stream, char *out)
{
    struct ring_mark m;
    char piece[1000];
    size_t total = 0;
    for (size_t n; (n = ring_get(r, &from, piece, sizeof piece, &m)); from += n) {
        if (stream && m.stream != stream)
            continue;
        memcpy(out + total, piece, n);
        total += n;
    }
    out[total] = 0;
    return total;
}

static void test_pieces(void **state)
{
    struct ring r;
    struct ring_mark m;
    uint64_t at = 0;
    char out[64];
    (void)state;
    ring_init(&r, 1 << 16);
    assert_int_equal(ring_get(&r, &at, out, sizeof out, &m), 0);
    ring_put(&r, 1, 1000, "one", 3);
    ring_put(&r, 1, 1500, "more", 4);   /* the same piece: at once */
    ring_put(&r, 2, 1600, "err", 3);    /* another stream */
    ring_put(&r, 2, 900000, "late", 4); /* another time */
    assert_int_equal(ring_get(&r, &at, out, sizeof out, &m), 7);
    assert_memory_equal(out, "onemore", 7);
    assert_int_equal(m.stream, 1);
    at = 5; /* in the middle of a piece */
    assert_int_equal(ring_get(&r, &at, out, sizeof out, &m), 2);
    at = 7;
    assert_int_equal(ring_get(&r, &at, out, 2, &m), 2);
    assert_int_equal(m.stream, 2);
    assert_int_equal(m.time_us, 1600);
    at = 10;
    assert_int_equal(ring_get(&r, &at, out, sizeof out, &m), 4);
    assert_int_equal(m.time_us, 900000);
    at = 14;
    assert_int_equal(ring_get(&r, &at, out, sizeof out, &m), 0);
    assert_int_equal(read_all(&r, 0, 2, out), 7);
    assert_string_equal(out, "errlate");
    ring_deinit(&r);
}

/* Against a log that keeps everything: whatever sizes come, the last bytes are right. */
static void test_against_a_model(void **state)
{
    enum { MAX = 8192, TOTAL = 400000 };
    static uint8_t model[TOTAL + 20000], streams[TOTAL + 20000], out[20000];
    struct ring r;
    size_t len = 0;
    unsigned seed = 7;
    (void)state;
    ring_init(&r, MAX);
    while (len < TOTAL) {
        size_t n = (size_t)rand_r(&seed) % (rand_r(&seed) % 50 ? 300 : 12000);
        uint32_t stream = 1 + (uint32_t)rand_r(&seed) % 2;
        for (size_t i = 0; i < n; i++) {
            model[len + i] = (uint8_t)rand_r(&seed);
            streams[len + i] = (uint8_t)stream;
        }
        assert_int_equal(ring_put(&r, stream, len * 100, model + len, n), 0);
        len += n;
        assert_int_equal(r.next, len);
        assert_true(r.next - r.first <= MAX);
        uint64_t at = r.first > 100 ? r.first - (uint64_t)rand_r(&seed) % 100 : 0;
        struct ring_mark m;
        for (size_t got; (got = ring_get(&r, &at, out, sizeof out, &m)); at += got) {
            assert_true(at >= r.first);
            assert_memory_equal(out, model + at, got);
            for (size_t i = 0; i < got; i++)
                assert_int_equal(streams[at + i], m.stream);
        }
        assert_int_equal(at, len);
    }
    assert_int_equal(r.next - r.first, MAX);
    ring_deinit(&r);
}

/* Many tiny pieces are bounded, too. */
static void test_marks_are_bounded(void **state)
{
    struct ring r;
    struct ring_mark m;
    uint8_t c;
    (void)state;
    ring_init(&r, 1 << 20);
    for (uint32_t i = 0; i < 200000; i++) {
        c = (uint8_t)i;
        assert_int_equal(ring_put(&r, 1 + i % 2, i, &c, 1), 0);
    }
    assert_true(r.marks_cap <= 32768);
    uint64_t at = 0;
    assert_int_equal(ring_get(&r, &at, &c, 1, &m), 1);
    assert_int_equal(at, r.first);
    assert_int_equal(c, (uint8_t)at);
    assert_int_equal(m.stream, 1 + at % 2);
    assert_int_equal(r.next, 200000);
    ring_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_against_a_model),
        cmocka_unit_test(test_marks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
