#include "sandbox/egress/http/exchange.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sandbox/base/json.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/http/redact.h"
#include "sandbox/egress/http/upstream.h"
#include "sandbox/egress/secrets/fill.h"
#include "sandbox/egress/secrets/inject.h"

enum { BLOCKED = 520, TOO_MANY = 429, INJECTS_MAX = 64, INTERIMS_MAX = 16 };

struct exchange {
    struct list link, later; /* of the box; of egress.postponed */
    struct egress_box *box;
    uint64_t id, start_us, start_ns, head_ns;
    struct http_head head;      /* as the box sent it, then as it leaves */
    char *method, *path, *host; /* before injection: for the log */
    union socket_address addr;
    bool has_addr, https, from_handler, upgrade, tunnel, answered;
    uint16_t port, status;
    const char *protocol, *decision;
    struct policy *policy; /* that decided it */
    struct policy_verdict verdict;
    struct buf secrets;
    const struct fill *fills; /* while it is made */
    size_t nfills;
    const struct exchange_down_ops *down_ops;
    void *down;
    const struct exchange_up_ops *up_ops;
    void *up;
    uint64_t bytes_in, bytes_out;
    char reason[256], upstream[64];
    struct redact redact;
    bool redacting, unchunking;
    bool sensitive; /* what was injected is worth something to whoever sees it in the answer */
    struct inject_unchunk unchunk;
    struct body_length request_length, answer_length; /* what is still to come of the bodies */
    unsigned interims;                                /* 1xx heads that came */
    uint16_t local_status;                            /* an answer of our own waits for its turn */
};

const struct http_head *exchange_request_head(const struct exchange *x)
{
    return &x->head;
}

struct egress_box *exchange_box(const struct exchange *x)
{
    return x->box;
}

void exchange_note_secrets(struct exchange *x, const char *names)
{
    buf_printf(&x->secrets, "%s%s", x->secrets.len ? "," : "", names);
}

uint64_t exchange_id(const struct exchange *x)
{
    return x->id;
}

void exchange_set_up(struct exchange *x, const struct exchange_up_ops *ops, void *up,
                     const char *upstream)
{
    x->up_ops = ops;
    x->up = up;
    snprintf(x->upstream, sizeof x->upstream, "%s", upstream);
}

static struct policy_target target_of(const struct exchange *x)
{
    return (struct policy_target){.host = x->has_addr ? "" : x->host,
                                  .addr = x->has_addr ? &x->addr.sa : NULL,
                                  .port = x->port};
}

static void record(struct exchange *x)
{
    uint64_t now = uv_hrtime();
    struct egress_record r = {
        .kind = "http",
        .id = x->id,
        .method = x->method,
        .scheme = x->https ? "https" : "http",
        .host = x->host,
        .path = x->path,
        .port = x->port,
        .protocol = x->tunnel ? "websocket" : x->protocol,
        .decision = x->decision,
        .rule = x->verdict.rule_name,
        .reason = *x->reason ? x->reason : NULL,
        .status = x->status,
        .bytes_in = x->bytes_in,
        .bytes_out = x->bytes_out,
        .start_us = x->start_us,
        .duration_us = (uint32_t)((now - x->start_ns) / 1000),
        .upstream_us = x->head_ns ? (uint32_t)((x->head_ns - x->start_ns) / 1000) : 0,
        .upstream = *x->upstream ? x->upstream : NULL,
        .secrets = x->secrets.len ? buf_str(&x->secrets) : NULL,
    };
    box_record(x->box, &r);
}

static void finish(struct exchange *x)
{
    record(x);
    list_remove(&x->link);
    list_remove(&x->later);
    x->box->nexchanges--;
    head_deinit(&x->head);
    policy_unref(x->policy);
    buf_deinit(&x->secrets);
    redact_deinit(&x->redact);
    free(x->method);
    free(x->path);
    free(x->host);
    free(x);
}

