#include "tests/pair/pair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/http/upstream.h"
#include "sandbox/egress/net/conn.h"
#include "sandbox/egress/net/dial.h"
#include "sandbox/egress/tls/upstream.h"

enum { TURNS_MAX = 20000, SMALL = 300 };

struct stream {
    struct list link;
    const struct stream_ops *ops;
    void *user;
    struct buf in, out; /* to be delivered to the engine; written by it */
    bool paused, closed, shut, full, tls, opening, end, ended, lingering;
    struct origin *origin; /* NULL: the box's */
};

struct dial {
    struct list link;
    dialled_fn *done;
    void *user;
    bool cancelled;
};

struct judged {
    char method[32], path[1100];
    uint64_t body;
    bool used;
};

static struct pair {
    struct egress egress;
    struct egress_box box;
    struct conn conn;
    struct list streams, dials;
    const uint8_t *control, *raw;
    size_t raw_len, limit;
    unsigned counter; /* requests that origins saw */
    struct judged judged[2 * PAIR_SEEN_MAX];
    size_t njudged;
    unsigned answered;
    const char *wrong;
    bool wake, conn_over;
} p;

/* ---- doubles ---- */

struct stream *stream_new(uv_loop_t *loop, int take_fd, bool connecting,
                          const struct stream_ops *ops, void *user)
{
    struct stream *s = calloc(1, sizeof *s);
    (void)loop;
    (void)take_fd;
    (void)connecting;
    if (!s)
        abort();
    s->paused = true;
    s->ops = ops;
    s->user = user;
    list_append(&p.streams, &s->link);
    return s;
}

void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *user)
{
    s->ops = ops;
    s->user = user;
}

int stream_tls(struct stream *s, SSL *take_ssl, bool server)
{
    (void)take_ssl;
    (void)server;
    s->tls = s->opening = true;
    return 0;
}

/* Nobody looks into it. */
static SSL *some_ssl(void)
{
    return (SSL *)(uintptr_t)&p;
}

SSL *stream_ssl(const struct stream *s)
{
    return s->tls ? some_ssl() : NULL;
}

int stream_write(struct stream *s, const void *data, size_t len)
{
    if (s->closed || s->shut)
        return STREAM_OK;
    buf_put(&s->out, data, len);
    s->full |= s->out.len > p.limit;
    return s->full ? STREAM_FULL : STREAM_OK;
}

bool stream_full(const struct stream *s)
{
    return s->full;
}

size_t stream_unsent(const struct stream *s)
{
    return s->out.len;
}

void stream_pause(struct stream *s, bool paused)
{
    s->paused = paused;
}

void stream_shutdown(struct stream *s)
{
    s->shut = true;
}

void stream_close(struct stream *s)
{
    if (s)
        s->closed = true;
}

void stream_close_sent(struct stream *s)
{
    if (s)
        s->closed = s->lingering = true;
}

void stream_reset(struct stream *s)
{
    stream_close(s);
}

int stream_fd(const struct stream *s)
{
    (void)s;
    return -1;
}

struct dial *dial_start(const struct dialler *with, struct policy *policy,
                        const struct policy_target *target, dialled_fn *done, void *user)
{
    struct dial *d = calloc(1, sizeof *d);
    (void)with;
    (void)policy;
    (void)target;
    if (!d)
        abort();
    d->done = done;
    d->user = user;
    list_append(&p.dials, &d->link);
    return d;
}

void dial_cancel(struct dial *d)
{
    if (d)
        d->cancelled = true;
}

void socket_address_text(const union socket_address *a, char out[64])
{
    (void)a;
    snprintf(out, 64, "203.0.113.7:443");
}

SSL *upstream_connect(SSL_CTX *ctx, const char *host, bool h2, SSL_SESSION *session)
{
    (void)ctx;
    (void)host;
    (void)h2;
    (void)session;
    return some_ssl();
}

bool upstream_chose_h2(const SSL *ssl)
{
    (void)ssl;
    return (p.control[0] & 3) == 3; /* nobody is offered it who does not speak it */
}

void conn_limit(struct conn *c, uint64_t ms)
{
    (void)c;
    (void)ms;
}

void conn_finish(struct conn *c)
{
    c->stream = NULL;
    p.conn_over = true;
}

void egress_wake(struct egress *e)
{
    (void)e;
    p.wake = true;
}

uint64_t egress_clock_us(void)
{
    return 1;
}

