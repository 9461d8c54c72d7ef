/*
 * What one box may reach: a JSON document (docs/egress.md) compiled into an immutable rule set, and
 * the decisions taken on it. Pure: no I/O, no clock. Runs in E.
 *
 * Order of a request's decision: deniedHosts -> rules, first match -> allowedHosts when a list is
 * given
 * -> outboundByHost set at run time -> static outboundByHost -> outbound set at run time -> static
 * outbound -> fall-back of allowedHosts -> enableInternet -> denied. Injection and header edits of
 * every rule that matches happen when a request passes on to the world, also one that a handler
 * made.
 *
 * Globs: `*` is any sequence, `*.example.com` does not match `example.com`; hosts are compared in
 * lower case without a trailing dot. Where a host is asked for, "" means "dialled by address".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "sandbox/egress/http/head.h"

struct policy;
struct policy_rule; /* one of a policy's; lives as long as it */

struct policy_error {
    unsigned line, column; /* of the document, from 1; 0 = unknown */
    char path[128];        /* "rules[2].match.ports[0]" */
    char reason[208];
};

enum { POLICY_E_INVALID = 1, POLICY_JSON_MAX = 262144 };

/* 0, POLICY_E_INVALID with *ret_error, -ENOMEM. Unknown members are errors. */
int policy_parse(const char *json, size_t len, struct policy **ret, struct policy_error *ret_error);
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p); /* NULL is fine */

enum policy_action {
    POLICY_DENY,      /* HTTP: 520; TCP: reset */
    POLICY_PASS,      /* to the world */
    POLICY_HANDLER,   /* to the JavaScript handler of that name */
    POLICY_RESPOND,   /* the rule's own fixed answer */
    POLICY_INTERCEPT, /* connection: look inside */
    POLICY_SPLICE,    /* connection: relay TLS bytes unopened */
    POLICY_TCP,       /* connection: relay bytes, whatever they are */
};

struct policy_verdict {
    enum policy_action action;
    const struct policy_rule *rule; /* NULL: none, see reason */
    const char *rule_name; /* for the log: the rule's name, or "deniedHosts", "enableInternet"... */
    const char *reason;    /* one sentence for x-cellbox-egress-reason */
    const char *handler;   /* POLICY_HANDLER: its name */
    const char *params;    /* POLICY_HANDLER: JSON text, "null" when there are none */
};

struct policy_target {
    const char *host;            /* lower case, "" = by address */
    const struct sockaddr *addr; /* what the box dialled when host is "", else NULL */
    uint16_t port;
};

/* Could any rule let something through to this name? Asked for DNS. */
bool policy_allows_name(const struct policy *p, const char *host);
/* A connection before its first byte: DENY only if nothing about it could be allowed, TCP, or
 * INTERCEPT. */
void policy_connect(const struct policy *p, const struct policy_target *t,
                    struct policy_verdict *ret);
/* A connection that speaks TLS to that server name: SPLICE, INTERCEPT or DENY. */
void policy_tls(const struct policy *p, const struct policy_target *t, struct policy_verdict *ret);
/*
 * One request. from_handler: it was made by a handler, which decides no request twice (the
 * outbound* steps are skipped). Method and target come from the head.
 */
void policy_request(const struct policy *p, const struct policy_target *t,
                    const struct http_head *head, bool from_handler, struct policy_verdict *ret);
/*
 * May an address that the target's host resolved to (or that was dialled) be connected to?
 * Loopback, link-local, private, unique-local, multicast, metadata and the like only if a rule's
 * `cidrs`, or allowedHosts, names a network that holds it. ret_reason gets a sentence when not.
 */
bool policy_allows_address(const struct policy *p, const struct policy_target *t,
                           const struct sockaddr *addr, const char **ret_reason);

/* Is it in a network that a rule, or allowedHosts, lets through by name of the network? */
bool policy_names_network(const struct policy *p, const struct policy_target *t,
                          const struct sockaddr *addr);

/* The fixed answer of a RESPOND rule. */
struct policy_answer {
    uint16_t status;
    const struct head_pair {
        const char *name, *value;
    } * fields;
    size_t nfields;
    const char *body;
    size_t body_len;
};
const struct policy_answer *policy_answer(const struct policy_rule *rule);

/*
 * Everything of this policy that wants to change a request which passes on: header edits and
 * injections of all matching rules, in order.
 */
enum inject_kind {
    INJECT_HEADER,
    INJECT_QUERY,
    INJECT_BASIC,
    INJECT_BEARER,
    INJECT_SIGV4,
    EDIT_SET,
    EDIT_REMOVE
};
struct policy_inject {
    enum inject_kind kind;
    const char *name;   /* header or query parameter */
    const char *secret; /* name of the secret; NULL for edits */
    const char *format; /* "Token {secret}"; NULL = the secret alone; EDIT_SET: the value */
    const char *user;   /* BASIC: user name when the secret is the password alone */
    const char *region,
        *service; /* SIGV4; NULL: taken from the host or from the client's own signature */
};
/* Writes at most cap, returns how many there are. Only for https unless the rule says insecure:
 * true. */
size_t policy_injects(const struct policy *p, const struct policy_target *t,
                      const struct http_head *head, const struct policy_inject **ret, size_t cap);

/*
 * Rates and quotas. A meter belongs to a box and outlives its policy: buckets are kept by rule name
 * when the policy changes. now_ms: any monotonic clock.
 */
struct policy_meter;
struct policy_meter *policy_meter_new(void);
void policy_meter_free(struct policy_meter *m);
/* Counts one request against the rule's and the policy's own rates; false: denied, *ret_reason, and
 * *ret_retry_ms until it would pass (HTTP 429). */
bool policy_meter_request(struct policy_meter *m, const struct policy *p,
                          const struct policy_rule *rule, uint64_t now_ms, const char **ret_reason,
                          uint64_t *ret_retry_ms);
/* Counts bytes (both directions); false: the quota is used up, close. */
bool policy_meter_bytes(struct policy_meter *m, const struct policy *p,
                        const struct policy_rule *rule, uint64_t bytes, uint64_t now_ms);
