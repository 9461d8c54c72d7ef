/* LINK: cbx_egress_handlers cbx_egress_secrets cbx_egress_net */
/*
 * Handlers in a real Node worker. The exchanges are doubles: a call's records what comes back, a
 * fetch's is answered by a small world: /echo gives the request body back, /bytes/N so many bytes,
 * as far as there is room, /stuck and anything under it never an answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/egress/handlers/private.h"
#include "sandbox/egress/secrets/secrets.h"

struct exchange {
    struct list due; /* of t: fetches whose request is whole */
    struct http_head head, answer;
    struct buf body, secrets;
    const struct exchange_up_ops *up_ops;
    void *up;
    const struct exchange_down_ops *down_ops;
    void *down;
    size_t room, taken; /* call: bytes of its answer that fit; fetch: of the request */
    size_t todo;        /* fetch: bytes of the answer still to send */
    uint16_t failed;
    char reason[256];
    bool done, paused, full;
};

static struct {
    uv_loop_t loop;
    struct egress egress;
    struct egress_box box;
    struct handlers *handlers;
    int dir;
    char node[64], worker[400], path[40];
    struct exchange *fetch; /* the last one that has not ended */
    struct list due;
    uv_timer_t answer;
    unsigned fetches, gone;
    bool box_closed;
} t;

/* ---- doubles ---- */

struct egress_box *box_find(struct egress *e, uint64_t number)
{
    return !t.box_closed && e == &t.egress && number == t.box.number ? &t.box : NULL;
}

const struct http_head *exchange_request_head(const struct exchange *x)
{
    return &x->head;
}

void exchange_note_secrets(struct exchange *x, const char *names)
{
    buf_printf(&x->secrets, "%s%s", x->secrets.len ? "," : "", names);
}

struct egress_box *exchange_box(const struct exchange *x)
{
    (void)x;
    return &t.box;
}

static void put(struct http_head *h, const char *text, struct head_slice *s)
{
    assert_int_equal(head_put(h, text, strlen(text), s), 0);
}

static void add(struct http_head *h, const char *name, const char *value)
{
    assert_int_equal(head_add(h, name, strlen(name), value, strlen(value)), 0);
}

static struct exchange *make(void)
{
    struct exchange *x = calloc(1, sizeof *x);
    assert_non_null(x);
    list_init(&x->due);
    head_init(&x->head);
    head_init(&x->answer);
    x->room = SIZE_MAX;
    return x;
}

static void drop(struct exchange *x)
{
    if (t.fetch == x)
        t.fetch = NULL;
    list_remove(&x->due);
    head_deinit(&x->head);
    head_deinit(&x->answer);
    buf_deinit(&x->body);
    buf_deinit(&x->secrets);
    free(x);
}

static void respond(struct exchange *x)
{
    struct http_head h;
    head_init(&h);
    h.status = 200;
    add(&h, "x-method", "seen");
    add(&h, "set-cookie", "a=1");
    add(&h, "set-cookie", "b=2");
    x->down_ops->respond(x->down, &h, false);
    head_deinit(&h);
}

static void send_more(struct exchange *x)
{
    static const uint8_t zeros[65536];
    x->full = false;
    while (x->todo && !x->full) {
        size_t n = x->todo < sizeof zeros ? x->todo : sizeof zeros;
        x->todo -= n;
        x->taken += n;
        x->full = x->down_ops->body(x->down, zeros, n) == EXCHANGE_FULL;
    }
    if (!x->todo) {
        x->down_ops->end(x->down, NULL);
        drop(x);
    }
}

static bool goes_to(const struct exchange *x, const char *path)
{
    return x->head.target.len >= strlen(path) &&
           !memcmp(head_at(&x->head, x->head.target), path, strlen(path));
}

static void answer_fetch(struct exchange *x)
{
    if (goes_to(x, "/stuck"))
        return;
    respond(x);
    if (goes_to(x, "/bytes/")) {
        x->todo = strtoul(head_at(&x->head, x->head.target) + strlen("/bytes/"), NULL, 10);
        send_more(x);
        return;
    }
    if (x->body.len)
        x->down_ops->body(x->down, x->body.data, x->body.len);
    x->down_ops->end(x->down, NULL);
    drop(x);
}

