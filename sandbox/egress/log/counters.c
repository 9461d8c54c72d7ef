#include "sandbox/egress/log/counters.h"

#include <string.h>

#include "sandbox/egress/log/log.h"

static const char *const names[DECISIONS] = {"allow",  "deny", "handler", "respond",
                                             "splice", "tcp",  "error"};

void counters_request(struct egress_counters *c, const struct egress_record *r)
{
    if (!strcmp(r->kind, "dns"))
        return;
    for (int i = 0; i < DECISIONS; i++)
        if (!strcmp(r->decision, names[i]))
            c->requests[i]++;
    c->bytes_in += r->bytes_in;
    c->bytes_out += r->bytes_out;
}

static void put(struct buf *out, const char *name, const char *kind, const char *help,
                uint64_t value)
{
    buf_printf(out,
               "# HELP cellbox_egress_%s %s\n# TYPE cellbox_egress_%s %s\ncellbox_egress_%s %llu\n",
               name, help, name, kind, name, (unsigned long long)value);
}

int counters_render(const struct egress_counters *c, struct buf *out)
{
    buf_puts(
        out,
        "# HELP cellbox_egress_requests_total Requests and connections of sandboxes, by decision.\n"
        "# TYPE cellbox_egress_requests_total counter\n");
    for (int i = 0; i < DECISIONS; i++)
        buf_printf(out, "cellbox_egress_requests_total{decision=\"%s\"} %llu\n", names[i],
                   (unsigned long long)c->requests[i]);
    buf_puts(out, "# HELP cellbox_egress_dns_total Names that sandboxes looked up.\n"
                  "# TYPE cellbox_egress_dns_total counter\n");
    buf_printf(out, "cellbox_egress_dns_total{outcome=\"answered\"} %llu\n",
               (unsigned long long)c->dns[0]);
    buf_printf(out, "cellbox_egress_dns_total{outcome=\"refused\"} %llu\n",
               (unsigned long long)c->dns[1]);
    put(out, "received_bytes_total", "counter", "Bytes to sandboxes.", c->bytes_in);
    put(out, "sent_bytes_total", "counter", "Bytes from sandboxes.", c->bytes_out);
    put(out, "upstream_errors_total", "counter", "Servers that could not be asked.",
        c->upstream_errors);
    put(out, "tls_handshakes_total", "counter", "TLS connections that were looked into.",
        c->handshakes);
    put(out, "handler_calls_total", "counter", "Requests given to handlers.", c->handler_calls);
    put(out, "connections", "gauge", "Open connections of sandboxes.", c->connections);
    return out->err;
}