static void drop_up(struct exchange *x)
{
    const struct exchange_up_ops *ops = x->up_ops;
    x->up_ops = NULL;
    if (ops)
        ops->cancel(x->up);
}

/* Both sides are let go of; nothing more is said. */
static void abort_both(struct exchange *x)
{
    const struct exchange_down_ops *down = x->down_ops;
    drop_up(x);
    x->down_ops = NULL;
    if (down)
        down->abort(x->down);
    finish(x);
}

/* ---- answers of our own ---- */

static int put_answer_head(struct http_head *h, const struct exchange *x,
                           const struct policy_answer *fixed, size_t body_len)
{
    char number[24];
    int n = snprintf(number, sizeof number, "%zu", body_len), r = 0;
    h->status = x->local_status;
    for (size_t i = 0; fixed && i < fixed->nfields && r == 0; i++)
        r = head_add(h, fixed->fields[i].name, strlen(fixed->fields[i].name),
                     fixed->fields[i].value, strlen(fixed->fields[i].value));
    if (r == 0 && !head_find(h, "content-type"))
        r = head_set(h, "content-type", "text/plain; charset=utf-8", 25);
    if (r == 0)
        r = head_set(h, "content-length", number, (size_t)n);
    if (r == 0 && !fixed)
        r = head_set(h, "x-cellbox-egress-reason", x->reason, strlen(x->reason));
    if (r == 0 && !fixed && x->verdict.rule_name && *x->verdict.rule_name)
        r = head_set(h, "x-cellbox-egress-rule", x->verdict.rule_name,
                     strlen(x->verdict.rule_name));
    return r;
}

/* A gRPC client wants a trailers-only answer, else it says no more than "unknown". */
static bool is_grpc(const struct exchange *x)
{
    const struct head_field *f = head_find(&x->head, "content-type");
    return f && f->value.len >= 16 && !memcmp(head_at(&x->head, f->value), "application/grpc", 16);
}

static int put_grpc_head(struct http_head *h, const struct exchange *x)
{
    const char *code = x->local_status == BLOCKED ? "7" : "14"; /* PERMISSION_DENIED, UNAVAILABLE */
    h->status = 200;
    int r = head_set(h, "content-type", "application/grpc", 16);
    if (r == 0)
        r = head_set(h, "grpc-status", code, strlen(code));
    if (r == 0)
        r = head_set(h, "grpc-message", x->reason, strlen(x->reason));
    return r == 0 ? head_set(h, "x-cellbox-egress-reason", x->reason, strlen(x->reason)) : r;
}

static void give_answer(struct exchange *x)
{
    const struct policy_answer *fixed =
        x->verdict.action == POLICY_RESPOND ? policy_answer(x->verdict.rule) : NULL;
    struct http_head h;
    char text[400];
    const char *body = text;
    size_t len = (size_t)snprintf(
        text, sizeof text, "%s: %s\n",
        x->local_status == BLOCKED ? "Blocked by the egress policy" : "Egress", x->reason);
    bool no_body = !strcmp(x->method, "HEAD");
    const struct exchange_down_ops *ops = x->down_ops;
    void *down = x->down;

    if (x->local_status != 200 && x->verdict.action == POLICY_RESPOND && *x->reason)
        fixed = NULL;
    if (fixed) {
        x->local_status = fixed->status;
        body = fixed->body;
        len = fixed->body_len;
        no_body |= fixed->status == 204 || fixed->status == 304;
    }
    head_init(&h);
    bool grpc = !fixed && is_grpc(x);
    int r = grpc ? put_grpc_head(&h, x) : put_answer_head(&h, x, fixed, len);
    no_body |= grpc;
    x->status = x->local_status;
    x->down_ops = NULL;
    if (r < 0) {
        ops->abort(down);
    } else {
        ops->respond(down, &h, no_body);
        if (!no_body) {
            ops->body(down, (const uint8_t *)body, len);
            x->bytes_in += len;
        }
        ops->end(down, NULL);
    }
    head_deinit(&h);
    finish(x);
}