static void on_due(uv_timer_t *timer)
{
    (void)timer;
    while (!list_empty(&t.due)) {
        struct exchange *x = LIST_ENTRY(t.due.next, struct exchange, due);
        list_remove(&x->due);
        answer_fetch(x);
    }
}

/* As the real ones do: never from inside a call. */
static void answer_later(struct exchange *x)
{
    list_append(&t.due, &x->due);
    uv_timer_start(&t.answer, on_due, 0, 0);
}

struct exchange *exchange_new(const struct exchange_origin *o, const struct http_head *head,
                              bool end, const struct exchange_down_ops *ops, void *down)
{
    struct exchange *x = make();
    assert_true(o->from_handler);
    assert_ptr_equal(o->box, &t.box);
    assert_int_equal(head_copy(&x->head, head), 0);
    x->down_ops = ops;
    x->down = down;
    t.fetch = x;
    t.fetches++;
    if (end)
        answer_later(x);
    return x;
}

int exchange_request_body(struct exchange *x, const uint8_t *data, size_t len)
{
    x->taken += len;
    buf_put(&x->body, data, len);
    if (x->taken >= x->room)
        x->paused = true;
    return x->paused ? EXCHANGE_FULL : EXCHANGE_OK;
}

void exchange_request_end(struct exchange *x, const struct http_head *trailers)
{
    (void)trailers;
    answer_later(x);
}

void exchange_down_drained(struct exchange *x)
{
    send_more(x);
}

void exchange_down_gone(struct exchange *x)
{
    t.gone++;
    drop(x);
}

void exchange_up_head(struct exchange *x, const struct http_head *head, bool end)
{
    (void)end;
    assert_int_equal(head_copy(&x->answer, head), 0);
    x->answer.status = head->status;
}

int exchange_up_body(struct exchange *x, const uint8_t *data, size_t len)
{
    x->taken += len;
    if (x->room == SIZE_MAX)
        buf_put(&x->body, data, len);
    return x->taken >= x->room ? EXCHANGE_FULL : EXCHANGE_OK;
}

void exchange_up_end(struct exchange *x, const struct http_head *trailers)
{
    (void)trailers;
    x->done = true;
    x->up_ops = NULL;
}

void exchange_up_failed(struct exchange *x, uint16_t status, const char *reason)
{
    x->failed = status;
    snprintf(x->reason, sizeof x->reason, "%s", reason);
    x->done = true;
    x->up_ops = NULL;
}

void exchange_up_drained(struct exchange *x)
{
    x->full = false;
}

/* ---- what tests do ---- */

#define RUN_UNTIL(what) \
    while (!(what))     \
    assert_int_not_equal(uv_run(&t.loop, UV_RUN_ONCE), 0)

struct put_result {
    bool done;
    int result;
    char text[300];
};

static void on_put(void *arg, int result, const char *text)
{
    struct put_result *r = arg;
    r->done = true;
    r->result = result;
    snprintf(r->text, sizeof r->text, "%s", text ? text : "");
}

static struct put_result put_module(const char *name, const char *source, const char *options)
{
    struct put_result r = {0};
    handlers_put(t.handlers, name, source, strlen(source), options, on_put, &r);
    RUN_UNTIL(r.done);
    return r;
}

static void accept_module(const char *name, const char *source)
{
    struct put_result r = put_module(name, source, "");
    if (r.result)
        fail_msg("%s: %s", name, r.text);
}

static struct exchange *begin(const char *handler, const char *method, const char *target)
{
    struct exchange *x = make();
    char reason[208] = "";
    put(&x->head, method, &x->head.method);
    put(&x->head, target, &x->head.target);
    put(&x->head, "one.test", &x->head.authority);
    x->head.https = true;
    add(&x->head, "accept", "*/*");
    if (handlers_start(t.handlers, x, handler, "{\"a\":[1]}", &x->up_ops, &x->up, reason) != 0) {
        x->failed = 502;
        x->done = true;
        snprintf(x->reason, sizeof x->reason, "%s", reason);
    }
    return x;
}

static struct exchange *get(const char *handler, const char *target)
{
    struct exchange *x = begin(handler, "GET", target);
    if (x->up_ops)
        x->up_ops->end(x->up, NULL);
    RUN_UNTIL(x->done);
    return x;
}

