/* LINK: cbx_preview_response cbx_port_label */
/* Responses of programs in boxes whatever the cuts between reads, and labels of previews. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "kernel-gw/api/ports.h"
#include "kernel-gw/preview/response.h"

/* What came of feeding: "200 OK|a=1|body;" for each response, "!" for a refusal. */
static void run(const char *s, size_t len, size_t piece, bool head, bool end, char *out, size_t cap)
{
    struct response r;
    size_t at = 0, n = 0;
    const char *name, *value;
    response_init(&r);
    r.no_body = head;
    out[0] = 0;
    while (at < len || r.at_piece || r.at_head) {
        size_t used, take = len - at < piece ? len - at : piece;
        int e = response_feed(&r, s + at, take, &used);
        assert_true(used <= take);
        at += used;
        if (e == RESPONSE_HEAD) {
            n += (size_t)snprintf(out + n, cap - n, "%d %s", r.status, response_reason(&r));
            for (size_t i = 0; response_header(&r, i, &name, &value); i++)
                n += (size_t)snprintf(out + n, cap - n, "|%s=%s", name, value);
            n += (size_t)snprintf(out + n, cap - n, "|");
        } else if (e == RESPONSE_PIECE) {
            n += (size_t)snprintf(out + n, cap - n, "%.*s", (int)r.piece_len, r.piece);
        } else if (e == RESPONSE_DONE) {
            n += (size_t)snprintf(out + n, cap - n, ";");
            if (r.status == 101)
                break;
            response_next(&r);
            r.no_body = head;
        } else if (e < 0) {
            snprintf(out + n, cap - n, "!");
            break;
        }
    }
    if (end && response_end(&r) == RESPONSE_DONE)
        snprintf(out + n, cap - n, "$");
    response_deinit(&r);
}

static void test_any_cut(void **state)
{
    static const struct {
        const char *in, *out;
        bool head, end;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 404 "
         "No\r\nContent-Length: 0\r\n\r\n",
         "200 OK|a=1|content-length=5|hello;404 No|content-length=0|;", false, false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nT: "
         "x\r\n\r\n",
         "200 OK|transfer-encoding=chunked|abcde;", false, false},
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", "200 OK|until the end$", false, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "200 OK|content-length=9|short",
         false, true},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 N\r\n\r\n",
         "204 N|;", false, false},
        {"HTTP/1.1 304 N\r\nContent-Length: 7\r\n\r\n", "304 N|content-length=7|;", false, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "200 OK|content-length=7|;", true, false},
        {"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
         "101 Switching|connection=Upgrade|upgrade=websocket|;", false, false},
        {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 |content-length=0|;", false, false},
        {"this is no HTTP\r\n\r\n", "!", false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece = 1; piece <= strlen(cases[i].in); piece++) {
            char out[512];
            run(cases[i].in, strlen(cases[i].in), piece, cases[i].head, cases[i].end, out,
                sizeof out);
            assert_string_equal(out, cases[i].out);
        }
    }
}

static void test_caps(void **state)
{
    static char big[RESPONSE_HEAD_MAX + 100], out[RESPONSE_HEAD_MAX + 200];
    (void)state;
    size_t n = (size_t)snprintf(big, sizeof big, "HTTP/1.1 200 OK\r\nA: ");
    memset(big + n, 'x', sizeof big - n - 1);
    run(big, sizeof big - 1, 4096, false, false, out, sizeof out);
    assert_string_equal(out, "!");
    n = (size_t)snprintf(big, sizeof big, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < RESPONSE_HEADERS_MAX + 1; i++)
        n += (size_t)snprintf(big + n, sizeof big - n, "H%d: x\r\n", i);
    run(big, n, 4096, false, false, out, sizeof out);
    assert_string_equal(out, "!");
}

static bool parse(const char *s, struct port_label *l)
{
    return port_label_parse(s, strlen(s), l);
}

static void test_labels(void **state)
{
    static const char *const bad[] = {"",           "3000",      "3000-",
                                      "3000-a",     "3000--t",   "3000-a-",
                                      "0-a-t",      "03000-a-t", "65536-a-t",
                                      "999999-a-t", "x-a-t",     "-a-t",
                                      "3000-A-t",   "3000-a-T",  "3000-a--t",
                                      "3000--a-t",  "3000-a-t.", "3000-a-12345678901234567"};
    struct port_label l;
    (void)state;
    assert_true(parse("3000-my-box-2-tok_en1", &l));
    assert_int_equal(l.port, 3000);
    assert_string_equal(l.sandbox, "my-box-2");
    assert_string_equal(l.token, "tok_en1");
    assert_true(parse("1-a-t", &l));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i], &l))
            fail_msg("%s was taken", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_cut),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