void box_count(struct egress_box *b, uint64_t bytes)
{
    (void)b;
    (void)bytes;
}

void box_record(struct egress_box *b, struct egress_record *r)
{
    (void)b;
    if (!r->method || strcmp(r->decision, "deny") == 0 || p.njudged == 2 * PAIR_SEEN_MAX)
        return;
    struct judged *j = &p.judged[p.njudged++];
    snprintf(j->method, sizeof j->method, "%s", r->method);
    snprintf(j->path, sizeof j->path, "%s", r->path);
    j->body = r->bytes_out;
    if (!r->secrets || strcmp(r->secrets, "k"))
        p.wrong = "a request is not logged with its secret";
}

int handlers_start(struct handlers *h, struct exchange *x, const char *name, const char *params,
                   const struct exchange_up_ops **ret_ops, void **ret_up, char ret_reason[208])
{
    (void)h;
    (void)x;
    (void)name;
    (void)params;
    (void)ret_ops;
    (void)ret_up;
    (void)ret_reason;
    return -ENOSYS;
}

const struct secret *secrets_find(const struct secrets *s, const char *name)
{
    (void)s;
    return (const struct secret *)(uintptr_t)name;
}

bool secret_allows(const struct secret *s, const char *box_name, const char *host)
{
    (void)s;
    (void)box_name;
    return !strcmp(host, "one.test");
}

const char *secret_get(const struct secret *s, const char *member)
{
    (void)s;
    return strcmp(member, "value") ? NULL : PAIR_KEY;
}

/* ---- the turns of a loop ---- */

static bool turn_dials(void)
{
    bool any = false;
    LIST_FOREACH (it, &p.dials) {
        struct dial *d = LIST_ENTRY(it, struct dial, link);
        union socket_address addr = {.v4 = {.sin_family = AF_INET}};
        if (d->cancelled || !d->done)
            continue;
        dialled_fn *done = d->done;
        d->done = NULL;
        done(d->user, 1000, &addr, 0, NULL);
        any = true;
    }
    return any;
}

static bool turn_write(struct stream *s)
{
    CLEANUP_BUF struct buf out = {0};
    struct origin_says says = {0};
    bool any = s->out.len > 0;
    if (s->out.len) {
        out = s->out;
        s->out = (struct buf){0};
    }
    if (s->origin && out.len) {
        const char *wrong = origin_feed(s->origin, out.data, out.len, &says);
        if (wrong && !p.wrong)
            p.wrong = wrong;
        buf_put(&s->in, says.out.data, says.out.len);
        s->end |= says.end;
        buf_deinit(&says.out);
    }
    if (s->full && !s->closed) {
        s->full = false;
        if (s->ops->drained)
            s->ops->drained(s->user);
        any = true;
    }
    return any;
}

static bool turn_read(struct stream *s)
{
    if (s->closed || s->opening || s->paused)
        return false;
    if (s->in.len) {
        CLEANUP_BUF struct buf in = s->in;
        s->in = (struct buf){0};
        s->ops->data(s->user, in.data, in.len);
        return true;
    }
    if (!s->end || s->ended)
        return false;
    s->ended = true;
    s->ops->eof(s->user);
    return true;
}

/* Secured: only then it is known what the origin speaks. */
static bool turn_open(struct stream *s)
{
    if (!s->opening || s->closed)
        return false;
    s->opening = false;
    s->origin = origin_new(upstream_chose_h2(NULL), p.control, p.raw, p.raw_len, &p.counter);
    s->ops->open(s->user);
    return true;
}

static bool turn(void)
{
    bool any = turn_dials();
    if (p.wake) {
        p.wake = false;
        exchanges_postponed(&p.egress);
        any = true;
    }
    LIST_FOREACH (it, &p.streams) {
        struct stream *s = LIST_ENTRY(it, struct stream, link);
        any |= turn_open(s);
        any |= turn_write(s);
        any |= turn_read(s);
    }
    return any;
}

static void settle(void)
{
    for (int i = 0; !p.wrong && turn(); i++)
        if (i == TURNS_MAX) {
            p.wrong = "it does not come to rest";
            return;
        }
}

/* ---- one run ---- */

static struct policy *make_policy(void)
{
    static const char text[] =
        "{\"rules\":[{\"name\":\"no\",\"match\":{\"paths\":[\"/deny*\"]},\"action\":\"deny\"},"
        "{\"name\":\"key\",\"inject\":[{\"header\":\"x-key\",\"secret\":\"k\"}]}]}";
    struct policy_error e;
    struct policy *policy;
    if (policy_parse(text, sizeof text - 1, &policy, &e) != 0)
        abort();
    return policy;
}