static void expect_text(const char *handler, const char *text)
{
    struct exchange *x = get(handler, "/");
    if (x->failed)
        fail_msg("%s: %s", handler, x->reason);
    assert_string_equal(buf_str(&x->body), text);
    drop(x);
}

static void expect_failure(const char *handler, uint16_t status, const char *part)
{
    struct exchange *x = get(handler, "/");
    assert_int_equal(x->failed, status);
    if (!strstr(x->reason, part))
        fail_msg("\"%s\" has no \"%s\"", x->reason, part);
    drop(x);
}

static void wait_for_worker(void)
{
    RUN_UNTIL(t.handlers->stream && !t.handlers->pinging);
}

static void start(struct handlers **ret, const char *worker, uint32_t deadline_ms)
{
    static const uint8_t key[SECRETS_KEY] = {1};
    static struct secrets *secrets;
    char reason[208] = "",
         text[] = "{\"value\":\"twelve chars\",\"hosts\":[\"*\"],\"handlers\":[\"m\"]}";
    if (!secrets) {
        int dir = mkdirat(t.dir, "secrets", 0700) < 0 ? -1 : openat(t.dir, "secrets", O_DIRECTORY);
        assert_int_equal(secrets_open(dir, key, &secrets), 0);
        assert_int_equal(secrets_put(secrets, "key", text, strlen(text), reason), 0);
    }
    struct handlers_config c = {.node = t.node,
                                .worker = worker,
                                .deadline_ms = deadline_ms,
                                .dir_fd = t.dir,
                                .secrets = secrets};
    assert_int_equal(handlers_new(&t.loop, &c, ret), 0);
}

/* ---- tests ---- */

static void test_request_and_response(void **state)
{
    (void)state;
    struct put_result r = put_module(
        "m",
        "export default { async outbound(request, env, ctx) {\n"
        "  return Response.json([request.method, request.url, await request.text(), "
        "env.KEY.length,\n"
        "    ctx.sandbox, ctx.containerId, ctx.params, request.headers.get('accept')],\n"
        "    { status: 207, headers: [['set-cookie', 'a=1'], ['set-cookie', 'b=2']] }); } };",
        "{\"env\":{\"KEY\":\"key\"}}");
    assert_int_equal(r.result, 0);
    struct exchange *x = begin("m", "POST", "/p\xc3\xa9?q=%20");
    assert_int_equal(x->up_ops->body(x->up, (const uint8_t *)"hel", 3), EXCHANGE_OK);
    x->up_ops->body(x->up, (const uint8_t *)"", 0); /* HTTP/2 may have empty ones */
    x->up_ops->body(x->up, (const uint8_t *)"lo", 2);
    x->up_ops->end(x->up, NULL);
    RUN_UNTIL(x->done);
    assert_string_equal(x->reason, "");
    assert_int_equal(x->answer.status, 207);
    assert_string_equal(buf_str(&x->secrets), "key"); /* it had it in clear text */
    assert_string_equal(buf_str(&x->body),
                        "[\"POST\",\"https://one.test/p%C3%A9?q=%20\",\"hello\",12,"
                        "{\"name\":\"a-box\",\"id\":\"disk\"},\"disk\",{\"a\":[1]},\"*/*\"]");
    unsigned cookies = 0;
    for (int i = 0; i < x->answer.nfields; i++)
        cookies += head_slice_is(&x->answer, x->answer.fields[i].name, "set-cookie");
    assert_int_equal(cookies, 2);
    drop(x);
}

static void test_answers_without_body(void **state)
{
    static const struct {
        const char *method, *source;
        uint16_t status;
    } cases[] = {
        {"GET", "export default () => new Response(null, { status: 204 });", 204},
        {"GET", "export default () => new Response(null, { status: 304 });", 304},
        {"HEAD", "export default () => new Response('not to be sent');", 200},
        {"GET", "export default () => Response.redirect('https://two.test/', 307);", 307},
        {"GET", "export default () => new Response(null, { headers: { 'content-length': '5' } });",
         200},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        accept_module("bare", cases[i].source);
        struct exchange *x = begin("bare", cases[i].method, "/");
        x->up_ops->end(x->up, NULL);
        RUN_UNTIL(x->done);
        assert_string_equal(x->reason, "");
        assert_int_equal(x->answer.status, cases[i].status);
        assert_int_equal(x->body.len, 0);
        assert_null(head_find(&x->answer, "content-length"));
        drop(x);
    }
}

