/* LINK: cbx_egress_policy */
/* PARSES: sandbox/egress/policy/read.c sandbox/egress/policy/rules.c */
/* A policy document up to the first NUL, then a host and a path that are decided by it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decide(struct policy *p, const char *host, const char *path, size_t path_len)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000001)};
    struct policy_target t = {
        .host = host, .addr = *host ? NULL : (struct sockaddr *)&addr, .port = 443};
    const struct policy_inject *found[4];
    struct policy_verdict v;
    struct http_head head;
    const char *reason;
    head_init(&head);
    head.https = true;
    if (head_put(&head, "GET", 3, &head.method) == 0 &&
        head_put(&head, path, path_len, &head.target) == 0) {
        policy_connect(p, &t, &v);
        policy_tls(p, &t, &v);
        policy_request(p, &t, &head, false, &v);
        if (v.action == POLICY_RESPOND && !policy_answer(v.rule))
            __builtin_trap();
        policy_request(p, &t, &head, true, &v);
        if (v.action == POLICY_HANDLER)
            __builtin_trap(); /* a handler's own request is never given to a handler */
        policy_injects(p, &t, &head, found, 4);
        policy_allows_address(p, &t, (struct sockaddr *)&addr, &reason);
    }
    head_deinit(&head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t len = end ? (size_t)(end - data) : size;
    struct policy_error error;
    struct policy *p;
    char host[64] = "";
    if (policy_parse((const char *)data, len, &p, &error) != 0) {
        if (!error.line)
            __builtin_trap(); /* every error has its place */
        return 0;
    }
    const char *rest = end ? (const char *)end + 1 : "";
    size_t left = end ? size - len - 1 : 0, n = left < sizeof host - 1 ? left : sizeof host - 1;
    memcpy(host, rest, n);
    host[strcspn(host, " ")] = 0;
    decide(p, host, rest, left);
    decide(p, "", rest, left);
    policy_unref(p);
    return 0;
}
