/* LINK: cbx_jupyter_wire */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernel-gw/jupyter/wire/message.h"
#include "sandbox/base/json.h"

#define S(text)                                   \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
#define HEADER "{\"msg_id\":\"1\",\"msg_type\":\"execute_request\",\"session\":\"s\"}"

static enum jupyter_parse parse(struct slice *frames, size_t n, const char *key,
                                struct jupyter_message *m)
{
    struct jupyter_key *k;
    assert_int_equal(jupyter_key_new(key, &k), 0);
    enum jupyter_parse r = jupyter_parse(frames, n, k, m);
    jupyter_key_free(k);
    return r;
}

/* The known answer of RFC 4231 test case 2, through the four-part interface. */
static void signs_like_the_rfc(void **state)
{
    struct slice parts[4] = {S("what do ya "), S("want for"), S(" nothing"), S("?")};
    char out[JUPYTER_SIGNATURE + 1];
    struct jupyter_key *k;
    (void)state;
    assert_int_equal(jupyter_key_new("Jefe", &k), 0);
    for (int again = 0; again < 2; again++) {
        jupyter_sign(k, parts, out);
        assert_string_equal(out,
                            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
    jupyter_key_free(k);
}

static void a_signed_message_comes_through(void **state)
{
    struct slice frames[] = {S("id"), S("<IDS|MSG>"),        S(""),   S(HEADER), S("{}"),
                             S("{}"), S("{\"code\":\"1\"}"), S("buf")};
    char signature[JUPYTER_SIGNATURE + 1];
    struct jupyter_message m;
    struct jupyter_key *k;
    (void)state;
    assert_int_equal(jupyter_key_new("secret", &k), 0);
    jupyter_sign(k, &frames[3], signature);
    jupyter_key_free(k);
    frames[2] = (struct slice){(uint8_t *)signature, JUPYTER_SIGNATURE};
    assert_int_equal(parse(frames, 8, "secret", &m), JUPYTER_OK);
    assert_int_equal(m.nidents, 1);
    assert_int_equal(m.nbuffers, 1);
    assert_string_equal(m.msg_type, "execute_request");
    assert_string_equal(m.session, "s");

    signature[5] ^= 1;
    assert_int_equal(parse(frames, 8, "secret", &m), JUPYTER_E_SIGNATURE);
    frames[2].len = 0;
    assert_int_equal(parse(frames, 8, "secret", &m), JUPYTER_E_SIGNATURE);
    assert_int_equal(parse(frames, 8, "", &m), JUPYTER_OK); /* no key: not signed */
}

static void malformed_messages_are_refused(void **state)
{
    struct slice ok[] = {S("<IDS|MSG>"), S(""), S(HEADER), S("{}"), S("{}"), S("{}")};
    static const struct slice headers[] = {S("[]"), S("{}"), S("{\"msg_id\":1,\"msg_type\":\"x\"}"),
                                           S("{\"msg_id\":\"a\\u0000b\",\"msg_type\":\"x\"}")};
    struct jupyter_message m;
    (void)state;
    assert_int_equal(parse(ok, 6, "", &m), JUPYTER_OK);
    for (size_t n = 0; n < 6; n++)
        assert_int_equal(parse(ok, n, "", &m), JUPYTER_E_FRAMES);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        ok[2] = headers[i];
        assert_int_equal(parse(ok, 6, "", &m), i ? JUPYTER_E_HEADER : JUPYTER_E_JSON);
    }
    ok[2] = (struct slice)S(HEADER);
    ok[5] = (struct slice)S("{\"a\":\xff}");
    assert_int_equal(parse(ok, 6, "", &m), JUPYTER_E_JSON);
}

static void routes_survive_being_bytes(void **state)
{
    struct slice idents[] = {S("client\0x"), S("")}, back[JUPYTER_IDENTS_MAX];
    CLEANUP_BUF struct buf b = {0};
    unsigned n;
    (void)state;
    assert_int_equal(jupyter_put_route(&b, idents, 2), 0);
    assert_int_equal(jupyter_get_route(b.data, b.len, back, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(back[0].len, 8);
    assert_memory_equal(back[0].data, "client\0x", 8);
    assert_int_equal(back[1].len, 0);
    assert_true(jupyter_get_route(b.data, b.len - 1, back, &n) < 0);
}

static void headers_are_json(void **state)
{
    CLEANUP_BUF struct buf b = {0};
    (void)state;
    assert_int_equal(jupyter_put_header(&b, "m_1", "status", "sess", 1700000000123456u), 0);
    assert_int_equal(json_check_object(b.data, b.len), 0);
    assert_non_null(strstr(buf_str(&b), "\"date\":\"2023-11-14T22:13:20.123456Z\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_like_the_rfc),
        cmocka_unit_test(a_signed_message_comes_through),
        cmocka_unit_test(malformed_messages_are_refused),
        cmocka_unit_test(routes_survive_being_bytes),
        cmocka_unit_test(headers_are_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
