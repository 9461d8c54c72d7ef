/* LINK: cbx_proto */
/* Frame codec: what goes in comes out, and everything malformed is refused for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "contexts/proto/proto.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define FAIL_NTH 1
static long fail_at = -1;
void *__libc_realloc(void *p, size_t n);
void *realloc(void *p, size_t n)
{
    if (fail_at >= 0 && fail_at-- == 0)
        return NULL;
    return __libc_realloc(p, n);
}
#endif

static uint8_t packet[PACKET_MAX];

static struct proto_section text(const char *s)
{
    return (struct proto_section){(const uint8_t *)s, strlen(s)};
}

/* Encodes as G would and decodes as G does: the types of the runner's side are used. */
static int pass(struct proto_decoder *d, uint16_t type, uint32_t arg, uint64_t req,
                const struct proto_section *s, unsigned n, struct proto_message *ret)
{
    struct proto_encoder e;
    size_t len;
    int r = proto_encoder_init(&e, type, arg, req, s, n);
    while (r == 0 && (len = proto_encoder_next(&e, packet)) > 0)
        r = proto_decoder_feed(d, packet, len, ret);
    proto_encoder_deinit(&e);
    return r;
}

static void test_round_trip(void **state)
{
    struct proto_decoder d;
    struct proto_message m;
    size_t big = 300000;
    char *data = malloc(big + 16);
    (void)state;
    memcpy(data, "{\"a\":\"", 6);
    memset(data + 6, 'x', big);
    memcpy(data + 6 + big, "\"}", 3);
    struct proto_section s[4] = {
        text(data), text("{}"), text("{}"), {(const uint8_t *)"\0\xff", 2}};
    proto_decoder_init(&d, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pass(&d, FRAME_DISPLAY, 0, 7, s, 4, &m), 1);
        assert_int_equal(m.type, FRAME_DISPLAY);
        assert_int_equal(m.req, 7);
        assert_int_equal(m.nsections, 4);
        assert_int_equal(m.sections[0].len, big + 8);
        assert_memory_equal(m.sections[0].data, data, big + 8);
        assert_memory_equal(m.sections[3].data, "\0\xff", 2);
    }
    proto_decoder_deinit(&d);
    free(data);
}

/* One-packet messages of init come between the packets of the runner's. */
static void test_interleaved(void **state)
{
    struct proto_decoder d;
    struct proto_encoder e;
    struct proto_message m = {0};
    uint8_t init[200];
    size_t big = 150000;
    char *data = calloc(1, big + 3);
    (void)state;
    memset(data, ' ', big);
    data[0] = '{';
    data[big - 1] = '}';
    struct proto_section s = {(const uint8_t *)data, big};
    const void *sections[] = {"\1", "out"};
    const uint32_t lengths[] = {1, 3};
    size_t init_len = packet_build(init, PACKET_FIRST | PACKET_LAST | PACKET_INIT, MESSAGE_STREAM,
                                   0, 0, 2, sections, lengths);
    proto_decoder_init(&d, NULL);
    assert_int_equal(proto_encoder_init(&e, FRAME_DONE, 0, 1, &s, 1), 0);
    int whole = 0;
    for (size_t n; (n = proto_encoder_next(&e, packet)) > 0;) {
        whole += proto_decoder_feed(&d, packet, n, &m);
        if (whole)
            break;
        assert_true(proto_decoder_open(&d));
        assert_int_equal(proto_decoder_feed(&d, init, init_len, &m), 1);
        assert_int_equal(m.type, MESSAGE_STREAM);
        assert_memory_equal(m.sections[1].data, "out", 3);
    }
    assert_int_equal(whole, 1);
    assert_int_equal(m.type, FRAME_DONE);
    assert_int_equal(m.sections[0].len, big);
    proto_encoder_deinit(&e);
    proto_decoder_deinit(&d);
    free(data);
}

