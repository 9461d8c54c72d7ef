/* LINK: cbx_egress_secrets cbx_egress_log */
/* What injection makes of a request, with the published values of AWS' Signature Version 4 test
 * suite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/egress/log/har.h"
#include "sandbox/egress/secrets/inject.h"
#include "sandbox/egress/secrets/sigv4.h"

static const char empty_hash[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static void put(struct http_head *h, const char *text, struct head_slice *s)
{
    assert_int_equal(head_put(h, text, strlen(text), s), 0);
}

static void start(struct http_head *h, const char *method, const char *target, const char *host)
{
    head_init(h);
    h->https = true;
    put(h, method, &h->method);
    put(h, target, &h->target);
    put(h, host, &h->authority);
}

static bool holds(const struct http_head *h, const char *name, const char *text)
{
    const struct head_field *f = head_find(h, name);
    return f && memmem(head_at(h, f->value), f->value.len, text, strlen(text));
}

static void test_sigv4_suite(void **state)
{
    static const struct {
        const char *method, *target, *signature;
    } cases[] = {
        {"GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
        {"POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
        {"GET", "/?Param2=value2&Param1=value1",
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http_head h;
        struct sigv4 s = {.key_id = "AKIDEXAMPLE",
                          .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                          .region = "us-east-1",
                          .service = "service",
                          .now = 1440938160, /* 20150830T123600Z */
                          .payload = empty_hash};
        start(&h, cases[i].method, cases[i].target, "example.amazonaws.com");
        assert_int_equal(sigv4_sign(&h, &s), 0);
        if (!holds(&h, "authorization", cases[i].signature))
            fail_msg("%s %s", cases[i].method, cases[i].target);
        head_deinit(&h);
    }
}

/* A name that begins another comes first, whatever follows it: the order of what is signed. */
static void test_sigv4_order(void **state)
{
    static const char *const fields[] = {"x-amz-server-side-encryption-aws-kms-key-id",
                                         "x-amz-server-side-encryption"};
    char first[600], second[600];
    (void)state;
    for (int swapped = 0; swapped < 2; swapped++) {
        struct http_head h;
        struct sigv4 s = {.key_id = "A",
                          .secret = "B",
                          .region = "r",
                          .service = "s3",
                          .payload = "UNSIGNED-PAYLOAD"};
        start(&h, "PUT", swapped ? "/?key=2&key-1=1" : "/?key-1=1&key=2", "h");
        for (int i = 0; i < 2; i++)
            head_add(&h, fields[i ^ swapped], strlen(fields[i ^ swapped]), "v", 1);
        assert_int_equal(sigv4_sign(&h, &s), 0);
        assert_true(holds(&h, "authorization",
                          "SignedHeaders=host;x-amz-date;x-amz-server-side-encryption;"
                          "x-amz-server-side-encryption-aws-kms-key-id,"));
        const struct head_field *f = head_find(&h, "authorization");
        snprintf(swapped ? second : first, sizeof first, "%.*s", (int)f->value.len,
                 head_at(&h, f->value));
        head_deinit(&h);
    }
    assert_string_equal(first, second);
}

/* ---- injection ---- */

struct store {
    char dir[40];
    int fd;
    struct secrets *secrets;
};

static void open_store(struct store *s)
{
    static const uint8_t key[SECRETS_KEY] = {1};
    static const struct {
        const char *name, *json;
    } all[] = {
        {"token", "{\"value\":\"k/1 2\",\"hosts\":[\"*.test\"]}"},
        {"login", "{\"username\":\"me\",\"password\":\"pass\",\"hosts\":[\"a.test\"]}"},
        {"bound", "{\"value\":\"v\",\"hosts\":[\"*\"],\"sandboxes\":[\"mine\"]}"},
    };
    char reason[208];
    snprintf(s->dir, sizeof s->dir, "/tmp/cellbox-inject-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    s->fd = open(s->dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(secrets_open(s->fd, key, &s->secrets), 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(
            secrets_put(s->secrets, all[i].name, all[i].json, strlen(all[i].json), reason), 0);
    assert_int_equal(
        secrets_put(s->secrets, "bad", "{\"value\":\"a\\r\\nb\",\"hosts\":[\"*\"]}", 32, reason),
        SECRETS_E_INVALID);
}