static void postpone(struct exchange *x)
{
    struct egress *e = x->box->egress;
    list_append(&e->postponed, &x->later);
    egress_wake(e);
}

void exchanges_postponed(struct egress *e)
{
    while (!list_empty(&e->postponed)) {
        struct exchange *x = LIST_ENTRY(e->postponed.next, struct exchange, later);
        list_remove(&x->later);
        give_answer(x);
    }
}

/* Never answers from inside: whoever made the exchange does not have it yet. */
static void answer_later(struct exchange *x, uint16_t status, const char *decision,
                         const char *reason)
{
    x->local_status = status;
    x->decision = decision;
    snprintf(x->reason, sizeof x->reason, "%s", reason);
    for (char *p = x->reason; *p; p++) /* it becomes a header */
        if ((unsigned char)*p < 0x20 || (unsigned char)*p == 0x7f)
            *p = ' ';
    postpone(x);
}

/* ---- to the world ---- */

/* Of every secret that the request carries. Negative: not all could be. */
static int add_needles(struct exchange *x)
{
    static const char *const members[] = {"value", "password", "secretAccessKey", "sessionToken"};
    char name[SECRET_NAME_MAX + 1];
    int r = 0;
    for (const char *at = buf_str(&x->secrets); *at; at += strspn(at, ",")) {
        size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        at += n;
        const struct secret *s = secrets_find(x->box->egress->secrets, name);
        for (size_t k = 0; s && r == 0 && k < sizeof members / sizeof *members; k++) {
            const char *value = secret_get(s, members[k]);
            if (value)
                r = redact_add_value(&x->redact, value, strlen(value));
        }
    }
    /* The header itself as it goes out: basic authentication is base64 of the value. */
    const struct head_field *f = head_find(&x->head, "authorization");
    if (f) {
        const char *text = head_at(&x->head, f->value), *space = memchr(text, ' ', f->value.len);
        if (space && r == 0)
            r = redact_add(&x->redact, space + 1, f->value.len - (size_t)(space + 1 - text));
    }
    x->redacting = x->redact.n > 0;
    return r;
}

/* An echo can only be found in what is not compressed. */
static int ask_uncompressed(struct exchange *x)
{
    int r = head_set(&x->head, "accept-encoding", "identity", 8);
    if (r == 0 && head_find(&x->head, "grpc-accept-encoding"))
        r = head_set(&x->head, "grpc-accept-encoding", "identity", 8);
    head_remove(&x->head, "sec-websocket-extensions"); /* permessage-deflate */
    return r;
}

static bool is_compressed(const struct http_head *h)
{
    static const char *const names[] = {"content-encoding", "grpc-encoding"};
    for (uint16_t i = 0; i < h->nfields; i++) {
        const struct head_field *f = &h->fields[i];
        bool coding = head_slice_is(h, f->name, names[0]) || head_slice_is(h, f->name, names[1]);
        if (coding && f->value.len &&
            (f->value.len != 8 || strncasecmp(head_at(h, f->value), "identity", 8)))
            return true;
    }
    return false;
}

static int use_unchunk(struct exchange *x)
{
    const struct head_field *f = head_find(&x->head, "x-amz-decoded-content-length");
    char number[24] = "";
    if (f)
        snprintf(number, sizeof number, "%.*s", (int)f->value.len, head_at(&x->head, f->value));
    x->unchunking = true;
    inject_unchunk_init(&x->unchunk);
    if (*number)
        return head_set(&x->head, "content-length", number, strlen(number));
    head_remove(&x->head, "content-length");
    return 0;
}

