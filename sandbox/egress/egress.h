/*
 * E's state and its boxes: what the files directly in sandbox/egress, net and http share. A box
 * lives from WIRE_EGRESS_OPEN to WIRE_EGRESS_CLOSE; when it is closed, everything of it ends at
 * once, so that nothing outlives its pointer.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <uv.h>

#include "sandbox/base/list.h"
#include "sandbox/egress/dns/names.h"
#include "sandbox/egress/handlers/handlers.h"
#include "sandbox/egress/log/counters.h"
#include "sandbox/egress/log/log.h"
#include "sandbox/egress/net/dial.h"
#include "sandbox/egress/policy/policy.h"
#include "sandbox/egress/secrets/secrets.h"
#include "sandbox/egress/tls/authority.h"
#include "sandbox/netns/netns.h"
#include "sandbox/wire/wire.h"

enum {
    BOX_CONNECTIONS_MAX = 1024,
    BOX_UPSTREAMS_MAX = 512,
    BOX_EXCHANGES_MAX = 4096,
    SWEEP_MS = 1000
};

struct egress {
    uv_loop_t loop;
    struct list boxes;
    struct dialler dialler;
    SSL_CTX *client;
    struct secrets *secrets;
    struct handlers *handlers;
    struct egress_counters counters;
    uint8_t ca_key[32];
    int log_dir, usage_dir;
    uint64_t next_id;
    uv_signal_t term, interrupt;
    uv_prepare_t turn;     /* records are written before the loop sleeps */
    uv_timer_t sweep;      /* deadlines of everything, and what is written now and then */
    uv_idle_t later;       /* active while `postponed` holds something */
    struct list postponed; /* struct exchange */
    struct boxd_link *boxd;
    struct gateway_link *gateway;
    bool stopping;
};

struct egress_box {
    struct list link;
    struct egress *egress;
    uint64_t number;
    char disk[WIRE_DISK];
    char name[WIRE_NAME]; /* "" until it is a sandbox: then connections wait in the listeners */
    struct policy *policy;
    struct policy_meter *meter;
    struct egress_log *log;
    struct names *names;
    struct authority *authority;
    struct listener *listeners[NETNS_LISTENERS];
    struct list conns, exchanges, relays, upstreams;
    unsigned nconns, nexchanges, nupstreams;
    bool log_dirty; /* records wait to be written */
    uint64_t bytes; /* to and from the world, since the sandbox exists */
    uint64_t bytes_saved;
};

/* box.c. open: takes the listeners. */
int box_open(struct egress *e, uint64_t number, const char *disk, int take_fds[NETNS_LISTENERS]);
void box_close(struct egress_box *b);
struct egress_box *box_find(struct egress *e, uint64_t number);
/* The box is that sandbox from now on, under that policy (taken); open connections that it denies
 * end. */
int box_set(struct egress_box *b, const char *name, struct policy *take_policy);
void box_count(struct egress_box *b, uint64_t bytes);
void box_save_usage(struct egress_box *b);
uint64_t box_stored_usage(struct egress *e, const char *disk);
void box_record(struct egress_box *b, struct egress_record *r);
void box_accept_again(struct egress_box *b); /* there is room for a connection */
void egress_wake(struct egress *e);          /* something is postponed */
uint64_t egress_clock_us(void);              /* Unix time in microseconds */

/* What belongs to a box and is told of time and policy: each of these walks the box's own list. */
void conns_sweep(struct egress_box *b, uint64_t now_ms);
void conns_close(struct egress_box *b);
void relays_check(struct egress_box *b); /* the policy has changed */
void relays_close(struct egress_box *b);
void exchanges_check(struct egress_box *b);
void exchanges_close(struct egress_box *b);
void exchanges_postponed(struct egress *e);
void upstreams_sweep(struct egress_box *b, uint64_t now_ms);
void upstreams_check(struct egress_box *b);
void upstreams_close(struct egress_box *b);
