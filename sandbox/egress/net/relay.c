/*
 * Bytes between a program and the world as they are: TLS of hosts that are spliced, and the TCP
 * protocols that a rule allows. Each side's end is passed on; back-pressure likewise.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/net/conn.h"
#include "sandbox/egress/net/dial.h"

struct relay;

struct side {
    struct relay *relay;
    struct stream *stream;
    struct side *other;
    bool ended; /* will send nothing more */
};

struct relay {
    struct list link;
    struct conn *conn;
    struct side box, world;
    struct dial *dial;
    const char *kind;
    struct policy *policy;
    struct policy_verdict verdict;
    union socket_address addr; /* of the world's side */
    char host[256], upstream[64];
    uint64_t bytes_in, bytes_out, start_ns;
    char reason[256];
    bool denied;
};

static void record(struct relay *r)
{
    char address[64];
    socket_address_text(&r->conn->dst, address);
    struct egress_record rec = {.kind = r->kind,
                                .id = r->conn->id,
                                .host = *r->host ? r->host : address,
                                .port = r->conn->port,
                                .protocol = r->kind,
                                .decision = r->denied                     ? "deny"
                                            : *r->reason && !*r->upstream ? "error"
                                            : !strcmp(r->kind, "tls")     ? "splice"
                                                                          : "tcp",
                                .rule = r->verdict.rule_name,
                                .reason = *r->reason ? r->reason : NULL,
                                .bytes_in = r->bytes_in,
                                .bytes_out = r->bytes_out,
                                .start_us = r->conn->start_us,
                                .duration_us = (uint32_t)((uv_hrtime() - r->start_ns) / 1000),
                                .upstream = *r->upstream ? r->upstream : NULL};
    box_record(r->conn->box, &rec);
}

/* Everything but the conn. */
static void release(void *self)
{
    struct relay *r = self;
    record(r);
    list_remove(&r->link);
    dial_cancel(r->dial);
    stream_close(r->world.stream);
    stream_close(r->box.stream);
    policy_unref(r->policy);
    free(r);
}

static void end(struct relay *r, const char *reason, bool hard)
{
    struct conn *c = r->conn;
    if (reason)
        snprintf(r->reason, sizeof r->reason, "%s", reason);
    if (hard && r->box.stream)
        stream_reset(r->box.stream);
    else if (r->box.stream)
        stream_close_sent(r->box.stream);
    if (r->world.stream)
        stream_close_sent(r->world.stream);
    r->box.stream = r->world.stream = NULL;
    release(r);
    conn_finish(c);
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
    struct side *s = user;
    struct relay *r = s->relay;
    *(s == &r->box ? &r->bytes_out : &r->bytes_in) += len;
    box_count(r->conn->box, len);
    if (!policy_meter_bytes(r->conn->box->meter, r->policy, r->verdict.rule, len,
                            uv_now(&r->conn->box->egress->loop))) {
        r->denied = true;
        end(r, "the byte quota is used up", true);
        return;
    }
    if (stream_write(s->other->stream, data, len) == STREAM_FULL)
        stream_pause(s->stream, true);
}

static void on_drained(void *user)
{
    struct side *s = user;
    stream_pause(s->other->stream, false);
}

static void on_eof(void *user)
{
    struct side *s = user;
    s->ended = true;
    stream_shutdown(s->other->stream);
    if (s->other->ended)
        end(s->relay, NULL, false);
}

static void on_failed(void *user, const char *reason)
{
    struct side *s = user;
    end(s->relay, reason, true);
}

static const struct stream_ops ops = {
    .data = on_data, .eof = on_eof, .drained = on_drained, .failed = on_failed};

static void on_dialled(void *user, int fd, const union socket_address *addr, uint16_t status,
                       const char *reason)
{
    struct relay *r = user;
    r->dial = NULL;
    if (fd < 0) {
        r->denied = status == 520;
        end(r, reason, true);
        return;
    }
    r->addr = *addr;
    socket_address_text(addr, r->upstream);
    r->world.stream = stream_new(&r->conn->box->egress->loop, fd, false, &ops, &r->world);
    if (!r->world.stream) {
        end(r, "out of memory", true);
        return;
    }
    stream_pause(r->box.stream, false);
    stream_pause(r->world.stream, false);
}

int relay_start(struct conn *c, const char *kind, const char *rule)
{
    static const struct conn_protocol protocol = {release};
    struct relay *r = calloc(1, sizeof *r);
    struct policy_target t = conn_target(c);
    const char *reason;
    uint64_t retry;
    (void)rule;
    if (!r)
        return -ENOMEM;
    list_init(&r->link);
    r->conn = c;
    r->kind = kind;
    r->box = (struct side){.relay = r, .stream = c->stream, .other = &r->world};
    r->world = (struct side){.relay = r, .other = &r->box};
    r->start_ns = uv_hrtime();
    snprintf(r->host, sizeof r->host, "%s", c->host);
    r->policy = policy_ref(c->box->policy);
    (strcmp(kind, "tls") ? policy_connect : policy_tls)(r->policy, &t, &r->verdict);
    stream_set_ops(c->stream, &ops, &r->box);
    c->protocol = &protocol;
    c->self = r;
    conn_limit(c, 0);
    list_append(&c->box->relays, &r->link);
    if (!policy_meter_request(c->box->meter, r->policy, r->verdict.rule,
                              uv_now(&c->box->egress->loop), &reason, &retry)) {
        r->denied = true;
        end(r, reason, true);
        return 0;
    }
    r->dial = dial_start(&c->box->egress->dialler, r->policy, &t, on_dialled, r);
    return r->dial ? 0 : -ENOMEM;
}

void relays_check(struct egress_box *b)
{
    LIST_FOREACH_SAFE (it, &b->relays) {
        struct relay *r = LIST_ENTRY(it, struct relay, link);
        struct policy_target t = conn_target(r->conn);
        struct policy_verdict v = {0};
        bool tls = !strcmp(r->kind, "tls");
        if (tls)
            policy_tls(b->policy, &t, &v);
        else
            policy_connect(b->policy, &t, &v);
        const char *reason;
        if (v.action == (tls ? POLICY_SPLICE : POLICY_TCP) &&
            (!*r->upstream || policy_allows_address(b->policy, &t, &r->addr.sa, &reason)))
            continue;
        r->denied = true;
        end(r, "the policy changed", true);
    }
}