/* 0, or the answer has been arranged. */
static int inject(struct exchange *x)
{
    const struct policy_inject *found[INJECTS_MAX];
    struct policy_inject list[INJECTS_MAX];
    struct policy_target t = target_of(x);
    bool aws_chunked = false;
    char reason[208] = "";
    size_t n = policy_injects(x->policy, &t, &x->head, found, INJECTS_MAX);
    bool credentials = fill_occurs(&x->head, x->fills, x->nfills);
    if (!n && !credentials)
        return 0;
    if (n > INJECTS_MAX) {
        answer_later(x, BLOCKED, "deny", "too many rules want to change this request");
        return 1;
    }
    for (size_t i = 0; i < n; i++) {
        list[i] = *found[i];
        credentials |= list[i].secret != NULL;
    }
    struct inject_context ctx = {.secrets = x->box->egress->secrets,
                                 .box_name = x->box->name,
                                 .host = x->host,
                                 .port = x->port,
                                 .now = (time_t)(x->start_us / 1000000)};
    if (credentials && !strcmp(x->method, "TRACE")) {
        answer_later(x, BLOCKED, "deny", "TRACE would send the credential back");
        return 1;
    }
    int r = credentials ? ask_uncompressed(x) : 0;
    if (r == 0)
        r = fill_apply(&x->head, x->fills, x->nfills, &ctx, &x->secrets, reason);
    x->sensitive = x->secrets.len > 0;
    if (r == 0)
        r = inject_apply(&x->head, list, n, &ctx, &x->secrets, &aws_chunked, reason);
    if (r != 0) {
        answer_later(x, r > 0 ? BLOCKED : 502, r > 0 ? "deny" : "error",
                     *reason ? reason : "out of memory");
        return 1;
    }
    for (size_t i = 0; i < n; i++) /* a signature alone gives no key away */
        x->sensitive |= list[i].secret && list[i].kind != INJECT_SIGV4;
    if (credentials && add_needles(x) < 0) {
        answer_later(x, 502, "error", "its answer could not be searched for the credential");
        return 1;
    }
    if (aws_chunked && use_unchunk(x) < 0) {
        answer_later(x, 502, "error", "out of memory");
        return 1;
    }
    return 0;
}

static void pass_on(struct exchange *x, bool end)
{
    struct policy_target t = target_of(x);
    if (inject(x))
        return;
    if (!head_fields_fit(&x->head)) {
        answer_later(x, 400, "deny", "one of its fields cannot be sent");
        return;
    }
    x->decision = "allow";
    struct upstream_wish wish = {.target = &t,
                                 .https = x->https,
                                 .h2 = !strcmp(x->protocol, "HTTP/2"),
                                 .upgrade = x->upgrade,
                                 .replay = end};
    if (upstream_start(x, &wish, end, &x->up_ops, &x->up) < 0)
        answer_later(x, 502, "error", "out of memory");
}

static void to_handler(struct exchange *x, bool end)
{
    char reason[208] = "";
    x->decision = "handler";
    x->box->egress->counters.handler_calls++;
    int r = handlers_start(x->box->egress->handlers, x, x->verdict.handler, x->verdict.params,
                           &x->up_ops, &x->up, reason);
    if (r != 0) {
        x->up_ops = NULL;
        answer_later(x, 502, "error", *reason ? reason : "the handler cannot be asked");
        return;
    }
    if (end)
        x->up_ops->end(x->up, NULL);
}

static void decide(struct exchange *x, bool end)
{
    struct policy_target t = target_of(x);
    uint64_t now = uv_now(&x->box->egress->loop), retry = 0;
    const char *reason = "";
    policy_request(x->policy, &t, &x->head, x->from_handler, &x->verdict);
    if (x->verdict.action == POLICY_DENY) {
        answer_later(x, BLOCKED, "deny", x->verdict.reason);
        return;
    }
    if (!policy_meter_bytes(x->box->meter, x->policy, x->verdict.rule, 0, now)) {
        answer_later(x, TOO_MANY, "deny", "the byte quota is used up");
        return;
    }
    if (!policy_meter_request(x->box->meter, x->policy, x->verdict.rule, now, &reason, &retry)) {
        answer_later(x, TOO_MANY, "deny", reason);
        return;
    }
    switch (x->verdict.action) {
    case POLICY_RESPOND:
        x->local_status = 200;
        x->decision = "respond";
        postpone(x);
        break;
    case POLICY_HANDLER:
        to_handler(x, end);
        break;
    default:
        pass_on(x, end);
        break;
    }
}

