/* LINK: cbx_egress_policy */
/* Which rule speaks of a request or of a connection, and which path and method it means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "sandbox/egress/policy/policy.h"

static struct policy *parse(const char *json)
{
    struct policy *p;
    struct policy_error e;
    if (policy_parse(json, strlen(json), &p, &e) != 0)
        fail_msg("%s: %s: %s", json, e.path, e.reason);
    return p;
}

static void put(struct http_head *h, const char *text, struct head_slice *s)
{
    assert_int_equal(head_put(h, text, strlen(text), s), 0);
}

struct request_case {
    const char *json, *host, *method, *target;
    enum policy_action action;
};

static void check_requests(const struct request_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct policy *p = parse(cases[i].json);
        struct policy_target t = {.host = cases[i].host, .port = 443};
        struct policy_verdict v;
        struct http_head h;
        head_init(&h);
        h.https = true;
        put(&h, cases[i].method, &h.method);
        put(&h, cases[i].target, &h.target);
        policy_request(p, &t, &h, false, &v);
        if (v.action != cases[i].action)
            fail_msg("%s: %s %s%s is %d", cases[i].json, cases[i].method, cases[i].host,
                     cases[i].target, v.action);
        head_deinit(&h);
        policy_unref(p);
    }
}

#define DENY_PATH(path) "{\"rules\":[{\"match\":{\"paths\":[\"" path "\"]},\"action\":\"deny\"}]}"
#define ALLOW_PATH(path)                                                                        \
    "{\"enableInternet\":false,\"rules\":[{\"match\":{\"paths\":[\"" path "\"]},\"action\":\"a" \
    "llow\"}]}"

static void test_paths_of_rules(void **state)
{
    static const struct request_case cases[] = {
        {DENY_PATH("/admin"), "a.x", "GET", "/v1/../admin", POLICY_DENY},
        {DENY_PATH("/admin"), "a.x", "GET", "//admin", POLICY_DENY},
        {DENY_PATH("/admin"), "a.x", "GET", "/%2e/%61dmin?x", POLICY_DENY},
        {DENY_PATH("/admin"), "a.x", "GET", "/x%2f..%2fadmin", POLICY_DENY},
        {DENY_PATH("/admin"), "a.x", "GET", "/x%252f..%252fadmin", POLICY_DENY},
        {DENY_PATH("/admin"), "a.x", "GET", "/admin;x=1", POLICY_DENY},
        {DENY_PATH("/admin"), "a.x", "GET", "\\admin", POLICY_DENY},
        {DENY_PATH("/admin"), "a.x", "GET", "/administer", POLICY_PASS},
        {DENY_PATH("/%61dmin"), "a.x", "GET", "/admin", POLICY_DENY},
        {DENY_PATH("/x//y"), "a.x", "GET", "/x//y", POLICY_DENY},
        {DENY_PATH("/x/../y"), "a.x", "GET", "/y", POLICY_DENY},
        {DENY_PATH("/a%2fb"), "a.x", "GET", "/a%2Fb", POLICY_DENY},
        {ALLOW_PATH("/v1/*"), "a.x", "GET", "/v1/b", POLICY_PASS},
        {ALLOW_PATH("/v1/*"), "a.x", "GET", "/v1/..%2fadmin", POLICY_DENY},
        {ALLOW_PATH("/v1/*"), "a.x", "GET", "/v1/..;/admin", POLICY_DENY},
        {ALLOW_PATH("/v1/*"), "a.x", "GET", "/v1/../admin", POLICY_DENY},
        {ALLOW_PATH("/a%20b"), "a.x", "GET", "/a%20b", POLICY_PASS},
        {ALLOW_PATH("/%c3%a9/*"), "a.x", "GET", "/%C3%a9/x", POLICY_PASS},
    };
    (void)state;
    check_requests(cases, sizeof cases / sizeof *cases);
}

static void test_methods_of_rules(void **state)
{
    static const char deny[] =
        "{\"rules\":[{\"match\":{\"methods\":[\"POST\"]},\"action\":\"deny\"}]}",
                      lower[] =
                          "{\"rules\":[{\"match\":{\"methods\":[\"post\"]},\"action\":\"deny\"}]}";
    static const struct request_case cases[] = {
        {deny, "a.x", "POST", "/", POLICY_DENY},  {deny, "a.x", "post", "/", POLICY_DENY},
        {lower, "a.x", "POST", "/", POLICY_DENY}, {deny, "a.x", "POS", "/", POLICY_PASS},
        {deny, "a.x", "POSTS", "/", POLICY_PASS},
    };
    (void)state;
    check_requests(cases, sizeof cases / sizeof *cases);
}

static void test_hosts_of_lists(void **state)
{
    static const char deny[] = "{\"deniedHosts\":[\"Evil.x.\",\"*.evil.x\"]}";
    static const struct request_case cases[] = {
        {deny, "evil.x", "GET", "/", POLICY_DENY},   {deny, "evil.x.", "GET", "/", POLICY_DENY},
        {deny, "evil.x..", "GET", "/", POLICY_DENY}, {deny, "a.evil.x.", "GET", "/", POLICY_DENY},
        {deny, "devil.x", "GET", "/", POLICY_PASS},
    };
    (void)state;
    check_requests(cases, sizeof cases / sizeof *cases);
}

/* A connection is taken apart only by the first rule that speaks of all of it. */
static void test_connections(void **state)
{
#define API(rest) "{\"match\":{\"hosts\":[\"api.x\"]" rest "}"
    static const struct {
        const char *json, *host;
        uint16_t port;
        enum policy_action connect, tls;
    } cases[] = {
        {"{}", "api.x", 443, POLICY_INTERCEPT, POLICY_INTERCEPT},
        {"{\"rules\":[{\"action\":\"deny\"}]}", "api.x", 443, POLICY_DENY, POLICY_DENY},
        {"{\"rules\":[" API("") ",\"action\":\"allow\"},{\"action\":\"deny\"}]}", "api.x", 443,
         POLICY_INTERCEPT, POLICY_INTERCEPT},
        {"{\"rules\":[" API(
             ",\"paths\":[\"/v1/*\"]") ",\"action\":\"allow\"},{\"action\":\"deny\"}]}",
         "api.x", 443, POLICY_INTERCEPT, POLICY_INTERCEPT},
        {"{\"rules\":[" API("") ",\"action\":\"allow\"},{\"action\":\"deny\"}]}", "b.x", 443,
         POLICY_DENY, POLICY_DENY},
        /* by address: a name may follow */
        {"{\"rules\":[" API("") ",\"action\":\"allow\"},{\"action\":\"deny\"}]}", "", 443,
         POLICY_INTERCEPT, POLICY_INTERCEPT},
        {"{\"rules\":[{\"match\":{\"schemes\":[\"http\"]},\"action\":\"deny\"}]}", "api.x", 443,
         POLICY_INTERCEPT, POLICY_INTERCEPT},
        {"{\"rules\":[{\"match\":{\"schemes\":[\"https\"]},\"action\":\"deny\"}]}", "api.x", 443,
         POLICY_INTERCEPT, POLICY_DENY},
        {"{\"rules\":[{\"match\":{\"schemes\":[\"http\"]},\"action\":\"deny\"}," API(
             ",\"ports\":[5432]") ",\"action\":\"tcp\"}]}",
         "api.x", 5432, POLICY_TCP, POLICY_INTERCEPT},
        {"{\"rules\":[{\"match\":{\"hosts\":[\"*\"]},\"action\":\"allow\"}," API(
             ",\"ports\":[5432]") ",\"action\":\"tcp\"}]}",
         "api.x", 5432, POLICY_TCP, POLICY_INTERCEPT},
        {"{\"rules\":[{\"action\":\"deny\"}," API(",\"ports\":[5432]") ",\"action\":\"tcp\"}]}",
         "api.x", 5432, POLICY_DENY, POLICY_DENY},
        {"{\"rules\":[" API("") ",\"action\":\"allow\"},{\"action\":\"deny\"}," API(
             ",\"ports\":[5432]") ",\"action\":\"tcp\"}]}",
         "api.x", 5432, POLICY_INTERCEPT, POLICY_INTERCEPT},
        {"{\"rules\":[" API("") ",\"action\":\"splice\"}]}", "api.x", 443, POLICY_INTERCEPT,
         POLICY_SPLICE},
        {"{\"splice\":[\"api.x\"]}", "api.x", 443, POLICY_INTERCEPT, POLICY_SPLICE},
        {"{\"splice\":[\"api.x\"],\"enableInternet\":false}", "api.x", 443, POLICY_INTERCEPT,
         POLICY_DENY},
        {"{\"splice\":[\"api.x\"],\"enableInternet\":false,\"rules\":[" API(
             "") ",\"action\":\"allow\"}]}",
         "api.x", 443, POLICY_INTERCEPT, POLICY_SPLICE},
        {"{\"splice\":[\"api.x\"],\"rules\":[" API(
             "") ",\"action\":\"allow\"},{\"action\":\"deny\"}]}",
         "api.x", 443, POLICY_INTERCEPT, POLICY_SPLICE},
        {"{\"splice\":[\"api.x\"],\"rules\":[" API(
             "") ",\"action\":\"handler\",\"handler\":\"h\"}]}",
         "api.x", 443, POLICY_INTERCEPT, POLICY_INTERCEPT},
        {"{\"splice\":[\"*\"],\"deniedHosts\":[\"api.x\"]}", "api.x", 443, POLICY_DENY,
         POLICY_DENY},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy *p = parse(cases[i].json);
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x5db8d822)};
        struct policy_target t = {.host = cases[i].host,
                                  .addr = *cases[i].host ? NULL : (struct sockaddr *)&in,
                                  .port = cases[i].port};
        struct policy_verdict connect, tls;
        policy_connect(p, &t, &connect);
        policy_tls(p, &t, &tls);
        if (connect.action != cases[i].connect || tls.action != cases[i].tls)
            fail_msg("%s: %s: connect %d, tls %d", cases[i].json, cases[i].host, connect.action,
                     tls.action);
        policy_unref(p);
    }
}