static void test_streams_with_back_pressure(void **state)
{
    enum { SIZE = 3 << 20, FAR = 1 << 20 };
    (void)state;
    accept_module("s", "export default { outboundHandlers: {\n"
                       "  pass: (request) => fetch(request),\n"
                       "  own: () => new Response(new ReadableStream({ pull(c) { c.enqueue(new "
                       "Uint8Array(65536)); } })),\n"
                       "} };");
    /* down: nobody takes it, so the world's answer stops, too */
    struct exchange *x = begin("s.pass", "GET", "/bytes/50000000");
    x->room = 0;
    x->up_ops->end(x->up, NULL);
    RUN_UNTIL(t.fetch && t.fetch->full && x->taken);
    x->up_ops->pause(x->up, true);
    for (int i = 0; i < 50; i++)
        uv_run(&t.loop, UV_RUN_NOWAIT);
    assert_in_range(t.fetch->taken, 1, 2 * FAR);
    assert_in_range(x->taken, 1, FAR);
    x->room = SIZE_MAX - 1;
    x->up_ops->pause(x->up, false);
    RUN_UNTIL(x->done);
    assert_int_equal(x->taken, 50000000);
    drop(x);
    /* one without end, and it is given up */
    x = begin("s.own", "GET", "/");
    x->up_ops->end(x->up, NULL);
    x->room = SIZE_MAX - 1;
    RUN_UNTIL(x->taken > SIZE);
    x->up_ops->cancel(x->up);
    drop(x);
    /* up: the world takes little, so the sandbox is told to stop */
    static const uint8_t piece[16384];
    x = begin("s.pass", "POST", "/echo");
    size_t sent = 0;
    while (sent < SIZE && !t.fetch) {
        x->full = x->up_ops->body(x->up, piece, sizeof piece) == EXCHANGE_FULL;
        sent += sizeof piece;
        RUN_UNTIL(t.fetch || !x->full);
    }
    t.fetch->room = 1;
    while (sent < SIZE && !x->full) {
        x->full = x->up_ops->body(x->up, piece, sizeof piece) == EXCHANGE_FULL;
        sent += sizeof piece;
        uv_run(&t.loop, UV_RUN_NOWAIT);
    }
    assert_in_range(sent, 1, SIZE - 1);
    t.fetch->room = SIZE_MAX;
    t.fetch->paused = false;
    t.fetch->down_ops->pause(t.fetch->down, false);
    while (sent < SIZE) {
        RUN_UNTIL(!x->full);
        x->full = x->up_ops->body(x->up, piece, sizeof piece) == EXCHANGE_FULL;
        sent += sizeof piece;
    }
    x->up_ops->end(x->up, NULL);
    RUN_UNTIL(x->done);
    assert_int_equal(x->body.len, SIZE);
    drop(x);
}

static void test_throws_fail_alone(void **state)
{
    (void)state;
    accept_module(
        "f",
        "export default { outboundHandlers: {\n"
        "  throws() { throw new Error('on purpose'); }, rejects: async () => { throw 'text'; },\n"
        "  nothing() {}, odd: () => new Response(new ReadableStream({ start(c) { "
        "c.enqueue(7); } })),\n"
        "  breaks: () => new Response(new ReadableStream({ pull() { throw new Error('in the "
        "middle'); } })),\n"
        "  strange: () => { throw { get message() { throw 1; } }; },\n"
        "  fine: (r, e, ctx) => { console.log({ r, ctx }, 1n, Symbol('s')); const a = {}; a.a "
        "= a; console.table(a); return new Response('fine'); },\n"
        "} };");
    pid_t worker = t.handlers->pid;
    expect_failure("f.throws", 502, "handler f.throws threw: on purpose");
    expect_failure("f.rejects", 502, "threw: text");
    expect_failure("f.nothing", 502, "it returned no Response");
    expect_failure("f.odd", 502, "Uint8Array");
    expect_failure("f.breaks", 502, "in the middle");
    expect_failure("f.strange", 502, "threw: something");
    expect_failure("f.absent", 502, "outboundHandlers has no absent");
    expect_failure("f.toString", 502, "outboundHandlers has no toString");
    expect_failure("f", 502, "no handler of the module is for this host");
    expect_failure("none", 502, "there is no handler \"none\"");
    expect_text("f.fine", "fine");
    assert_int_equal(t.handlers->pid, worker);
}