/* The query's values may be secret: their names alone are kept. */
static char *loggable_path(const struct http_head *h)
{
    enum { PATH_MAX_LOGGED = 1024 };
    size_t len = h->target.len < PATH_MAX_LOGGED ? h->target.len : PATH_MAX_LOGGED, n = 0;
    const char *p = head_at(h, h->target);
    char *out = malloc(len + 1);
    bool query = false, value = false;
    for (size_t i = 0; out && i < len; i++) {
        if (p[i] == '?')
            query = true;
        if (p[i] == '&')
            value = false;
        if (!value)
            out[n++] = p[i];
        if (query && p[i] == '=')
            value = true;
    }
    if (out)
        out[n] = 0;
    return out;
}

static char *copy_slice(const struct http_head *h, struct head_slice s)
{
    return strndup(head_at(h, s), s.len);
}

struct exchange *exchange_new(const struct exchange_origin *o, const struct http_head *head,
                              bool end, const struct exchange_down_ops *ops, void *down)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    head_init(&x->head);
    buf_init(&x->secrets, 4096);
    redact_init(&x->redact);
    list_init(&x->later);
    x->box = o->box;
    x->id = ++o->box->egress->next_id;
    x->start_us = egress_clock_us();
    x->start_ns = uv_hrtime();
    x->port = o->port;
    x->https = o->https;
    x->fills = o->fills;
    x->nfills = o->nfills;
    x->from_handler = o->from_handler;
    x->protocol = o->protocol;
    x->decision = "error";
    x->down_ops = ops;
    x->down = down;
    x->policy = policy_ref(o->box->policy);
    x->host = strdup(o->host);
    x->method = copy_slice(head, head->method);
    x->path = loggable_path(head);
    if (o->by_address && o->addr) {
        x->has_addr = true;
        memcpy(&x->addr, o->addr,
               o->addr->sa_family == AF_INET ? sizeof x->addr.v4 : sizeof x->addr.v6);
    }
    list_append(&o->box->exchanges, &x->link);
    o->box->nexchanges++;
    int copied = head_copy(&x->head, head);
    x->head.https = o->https;
    if (copied < 0 || !x->host || !x->method || !x->path) {
        x->decision = "error";
        finish(x);
        return NULL;
    }
    x->upgrade = ops->upgrade && head_find(&x->head, "upgrade") != NULL;
    if (o->box->nexchanges > BOX_EXCHANGES_MAX)
        answer_later(x, TOO_MANY, "deny", "too many requests of this sandbox are under way");
    else if (body_length_read(&x->request_length, &x->head) < 0 ||
             (end && !body_length_over(&x->request_length)))
        answer_later(x, 400, "deny", "its body is not what its Content-Length says");
    else if (x->upgrade && !end)
        answer_later(x, 400, "deny", "a request that asks for another protocol can have no body");
    else
        decide(x, end);
    x->fills = NULL;
    x->nfills = 0;
    return x;
}

/* ---- bodies ---- */

static bool count(struct exchange *x, size_t len)
{
    box_count(x->box, len);
    return policy_meter_bytes(x->box->meter, x->policy, x->verdict.rule, len,
                              uv_now(&x->box->egress->loop));
}

static void break_off(struct exchange *x, const char *decision, const char *reason)
{
    snprintf(x->reason, sizeof x->reason, "%s", reason);
    x->decision = decision;
    abort_both(x);
}

static void over_quota(struct exchange *x)
{
    break_off(x, "deny", "the byte quota is used up");
}

