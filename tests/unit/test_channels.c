/* LINK: cbx_jupyter_frames */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "kernel-gw/jupyter/channels/frames.h"
#include "sandbox/wire/packet.h"

#define HEADER \
    "{\"msg_id\":\"1\",\"msg_type\":\"comm_msg\",\"session\":\"s\",\"subshell_id\":\"sub\"}"

static struct buf flat(const struct channels_out *o)
{
    struct buf b = {0};
    for (unsigned i = 0; i < o->n; i++)
        buf_put(&b, o->parts[i].data, o->parts[i].len);
    return b;
}

static struct jupyter_parts parts_of(unsigned nbuffers)
{
    static const struct slice buffers[] = {{(const uint8_t *)"\0\1\2", 3},
                                           {(const uint8_t *)"", 0}};
    return (struct jupyter_parts){.msg_type = "comm_msg",
                                  .parent = SLICE_STR("{\"msg_id\":\"0\"}"),
                                  .metadata = SLICE_STR("{}"),
                                  .content = SLICE_STR("{\"a\":[1,{\"channel\":\"x\"}]}"),
                                  .nbuffers = nbuffers,
                                  .buffers = buffers};
}

/* What we would send on shell is what a client would: both forms, with and without buffers. */
static void both_forms_come_back(void **state)
{
    (void)state;
    for (int form = CHANNELS_JSON; form <= CHANNELS_V1; form++) {
        for (unsigned n = 0; n <= 2; n++) {
            struct channels_out o;
            struct jupyter_message m;
            enum channel ch = CHANNEL_HB;
            struct jupyter_parts parts = parts_of(n);
            assert_int_equal(channels_encode((enum channels_form)form, CHANNEL_SHELL,
                                             SLICE_STR(HEADER), "1", &parts, &o),
                             0);
            struct buf b = flat(&o);
            assert_int_equal(o.binary, form == CHANNELS_V1 || n > 0);
            assert_null(
                channels_decode((enum channels_form)form, o.binary, b.data, b.len, &ch, &m));
            assert_int_equal(ch, CHANNEL_SHELL);
            assert_string_equal(m.msg_type, "comm_msg");
            assert_string_equal(m.subshell, "sub");
            assert_true(m.names_subshell);
            assert_int_equal(m.content.len, parts.content.len);
            assert_memory_equal(m.content.data, parts.content.data, m.content.len);
            assert_int_equal(m.nbuffers, n);
            if (n == 2) {
                assert_int_equal(m.buffers[0].len, 3);
                assert_int_equal(m.buffers[1].len, 0);
            }
            channels_out_deinit(&o);
            buf_deinit(&b);
        }
    }
}

static const char *v1(const uint64_t *offsets, unsigned n, uint64_t count, const char *tail)
{
    static uint8_t data[512];
    enum channel ch;
    struct jupyter_message m;
    put_le(data, count, 8);
    for (unsigned i = 0; i < n; i++)
        put_le(data + 8 + 8 * (size_t)i, offsets[i], 8);
    size_t at = 8 + 8 * (size_t)n;
    memcpy(data + at, tail, strlen(tail));
    return channels_decode(CHANNELS_V1, true, data, at + strlen(tail), &ch, &m);
}

static void bad_offsets_are_refused(void **state)
{
    const char *tail = "shell" HEADER "{}{}{}";
    uint64_t a = 56, h = a + 5, p = h + strlen(HEADER);
    uint64_t good[] = {a, h, p, p + 2, p + 4, p + 6};
    (void)state;
    assert_null(v1(good, 6, 6, tail));
    assert_non_null(v1(good, 6, 5, tail));
    assert_non_null(v1(good, 6, 7, tail));
    assert_non_null(v1(good, 6, UINT64_MAX, tail));
    for (int i = 0; i < 6; i++) {
        uint64_t bad[6];
        memcpy(bad, good, sizeof bad);
        bad[i] += 1000;
        assert_non_null(v1(bad, 6, 6, tail));
        bad[i] = 0;
        assert_non_null(v1(bad, 6, 6, tail));
        bad[i] = UINT64_MAX;
        assert_non_null(v1(bad, 6, 6, tail));
    }
    assert_non_null(v1(good, 6, 6, "iopub" HEADER "{}{}{}")); /* not for clients */
}

static const char *json(const char *text)
{
    enum channel ch;
    struct jupyter_message m;
    return channels_decode(CHANNELS_JSON, false, (const uint8_t *)text, strlen(text), &ch, &m);
}

static void bad_json_is_refused(void **state)
{
    (void)state;
    assert_null(json("{\"channel\":\"control\",\"header\":" HEADER
                     ",\"parent_header\":null,\"content\":{}}"));
    assert_null(json("{\"header\":" HEADER "}"));
    assert_non_null(json("{\"channel\":\"iopub\",\"header\":" HEADER "}"));
    assert_non_null(json("{\"channel\":\"shell\"}"));
    assert_non_null(json("{\"channel\":\"shell\",\"header\":" HEADER ",\"content\":[]}"));
    assert_non_null(json("[]"));
    assert_non_null(json("{\"header\":" HEADER));
    assert_non_null(json("\xff"));
    assert_non_null(json(""));
}

static void bad_binary_json_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {{"", 0},
                 {"\0\0\0\0", 4},
                 {"\0\0\0\1\0\0\0\7{}", 10},
                 {"\0\0\0\1\0\0\0\x8", 8},
                 {"\0\0\0\2\0\0\0\xc\0\0\0\x0b{}", 14},
                 {"\0\0\0\2\0\0\0\xc\xff\xff\xff\xff{}", 14},
                 {"\xff\xff\xff\xff\0\0\0\4", 8}};
    enum channel ch;
    struct jupyter_message m;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_non_null(channels_decode(CHANNELS_JSON, true, (const uint8_t *)cases[i].bytes,
                                        cases[i].len, &ch, &m));
    assert_non_null(channels_decode(CHANNELS_V1, false, (const uint8_t *)"{}", 2, &ch, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_come_back), cmocka_unit_test(bad_offsets_are_refused),
        cmocka_unit_test(bad_json_is_refused), cmocka_unit_test(bad_binary_json_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