static void test_a_module_is_checked_before_it_replaces(void **state)
{
    static const struct {
        const char *source, *says;
    } cases[] = {
        {"export default {\n\n  outbound: (,\n};", "line 3: Unexpected token ','"},
        {"export default () => {", "line 1: Unexpected end of input"},
        {"import fs from 'node:fs'; export default () => {};", "imports nothing: node:fs"},
        {"await import('node:net'); export default () => {};", "imports nothing: node:net"},
        {"export const a = 1;", "the default export must be"},
        {"throw new Error('at load');", "at load"},
        {"for (;;);", "timed out"},
        {"await new Promise(() => {}); export default () => {};", "did not finish loading"},
        {"export default '\xff';", "not UTF-8"},
        {"", "there is no source"},
    };
    (void)state;
    accept_module("v", "export default () => new Response('old');");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct put_result r = put_module("v", cases[i].source, "");
        assert_int_equal(r.result, HANDLERS_E_INVALID);
        if (!strstr(r.text, cases[i].says))
            fail_msg("\"%s\" has no \"%s\"", r.text, cases[i].says);
        expect_text("v", "old");
    }
    /* what grows beyond a frame as JSON */
    char *large = malloc(HANDLER_SOURCE_MAX + 1);
    assert_non_null(large);
    memset(large, 1, HANDLER_SOURCE_MAX);
    large[HANDLER_SOURCE_MAX] = 0;
    struct put_result r = put_module("v", large, "");
    assert_int_equal(r.result, HANDLERS_E_INVALID);
    /* where a large one is wrong is found at once: an answer to a PING must not be missing */
    memset(large, '\n', HANDLER_SOURCE_MAX);
    large[HANDLER_SOURCE_MAX - 1] = ')';
    pid_t worker = t.handlers->pid;
    r = put_module("v", large, "");
    free(large);
    assert_non_null(strstr(r.text, "line 1048576: "));
    assert_int_equal(t.handlers->pid, worker);
    expect_text("v", "old");
    assert_int_equal(put_module("v", "export default 1", "[]").result, HANDLERS_E_INVALID);
    assert_int_equal(put_module("no/name", "export default 1", "").result, HANDLERS_E_INVALID);
    accept_module("v", "export default () => new Response('new');");
    expect_text("v", "new");
    assert_int_equal(handlers_remove(t.handlers, "v"), 0);
    expect_failure("v", 502, "there is no handler");
    assert_int_equal(handlers_remove(t.handlers, "v"), HANDLERS_E_NOT_FOUND);
}

static void test_shapes(void **state)
{
    (void)state;
    accept_module(
        "c", "export default class extends Object {\n"
             "  static outbound = () => new Response('any');\n"
             "  static outboundByHost = { '*.test': () => new Response('pattern'), 'one.test': () "
             "=> new Response('exact') };\n"
             "}");
    expect_text("c", "exact");
    accept_module("c",
                  "export default { outboundByHost: { '*.test': () => new Response('pattern'), "
                  "'*': () => new Response('all') } };");
    expect_text("c", "pattern");
    accept_module("c", "export default class { static outboundHandlers = {}; }");
    expect_failure("c", 502, "no handler of the module is for this host");
}

static void test_crash(void **state)
{
    (void)state;
    accept_module(
        "k", "export default { outboundHandlers: {\n"
             "  later: () => { setTimeout(() => { throw new Error('uncaught'); }, 1); return "
             "new Promise(() => {}); },\n"
             "  fill: () => { const a = []; for (;;) a.push(new Array(1e6).fill(1.5)); },\n"
             "  off: () => { const a = []; for (;;) a.push(new ArrayBuffer(1e8)); },\n"
             "  never: (r) => fetch('https://one.test/stuck'), fine: () => new Response('fine'),\n"
             "} };");
    struct exchange *other = begin("k.never", "GET", "/");
    RUN_UNTIL(t.fetch);
    unsigned gone = t.gone;
    expect_failure("k.later", 502, "has crashed");
    assert_true(other->done);
    assert_int_equal(other->failed, 502);
    assert_int_equal(t.gone, gone + 1);
    assert_int_equal(t.handlers->nstreams, 0);
    drop(other);
    expect_failure("k.fine", 502, "is being started again");
    wait_for_worker();
    expect_text("k.fine", "fine"); /* at once: a call waits for its module to be loaded again */
    expect_failure("k.off", 502, "Array buffer allocation failed");
    expect_failure("k.fill", 502, "has crashed");
    wait_for_worker();
    kill(t.handlers->pid, SIGKILL);
    RUN_UNTIL(!t.handlers->stream);
    wait_for_worker();
    expect_text("k.fine", "fine");
}

