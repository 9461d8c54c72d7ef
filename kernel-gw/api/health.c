/* /healthz, /readyz, /metrics and the OpenAPI document. */
#include <string.h>

#include <stdlib.h>

#include "kernel-gw/api/api.h"
#include "kernel-gw/egress/egress.h"

static void healthz(struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    (void)r;
    (void)p;
    buf_printf(&b, "{\"status\":\"ok\",\"version\":\"%s\"}", gw->version);
    api_json(gw, x, 200, &b);
}

static void readyz(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct route_params *p)
{
    CLEANUP_BUF struct buf b = {0};
    (void)r;
    (void)p;
    if (!gw->ready) {
        api_error(gw, x, 503, "STARTING", "the server is starting");
        return;
    }
    buf_puts(&b, "{\"status\":\"ready\"}");
    api_json(gw, x, 200, &b);
}

static void metric(struct buf *b, const char *type, const char *name, const char *help, double v)
{
    buf_printf(b, "# HELP cellbox_%s %s\n# TYPE cellbox_%s %s\ncellbox_%s %.17g\n", name, help,
               name, type, name, v);
}

static void put_runs(struct buf *b, const struct manager_stats *s)
{
    uint64_t sum = 0;
    buf_puts(b, "# HELP cellbox_run_seconds Duration of executions.\n# TYPE cellbox_run_seconds "
                "histogram\n");
    for (int i = 0; i < 11; i++) {
        sum += s->run_us_buckets[i];
        buf_printf(b, "cellbox_run_seconds_bucket{le=\"%g\"} %llu\n",
                   manager_run_bounds_ms[i] / 1000, (unsigned long long)sum);
    }
    buf_printf(b,
               "cellbox_run_seconds_bucket{le=\"+Inf\"} %llu\ncellbox_run_seconds_sum "
               "%g\ncellbox_run_seconds_count %llu\n",
               (unsigned long long)s->run_us_count, (double)s->run_us_sum / 1e6,
               (unsigned long long)s->run_us_count);
}

static void put_objects(struct gateway *gw, struct buf *b)
{
    size_t cursor = 0;
    unsigned states[4] = {0}, contexts = 0;
    struct sandbox *sb;
    while ((sb = sandbox_next(gw->manager, &cursor))) {
        struct sandbox_info i;
        sandbox_get_info(sb, &i);
        states[i.state]++;
        contexts += i.contexts;
    }
    buf_puts(b, "# HELP cellbox_sandboxes Sandboxes by state.\n# TYPE cellbox_sandboxes gauge\n");
    for (int i = 0; i < 4; i++)
        buf_printf(b, "cellbox_sandboxes{state=\"%s\"} %u\n",
                   sandbox_state_name((enum sandbox_state)i), states[i]);
    metric(b, "gauge", "contexts", "Contexts.", contexts);
}

static void put_metrics(struct gateway *gw, struct buf *b)
{
    struct manager_stats s;
    manager_get_stats(gw->manager, &s);
    put_objects(gw, b);
    metric(b, "gauge", "connections", "HTTP connections.", http_server_connections(gw->server));
    metric(b, "gauge", "connections_untrusted", "HTTP connections that have shown no credential.",
           http_server_untrusted(gw->server));
    metric(b, "counter", "connections_evicted_total",
           "Connections without a credential that were closed to make room.",
           (double)http_server_evicted(gw->server));
    metric(b, "counter", "wrong_tokens_total", "Requests with a wrong token.",
           (double)failures_total(gw->auth.failures));
    metric(b, "gauge", "pool_ready", "Warm boxes.", s.pool_ready);
    metric(b, "gauge", "pool_starting", "Boxes being warmed.", s.pool_starting);
    buf_puts(b, "# HELP cellbox_http_responses_total Responses by class.\n# TYPE "
                "cellbox_http_responses_total counter\n");
    for (int i = 2; i < 6; i++)
        buf_printf(b, "cellbox_http_responses_total{class=\"%dxx\"} %llu\n", i,
                   (unsigned long long)gw->http.by_class[i]);
    const struct {
        const char *name, *help;
        uint64_t v;
    } counters[] = {
        {"requests_total", "Requests to contexts.", s.requests},
        {"executions_total", "Executions taken.", s.executions},
        {"execution_errors_total", "Executions that ended in an error.", s.errors},
        {"timeouts_total", "Executions over their time limit.", s.timeouts},
        {"interrupts_total", "Interrupts sent.", s.interrupts},
        {"contexts_started_total", "Interpreters started.", s.contexts_started},
        {"contexts_died_total", "Interpreters that ended unasked.", s.contexts_died},
        {"oom_kills_total", "Interpreters killed for memory.", s.oom_kills},
        {"boxes_started_total", "Boxes started.", s.boxes_started},
        {"boxes_gone_total", "Boxes that ended unasked.", s.boxes_gone},
        {"protocol_errors_total", "Contexts ended for breaking the frame protocol.",
         s.protocol_errors},
        {"frame_bytes_total", "Bytes received from interpreters.", s.bytes_in},
        {"pool_hits_total", "Sandboxes served from the pool.", s.pool_hits},
        {"pool_misses_total", "Sandboxes that found the pool empty.", s.pool_misses},
    };
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        metric(b, "counter", counters[i].name, counters[i].help, (double)counters[i].v);
    put_runs(b, &s);
    if (gw->put_metrics)
        gw->put_metrics(gw, b);
}

/* A scrape that waits for what E counts. */
struct scrape {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
};

static void on_scraper_gone(void *user)
{
    ((struct scrape *)user)->x = NULL;
}

static void on_egress_metrics(void *user, const struct err *e, const struct wire_egress_reply *r,
                              const char *data)
{
    struct scrape *s = user;
    CLEANUP_BUF struct buf b = {0};
    if (s->x) {
        put_metrics(s->gw, &b);
        if (!e->code)
            buf_put(&b, data, r->data_len);
        api_count(s->gw, b.err ? 503 : 200);
        exchange_respond(s->x, b.err ? 503 : 200, "text/plain; version=0.0.4", b.data, b.len);
    }
    free(s);
}

static void metrics(struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    static const struct exchange_ops ops = {.closed = on_scraper_gone};
    struct wire_egress_call m = {.op = EGRESS_METRICS};
    struct scrape *s = malloc(sizeof *s);
    (void)r;
    (void)p;
    if (!s) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *s = (struct scrape){gw, x};
    exchange_set_ops(x, &ops, s);
    egress_call(gw, &m, NULL, 0, on_egress_metrics, s);
}

static void openapi(struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    (void)r;
    (void)p;
    api_count(gw, 200);
    exchange_respond(x, 200, "application/yaml", api_openapi_yaml, api_openapi_yaml_len);
}

const struct route api_health_routes[] = {
    {"GET", "/healthz", healthz, ROUTE_OPEN},
    {"GET", "/readyz", readyz, ROUTE_OPEN},
    {"GET", "/metrics", metrics, 0},
    {"GET", "/v1/openapi.yaml", openapi, 0},
};
const size_t api_health_nroutes = sizeof api_health_routes / sizeof *api_health_routes;
