/* LINK: cbx_base */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/base/buf.h"
#include "sandbox/base/err.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"
#include "sandbox/base/map.h"

static void buf_has_a_cap(void **state)
{
    CLEANUP_BUF struct buf b = {.max = 8};
    (void)state;
    assert_int_equal(buf_put(&b, "12345678", 8), 0);
    assert_int_equal(buf_putc(&b, 'x'), -EMSGSIZE);
    assert_int_equal(b.err, -EMSGSIZE);
    assert_int_equal(b.len, 8);
    assert_int_equal(buf_put(&b, "", 0), -EMSGSIZE); /* stays failed */
    buf_reset(&b);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), -EMSGSIZE);
}

static void buf_consumes_from_the_front(void **state)
{
    CLEANUP_BUF struct buf b = {0};
    (void)state;
    buf_printf(&b, "%s-%d", "abc", 42);
    buf_consume(&b, 4);
    assert_string_equal(buf_str(&b), "42");
    buf_consume(&b, 100);
    assert_int_equal(b.len, 0);
    assert_string_equal(buf_str(&b), "");
}

static void map_keeps_order_and_forgets(void **state)
{
    struct map *m = map_new();
    char key[16];
    int values[1000];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(map_add(m, key, &values[i]), 0);
    }
    assert_int_equal(map_add(m, "k7", &values[7]), -EEXIST);
    for (int i = 0; i < 1000; i += 2) {
        snprintf(key, sizeof key, "k%d", i);
        assert_ptr_equal(map_remove(m, key), &values[i]);
        assert_null(map_get(m, key));
    }
    size_t cursor = 0;
    const char *k;
    for (int i = 1; i < 1000; i += 2) {
        assert_ptr_equal(map_next(m, &cursor, &k), &values[i]);
        snprintf(key, sizeof key, "k%d", i);
        assert_string_equal(k, key);
    }
    assert_null(map_next(m, &cursor, &k));
    for (int i = 0; i < 1000; i += 2) { /* removed slots are used again */
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(map_add(m, key, &values[i]), 0);
    }
    assert_int_equal(map_count(m), 1000);
    map_free(m);
}

static void first_error_wins(void **state)
{
    struct err e = {0};
    (void)state;
    assert_int_equal(err_set(&e, -EPERM, "mount proc", NULL), -EPERM);
    assert_int_equal(err_set(&e, -EIO, "later", "x"), -EIO);
    assert_string_equal(e.step, "mount proc");
    assert_string_equal(e.text, "Operation not permitted");
    assert_int_equal(err_set(NULL, -EIO, "nobody listens", NULL), -EIO);
}