static void test_endless_loop(void **state)
{
    (void)state;
    accept_module("l", "export default { outboundHandlers: { loop() { for (;;); }, fine: () => new "
                       "Response('fine') } };");
    expect_failure("l.loop", 504, "an endless loop?");
    wait_for_worker();
    expect_text("l.fine", "fine");
}

/* What is queued for a worker that stands still is bounded, and that bound ends it from within a
 * write. */
static void test_worker_that_does_not_read(void **state)
{
    enum { BOXES = 3, CALLS = 200, MORE = 2 };
    static const uint8_t piece[65536 * 3];
    struct exchange *x[BOXES * CALLS];
    (void)state;
    accept_module(
        "l", "export default { outboundHandlers: { wait: () => new Promise(() => {}), fine: () => "
             "new Response('fine') } };");
    kill(t.handlers->pid, SIGSTOP);
    for (int i = 0; i < BOXES * CALLS; i++) {
        t.box.number = 1 + (uint64_t)(i / CALLS);
        x[i] = begin("l.wait", "POST", "/");
        for (int n = 0; n < MORE && x[i]->up_ops; n++)
            x[i]->up_ops->body(x[i]->up, piece, sizeof piece);
    }
    t.box.number = 1;
    for (int i = 0; i < BOXES * CALLS; i++) {
        RUN_UNTIL(x[i]->done);
        assert_int_equal(x[i]->failed, 502);
        drop(x[i]);
    }
    wait_for_worker();
    expect_text("l.fine", "fine");
}

static void test_no_answer_and_cancel(void **state)
{
    (void)state;
    struct handlers *usual = t.handlers;
    accept_module(
        "n", "export default { outboundHandlers: { never: () => new Promise(() => {}),\n"
             "  aborted: (request) => new Promise((f) => request.signal.addEventListener('abort', "
             "() => { globalThis.seen = request.signal.reason.name; })),\n"
             "  seen: () => new Response(globalThis.seen), stuck: () => "
             "fetch('https://one.test/stuck') } };");
    struct exchange *x = begin("n.aborted", "GET", "/");
    struct exchange *y = begin("n.stuck", "GET", "/");
    RUN_UNTIL(t.fetch);
    unsigned gone = t.gone;
    x->up_ops->cancel(x->up);
    y->up_ops->cancel(y->up);
    assert_int_equal(t.gone, gone + 1);
    expect_text("n.seen", "AbortError");
    drop(x);
    drop(y);
    start(&t.handlers, t.worker, 50);
    expect_failure("n.never", 504, "has not answered in time");
    worker_kill(t.handlers, 502, "the test is over");
    uv_timer_stop(&t.handlers->restart);
    t.handlers = usual;
}

static void test_wait_until(void **state)
{
    (void)state;
    accept_module(
        "w",
        "export default { outboundHandlers: {\n"
        "  later: (r, env, ctx) => { ctx.waitUntil(new Promise((f) => setTimeout(f, 5)).then(() "
        "=> fetch('https://one.test/after'))); return new Response('now'); },\n"
        "  late: () => { setTimeout(() => fetch('https://one.test/x').catch((e) => { "
        "globalThis.said = e.message; }), 5); return new Response('now'); },\n"
        "  said: () => new Response(globalThis.said) } };");
    unsigned before = t.fetches;
    expect_text("w.later", "now");
    assert_int_equal(t.fetches, before);
    RUN_UNTIL(t.fetches > before);
    RUN_UNTIL(!t.handlers->nstreams);
    expect_text("w.late", "now");
    struct exchange *x;
    while (x = get("w.said", "/"), !strcmp(buf_str(&x->body), "undefined") || !x->body.len)
        drop(x);
    assert_string_equal(buf_str(&x->body),
                        "fetch failed: the request that made this fetch is over");
    drop(x);
    expect_text("w.later", "now"); /* and its box goes meanwhile */
    t.box_closed = true;
    before = t.fetches;
    RUN_UNTIL(!t.handlers->nstreams);
    assert_int_equal(t.fetches, before);
    t.box_closed = false;
}

