/* LINK: cbx_egress_secrets cbx_egress_log cbx_egress_dns cbx_http_redact */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/egress/dns/names.h"
#include "sandbox/egress/http/redact.h"
#include "sandbox/egress/log/har.h"
#include "sandbox/egress/log/log.h"
#include "sandbox/egress/policy/address.h"
#include "sandbox/egress/policy/path.h"
#include "sandbox/egress/policy/policy.h"
#include "sandbox/egress/secrets/secrets.h"
#include "sandbox/egress/secrets/sigv4.h"

static void put(struct http_head *h, const char *text, struct head_slice *s)
{
    assert_int_equal(head_put(h, text, strlen(text), s), 0);
}

/* ---- addresses and paths ---- */

static void test_special_addresses(void **state)
{
    static const struct {
        const char *text;
        bool special;
    } cases[] = {
        {"8.8.8.8", false},
        {"127.0.0.1", true},
        {"10.1.2.3", true},
        {"172.15.0.1", false},
        {"172.31.255.255", true},
        {"169.254.169.254", true},
        {"100.64.0.1", true},
        {"224.0.0.1", true},
        {"255.255.255.255", true},
        {"0.0.0.0", true},
        {"192.0.2.1", true},
        {"2606:4700::1111", false},
        {"::1", true},
        {"::", true},
        {"fe80::1", true},
        {"fd00::1", true},
        {"::ffff:10.0.0.1", true},
        {"::ffff:8.8.8.8", false},
        {"64:ff9b::7f00:1", true},
        {"64:ff9b::808:808", false},
        {"2002:7f00:1::", true},
        {"2002:808:808::", false},
        {"ff02::1", true},
        {"2001:db8::1", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct address a;
        assert_true(address_parse(cases[i].text, strlen(cases[i].text), &a));
        if ((address_special(&a) != NULL) != cases[i].special)
            fail_msg("%s", cases[i].text);
    }
}

static void test_paths(void **state)
{
    static const char *const cases[][2] = {
        {"/a/../b", "/b"},      {"/a/./b", "/a/b"},    {"//a///b", "/a/b"},
        {"/%61dmin", "/admin"}, {"/a/%2e%2e/b", "/b"}, {"/..", "/"},
        {"/a/..", "/"},         {"/%2f", "/%2F"},      {"/a?b/../c", "/a"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct path_forms f;
        assert_int_equal(path_forms_init(&f, cases[i][0], strlen(cases[i][0])), 0);
        if (f.plain_len != strlen(cases[i][1]) || memcmp(f.plain, cases[i][1], f.plain_len))
            fail_msg("%s -> %.*s", cases[i][0], (int)f.plain_len, f.plain);
        path_forms_deinit(&f);
    }
}

/* ---- errors of a document ---- */

static void test_errors_have_their_place(void **state)
{
    static const struct {
        const char *json;
        unsigned line;
        const char *path;
    } cases[] = {
        {"{", 1, ""},
        {"[]", 1, ""},
        {"{\n\"x\": 1}", 2, "x"},
        {"{\"enableInternet\":\n 1}", 2, "enableInternet"},
        {"{\"allowedHosts\": [\"a\",\n\"b/8\"]}", 2, "allowedHosts[1]"},
        {"{\"allowedHosts\": [\"10.0.0.1/8\"]}", 1, "allowedHosts[0]"},
        {"{\"rules\": [{},\n{\"action\": \"x\"}]}", 2, "rules[1].action"},
        {"{\"rules\": [{\"action\": \"tcp\"}]}", 1, "rules[0]"},
        {"{\"rules\": [{\"action\": \"respond\"}]}", 1, "rules[0].respond"},
        {"{\"rules\": [{\"inject\": [{\"secret\": \"s\"}]}]}", 1, "rules[0].inject[0]"},
        {"{\"rules\": [{\"setHeaders\": {\"a b\": \"\"}}]}", 1, "rules[0].setHeaders"},
        {"{\"rules\": [{\"setHeaders\": {\"content-length\": \"1\"}}]}", 1, "rules[0].setHeaders"},
        {"{\"rules\": [{\"name\": \"a\"}, {\"name\": \"a\"}]}", 1, "rules[1]"},
        {"{\"outbound\": \"a b\"}", 1, "outbound"},
        {"{\"limits\": {\"quota\": {\"per\": \"hour\"}}}", 1, "limits.quota.bytes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy *p = NULL;
        struct policy_error e;
        if (policy_parse(cases[i].json, strlen(cases[i].json), &p, &e) != POLICY_E_INVALID ||
            e.line != cases[i].line || strcmp(e.path, cases[i].path))
            fail_msg("%s: line %u path %s: %s", cases[i].json, e.line, e.path, e.reason);
    }
}

static enum policy_action decide(const char *json, const char *host, const char *method,
                                 const char *target, bool from_handler)
{
    struct policy *p;
    struct policy_error e;
    struct http_head h;
    struct policy_verdict v;
    struct policy_target t = {.host = host, .port = 443};
    if (policy_parse(json, strlen(json), &p, &e) != 0)
        fail_msg("%s: %s", e.path, e.reason);
    head_init(&h);
    h.https = true;
    put(&h, method, &h.method);
    put(&h, target, &h.target);
    policy_request(p, &t, &h, from_handler, &v);
    head_deinit(&h);
    policy_unref(p);
    return v.action;
}

static void test_precedence(void **state)
{
    static const char by_host[] = "{\"outboundByHost\":{\"a\":\"h\"},\"outbound\":\"g\","
                                  "\"deniedHosts\":[\"d\"],\"allowedHosts\":[\"a\",\"d\"]}";
    static const char rules[] =
        "{\"rules\":[{\"match\":{\"paths\":[\"/x*\"]},\"action\":\"deny\"},"
        "{\"match\":{\"hosts\":[\"a\"]},\"action\":\"allow\"}],\"enableInternet\":false}";
    (void)state;
    assert_int_equal(decide("{}", "a", "GET", "/", false), POLICY_PASS);
    assert_int_equal(decide("{\"enableInternet\":false}", "a", "GET", "/", false), POLICY_DENY);
    assert_int_equal(decide(by_host, "a", "GET", "/", false), POLICY_HANDLER);
    assert_int_equal(decide(by_host, "a", "GET", "/", true), POLICY_PASS);
    assert_int_equal(decide(by_host, "d", "GET", "/", false), POLICY_DENY);
    assert_int_equal(decide(by_host, "z", "GET", "/", false), POLICY_DENY);
    assert_int_equal(decide(rules, "a", "GET", "/", false), POLICY_PASS);
    assert_int_equal(decide(rules, "a", "GET", "/x/y", false), POLICY_DENY);
    assert_int_equal(decide(rules, "a", "GET", "/y/..%2fx", false), POLICY_DENY);
    assert_int_equal(decide(rules, "b", "GET", "/", false), POLICY_DENY);
}

static void test_meter(void **state)
{
    static const char json[] = "{\"rules\":[{\"name\":\"r\",\"action\":\"allow\",\"rate\":"
                               "{\"requestsPerSecond\":1,\"burst\":2},\"quota\":{\"bytes\":10,"
                               "\"per\":\"hour\"}}]}";
    struct policy *p;
    struct policy_error e;
    struct policy_verdict v;
    struct policy_target t = {.host = "a", .port = 443};
    struct http_head h;
    const char *reason;
    uint64_t retry = 0;
    (void)state;
    assert_int_equal(policy_parse(json, strlen(json), &p, &e), 0);
    head_init(&h);
    put(&h, "GET", &h.method);
    put(&h, "/", &h.target);
    policy_request(p, &t, &h, false, &v);
    struct policy_meter *m = policy_meter_new();
    assert_true(policy_meter_request(m, p, v.rule, 0, &reason, &retry));
    assert_true(policy_meter_request(m, p, v.rule, 1, &reason, &retry));
    assert_false(policy_meter_request(m, p, v.rule, 2, &reason, &retry));
    assert_in_range(retry, 900, 1001);
    assert_true(policy_meter_request(m, p, v.rule, 1100, &reason, &retry));
    assert_true(policy_meter_bytes(m, p, v.rule, 10, 0));
    assert_false(policy_meter_bytes(m, p, v.rule, 1, 1));
    assert_true(policy_meter_bytes(m, p, v.rule, 10, 3600 * 1000));
    policy_meter_free(m);
    head_deinit(&h);
    policy_unref(p);
}

/* ---- signatures ---- */

/* The example of AWS' documentation "Authenticating Requests: Using the Authorization Header". */
static void test_sigv4_get_object(void **state)
{
    struct http_head h;
    struct sigv4 s = {.key_id = "AKIAIOSFODNN7EXAMPLE",
                      .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                      .region = "us-east-1",
                      .service = "s3",
                      .now = 1369353600, /* 20130524T000000Z */
                      .payload =
                          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"};
    (void)state;
    head_init(&h);
    put(&h, "GET", &h.method);
    put(&h, "/?lifecycle", &h.target);
    put(&h, "examplebucket.s3.amazonaws.com", &h.authority);
    head_set(&h, "x-amz-content-sha256", s.payload, strlen(s.payload));
    assert_int_equal(sigv4_sign(&h, &s), 0);
    const struct head_field *f = head_find(&h, "authorization");
    assert_non_null(f);
    static const char signature[] =
        "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543";
    assert_non_null(memmem(head_at(&h, f->value), f->value.len, signature, strlen(signature)));
    head_deinit(&h);
}

/* ---- secrets at rest ---- */

static void test_secrets(void **state)
{
    char dir[] = "/tmp/cellbox-secrets-XXXXXX", reason[208], file[300];
    uint8_t key[SECRETS_KEY] = {1}, other[SECRETS_KEY] = {2};
    static const char json[] =
        "{\"value\":\"the-secret-value\",\"hosts\":[\"*.test\"],\"sandboxes\":[\"a*\"]}";
    struct secrets *s;
    (void)state;
    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(secrets_open(fd, key, &s), 0);
    assert_int_equal(secrets_put(s, "one", json, strlen(json), reason), 0);
    assert_int_equal(secrets_put(s, "../x", json, strlen(json), reason), SECRETS_E_INVALID);
    assert_true(secret_allows(secrets_find(s, "one"), "abc", "x.test"));
    assert_false(secret_allows(secrets_find(s, "one"), "abc", "test"));
    assert_false(secret_allows(secrets_find(s, "one"), "b", "x.test"));
    secrets_close(s);
    assert_int_equal(secrets_open(fd, key, &s), 0);
    assert_string_equal(secret_get(secrets_find(s, "one"), "value"), "the-secret-value");
    secrets_close(s);
    assert_int_equal(secrets_open(fd, other, &s), 0);
    assert_null(secrets_find(s, "one"));
    secrets_close(s);
    snprintf(file, sizeof file, "%s/one.sealed", dir);
    char sealed[1000];
    ssize_t n = fd_read_file_at(AT_FDCWD, file, sealed, sizeof sealed);
    assert_true(n > 0);
    assert_null(memmem(sealed, (size_t)n, "the-secret", 10));
    unlink(file);
    close(fd);
    rmdir(dir);
}

/* ---- log ---- */

static void test_log(void **state)
{
    char dir[] = "/tmp/cellbox-log-XXXXXX";
    struct egress_log *l;
    struct egress_record r = {.kind = "http",
                              .box = "b",
                              .method = "GET",
                              .scheme = "https",
                              .host = "h",
                              .path = "/\xff\"",
                              .port = 443,
                              .protocol = "HTTP/2",
                              .decision = "allow",
                              .status = 200,
                              .secrets = "a,b"};
    CLEANUP_BUF struct buf out = {0}, har = {0};
    uint64_t cursor, lost;
    (void)state;
    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(egress_log_open(fd, "abc", &l), 0);
    assert_int_equal(egress_log_add(l, &r), 0);
    assert_int_equal(egress_log_read(l, 0, 1 << 20, &out, &cursor, &lost), 0);
    assert_non_null(strstr(buf_str(&out), "\"secrets\":[\"a\",\"b\"]"));
    assert_int_equal(cursor, out.len);
    assert_int_equal(har_render(buf_str(&out), out.len, &har), 0);
    assert_non_null(strstr(buf_str(&har), "\"url\": \"https://h/")
                        ? buf_str(&har)
                        : strstr(buf_str(&har), "https://h/"));
    egress_log_close(l);
    int file = openat(fd, "abc.0", O_WRONLY | O_APPEND);
    assert_int_equal(write(file, "{\"torn", 6), 6);
    close(file);
    assert_int_equal(egress_log_open(fd, "abc", &l), 0);
    assert_int_equal(egress_log_end(l), cursor);
    /* over the end of both segments: positions go on, the oldest records are told as lost */
    for (uint64_t i = 0; egress_log_end(l) < 2ull * EGRESS_LOG_SEGMENT + 1000; i++) {
        assert_int_equal(egress_log_add(l, &r), 0);
        assert_int_equal(egress_log_flush(l), 0);
    }
    buf_reset(&out);
    assert_int_equal(egress_log_read(l, 0, 4096, &out, &cursor, &lost), 0);
    assert_true(lost > 0 && out.len > 0 && out.data[out.len - 1] == '\n' && out.data[0] == '{');
    egress_log_close(l);
    egress_log_remove(fd, "abc");
    close(fd);
    assert_int_equal(rmdir(dir), 0);
}

/* ---- names, echoes ---- */

static void test_names_are_bounded(void **state)
{
    struct names *n = names_new();
    uint8_t v4[4], v6[16], first[4];
    char host[32];
    (void)state;
    assert_int_equal(names_take(n, "first.test", first, v6), 0);
    for (int i = 0; i < NAMES_MAX; i++) {
        snprintf(host, sizeof host, "n%d.test", i);
        assert_int_equal(names_take(n, host, v4, v6), 0);
    }
    assert_string_equal(names_find_bytes(n, v4, 4), host);
    assert_string_not_equal(names_find_bytes(n, first, 4), "first.test");
    names_free(n);
}

static void test_spellings_are_redacted(void **state)
{
    static const char *const texts[] = {
        "a/secret value+\"1\"",
        "a%2Fsecret%20value%2B%221%22",
        "a%2fsecret%20value%2b%221%22",
        "a%2Fsecret+value%2B%221%22",
        "a/secret%20value+%221%22",
        "a\\/secret value+\\\"1\\\"",
        "a\\u002fsecret\\u0020value+\\u00221\\u0022",
        "YS9zZWNyZXQgdmFsdWUrIjEi",
        "Basic dXNlcjphL3NlY3JldCB2YWx1ZSsiMSI=",
        "dTphL3NlY3JldCB2YWx1ZSsiMSI6Og==",
        "dXNhL3NlY3JldCB2YWx1ZSsiMSI",
        "612f7365637265742076616c75652b223122",
        "612F7365637265742076616C75652B223122",
    };
    static const char value[] = "a/secret value+\"1\"";
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (size_t cut = 0; cut <= strlen(texts[i]); cut++) {
            CLEANUP_BUF struct buf out = {0};
            struct redact r;
            redact_init(&r);
            assert_int_equal(redact_add_value(&r, value, strlen(value)), 0);
            redact_feed(&r, (const uint8_t *)texts[i], cut, false, &out);
            redact_feed(&r, (const uint8_t *)texts[i] + cut, strlen(texts[i]) - cut, true, &out);
            assert_int_equal(out.len, strlen(texts[i]));
            size_t shown = 0;
            for (size_t k = 0; k < out.len; k++)
                shown += out.data[k] != '*';
            if (shown > 18 || !strstr(buf_str(&out), "**********"))
                fail_msg("%s cut at %zu: %s", texts[i], cut, buf_str(&out));
            redact_deinit(&r);
        }
    }
}

static void test_redaction(void **state)
{
    static const char text[] = "a secret-value and secret-valu and secret-value";
    (void)state;
    for (size_t cut = 0; cut <= strlen(text); cut++) {
        CLEANUP_BUF struct buf out = {0};
        struct redact r;
        redact_init(&r);
        redact_add(&r, "secret-value", 12);
        redact_feed(&r, (const uint8_t *)text, cut, false, &out);
        redact_feed(&r, (const uint8_t *)text + cut, strlen(text) - cut, true, &out);
        assert_int_equal(out.len, strlen(text));
        char want[] = "a ************ and secret-valu and ************";
        size_t shown = 0; /* fewer than REDACT_HOLD characters may have gone on before the cut */
        for (size_t i = 0; i < out.len; i++)
            if (out.data[i] != (uint8_t)want[i] && i < cut && shown++ < REDACT_HOLD - 1)
                want[i] = text[i];
        assert_memory_equal(out.data, want, out.len);
        redact_deinit(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_special_addresses),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_errors_have_their_place),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_meter),
        cmocka_unit_test(test_sigv4_get_object),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_names_are_bounded),
        cmocka_unit_test(test_redaction),
        cmocka_unit_test(test_spellings_are_redacted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
