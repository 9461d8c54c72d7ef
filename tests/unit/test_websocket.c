/* LINK: cbx_websocket */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/net/websocket/codec.h"
#include "kernel-gw/net/websocket/deflate.h"

static char seen[4096];
static struct buf out;

static void on_message(void *user, bool binary, const uint8_t *data, size_t len)
{
    size_t n = strlen(seen);
    (void)user;
    snprintf(seen + n, sizeof seen - n, "%s[%.*s]", binary ? "b" : "t", (int)len,
             (const char *)data);
}

static const struct ws_codec_ops ops = {.message = on_message};

static int setup(void **state)
{
    seen[0] = 0;
    out = (struct buf){0};
    *state = ws_codec_new(&out, 1000, true, &ops);
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    ws_codec_free(*state);
    buf_deinit(&out);
    return 0;
}

/* A masked frame of a client. */
static size_t frame(uint8_t *to, uint8_t first, const void *data, size_t len)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    size_t n = 0;
    to[n++] = first;
    if (len < 126) {
        to[n++] = (uint8_t)(0x80 | len);
    } else {
        to[n++] = 0x80 | 126;
        to[n++] = (uint8_t)(len >> 8);
        to[n++] = (uint8_t)len;
    }
    memcpy(to + n, mask, 4);
    n += 4;
    for (size_t i = 0; i < len; i++)
        to[n++] = ((const uint8_t *)data)[i] ^ mask[i % 4];
    return n;
}

/* The example of RFC 6455 section 1.3. */
static void accepts_the_key_of_the_rfc(void **state)
{
    char accept[32];
    (void)state;
    assert_true(ws_accept_key("dGhlIHNhbXBsZSBub25jZQ==", accept));
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_false(ws_accept_key("short", accept));
}

static void takes_only_offers_it_can_keep(void **state)
{
    (void)state;
    assert_true(ws_offers_deflate("permessage-deflate"));
    assert_true(ws_offers_deflate("foo, permessage-deflate; client_max_window_bits"));
    assert_true(ws_offers_deflate("permessage-deflate;server_no_context_takeover"));
    assert_false(ws_offers_deflate(NULL));
    assert_false(ws_offers_deflate("permessage-deflate-x"));
    assert_false(ws_offers_deflate("permessage-deflate; server_max_window_bits=10"));
    assert_true(
        ws_offers_deflate("permessage-deflate; server_max_window_bits=10, permessage-deflate"));
}

static void a_message_may_be_cut_anywhere(void **state)
{
    uint8_t bytes[256];
    size_t n = frame(bytes, 0x01, "hel", 3); /* text, not final */
    n += frame(bytes + n, 0x89, "p", 1);     /* a ping between */
    n += frame(bytes + n, 0x80, "lo", 2);
    n += frame(bytes + n, 0x82, "\0\1", 2);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ws_codec_feed(*state, bytes + i, 1), 0);
    assert_memory_equal(seen, "t[hello]b[", 10);
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "\x8a\x01p", 3); /* the pong */
}

static unsigned close_code(void)
{
    assert_true(out.len >= 4);
    assert_int_equal(out.data[0], 0x88);
    return (unsigned)out.data[2] << 8 | out.data[3];
}

static void bad_frames_get_their_close_code(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        unsigned code;
    } cases[] = {
        {"\x81\x01x", 3, 1002},                 /* not masked */
        {"\xc1\x81\1\2\3\4\x06", 7, 1007},      /* compressed, but nothing that inflates */
        {"\x91\x81\1\2\3\4x", 7, 1002},         /* a bit that nobody agreed on */
        {"\x81\x81\1\2\3\4\xfe", 7, 1007},      /* 0xff: no UTF-8 */
        {"\x80\x80\1\2\3\4", 6, 1002},          /* continues nothing */
        {"\x82\xfe\x10\x00\1\2\3\4x", 9, 1009}, /* too big */
        {"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\1\2\3\4x", 15, 1009},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ws_codec *c = ws_codec_new(&out, 1000, true, &ops);
        buf_reset(&out);
        ws_codec_feed(c, cases[i].bytes, cases[i].len);
        assert_int_equal(close_code(), cases[i].code);
        assert_int_equal(ws_codec_send(c, false, NULL, 0, false), -EPIPE);
        ws_codec_free(c);
    }
    assert_string_equal(seen, "");
}