static void test_fetch(void **state)
{
    (void)state;
    accept_module(
        "e",
        "export default { outboundHandlers: {\n"
        "  echo: async () => { const r = await fetch('https://one.test/echo', { method: "
        "'POST', body: new Uint8Array([104, 105]) });\n"
        "    return new Response((await r.text()) + r.headers.getSetCookie()); },\n"
        "  upgrade: () => fetch('https://one.test/', { headers: { upgrade: 'websocket' } }),\n"
        "  aborted: () => fetch('https://one.test/stuck', { signal: AbortSignal.timeout(5) }),\n"
        "  url: () => fetch('ftp://one.test/'), port: () => fetch('https://one.test:0/'),\n"
        "} };");
    expect_text("e.echo", "hia=1,b=2");
    struct exchange *x = get("e.upgrade", "/");
    assert_int_equal(x->answer.status, 501);
    drop(x);
    unsigned gone = t.gone;
    expect_failure("e.aborted", 502, "aborted due to timeout");
    assert_int_equal(t.gone, gone + 1);
    expect_failure("e.url", 502, "that URL cannot be fetched");
    expect_failure("e.port", 502, "that URL cannot be fetched");
}

static void test_isolation(void **state)
{
    (void)state;
    accept_module(
        "i",
        "const tries = (o) => { try { return typeof o.constructor.constructor('return process')(); "
        "} catch (e) { return e.name; } };\n"
        "export default { outboundHandlers: {\n"
        "  escape: (request, env, ctx) => new Response(String([fetch, Request, request, ctx, "
        "console].map(tries))),\n"
        "  eval: () => new Response(String(eval('1'))), globals: () => new Response(String([typeof "
        "process, typeof require, typeof Buffer, typeof module])),\n"
        "} };");
    expect_text("i.escape", "EvalError,EvalError,EvalError,EvalError,EvalError");
    expect_failure("i.eval", 502, "Code generation from strings disallowed");
    expect_text("i.globals", "undefined,undefined,undefined,undefined");
}

/* What a worker that somebody has taken over may not make of the messages of others. */
static void test_hostile_worker(void **state)
{
    static const struct {
        const char *handler, *says;
    } cases[] = {
        {"short", "shorter than its Content-Length"},
        {"long", "longer than its Content-Length"},
        {"name", "response cannot be sent"},
        {"value", "response cannot be sent"},
        {"status", "response cannot be sent"},
        {"length", "response cannot be sent"},
        {"fetch-long", "longer"},
        {"fetch-short", "shorter"},
        {"fetch-name", "headers cannot be sent"},
        {"fetch-line", "URL cannot be fetched"},
        {"fetch-method", "URL cannot be fetched"},
        {"fetch-stranger", "is over"},
        {"frame", "broke its protocol"},
    };
    char worker[400], here[300];
    struct handlers *usual = t.handlers;
    (void)state;
    snprintf(here, sizeof here, "%s", __FILE__);
    *strrchr(here, '/') = 0;
    snprintf(worker, sizeof worker, "%s/handler_worker/hostile.mjs", here);
    start(&t.handlers, worker, 30000);
    accept_module("h", "anything");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        snprintf(name, sizeof name, "h.%s", cases[i].handler);
        expect_failure(name, 502, cases[i].says);
        assert_int_equal(t.handlers->nstreams, 0);
    }
    uv_timer_stop(&t.handlers->restart);
    handlers_remove(t.handlers, "h");
    t.handlers = usual;
}

static void test_modules_are_kept(void **state)
{
    (void)state;
    struct handlers *usual = t.handlers;
    accept_module("kept", "export default () => new Response('kept');");
    start(&t.handlers, t.worker, 30000);
    expect_text("kept", "kept");
    CLEANUP_BUF struct buf source = {0}, list = {0};
    assert_int_equal(handlers_source(t.handlers, "kept", &source), 0);
    assert_string_equal(buf_str(&source), "export default () => new Response('kept');");
    assert_int_equal(handlers_list(t.handlers, &list), 0);
    assert_non_null(strstr(buf_str(&list), "{\"name\":\"kept\",\"loaded\":true"));
    worker_kill(t.handlers, 502, "the test is over");
    uv_timer_stop(&t.handlers->restart);
    t.handlers = usual;
}

