/* LINK: cbx_api */
/* Lines against texts and patterns; control messages of terminals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/box/match.h"
#include "kernel-gw/api/box/terminal.h"

static bool feed(struct match *m, int stream, const char *text)
{
    return match_feed(m, stream, text, strlen(text));
}

static void test_text(void **state)
{
    struct match *m = match_text("ready", 5);
    size_t len;
    (void)state;
    assert_false(feed(m, 0, "not rea"));
    assert_false(feed(m, 1, "dy\n")); /* another stream */
    assert_true(feed(m, 0, "dy yet\r\n"));
    const char *line = match_line(m, &len);
    assert_int_equal(len, strlen("not ready yet"));
    assert_memory_equal(line, "not ready yet", len);
    match_free(m);
}

static void test_pattern(void **state)
{
    char why[160];
    size_t len;
    struct match *m = match_pattern("^port (\\d+)(x)?$", why, sizeof why);
    (void)state;
    assert_non_null(m);
    assert_false(feed(m, 0, "a port 1\nport y\n"));
    assert_true(feed(m, 0, "x\nport 42\nrest"));
    assert_memory_equal(match_group(m, 1, &len), "42", 2);
    assert_int_equal(len, 2);
    assert_null(match_group(m, 2, &len));
    assert_null(match_group(m, 99, &len));
    match_free(m);
    assert_null(match_pattern("(", why, sizeof why));
    assert_non_null(strstr(why, "character 1"));
}

/* Time and memory of a hostile pair are bounded: this returns. */
static void test_hostile(void **state)
{
    char why[160], *line = malloc(1 << 20);
    struct match *m = match_pattern("(a+)+$b", why, sizeof why);
    (void)state;
    memset(line, 'a', 1 << 20);
    assert_false(match_feed(m, 0, line, 1 << 20));
    assert_false(match_feed(m, 0, "\xff\xfe\x80", 3));
    match_free(m);
    free(line);
}

static void test_control(void **state)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {{"{\"type\":\"resize\",\"cols\":80,\"rows\":24}", true},
                 {"{\"type\":\"signal\",\"signal\":\"SIGINT\"}", true},
                 {"{\"type\":\"signal\",\"signal\":15}", true},
                 {"{\"type\":\"resize\",\"cols\":0,\"rows\":24}", false},
                 {"{\"type\":\"resize\",\"cols\":80,\"rows\":4097}", false},
                 {"{\"type\":\"resize\",\"cols\":\"80\",\"rows\":24}", false},
                 {"{\"type\":\"signal\"}", false},
                 {"{\"type\":7}", false},
                 {"[]", false},
                 {"", false}};
    struct terminal_control c;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *wrong =
            terminal_control_read((const uint8_t *)cases[i].text, strlen(cases[i].text), &c);
        assert_int_equal(wrong == NULL, cases[i].good);
    }
    terminal_control_read((const uint8_t *)cases[1].text, strlen(cases[1].text), &c);
    assert_int_equal(c.signo, SIGINT);
}

static void test_base64(void **state)
{
    CLEANUP_BUF struct buf text = {0}, back = {0};
    uint8_t all[256];
    (void)state;
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    for (size_t n = 0; n < 256; n++) {
        buf_reset(&text);
        buf_reset(&back);
        box_put_base64(&text, all, n);
        assert_int_equal(box_read_base64(buf_str(&text), text.len, &back), 0);
        assert_int_equal(back.len, n);
        if (n)
            assert_memory_equal(back.data, all, n);
    }
    assert_int_not_equal(box_read_base64("a*b=", 4, &back), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),    cmocka_unit_test(test_pattern),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_control),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