static void start(const uint8_t *control)
{
    p.control = control;
    p.limit = control[0] & 4 ? SMALL : STREAM_HIGH;
    list_init(&p.streams);
    list_init(&p.dials);
    list_init(&p.egress.boxes);
    list_init(&p.egress.postponed);
    p.box.egress = &p.egress;
    snprintf(p.box.name, sizeof p.box.name, "box");
    list_init(&p.box.conns);
    list_init(&p.box.exchanges);
    list_init(&p.box.relays);
    list_init(&p.box.upstreams);
    p.box.policy = make_policy();
    p.box.meter = policy_meter_new();
    p.conn.box = &p.box;
    p.conn.https = true;
    p.conn.port = 443;
    snprintf(p.conn.host, sizeof p.conn.host, "one.test");
    p.conn.stream = stream_new(&p.egress.loop, -1, false, NULL, NULL);
    p.conn.stream->tls = true;
    if ((control[0] & 1 ? h2_server_start : h1_server_start)(&p.conn) < 0)
        abort();
}

static void feed(const uint8_t *data, size_t size)
{
    struct stream *s = p.conn.stream;
    settle();
    for (unsigned i = 0; size && !p.wrong && !s->closed; i++) {
        size_t n = p.control[8 + i % 8];
        n = n && n < size ? n : size;
        buf_put(&s->in, data, n);
        data += n;
        size -= n;
        settle();
    }
    s->end = true;
    settle();
}

static void stop(void)
{
    exchanges_close(&p.box);
    if (!p.conn_over && p.conn.protocol)
        p.conn.protocol->close(p.conn.self);
    upstreams_close(&p.box);
}

/* Each whole request that was answered is a record of its own; the others stand in one. */
static const char *compare_one(const struct seen *s)
{
    if (!strncmp(s->path, "/deny", 5))
        return "a denied request came through";
    for (size_t i = 0; i < p.njudged; i++) {
        struct judged *j = &p.judged[i];
        if (strcmp(j->method, s->method) || strcmp(j->path, s->path))
            continue;
        if (s->whole && s->answered && (j->used || (j->body != s->body && !s->switched)))
            continue;
        j->used |= s->whole && s->answered;
        return NULL;
    }
    return "the origin saw a request that was not judged";
}

static void compare(void)
{
    LIST_FOREACH (it, &p.streams) {
        struct stream *s = LIST_ENTRY(it, struct stream, link);
        size_t n = 0;
        const struct seen *seen = s->origin ? origin_seen(s->origin, &n) : NULL;
        for (size_t i = 0; i < n && !p.wrong; i++) {
            p.answered += seen[i].answered;
            p.wrong = compare_one(&seen[i]);
        }
    }
}

static void forget(void)
{
    LIST_FOREACH_SAFE (it, &p.streams) {
        struct stream *s = LIST_ENTRY(it, struct stream, link);
        if (s->origin)
            origin_free(s->origin);
        buf_deinit(&s->in);
        buf_deinit(&s->out);
        free(s);
    }
    LIST_FOREACH_SAFE (it, &p.dials)
        free(LIST_ENTRY(it, struct dial, link));
    policy_unref(p.box.policy);
    policy_meter_free(p.box.meter);
}

const char *pair_run(const uint8_t *data, size_t size)
{
    static const char mark[] = "\n====\n";
    if (size < PAIR_CONTROL)
        return NULL;
    memset(&p, 0, sizeof p);
    if (uv_loop_init(&p.egress.loop) < 0)
        abort();
    const uint8_t *rest = data + PAIR_CONTROL;
    size_t len = size - PAIR_CONTROL;
    const uint8_t *raw = memmem(rest, len, mark, sizeof mark - 1);
    if (raw) {
        p.raw = raw + sizeof mark - 1;
        p.raw_len = (size_t)(rest + len - p.raw);
        len = (size_t)(raw - rest);
    }
    start(data);
    feed(rest, len);
    stop();
    if (!p.wrong)
        compare();
    forget();
    uv_loop_close(&p.egress.loop);
    return p.wrong;
}

unsigned pair_allowed(void)
{
    return (unsigned)p.njudged;
}

unsigned pair_answered(void)
{
    return p.answered;
}