static void test_one_box_leaves_room(void **state)
{
    struct exchange *x[STREAMS_OF_BOX_MAX];
    (void)state;
    accept_module(
        "r",
        "export default { outboundHandlers: { never: () => new Promise(() => {}), fine: () => new "
        "Response('fine') } };");
    for (int i = 0; i < STREAMS_OF_BOX_MAX; i++) {
        x[i] = begin("r.never", "GET", "/");
        assert_false(x[i]->done);
    }
    expect_failure("r.fine", 502, "too many requests wait");
    t.box.number = 2;
    expect_text("r.fine", "fine");
    t.box.number = 1;
    for (int i = 0; i < STREAMS_OF_BOX_MAX; i++) {
        x[i]->up_ops->cancel(x[i]->up);
        drop(x[i]);
    }
    assert_int_equal(t.handlers->nstreams, 0);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_many(void **state)
{
    enum { MANY = 2000 };
    static uint64_t took[MANY];
    (void)state;
    accept_module("p", "export default (request) => fetch(request);");
    for (int i = 0; i < MANY; i++) {
        uint64_t began = uv_hrtime();
        struct exchange *x = get("p", "/echo");
        took[i] = uv_hrtime() - began;
        assert_string_equal(x->reason, "");
        drop(x);
        assert_int_equal(t.handlers->nstreams, 0);
    }
    qsort(took, MANY, sizeof *took, by_size);
    print_message("a request that is passed on: p50 %u us, p99 %u us\n",
                  (unsigned)(took[MANY / 2] / 1000), (unsigned)(took[MANY * 99 / 100] / 1000));
}

static int set_up(void **state)
{
    char self[300];
    (void)state;
    log_init("test");
    snprintf(t.path, sizeof t.path, "/tmp/cbx-handlers-XXXXXX");
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    uv_loop_init(&t.loop);
    list_init(&t.due);
    uv_timer_init(&t.loop, &t.answer);
    t.box.egress = &t.egress;
    t.box.number = 1;
    snprintf(t.box.name, sizeof t.box.name, "a-box");
    snprintf(t.box.disk, sizeof t.box.disk, "disk");
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0 || !mkdtemp(t.path) || (t.dir = open(t.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return -1;
    self[n] = 0;
    *strrchr(self, '/') = 0;
    snprintf(t.worker, sizeof t.worker, "%s/../libexec/cellbox/egress/worker.mjs", self);
    char *real = realpath(t.worker, NULL); /* what Node may read is compared as text */
    if (!real)
        return -1;
    snprintf(t.worker, sizeof t.worker, "%s", real);
    free(real);
    snprintf(t.node, sizeof t.node, "/usr/bin/node");
    start(&t.handlers, t.worker, 30000);
    return 0;
}

static int tear_down(void **state)
{
    static const char *const dirs[] = {"secrets", "."};
    (void)state;
    worker_kill(t.handlers, 502, "the tests are over");
    for (int i = 0; i < 2; i++) {
        int fd = openat(t.dir, dirs[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        for (struct dirent *e; d && (e = readdir(d));)
            unlinkat(fd, e->d_name, 0);
        if (d)
            closedir(d);
    }
    unlinkat(t.dir, "secrets", AT_REMOVEDIR);
    return rmdir(t.path);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_and_response),
        cmocka_unit_test(test_answers_without_body),
        cmocka_unit_test(test_streams_with_back_pressure),
        cmocka_unit_test(test_throws_fail_alone),
        cmocka_unit_test(test_a_module_is_checked_before_it_replaces),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_fetch),
        cmocka_unit_test(test_isolation),
        cmocka_unit_test(test_wait_until),
        cmocka_unit_test(test_no_answer_and_cancel),
        cmocka_unit_test(test_one_box_leaves_room),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_modules_are_kept),
        cmocka_unit_test(test_hostile_worker),
        cmocka_unit_test(test_crash),
        cmocka_unit_test(test_worker_that_does_not_read),
        cmocka_unit_test(test_endless_loop),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