static void refused(const void *data, size_t len)
{
    struct proto_decoder d;
    struct proto_message m;
    uint8_t good[64];
    proto_decoder_init(&d, NULL);
    assert_int_equal(proto_decoder_feed(&d, data, len, &m), -EPROTO);
    assert_non_null(proto_decoder_error(&d));
    size_t n =
        packet_build(good, PACKET_FIRST | PACKET_LAST, FRAME_CLEAR_OUTPUT, 0, 0, 0, NULL, NULL);
    assert_int_equal(proto_decoder_feed(&d, good, n, &m), -EPROTO); /* final */
    proto_decoder_deinit(&d);
}

static void test_malformed(void **state)
{
    uint8_t p[100];
    const void *object[] = {"{}"}, *stream[] = {"\3", "x"};
    const uint32_t two[] = {2}, one_one[] = {1, 1};
    (void)state;
    size_t n = packet_build(p, PACKET_FIRST | PACKET_LAST, FRAME_DONE, 0, 1, 1, object, two);
    refused(p, 3);
    refused(p, 10);
    refused(p, n - 1);
    p[1] = 1;
    refused(p, n);
    p[1] = 0;
    p[0] = 8;
    refused(p, n);
    p[0] = PACKET_LAST; /* no beginning */
    refused(p, n);
    p[0] = PACKET_FIRST | PACKET_INIT;
    refused(p, n);
    p[0] = PACKET_FIRST | PACKET_LAST | PACKET_INIT; /* DONE is not init's */
    refused(p, n);
    p[0] = PACKET_FIRST | PACKET_LAST;
    put_le(p + 20, 0xffffffff, 4); /* section length */
    refused(p, n);
    put_le(p + 20, 2, 4);
    put_le(p + 6, 65, 2); /* sections */
    refused(p, n);
    put_le(p + 6, 1, 2);
    put_le(p + 4, 99, 2); /* type */
    refused(p, n);
    n = packet_build(p, PACKET_FIRST | PACKET_LAST, FRAME_DONE, 3, 1, 1, object, two);
    refused(p, n);
    n = packet_build(p, PACKET_FIRST | PACKET_LAST, MESSAGE_STREAM, 0, 0, 2, stream, one_one);
    refused(p, n);
    object[0] = "[]";
    n = packet_build(p, PACKET_FIRST | PACKET_LAST, FRAME_DONE, 0, 1, 1, object, two);
    refused(p, n);
    n = packet_build(p, PACKET_FIRST | PACKET_LAST, MESSAGE_EXITED, 0, 0, 0, NULL, NULL);
    refused(p, n);
}

/* The beginning of a long message of a type. */
static size_t begin(uint8_t *p, uint16_t type, uint32_t announced)
{
    memset(p, 0, 80);
    p[0] = PACKET_FIRST;
    put_le(p + 4, type, 2);
    put_le(p + 6, 1, 2);
    put_le(p + 20, announced, 4);
    memcpy(p + 24, "{\"a\":\"", 6);
    memset(p + 30, 'x', 50);
    return 80;
}

static void test_announced_but_never_sent(void **state)
{
    struct proto_quota quota = {.max = 100 << 20};
    struct proto_decoder first, second;
    struct proto_message m;
    uint8_t p[200];
    (void)state;
    size_t n = begin(p, FRAME_DONE, 60 << 20);
    proto_decoder_init(&first, &quota);
    proto_decoder_init(&second, &quota);
    assert_int_equal(proto_decoder_feed(&first, p, n, &m), 0);
    assert_int_equal(quota.used, 0);
    assert_true(proto_decoder_admit(&first));
    assert_int_equal(quota.used, (60 << 20) + 20);
    assert_true(proto_decoder_admit(&first)); /* once */
    assert_int_equal(quota.used, (60 << 20) + 20);
    assert_true(first.partial.cap < 4096); /* the announced length is not allocated */
    assert_int_equal(proto_decoder_feed(&second, p, n, &m), 0);
    assert_false(proto_decoder_admit(&second));
    proto_decoder_drop(&first); /* its peer died */
    assert_true(proto_decoder_admit(&second));
    proto_decoder_deinit(&first);
    proto_decoder_deinit(&second);
    assert_int_equal(quota.used, 0);
}