static void answers_a_close(void **state)
{
    uint8_t bytes[64];
    size_t n = frame(bytes, 0x88,
                     "\x03\xe8"
                     "bye",
                     5);
    assert_int_equal(ws_codec_feed(*state, bytes, n), 1);
    assert_int_equal(close_code(), 1000);
}

static void sends_in_every_length(void **state)
{
    static const size_t sizes[] = {0, 125, 126, 65535, 65536};
    char *data = calloc(1, 65536);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct ws_part parts[] = {{data, sizes[i] / 2}, {data, sizes[i] - sizes[i] / 2}};
        buf_reset(&out);
        assert_int_equal(ws_codec_send(*state, true, parts, 2, false), 0);
        size_t head = sizes[i] < 126 ? 2 : sizes[i] < 65536 ? 4 : 10;
        assert_int_equal(out.len, head + sizes[i]);
        assert_int_equal(out.data[0], 0x82);
    }
    free(data);
}

static void compresses_and_inflates(void **state)
{
    struct ws_part parts[] = {{"abcabcabcabcabcabcabcabcabcabc", 30}, {"abcabc", 6}};
    struct deflater *d = deflater_new();
    struct buf *packed, *plain;
    uint8_t bytes[256];
    assert_int_equal(ws_codec_send(*state, false, parts, 2, true), 0);
    assert_int_equal(out.data[0], 0xc1);
    assert_true(out.len < 36);
    assert_int_equal(deflater_inflate(d, out.data + 2, out.len - 2, 100, &plain), 0);
    assert_int_equal(plain->len, 36);
    assert_memory_equal(plain->data, "abcabcabc", 9);
    assert_int_equal(deflater_inflate(d, out.data + 2, out.len - 2, 35, &plain), -EMSGSIZE);
    assert_int_equal(deflater_deflate(d, parts, 2, &packed), 0);
    size_t n = frame(bytes, 0xc1, packed->data, packed->len);
    assert_int_equal(ws_codec_feed(*state, bytes, n), 0);
    assert_string_equal(seen, "t[abcabcabcabcabcabcabcabcabcabcabcabc]");
    deflater_free(d);
}

/* 4 KiB that become 4 MiB are refused before they are there. */
static void a_bomb_is_refused(void **state)
{
    struct deflater *d = deflater_new();
    struct buf *packed;
    char *zeros = calloc(1, 700 << 10);
    struct ws_part part = {zeros, 700 << 10};
    uint8_t bytes[2048];
    assert_int_equal(deflater_deflate(d, &part, 1, &packed), 0);
    assert_true(packed->len < 1000 * 4);
    struct ws_codec *c = ws_codec_new(&out, 8192, true, &ops);
    if (packed->len < sizeof bytes - 16) {
        size_t n = frame(bytes, 0xc1, packed->data, packed->len);
        ws_codec_feed(c, bytes, n);
        assert_int_equal(close_code(), 1009);
    }
    ws_codec_free(c);
    free(zeros);
    deflater_free(d);
    (void)state;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(accepts_the_key_of_the_rfc),
                                       TEST(takes_only_offers_it_can_keep),
                                       TEST(a_message_may_be_cut_anywhere),
                                       TEST(bad_frames_get_their_close_code),
                                       TEST(answers_a_close),
                                       TEST(sends_in_every_length),
                                       TEST(compresses_and_inflates),
                                       TEST(a_bomb_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