static void close_store(struct store *s)
{
    static const char *const names[] = {"token", "login", "bound"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(secrets_remove(s->secrets, names[i]), 0);
    assert_int_equal(secrets_remove(s->secrets, "token"), SECRETS_E_NOT_FOUND);
    secrets_close(s->secrets);
    close(s->fd);
    assert_int_equal(rmdir(s->dir), 0);
}

static void test_injection(void **state)
{
    static const struct {
        struct policy_inject inject;
        const char *target, *host;
        int result;
        const char *field, *text; /* field NULL: text is the whole target */
    } cases[] = {
        {{INJECT_BEARER, .secret = "token"}, "/", "a.test", 0, "authorization", "Bearer k/1 2"},
        {{INJECT_HEADER, .name = "x-key", .secret = "token", .format = "T {secret}!"},
         "/",
         "a.test",
         0,
         "x-key",
         "T k/1 2!"},
        {{INJECT_BASIC, .secret = "login"},
         "/",
         "a.test",
         0,
         "authorization",
         "Basic bWU6cGFzcw=="},
        {{INJECT_BASIC, .secret = "token", .user = "u"},
         "/",
         "a.test",
         0,
         "authorization",
         "Basic dTprLzEgMg=="},
        {{INJECT_QUERY, .name = "api_key", .secret = "token"},
         "/p?a=1",
         "a.test",
         0,
         NULL,
         "/p?a=1&api_key=k%2F1%202"},
        {{INJECT_QUERY, .name = "api_key", .secret = "token"},
         "/p",
         "a.test",
         0,
         NULL,
         "/p?api_key=k%2F1%202"},
        {{INJECT_QUERY, .name = "api_key", .secret = "token"},
         "/p?api_key=x&api_key&b",
         "a.test",
         0,
         NULL,
         "/p?b&api_key=k%2F1%202"},
        {{INJECT_QUERY, .name = "api_key", .secret = "token"},
         "/p?api%5fkey=x&api_ke=1",
         "a.test",
         0,
         NULL,
         "/p?api_ke=1&api_key=k%2F1%202"},
        {{INJECT_BEARER, .secret = "token"}, "/", "a.other", INJECT_E_NOT_ALLOWED, NULL, "/"},
        {{INJECT_BEARER, .secret = "bound"}, "/", "a.test", INJECT_E_NOT_ALLOWED, NULL, "/"},
        {{INJECT_BEARER, .secret = "none"}, "/", "a.test", INJECT_E_NO_SECRET, NULL, "/"},
        {{INJECT_BEARER, .secret = "login"}, "/", "a.test", INJECT_E_BAD_SECRET, NULL, "/"},
        {{INJECT_SIGV4, .secret = "token"}, "/", "a.test", INJECT_E_BAD_SECRET, NULL, "/"},
    };
    struct store s;
    (void)state;
    open_store(&s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CLEANUP_BUF struct buf used = {0};
        struct inject_context ctx = {s.secrets, "box", cases[i].host, 443, 0};
        struct http_head h;
        bool chunked = false;
        char reason[208] = "";
        start(&h, "GET", cases[i].target, cases[i].host);
        head_add(&h, "Authorization", 13, "Bearer of-the-box", 17);
        int r = inject_apply(&h, &cases[i].inject, 1, &ctx, &used, &chunked, reason);
        if (r != cases[i].result || (cases[i].field ? !holds(&h, cases[i].field, cases[i].text)
                                                    : !head_slice_is(&h, h.target, cases[i].text)))
            fail_msg("case %zu: %d %s, target %.*s", i, r, reason, (int)h.target.len,
                     head_at(&h, h.target));
        if (cases[i].field && !strcmp(cases[i].field, "authorization"))
            assert_false(holds(&h, "authorization", "of-the-box"));
        assert_null(strstr(reason, "k/1 2"));
        head_deinit(&h);
    }
    close_store(&s);
}

static void test_unchunk(void **state)
{
    static const char body[] =
        "5;chunk-signature=ab\r\nhello\r\n1\r\n!\r\n0;chunk-signature=c\r\n\r\n";
    static const char *const bad[] = {"x\r\n", "1\r\nab\r\n", "1\nA", "fffffffffffffffff\r\n"};
    (void)state;
    for (size_t piece = 1; piece < sizeof body; piece++) {
        CLEANUP_BUF struct buf out = {0};
        struct inject_unchunk u;
        inject_unchunk_init(&u);
        for (size_t at = 0; at < sizeof body - 1; at += piece) {
            size_t n = sizeof body - 1 - at < piece ? sizeof body - 1 - at : piece;
            assert_int_equal(inject_unchunk_feed(&u, (const uint8_t *)body + at, n, &out), 0);
        }
        assert_true(inject_unchunk_done(&u));
        assert_string_equal(buf_str(&out), "hello!");
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CLEANUP_BUF struct buf out = {0};
        struct inject_unchunk u;
        inject_unchunk_init(&u);
        if (inject_unchunk_feed(&u, (const uint8_t *)bad[i], strlen(bad[i]), &out) != -EPROTO)
            fail_msg("%s", bad[i]);
    }
}

/* A path that a box has made of anything may not spoil the archive of all the others. */
static void test_har_of_long_paths(void **state)
{
    (void)state;
    for (int lead = 0; lead < 4; lead++) {
        CLEANUP_BUF struct buf line = {0}, out = {0};
        buf_printf(&line,
                   "{\"kind\":\"http\",\"method\":\"GET\",\"scheme\":\"http\",\"host\":\"h\","
                   "\"port\":80,\"decision\":\"allow\",\"path\":\"/%.*s",
                   lead, "aaaa");
        for (int i = 0; i < 600; i++)
            buf_puts(&line, "\xef\xbf\xbd");
        buf_puts(&line, "\"}\n");
        assert_int_equal(har_render(buf_str(&line), line.len, &out), 0);
        json_t *har = json_loadb(buf_str(&out), out.len, 0, NULL);
        assert_int_equal(json_array_size(json_object_get(json_object_get(har, "log"), "entries")),
                         1);
        json_decref(har);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sigv4_suite),       cmocka_unit_test(test_sigv4_order),
        cmocka_unit_test(test_injection),         cmocka_unit_test(test_unchunk),
        cmocka_unit_test(test_har_of_long_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