/* What the gateway reads itself is short: refused with its first packet. */
static void test_caps(void **state)
{
    uint8_t p[200];
    char *data = malloc(PROTO_HELLO_MAX);
    struct proto_decoder d;
    struct proto_message m;
    (void)state;
    refused(p, begin(p, FRAME_HELLO, PROTO_HELLO_MAX));
    refused(p, begin(p, FRAME_STDIN, PROTO_STDIN_MAX));
    refused(p, begin(p, FRAME_DONE, PROTO_MESSAGE_MAX));
    memset(data, ' ', PROTO_HELLO_MAX);
    data[0] = '{';
    data[PROTO_HELLO_MAX - 101] = '}';
    struct proto_section s = {(const uint8_t *)data, PROTO_HELLO_MAX - 100};
    proto_decoder_init(&d, NULL);
    assert_int_equal(pass(&d, FRAME_HELLO, 0, 0, &s, 1, &m), 1);
    assert_int_equal(pass(&d, FRAME_HELLO, 0, 0, &s, 1, &m), -EPROTO); /* once */
    proto_decoder_deinit(&d);
    free(data);
}

/* A long message is refused where it breaks, not at its end. */
static void test_checked_as_it_comes(void **state)
{
    struct proto_decoder d;
    struct proto_message m;
    uint8_t p[200];
    (void)state;
    size_t n = begin(p, FRAME_DONE, 10000);
    proto_decoder_init(&d, NULL);
    assert_int_equal(proto_decoder_feed(&d, p, n, &m), 0);
    p[0] = 0;
    memcpy(p + 4, "\"]", 2);
    assert_int_equal(proto_decoder_feed(&d, p, 6, &m), -EPROTO);
    proto_decoder_deinit(&d);
    begin(p, FRAME_DONE, 10000);
    p[24] = '[';
    memset(p + 25, ' ', 55);
    proto_decoder_init(&d, NULL);
    assert_int_equal(proto_decoder_feed(&d, p, n, &m), -EPROTO);
    proto_decoder_deinit(&d);
}

static void test_pick(void **state)
{
    const char *o = " { \"a\" : {\"x\":[1,\"]}\"]} ,\"b\\\"\":1, \"c\":\"q\\\"\" , \"n\": -1.5e3 }";
    struct proto_section v;
    (void)state;
    assert_true(json_pick(o, strlen(o), "a", &v));
    assert_memory_equal(v.data, "{\"x\":[1,\"]}\"]}", v.len);
    assert_true(json_pick(o, strlen(o), "c", &v));
    assert_memory_equal(v.data, "\"q\\\"\"", v.len);
    assert_int_equal(v.len, 5);
    assert_true(json_pick(o, strlen(o), "n", &v));
    assert_int_equal(v.len, 6);
    assert_false(json_pick(o, strlen(o), "x", &v));
    assert_false(json_pick("{}", 2, "x", &v));
}

static void test_out_of_memory(void **state)
{
    (void)state;
#ifdef FAIL_NTH
    char *data = malloc(200003);
    memset(data, ' ', 200000);
    data[0] = '{';
    data[199999] = '}';
    struct proto_section s = {(const uint8_t *)data, 200000};
    int ok = 0;
    for (long n = 0; n < 100 && !ok; n++) {
        struct proto_decoder d;
        struct proto_message m;
        proto_decoder_init(&d, NULL);
        fail_at = n;
        int r = pass(&d, FRAME_DONE, 0, 1, &s, 1, &m);
        ok = fail_at >= 0;
        fail_at = -1;
        assert_true(ok ? r == 1 : r == -ENOMEM);
        proto_decoder_deinit(&d);
    }
    assert_true(ok);
    free(data);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_interleaved),
        cmocka_unit_test(test_malformed),  cmocka_unit_test(test_announced_but_never_sent),
        cmocka_unit_test(test_caps),       cmocka_unit_test(test_checked_as_it_comes),
        cmocka_unit_test(test_pick),       cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