int exchange_request_body(struct exchange *x, const uint8_t *data, size_t len)
{
    if (!x->up_ops)
        return EXCHANGE_OK; /* an answer is on its way already */
    x->bytes_out += len;
    if (!count(x, len)) {
        over_quota(x);
        return EXCHANGE_OK;
    }
    if (!x->tunnel && !body_length_take(&x->request_length, len)) {
        break_off(x, "error", "the request's body is longer than it was declared");
        return EXCHANGE_OK;
    }
    if (!x->unchunking)
        return x->up_ops->body(x->up, data, len);
    CLEANUP_BUF struct buf plain = {0};
    if (inject_unchunk_feed(&x->unchunk, data, len, &plain) < 0) {
        break_off(x, "error", "its aws-chunked body is malformed");
        return EXCHANGE_OK;
    }
    return plain.len ? x->up_ops->body(x->up, plain.data, plain.len) : EXCHANGE_OK;
}

void exchange_request_end(struct exchange *x, const struct http_head *trailers)
{
    if (!x->up_ops)
        return;
    if (!x->tunnel && !body_length_over(&x->request_length))
        break_off(x, "error", "the request's body is shorter than it was declared");
    else if (x->unchunking && !inject_unchunk_done(&x->unchunk))
        break_off(x, "error", "its aws-chunked body is cut off");
    else
        x->up_ops->end(x->up, x->unchunking ? NULL : trailers);
}

void exchange_down_drained(struct exchange *x)
{
    if (x->up_ops)
        x->up_ops->pause(x->up, false);
}

void exchange_down_gone(struct exchange *x)
{
    x->down_ops = NULL;
    if (!*x->reason && !x->tunnel)
        snprintf(x->reason, sizeof x->reason, "the program went away");
    drop_up(x);
    finish(x);
}

static void redact_head(struct exchange *x, struct http_head *h)
{
    for (uint16_t i = 0; x->redacting && i < h->nfields; i++)
        redact_text(&x->redact, (char *)h->text.data + h->fields[i].value.at,
                    h->fields[i].value.len);
}

/*
 * What the body of the answer is must be beyond doubt for the program, too, and for the next answer
 * on its connection. NULL: it is.
 */
static const char *check_answer(struct exchange *x, struct http_head *h, bool end)
{
    if (h->status == 101)
        return x->upgrade ? NULL : "it switches to a protocol that nobody has asked for";
    if (!head_fields_fit(h))
        return "one of the fields of its answer cannot be sent";
    if (h->status < 200) {
        head_remove(h, "content-length");
        return ++x->interims > INTERIMS_MAX ? "it sends interim answers without end" : NULL;
    }
    if (h->status == 204) /* RFC 9110 8.6 */
        head_remove(h, "content-length");
    if (body_length_read(&x->answer_length, h) < 0)
        return "the length of its answer cannot be understood";
    bool bare = !strcmp(x->method, "HEAD") || h->status == 204 || h->status == 304;
    if (bare)
        x->answer_length.left = 0;
    if (x->sensitive && !bare && !end && is_compressed(h))
        return "its answer is compressed, although it was asked not to, and cannot be searched for "
               "the credential";
    return end && !body_length_over(&x->answer_length)
               ? "its answer has no body, but says that it has one"
               : NULL;
}

static void refuse_answer(struct exchange *x, const char *reason)
{
    x->box->egress->counters.upstream_errors++;
    if (x->answered)
        break_off(x, "error", reason);
    else
        answer_later(x, 502, "error", reason);
}