static void descriptors_travel(void **state)
{
    int pair[2], pipes[2], got[1];
    char text[8];
    (void)state;
    assert_int_equal(fd_seqpacket_pair(pair), 0);
    assert_int_equal(pipe(pipes), 0);
    int both[2] = {pipes[0], pipes[1]};
    assert_int_equal(fd_send(pair[0], "hi", 2, both, 2), 2);
    size_t n = 1; /* room for one: the second must be closed, not leaked */
    assert_int_equal(fd_recv(pair[1], text, sizeof text, got, &n), 2);
    assert_int_equal(n, 1);
    int next = dup(0);
    assert_true(next <= got[0] + 2);
    n = 0;
    assert_int_equal(fd_recv(pair[1], text, sizeof text, NULL, NULL), -EAGAIN);
    assert_int_equal(fd_send(pair[0], "too long for it", 15, NULL, 0), 15);
    assert_int_equal(fd_recv(pair[1], text, sizeof text, NULL, NULL), -EMSGSIZE);
    assert_int_equal(fd_recv_wait(pair[1], text, sizeof text, NULL, NULL, 1), -ETIMEDOUT);
    int all[] = {next, got[0], pipes[0], pipes[1], pair[0], pair[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        close(all[i]);
}

static void json_grammar(void **state)
{
    static const char *const good[] = {
        "{}",
        "[]",
        " {\"a\" : [1, -0.5e+3, true, null, \"x\"]} ",
        "\"\\u00e9\\ud83d\\ude00\"",
        "0",
        "\"\xc3\xa9\"",
        "[[[[[]]]]]",
        "{\"a\":{\"b\":{}}}",
        "1E5",
        "\"\\\\\\/\\b\\f\\n\\r\\t\\\"\"",
    };
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[1,]",
        "{\"a\":}",
        "{a:1}",
        "{\"a\" 1}",
        "01",
        "1.",
        ".5",
        "1e",
        "+1",
        "NaN",
        "Infinity",
        "\"\\x\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83dx\"",
        "\"\n\"",
        "tru",
        "nulll",
        "[1 2]",
        "{} {}",
        "\"",
        "\"a",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\"\xf5\x80\x80\x80\"",
        "\"\xc3\"",
        "{\"a\":1,}",
        "[}",
        "{]",
        "\"\\u12\"",
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (json_check(good[i], strlen(good[i])) != 0)
            fail_msg("refused %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (json_check(bad[i], strlen(bad[i])) == 0)
            fail_msg("accepted %s", bad[i]);
    assert_int_equal(json_check_object("[1]", 3), -EINVAL);
    assert_int_equal(json_check_object(" {\"a\":1}", 8), 0);
}

static void json_depth_is_bounded(void **state)
{
    char deep[2 * JSON_DEPTH_MAX + 2];
    (void)state;
    memset(deep, '[', JSON_DEPTH_MAX);
    memset(deep + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    assert_int_equal(json_check(deep, 2 * JSON_DEPTH_MAX), 0);
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_int_equal(json_check(deep, 2 * JSON_DEPTH_MAX + 2), -EINVAL);
}

static void json_strings_are_always_well_formed(void **state)
{
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } cases[] = {
        {"a\"b\\c\n\x01", 7, "\"a\\\"b\\\\c\\n\\u0001\""},
        {"\xc3\xa9", 2, "\"\xc3\xa9\""},
        {"\xc3", 1, "\"\xef\xbf\xbd\""},
        {"\xe2\x82x", 3, "\"\xef\xbf\xbdx\""},
        {"\xff\xfe", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\0", 1, "\"\\u0000\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP_BUF struct buf b = {0};
        assert_int_equal(json_put_string(&b, cases[i].in, cases[i].len), 0);
        assert_string_equal(buf_str(&b), cases[i].out);
        assert_int_equal(json_check(b.data, b.len), 0);
    }
}

static void utf8_tails(void **state)
{
    (void)state;
    assert_int_equal(utf8_incomplete_tail("abc", 3), 0);
    assert_int_equal(utf8_incomplete_tail("a\xc3", 2), 1);
    assert_int_equal(utf8_incomplete_tail("a\xf0\x9f\x98", 4), 3);
    assert_int_equal(utf8_incomplete_tail("\xf0\x9f\x98\x80", 4), 0);
    assert_int_equal(utf8_incomplete_tail("\xff", 1),
                     0); /* never becomes valid: no reason to wait */
    assert_int_equal(utf8_incomplete_tail("\xe2\x28", 2), 0); /* broken already */
    assert_true(utf8_valid("\xe2\x82\xac", 3));
    assert_false(utf8_valid("\xe2\x82", 2));
}

static void ids_differ(void **state)
{
    char a[37], b[37];
    (void)state;
    id_uuid(a);
    id_uuid(b);
    assert_string_not_equal(a, b);
    assert_int_equal(a[14], '4');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_has_a_cap),
        cmocka_unit_test(buf_consumes_from_the_front),
        cmocka_unit_test(map_keeps_order_and_forgets),
        cmocka_unit_test(first_error_wins),
        cmocka_unit_test(descriptors_travel),
        cmocka_unit_test(json_grammar),
        cmocka_unit_test(json_depth_is_bounded),
        cmocka_unit_test(json_strings_are_always_well_formed),
        cmocka_unit_test(utf8_tails),
        cmocka_unit_test(ids_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
