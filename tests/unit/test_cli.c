/* LINK: cbx_cli */
/* The command line's parsers: event streams cut anywhere, base64 of pictures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#undef fail /* cmocka's, which is also the name of a function here */
#include "clients/c/sse.h"
#include "clients/cli/util.h"

static void collect(void *user, const struct sse_event *e)
{
    str_addf(user, "[%s|%s|%.*s]", e->type, e->id, (int)e->len, e->data);
}

/* What comes out when the stream arrives in pieces of n bytes. */
static char *parse(const char *text, size_t n)
{
    struct str out = {0};
    struct sse s = {.on_event = collect, .user = &out};
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i += n)
        assert_int_equal(sse_feed(&s, text + i, len - i < n ? len - i : n), 0);
    sse_deinit(&s);
    return str_take(&out);
}

static void test_events(void **state)
{
    static const struct {
        const char *stream, *events;
    } cases[] = {
        {"data: a\n\n", "[message||a]"},
        {"id: 1\nevent: stdout\ndata: {}\n\n: beat\n\ndata: b\n\n", "[stdout|1|{}][message|1|b]"},
        {"data: a\ndata: b\r\ndata:c\rdata\n\n", "[message||a\nb\nc\n]"},
        {"event: x\n\nretry: 5\nunknown\ndata: y\r\n\r\n", "[message||y]"},
        {"data: cut off\n", ""},
        {"data:  two\n\n\n\ndata\n\n", "[message|| two][message||]"},
        {"id: 7\ndata: a\n\nid\ndata: b\n\n", "[message|7|a][message||b]"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t n = 1; n < 40; n++) {
            CLEANUP_FREE char *out = parse(cases[i].stream, n);
            assert_string_equal(out, cases[i].events);
        }
    }
}

static void test_restart_keeps_the_id(void **state)
{
    CLEANUP_STR struct str out = {0};
    struct sse s = {.on_event = collect, .user = &out};
    (void)state;
    sse_feed(&s, "id: 3\ndata: a\n\nid: 4\ndata: half", 31);
    sse_restart(&s);
    assert_string_equal(s.id.data, "3"); /* event 4 has not been seen and must come again */
    sse_feed(&s, "data: b\n\nid: 4\ndata: c\n\n", 24);
    sse_deinit(&s);
    assert_string_equal(out.data, "[message|3|a][message|3|b][message|4|c]");
}

static void test_base64(void **state)
{
    static const char *const good[][2] = {{"", ""},         {"TQ==", "M"},           {"TWE=", "Ma"},
                                          {"TWFu", "Man"},  {"TW\nFu\n", "Man"},     {"TQ", "M"},
                                          {"TWE=\n", "Ma"}, {"+/+/", "\xfb\xff\xbf"}};
    static const char *const bad[] = {"T", "TWFuT", "T*==", "TQ==TQ==", "-_-_"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CLEANUP_STR struct str out = {0};
        assert_true(base64_decode(good[i][0], strlen(good[i][0]), &out));
        assert_int_equal(out.len, strlen(good[i][1]));
        assert_memory_equal(out.data, good[i][1], out.len + 1);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CLEANUP_STR struct str out = {0};
        assert_false(base64_decode(bad[i], strlen(bad[i]), &out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_restart_keeps_the_id),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