void exchange_up_head(struct exchange *x, const struct http_head *head, bool end)
{
    struct http_head *h =
        (struct http_head *)(uintptr_t)head; /* the codec's own, good for this call */
    const char *wrong = check_answer(x, h, end);
    if (wrong) {
        drop_up(x);
        refuse_answer(x, wrong);
        return;
    }
    head_remove(h, "alt-svc");
    redact_head(x, h);
    if (h->status == 101 && x->upgrade && x->down_ops->upgrade) {
        x->tunnel = x->answered = true;
        x->status = 101;
        x->head_ns = uv_hrtime();
        if (x->down_ops->upgrade(x->down, h) < 0)
            abort_both(x);
        return;
    }
    if (h->status >= 200) {
        x->answered = true;
        x->status = h->status;
        x->head_ns = uv_hrtime();
    }
    x->down_ops->respond(x->down, h, end);
}

static int to_down(struct exchange *x, const uint8_t *data, size_t len)
{
    x->bytes_in += len;
    return x->down_ops->body(x->down, data, len);
}

int exchange_up_body(struct exchange *x, const uint8_t *data, size_t len)
{
    if (!count(x, len)) {
        over_quota(x);
        return EXCHANGE_OK;
    }
    if (!x->tunnel && !body_length_take(&x->answer_length, len)) {
        break_off(x, "error", "its answer is longer than it was declared");
        return EXCHANGE_OK;
    }
    if (!x->redacting)
        return to_down(x, data, len);
    CLEANUP_BUF struct buf clean = {0};
    if (redact_feed(&x->redact, data, len, false, &clean) < 0) {
        break_off(x, "error", "out of memory");
        return EXCHANGE_OK;
    }
    return clean.len ? to_down(x, clean.data, clean.len) : EXCHANGE_OK;
}

void exchange_up_end(struct exchange *x, const struct http_head *trailers)
{
    const struct exchange_down_ops *ops = x->down_ops;
    x->up_ops = NULL;
    if (!x->tunnel && !body_length_over(&x->answer_length)) {
        break_off(x, "error", "its answer is shorter than it was declared");
        return;
    }
    if (x->redacting) {
        CLEANUP_BUF struct buf clean = {0};
        if (redact_feed(&x->redact, NULL, 0, true, &clean) < 0) {
            break_off(x, "error", "out of memory");
            return;
        }
        if (clean.len)
            to_down(x, clean.data, clean.len);
        if (trailers)
            redact_head(x, (struct http_head *)(uintptr_t)trailers);
    }
    x->down_ops = NULL;
    ops->end(x->down, trailers);
    finish(x);
}

void exchange_up_failed(struct exchange *x, uint16_t status, const char *reason)
{
    x->up_ops = NULL;
    if (x->answered) {
        snprintf(x->reason, sizeof x->reason, "%s", reason);
        abort_both(x);
        return;
    }
    if (status == BLOCKED) /* by its address, which only the dial has seen */
        x->verdict.rule_name = "address";
    else
        x->box->egress->counters.upstream_errors++;
    answer_later(x, status, status == BLOCKED ? "deny" : "error", reason);
}

void exchange_up_drained(struct exchange *x)
{
    if (x->down_ops)
        x->down_ops->pause(x->down, false);
}

/* ---- the box's ---- */

void exchanges_check(struct egress_box *b)
{
    LIST_FOREACH_SAFE (it, &b->exchanges) {
        struct exchange *x = LIST_ENTRY(it, struct exchange, link);
        struct policy_target t = target_of(x);
        struct policy_verdict v;
        if (!x->up_ops)
            continue;
        policy_request(b->policy, &t, &x->head, x->from_handler, &v);
        if (v.action != POLICY_DENY)
            continue;
        x->decision = "deny";
        snprintf(x->reason, sizeof x->reason, "the policy changed: %s", v.reason);
        if (x->answered)
            abort_both(x);
        else {
            drop_up(x);
            answer_later(x, BLOCKED, "deny", v.reason);
        }
        it_n = b->exchanges.next; /* a handler's fetches have ended with its call */
    }
}

void exchanges_close(struct egress_box *b)
{
    while (!list_empty(&b->exchanges)) {
        struct exchange *x = LIST_ENTRY(b->exchanges.next, struct exchange, link);
        abort_both(x);
    }
}
