/*
 * Every name that could be dialled gets an address, also one that the policy denies: the connection
 * that follows can say why it is refused, a missing name cannot. No question leaves the machine, so
 * there is nothing to leak through names, and HTTPS/SVCB records, which would lead clients round
 * the proxy (ECH, HTTP/3), do not exist.
 */
#include "sandbox/egress/dns/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/egress.h"
#include "sandbox/egress/net/conn.h"

static bool is_local(const char *host)
{
    size_t n = strlen(host);
    return !strcmp(host, "localhost") || (n > 10 && !strcmp(host + n - 10, ".localhost"));
}

static const char *type_name(uint16_t type)
{
    switch (type) {
    case DNS_A:
        return "A";
    case DNS_AAAA:
        return "AAAA";
    case DNS_PTR:
        return "PTR";
    case DNS_HTTPS:
        return "HTTPS";
    case DNS_SVCB:
        return "SVCB";
    default:
        return "other";
    }
}

static void record(struct egress_box *b, const struct dns_question *q, int rcode, uint64_t start_us)
{
    struct egress_record r = {.kind = "dns",
                              .method = type_name(q->type),
                              .host = q->name,
                              .protocol = "dns",
                              .decision = rcode == DNS_OK ? "allow" : "deny",
                              .status = (uint16_t)rcode,
                              .start_us = start_us};
    box_record(b, &r);
}

size_t dns_serve(struct egress_box *b, const uint8_t *question, size_t len, uint8_t *out,
                 size_t cap)
{
    static const uint8_t loopback4[4] = {127, 0, 0, 1}, loopback6[16] = {[15] = 1};
    struct dns_question q;
    uint8_t v4[4], v6[16], reverse[16];
    const uint8_t *address = NULL;
    const char *name = NULL;
    size_t address_len = 0, n;
    int rcode = DNS_OK;
    int e = dns_parse(question, len, &q);

    if (e == DNS_E_IGNORE)
        return 0;
    if (e)
        return dns_answer(out, cap, question, &q, DNS_FORMAT, NULL, 0, NULL, 0);
    if (q.class != 1 || !*q.name) {
        rcode = DNS_REFUSED;
    } else if (q.type == DNS_A || q.type == DNS_AAAA) {
        address_len = q.type == DNS_A ? 4 : 16;
        if (is_local(q.name))
            address = q.type == DNS_A ? loopback4 : loopback6;
        else if (names_take(b->names, q.name, v4, v6) == 0)
            address = q.type == DNS_A ? v4 : v6;
        else
            rcode = DNS_FAILURE, address_len = 0;
    } else if (q.type == DNS_PTR && (n = dns_reverse(q.name, reverse))) {
        name = names_find_bytes(b->names, reverse, n);
        rcode = name ? DNS_OK : DNS_NO_NAME;
    }
    if (q.type != DNS_AAAA) /* programs ask for both; one line is enough */
        record(b, &q, rcode, egress_clock_us());
    b->egress->counters.dns[rcode == DNS_OK ? 0 : 1]++;
    return dns_answer(out, cap, question, &q, rcode, address, address_len, name, NAMES_TTL);
}

/* ---- over TCP: each message with its length before it (RFC 7766) ---- */

enum { IDLE_MS = 10000 };

struct dns_stream {
    struct conn *conn;
    struct stream *stream;
    struct buf in;
};

static void free_stream(void *self)
{
    struct dns_stream *d = self;
    stream_close(d->stream);
    buf_deinit(&d->in);
    free(d);
}

static void end(struct dns_stream *d)
{
    struct conn *c = d->conn;
    stream_close_sent(d->stream);
    buf_deinit(&d->in);
    free(d);
    conn_finish(c);
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
    struct dns_stream *d = user;
    uint8_t out[2 + DNS_MESSAGE_MAX];
    if (buf_put(&d->in, data, len) < 0) {
        end(d);
        return;
    }
    conn_limit(d->conn, IDLE_MS);
    while (d->in.len >= 2) {
        size_t want = (size_t)d->in.data[0] << 8 | d->in.data[1];
        if (want > DNS_MESSAGE_MAX) {
            end(d);
            return;
        }
        if (d->in.len < 2 + want)
            return;
        size_t n = dns_serve(d->conn->box, d->in.data + 2, want, out + 2, DNS_MESSAGE_MAX);
        out[0] = (uint8_t)(n >> 8);
        out[1] = (uint8_t)n;
        buf_consume(&d->in, 2 + want);
        if (n && stream_write(d->stream, out, n + 2) == STREAM_FULL) {
            end(d); /* asks and does not read */
            return;
        }
    }
}

static void on_eof(void *user)
{
    end(user);
}

static void on_failed(void *user, const char *reason)
{
    (void)reason;
    end(user);
}

int dns_stream_start(struct conn *c)
{
    static const struct stream_ops ops = {.data = on_data, .eof = on_eof, .failed = on_failed};
    static const struct conn_protocol protocol = {free_stream};
    struct dns_stream *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->conn = c;
    d->stream = c->stream;
    buf_init(&d->in, 2 * DNS_MESSAGE_MAX + STREAM_READ);
    stream_set_ops(c->stream, &ops, d);
    c->protocol = &protocol;
    c->self = d;
    conn_limit(c, IDLE_MS);
    stream_pause(c->stream, false);
    return 0;
}
