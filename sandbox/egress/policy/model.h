/* A compiled policy. Private to the module; everything it points to lies in its arena. */
#pragma once

#include "sandbox/egress/policy/address.h"
#include "sandbox/egress/policy/arena.h"
#include "sandbox/egress/policy/policy.h"

enum { ACTION_NONE = -1 }; /* a rule that only edits */

/* One of allowedHosts, deniedHosts, hosts: a glob, or a network; port 0 = any. */
struct host_pattern {
    const char *glob; /* NULL: network */
    size_t len;
    size_t tail; /* bytes behind the last wildcard; all when there is none */
    bool plain;  /* no wildcard */
    struct network network;
    uint16_t port;
};

struct host_list {
    struct host_pattern *items;
    size_t n;
};

struct port_range {
    uint16_t from, to;
};

struct text_list {
    const char **items;
    size_t n;
};

/* In both forms of path.h. */
struct path_pattern {
    const char *plain, *loose;
};

struct rate {
    double per_ms; /* requests; 0 = none */
    double burst;
};

enum quota_window { QUOTA_NONE, QUOTA_TOTAL, QUOTA_HOUR, QUOTA_DAY };

struct quota {
    uint64_t bytes;
    enum quota_window window;
};

struct policy_rule {
    const char *name;
    int action; /* enum policy_action or ACTION_NONE */
    struct host_list hosts;
    struct network *networks;
    size_t nnetworks;
    struct port_range *ports;
    size_t nports;
    struct text_list methods;
    struct path_pattern *paths;
    size_t npaths;
    bool http, https; /* schemes; both false: any */
    struct policy_answer answer;
    const char *handler, *params;
    struct policy_inject *injects;
    size_t ninjects;
    bool insecure;
    struct rate rate;
    struct quota quota;
};

struct handler_choice {
    const char *host; /* glob; NULL for the one of all */
    const char *name, *params;
};

struct policy {
    unsigned refs;
    struct arena arena;
    bool internet, has_allowed;
    struct host_list allowed, denied, splice;
    struct policy_rule *rules;
    size_t nrules;
    struct handler_choice *by_host, *runtime_by_host, outbound, runtime_outbound;
    size_t nby_host, nruntime_by_host;
    struct rate rate;
    struct quota quota;
};

bool hosts_match(const struct host_list *l, const struct policy_target *t);
/* Does a network of the list hold it? Patterns with another port do not count. */
bool hosts_hold(const struct host_list *l, const struct address *a, uint16_t port);
bool host_glob(const char *pattern, const char *host);
/* "*.example.com", "example.com:8443", "10.0.0.0/8", "[2001:db8::]/32:443"; NULL, or what is wrong
 * with it. */
const char *host_pattern_read(struct arena *a, const char *text, struct host_pattern *ret);

/* Line and column of the value at a path ("rules[2].match") of a valid document. */
void locate(const char *json, size_t len, const char *path, unsigned *ret_line,
            unsigned *ret_column);

/* read.c: what rules.c uses, too. */
struct reader {
    struct policy *p;
    struct policy_error *error;
    bool failed, no_memory;
};
bool read_fail(struct reader *r, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