static void test_named_hosts_before_patterns(void **state)
{
    struct policy *p = parse("{\"outboundByHost\":{\"*.x\":\"pattern\",\"a.x\":\"named\"},"
                             "\"runtime\":{\"outboundByHost\":{\"*.y\":\"late\"}}}");
    static const char *const cases[][2] = {{"a.x", "named"}, {"b.x", "pattern"}, {"b.y", "late"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy_target t = {.host = cases[i][0], .port = 443};
        struct policy_verdict v;
        struct http_head h;
        head_init(&h);
        put(&h, "GET", &h.method);
        put(&h, "/", &h.target);
        policy_request(p, &t, &h, false, &v);
        assert_int_equal(v.action, POLICY_HANDLER);
        assert_string_equal(v.handler, cases[i][1]);
        head_deinit(&h);
    }
    policy_unref(p);
}

/* Policies with ever new names of rules: their rates still count, and nothing is denied for good.
 */
static void test_meter_forgets(void **state)
{
    struct policy_meter *m = policy_meter_new();
    (void)state;
    for (int i = 0; i < 9000; i++) {
        char json[160];
        snprintf(json, sizeof json,
                 "{\"rules\":[{\"name\":\"r%d\",\"action\":\"allow\",\"rate\":{"
                 "\"requestsPerMinute\":1}}]}",
                 i);
        struct policy *p = parse(json);
        struct policy_target t = {.host = "a.x", .port = 443};
        struct policy_verdict v;
        struct http_head h;
        const char *reason;
        uint64_t retry = 0;
        head_init(&h);
        put(&h, "GET", &h.method);
        put(&h, "/", &h.target);
        policy_request(p, &t, &h, false, &v);
        if (!policy_meter_request(m, p, v.rule, 1, &reason, &retry))
            fail_msg("rule %d is denied at once: %s", i, reason);
        assert_false(policy_meter_request(m, p, v.rule, 1, &reason, &retry));
        assert_true(retry > 59000);
        head_deinit(&h);
        policy_unref(p);
    }
    policy_meter_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_of_rules),
        cmocka_unit_test(test_methods_of_rules),
        cmocka_unit_test(test_hosts_of_lists),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_named_hosts_before_patterns),
        cmocka_unit_test(test_meter_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
