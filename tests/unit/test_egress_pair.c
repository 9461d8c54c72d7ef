/* LINK: cbx_egress_pair */
/* Known ways to make two readers of one connection disagree, through both ends of egress. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "tests/pair/pair.h"

#define WS   "Connection: Upgrade\r\nUpgrade: websocket\r\n"
#define LAST "GET /last HTTP/1.1\r\nHost: one.test\r\n\r\n"

/* answers: one character each, 'a' = the first of enum answer in origin.c. */
static void run(const char *name, const char *answers, unsigned pieces, const char *text,
                size_t len, const char *raw)
{
    CLEANUP_BUF struct buf b = {0};
    uint8_t control[PAIR_CONTROL] = {pieces ? 4 : 0};
    for (int i = 0; i < 7; i++)
        control[1 + i] = (uint8_t)(answers[(size_t)i % strlen(answers)] - 'a');
    memset(control + 8, (int)pieces, 8);
    buf_put(&b, control, sizeof control);
    buf_put(&b, text, len);
    if (raw)
        buf_printf(&b, "\n====\n%s", raw);
    const char *wrong = pair_run(b.data, b.len);
    if (wrong)
        fail_msg("%s, answers %s, pieces of %u: %s", name, answers, pieces, wrong);
}

static void in_all_ways(const char *text)
{
    static const char *const answers[] = {"a", "b", "c", "d", "e",  "f",  "g",
                                          "h", "j", "k", "l", "da", "ea", "ja"};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        for (unsigned pieces = 0; pieces < 4; pieces += pieces ? 2 : 1)
            run(text, answers[i], pieces, text, strlen(text), NULL);
}

static void test_requests(void **state)
{
    /* NOLINTBEGIN(bugprone-suspicious-missing-comma): long texts in pieces */
    static const char *const requests[] = {
        LAST LAST,
        "POST /a HTTP/1.1\r\nHost: one.test\r\nContent-Length: 5\r\n\r\nhello" LAST,
        "POST /a?k=v&w HTTP/1.1\r\nHost: one.test\r\nTransfer-Encoding: "
        "chunked\r\n\r\n5\r\nhello\r\n"
        "0\r\nX-T: a\r\nHost: b\r\n\r\n" LAST,
        "GET /a HTTP/1.1\r\nHost: one.test\r\n" WS "\r\n" LAST,
        "GET /a HTTP/1.1\r\nHost: one.test\r\n" WS "Content-Length: 40\r\n\r\n" LAST LAST,
        "GET /a HTTP/1.1\r\nHost: one.test\r\nContent-Length: 40\r\n" WS "\r\n" LAST LAST,
        "GET /a HTTP/1.1\r\nHost: one.test\r\n" WS
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" LAST,
        "POST /a HTTP/1.1\r\nHost: one.test\r\n" WS "Content-Length: 2\r\n\r\nhi" LAST,
        "GET /a HTTP/1.1\r\nHost: one.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
        "h2c\r\n"
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 20\r\n\r\n" LAST,
        "GET /a HTTP/1.1\r\nHost: one.test\r\nConnection: Upgrade\r\nUpgrade: h2c, "
        "websocket\r\n\r\n" LAST,
        "POST /a HTTP/1.1\r\nHost: one.test\r\nConnection: content-length\r\nContent-Length: "
        "38\r\n\r\n" LAST,
        "POST /a HTTP/1.1\r\nHost: one.test\r\nTransfer-Encoding: gzip, "
        "chunked\r\n\r\n0\r\n\r\n" LAST,
        "POST /a HTTP/1.0\r\nHost: one.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" LAST,
        "POST /a HTTP/1.1\r\nHost: one.test\r\nContent-Length: 100\r\n\r\nshort",
        "POST /a HTTP/1.1\r\nHost: one.test\r\nContent-Length: 0\r\nExpect: "
        "100-continue\r\n\r\n" LAST,
        "HEAD /a HTTP/1.1\r\nHost: one.test\r\n\r\n" LAST,
        "GET http://one.test?x HTTP/1.1\r\nHost: two.test\r\n\r\n" LAST,
        "GET /deny HTTP/1.1\r\nHost: one.test\r\n\r\n" LAST,
        "PRI / HTTP/1.1\r\nHost: one.test\r\n\r\n" LAST,
        "OPTIONS * HTTP/1.1\r\nHost: one.test\r\n\r\n" LAST,
        "GET /a HTTP/1.1\r\nHost: one.test\r\nX-Key: mine\r\nx-key : b\r\n\r\n" LAST,
    };
    /* NOLINTEND(bugprone-suspicious-missing-comma) */
    (void)state;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        in_all_ways(requests[i]);
}

static void test_it_is_alive(void **state)
{
    (void)state;
    run("alive", "a", 0, LAST LAST LAST, strlen(LAST LAST LAST), NULL);
    assert_int_equal(pair_allowed(), 3);
    assert_int_equal(pair_answered(), 3);
    run("an upgrade", "e", 0, "GET /a HTTP/1.1\r\nHost: one.test\r\n" WS "\r\n" LAST,
        strlen("GET /a HTTP/1.1\r\nHost: one.test\r\n" WS "\r\n" LAST), NULL);
    assert_int_equal(pair_answered(), 1);
}

static void test_answers(void **state)
{
    /* NOLINTBEGIN(bugprone-suspicious-missing-comma) */
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nContent-Length: 38\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
        "0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: "
        "0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort",
        "HTTP/1.1 99 No\r\n\r\n",
    };
    /* NOLINTEND(bugprone-suspicious-missing-comma) */
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        run(answers[i], "ia", 0, LAST LAST, strlen(LAST LAST), answers[i]);
        run(answers[i], "ia", 0, "HEAD /h HTTP/1.1\r\nHost: one.test\r\n\r\n" LAST,
            strlen("HEAD /h HTTP/1.1\r\nHost: one.test\r\n\r\n" LAST), answers[i]);
        run(answers[i], "ia", 1, "GET /w HTTP/1.1\r\nHost: one.test\r\n" WS "\r\n" LAST,
            strlen("GET /w HTTP/1.1\r\nHost: one.test\r\n" WS "\r\n" LAST), answers[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_it_is_alive),
                                       cmocka_unit_test(test_requests),
                                       cmocka_unit_test(test_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
