/* LINK: cbx_manager */
/*
 * Manager against a B, an init and a runner played by the test in the same process: order of
 * events, aborts, deaths, slow readers, limits, and a second manager that takes over what a first
 * one left in the middle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contexts/manager/manager.h"
#include "sandbox/base/fd.h"

enum { BOX = 5 };

/* Everything of one manager; a test may have two. */
struct world {
    uv_loop_t loop;
    struct boxes *boxes;
    struct manager *manager;
    int b, init; /* our ends */
    uv_poll_t b_poll, init_poll;
    bool init_open;
};

static struct world *world;
static int runner = -1, kept_frame = -1, starts, signals, kills;
static char box_blob[256], context_blob[512], journal_dir[64];
static uint32_t context_number;
static uint64_t last_request, last_of[64]; /* the latter by type */
static const char *hello;
static uint64_t journal_max, sandbox_journals_max, journals_max; /* 0: the default */
static char frames[4096]; /* what the runner got: "1 3 3 ..." */
static char seen[65536];  /* what a subscriber got */

static void note(char *log, size_t cap, const char *fmt, ...)
{
    size_t n = strlen(log);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(log + n, cap - n, fmt, ap);
    va_end(ap);
}

static void reply(int fd, const struct wire_head *to, int64_t value)
{
    struct wire_reply r = {.h = {.type = WIRE_REPLY, .seq = to->seq, .box = to->box},
                           .value = value};
    assert_true(fd_send(fd, &r, sizeof r, NULL, 0) > 0);
}

/* ---- the runner ---- */

static void say(uint16_t type, uint32_t arg, uint64_t req, const char *json)
{
    uint8_t p[PACKET_MAX];
    const void *sections[] = {json, "{}", "{}"};
    const uint32_t lengths[] = {(uint32_t)strlen(json), 2, 2};
    unsigned n = type == FRAME_RESULT ? 2 : type == FRAME_DISPLAY ? 3 : 1;
    size_t len = packet_build(p, PACKET_FIRST | PACKET_LAST, type, arg, req, n, sections, lengths);
    assert_int_equal(send(runner, p, len, 0), len);
}

static void print(uint64_t req, const char *text, size_t len)
{
    uint8_t p[PACKET_MAX];
    const void *sections[] = {"\1", text};
    const uint32_t lengths[] = {1, (uint32_t)len};
    size_t n = packet_build(p, PACKET_FIRST | PACKET_LAST | PACKET_INIT, MESSAGE_STREAM, 0, req, 2,
                            sections, lengths);
    assert_int_equal(send(runner, p, n, 0), n);
}

static void exited(uint32_t status)
{
    uint8_t p[64];
    size_t n = packet_build(p, PACKET_FIRST | PACKET_LAST | PACKET_INIT, MESSAGE_EXITED, status, 0,
                            0, NULL, NULL);
    assert_int_equal(send(runner, p, n, 0), n);
}

/* Reads what came; SETUP is answered, the rest only noted. */
static void serve_runner(void)
{
    uint8_t p[PACKET_MAX];
    ssize_t n;
    while (runner >= 0 && (n = recv(runner, p, sizeof p, MSG_DONTWAIT)) > 0) {
        if (!(p[0] & PACKET_FIRST))
            continue;
        unsigned type = (unsigned)get_le(p + 4, 2);
        unsigned arg = (unsigned)get_le(p + 8, 4);
        uint64_t req = get_le(p + 12, 8);
        note(frames, sizeof frames, arg ? "%u@%u " : "%u ", type, arg);
        last_of[type % 64] = req;
        if (type == FRAME_SETUP) {
            say(FRAME_HELLO, 0, 0, hello);
            say(FRAME_DONE, 0, req, "{}");
        } else {
            last_request = req;
        }
    }
}

/* ---- init and B ---- */

static void on_init(uv_poll_t *h, int status, int events)
{
    struct world *w = h->data;
    uint8_t m[WIRE_MSG_MAX] __attribute__((aligned(8)));
    int fds[2];
    size_t nfds = 2;
    (void)status;
    (void)events;
    if (fd_recv(w->init, m, sizeof m, fds, &nfds) <= 0) {
        uv_poll_stop(h);
        return;
    }
    const struct wire_head *head = (const struct wire_head *)m;
    if (head->type == WIRE_CONTEXT_START) {
        starts++;
        runner = fds[0];
        fd_set_nonblock(runner, 1);
        reply(w->init, head, 1);
    }
    signals += head->type == WIRE_CONTEXT_SIGNAL;
    kills += head->type == WIRE_CONTEXT_KILL;
}

static void keep(char *out, size_t cap, const uint8_t *m, size_t len, size_t head)
{
    snprintf(out, cap, "%.*s", (int)(len - head), (const char *)m + head);
}

static void create_box(struct world *w, const struct wire_head *head)
{
    int fds[2];
    struct wire_box_created c = {.h = {.type = WIRE_BOX_CREATED, .seq = head->seq, .box = BOX},
                                 .disk = "d1"};
    assert_int_equal(fd_seqpacket_pair(fds), 0);
    assert_true(fd_send(w->b, &c, sizeof c, &fds[1], 1) > 0);
    close(fds[1]);
    w->init = fds[0];
    w->init_open = true;
    uv_poll_init(&w->loop, &w->init_poll, w->init);
    w->init_poll.data = w;
    uv_poll_start(&w->init_poll, UV_READABLE, on_init);
}

static void on_b(uv_poll_t *h, int status, int events)
{
    struct world *w = h->data;
    uint8_t m[WIRE_MSG_MAX] __attribute__((aligned(8)));
    int fds[2];
    size_t nfds = 2;
    (void)status;
    (void)events;
    ssize_t n = fd_recv(w->b, m, sizeof m, fds, &nfds);
    if (n <= 0)
        return;
    const struct wire_head *head = (const struct wire_head *)m;
    if (head->type == WIRE_BOX_CREATE) {
        create_box(w, head);
    } else if (head->type == WIRE_BOX_STAT) {
        struct wire_box_stat s = {.h = {.type = WIRE_BOX_STAT, .seq = head->seq, .box = BOX}};
        assert_true(fd_send(w->b, &s, sizeof s, NULL, 0) > 0);
    } else if (head->type == WIRE_BOX_KEEP) {
        keep(box_blob, sizeof box_blob, m, (size_t)n, sizeof *head);
    } else if (head->type == WIRE_CONTEXT_KEEP) {
        context_number = ((const struct wire_context *)m)->context;
        keep(context_blob, sizeof context_blob, m, (size_t)n, sizeof(struct wire_context));
        if (nfds) {
            fd_close(kept_frame);
            kept_frame = fds[0];
        }
    }
}

static void on_gone(void *user, const struct wire_gone *m)
{
    (void)user;
    (void)m;
}
static void on_message(void *user, const struct wire_message *m)
{
    (void)user;
    (void)m;
}
static void on_closed(void *user)
{
    (void)user;
}
static const struct boxes_ops ops = {
    .gone = on_gone, .used = on_gone, .message = on_message, .closed = on_closed};

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    int fds[2];
    uv_loop_init(&w->loop);
    assert_int_equal(fd_seqpacket_pair(fds), 0);
    w->boxes = boxes_new(&w->loop, fds[0], &ops, NULL);
    w->b = fds[1];
    uv_poll_init(&w->loop, &w->b_poll, w->b);
    w->b_poll.data = w;
    uv_poll_start(&w->b_poll, UV_READABLE, on_b);
    struct manager_config mc = {.loop = &w->loop,
                                .boxes = w->boxes,
                                .journal_dir =
                                    open(journal_dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC),
                                .journal_max = journal_max,
                                .sandbox_journals_max = sandbox_journals_max,
                                .journals_max = journals_max,
                                .grace_ms = 100};
    w->manager = manager_new(&mc);
    return w;
}

static int setup(void **state)
{
    (void)state;
    snprintf(journal_dir, sizeof journal_dir, "/tmp/cellbox-manager-XXXXXX");
    if (!mkdtemp(journal_dir))
        return -1;
    runner = kept_frame = -1;
    starts = signals = kills = 0;
    hello = "{\"implementation\":\"fake\"}";
    frames[0] = seen[0] = 0;
    world = world_new();
    return 0;
}

/* Everything is closed, so that a leak of the manager would show. */
static void world_free(struct world *w)
{
    uv_close((uv_handle_t *)&w->b_poll, NULL);
    if (w->init_open)
        uv_close((uv_handle_t *)&w->init_poll, NULL);
    manager_free(w->manager);
    boxes_free(w->boxes);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    close(w->b);
    if (w->init_open)
        close(w->init);
    free(w);
}

static int teardown(void **state)
{
    (void)state;
    world_free(world);
    runner = fd_close(runner);
    kept_frame = fd_close(kept_frame);
    return rmdir(journal_dir);
}

/* Runs the loop until nothing happens for 30 ms. */
static void on_quiet(uv_timer_t *t)
{
    uv_stop(t->loop);
}

static void settle_ms(unsigned ms)
{
    uv_timer_t quiet;
    for (int i = 0; i < 4; i++) {
        uv_timer_init(&world->loop, &quiet);
        uv_timer_start(&quiet, on_quiet, ms / 4 + 2, 0);
        uv_run(&world->loop, UV_RUN_DEFAULT);
        uv_close((uv_handle_t *)&quiet, NULL);
        uv_run(&world->loop, UV_RUN_NOWAIT);
        serve_runner();
    }
}

static void settle(void)
{
    settle_ms(20);
}

/* ---- the client ---- */

static int full_after = -1; /* events that a slow subscriber takes */

static int on_event(void *user, const struct context_event *ev)
{
    struct buf b = {0};
    event_put_content(ev, &b);
    note(seen, sizeof seen, "%s%s%s ", event_message_type(ev), ev->type == EVENT_STATUS ? ":" : "",
         ev->type == EVENT_STATUS ? context_state_name(ev->state) : "");
    if (ev->type == EVENT_STREAM)
        note(seen, sizeof seen, "[%.*s] ", (int)ev->text.len, (const char *)ev->text.data);
    if (ev->type == EVENT_ERROR)
        note(seen, sizeof seen, "%.*s ", (int)strcspn(strstr(buf_str(&b), "ename") + 8, "\""),
             strstr(buf_str(&b), "ename") + 8);
    buf_deinit(&b);
    (void)user;
    return full_after >= 0 && full_after-- == 0;
}

static struct context *open_default(void)
{
    struct sandbox_spec spec = {.name = "s"};
    struct sandbox *sb = sandbox_get(world->manager, "s");
    struct context *c;
    if (!sb)
        assert_int_equal(sandbox_create(world->manager, &spec, &sb), 0);
    assert_int_equal(sandbox_default_context(sb, "python", &c, NULL), 0);
    return c;
}

static struct request *submit(struct context *c, const char *code, const char *session, bool stop,
                              uint32_t timeout)
{
    struct proto_section s[] = {{(const uint8_t *)"{}", 2}, {(const uint8_t *)code, strlen(code)}};
    struct request *r;
    struct request_spec spec = {.kind = REQUEST_EXECUTE,
                                .sections = s,
                                .nsections = 2,
                                .stop_on_error = stop,
                                .timeout_ms = timeout,
                                .session = {(const uint8_t *)session, strlen(session)}};
    assert_int_equal(context_submit(c, &spec, &r), 0);
    return r;
}

static enum request_state state_of(struct request *r, uint32_t *ret_status)
{
    struct request_info i;
    request_get_info(r, &i);
    *ret_status = i.status;
    return i.state;
}

static struct subscription *subscribe(struct context *c)
{
    struct subscription_spec spec = {.event = on_event};
    struct subscription *s;
    assert_int_equal(context_subscribe(c, &spec, &s), 0);
    return s;
}

static void test_one_run(void **state)
{
    struct context *c = open_default();
    struct subscription *s = subscribe(c);
    uint32_t status = 9;
    (void)state;
    struct request *r = submit(c, "code", "", false, 0);
    settle();
    assert_string_equal(frames, "1 3 ");
    print(0, "a\xc3", 2);
    print(0, "\xa9z", 2);
    say(FRAME_RESULT, 0, last_request, "{\"text/plain\":\"2\"}");
    say(FRAME_DONE, 0, last_request + 1, "{}"); /* no request of ours */
    settle();
    assert_int_equal(state_of(r, &status), REQUEST_RUNNING);
    print(0, "\xe2\x82", 2); /* never completed */
    say(FRAME_DONE, 0, last_request, "{\"status\":\"ok\"}");
    print(last_request, "late", 4);
    settle();
    assert_string_equal(
        seen, "status:idle status:busy execute_input stream [a] stream [\xc3\xa9] stream [z] "
              "execute_result stream [\xe2\x82] status:idle stream [late] ");
    assert_int_equal(state_of(r, &status), REQUEST_DONE);
    assert_int_equal(status, FRAME_OK);
    subscription_cancel(s);
    request_unref(r);
}

static void test_stop_on_error(void **state)
{
    struct context *c = open_default();
    uint32_t status;
    (void)state;
    struct request *a = submit(c, "1", "A", true, 0), *b = submit(c, "2", "A", true, 0),
                   *x = submit(c, "3", "B", true, 0);
    settle();
    say(FRAME_ERROR, 0, last_request, "{\"ename\":\"E\",\"evalue\":\"\",\"traceback\":[]}");
    say(FRAME_DONE, 1, last_request, "{\"status\":\"error\"}");
    settle();
    assert_int_equal(state_of(a, &status), REQUEST_DONE);
    assert_int_equal(status, FRAME_FAILED);
    assert_int_equal(state_of(b, &status), REQUEST_DONE);
    assert_int_equal(status, FRAME_ABORTED);
    assert_int_equal(state_of(x, &status), REQUEST_RUNNING);
    request_unref(a);
    request_unref(b);
    request_unref(x);
}

static void test_death_and_restart(void **state)
{
    struct context *c = open_default();
    uint32_t status;
    (void)state;
    settle();
    struct subscription *s = subscribe(c);
    struct request *a = submit(c, "1", "", false, 0), *b = submit(c, "2", "", false, 0);
    settle();
    print(0, "bye", 3);
    exited(11);
    settle();
    assert_string_equal(
        seen, "status:busy execute_input stream [bye] error ContextDied status:idle status:busy "
              "status:idle status:dead ");
    assert_int_equal(state_of(b, &status), REQUEST_DONE);
    assert_int_equal(status, FRAME_ABORTED);
    seen[0] = 0;
    struct request *n = submit(c, "3", "", false, 0);
    settle();
    assert_int_equal(starts, 2);
    say(FRAME_DONE, 0, last_request, "{}");
    settle();
    assert_string_equal(
        seen, "status:restarting status:idle status:busy execute_input stream status:idle ");
    struct request_info i;
    request_get_info(n, &i);
    assert_true(i.fresh_state);
    assert_int_equal(i.execution_count, 1);
    subscription_cancel(s);
    request_unref(a);
    request_unref(b);
    request_unref(n);
}

static void test_slow_reader(void **state)
{
    struct context *c = open_default();
    struct request *r = submit(c, "1", "", false, 0);
    char text[100], want[8192] = "status:busy execute_input ";
    (void)state;
    settle();
    struct subscription_spec spec = {.event = on_event};
    struct subscription *s;
    assert_int_equal(request_subscribe(r, &spec, &s), 0);
    full_after = 5;
    for (int i = 0; i < 100; i++) {
        int n = snprintf(text, sizeof text, "%d\n", i);
        print(0, text, (size_t)n);
        note(want, sizeof want, "stream [%s] ", text);
        if (i % 10 == 0)
            settle_ms(4);
        if (i == 50) {
            full_after = 20;
            subscription_resume(s);
        }
    }
    say(FRAME_DONE, 0, last_request, "{}");
    settle();
    assert_true(strlen(seen) < strlen(want));
    full_after = -1;
    subscription_resume(s);
    settle();
    note(want, sizeof want, "execute_reply status:idle ");
    assert_string_equal(seen, want);
    subscription_cancel(s);
    request_unref(r);
}

static void test_time_limit(void **state)
{
    struct context *c = open_default();
    (void)state;
    settle();
    struct subscription *s = subscribe(c);
    struct request *r = submit(c, "1", "", false, 30);
    settle_ms(90);
    assert_int_equal(signals, 1);
    settle_ms(200);
    assert_int_equal(kills, 2); /* by the limit, and to be sure at the end */
    assert_string_equal(
        seen,
        "status:busy execute_input error TimeoutError error TimeoutError status:idle status:dead ");
    subscription_cancel(s);
    request_unref(r);
}

static void adopt(struct world *w, uint32_t type, const void *head, size_t len, const char *blob,
                  int fd)
{
    uint8_t m[2048] __attribute__((aligned(8)));
    size_t n = len + strlen(blob);
    memcpy(m, head, len);
    memcpy(m + len, blob, strlen(blob));
    ((struct wire_head *)m)->type = type;
    struct wire_message msg = {(const struct wire_head *)m, n, &fd, 1};
    manager_adopt(w->manager, &msg);
}

static void test_takeover(void **state)
{
    struct wire_box_created created = {.h = {.box = BOX}};
    struct wire_context context = {.h = {.box = BOX}};
    struct world *first = world;
    int init[2];
    uint32_t status;
    (void)state;
    struct context *c = open_default();
    struct request *r = submit(c, "1", "", false, 0), *q = submit(c, "2", "", false, 0);
    settle();
    print(0, "one ", 4);
    settle();
    print(0, "two \xc3", 5); /* in the socket when the first manager is no more */
    world = world_new();
    assert_int_equal(fd_seqpacket_pair(init), 0);
    /* One that the registry does not know was never told of: it is not taken over. */
    int unknown[2];
    assert_int_equal(fd_seqpacket_pair(unknown), 0);
    adopt(world, WIRE_ADOPT_BOX, &created, sizeof created, box_blob, unknown[1]);
    assert_null(sandbox_get(world->manager, "s"));
    close(unknown[0]);
    struct sandbox_spec known = {.name = "s"};
    struct sandbox *defined;
    assert_int_equal(sandbox_define(world->manager, &known, &defined), 0);
    adopt(world, WIRE_ADOPT_BOX, &created, sizeof created, box_blob, init[1]);
    context.context = context_number;
    frames[0] = 0;
    adopt(world, WIRE_ADOPT_CONTEXT, &context, sizeof context, context_blob,
          fcntl(kept_frame, F_DUPFD_CLOEXEC, 0));
    manager_adopted(world->manager);
    struct request_info i;
    request_get_info(r, &i);
    struct sandbox *sb = sandbox_get(world->manager, "s");
    assert_non_null(sb);
    struct context *taken = sandbox_context_next(sb, NULL);
    struct request *same = execution_get(taken, i.id);
    assert_non_null(same);
    struct subscription_spec spec = {.event = on_event};
    struct subscription *s;
    assert_int_equal(request_subscribe(same, &spec, &s), 0);
    settle();
    print(0, "\xa9", 1);
    say(FRAME_DONE, 0, last_request, "{}");
    settle();
    assert_string_equal(seen,
                        "status:busy execute_input stream [one ] stream [two ] stream [\xc3\xa9] "
                        "execute_reply status:idle ");
    assert_string_equal(frames, "3 "); /* the queued one, once */
    assert_int_equal(state_of(same, &status), REQUEST_DONE);
    subscription_cancel(s);
    request_unref(r);
    request_unref(q);
    close(init[0]);
    /* What is left of the first one is only memory; its files belong to the second. */
    world_free(first);
}

/* ---- lanes ---- */

static const char able[] = "{\"supported_features\":[\"debugger\",\"kernel subshells\"],"
                           "\"concurrent\":[\"complete\",\"inspect\"]}";

static struct request *ask(struct context *c, enum request_kind kind, uint32_t subshell,
                           const char *first)
{
    struct proto_section s[] = {{(const uint8_t *)first, strlen(first)}, {(const uint8_t *)"x", 1}};
    bool code = kind == REQUEST_EXECUTE || kind == REQUEST_COMPLETE;
    struct request_spec spec = {
        .kind = kind, .sections = s, .nsections = code ? 2 : 1, .subshell = subshell};
    struct request *r = NULL;
    assert_int_equal(context_submit(c, &spec, &r), 0);
    return r;
}

static bool is_done(struct request *r)
{
    uint32_t status;
    return state_of(r, &status) == REQUEST_DONE;
}

/* Completion and control pass a busy cell; history, which this runner does not name, waits. */
static void test_lanes_pass_a_busy_cell(void **state)
{
    (void)state;
    hello = able;
    struct context *c = open_default();
    settle();
    struct request *cell = submit(c, "1", "", false, 0);
    struct request *history = ask(c, REQUEST_HISTORY, 0, "{}");
    struct request *complete = ask(c, REQUEST_COMPLETE, 0, "{}");
    struct request *debug = ask(c, REQUEST_DEBUG, 0, "{}"), *again = ask(c, REQUEST_DEBUG, 0, "{}");
    settle();
    assert_string_equal(frames, "1 3 4 12 ");
    say(FRAME_DONE, 0, last_of[FRAME_COMPLETE], "{}");
    say(FRAME_DONE, 0, last_of[FRAME_DEBUG], "{}");
    settle();
    assert_string_equal(frames, "1 3 4 12 12 ");
    assert_true(is_done(complete) && is_done(debug) && !is_done(again) && !is_done(cell));
    say(FRAME_DONE, 0, last_of[FRAME_EXECUTE], "{}");
    say(FRAME_DONE, 0, last_of[FRAME_DEBUG], "{}");
    settle();
    assert_string_equal(frames, "1 3 4 12 12 7 ");
    assert_true(is_done(cell) && is_done(again) && !is_done(history));
    request_unref(cell);
    request_unref(history);
    request_unref(complete);
    request_unref(debug);
    request_unref(again);
}

static void test_unable_runner_is_not_asked(void **state)
{
    uint32_t status;
    (void)state;
    struct context *c = open_default();
    settle();
    struct request *debug = ask(c, REQUEST_DEBUG, 0, "{}");
    settle();
    assert_string_equal(frames, "1 ");
    assert_int_equal(state_of(debug, &status), REQUEST_DONE);
    assert_int_equal(status, FRAME_FAILED);
    request_unref(debug);
}

/* Its cells run beside the main shell's, count for themselves, and keep their own output apart. */
static void test_subshell(void **state)
{
    struct context_subshell s = {0};
    struct request_info i;
    (void)state;
    hello = able;
    struct context *c = open_default();
    settle();
    struct request *make = ask(c, REQUEST_SUBSHELL, 0, "{\"op\":\"create\"}");
    settle();
    assert_string_equal(frames, "1 13@1 ");
    say(FRAME_DONE, 0, last_of[FRAME_SUBSHELL], "{}");
    settle();
    assert_true(context_subshell_next(c, 0, &s));
    request_get_info(make, &i);
    assert_string_equal(s.id, i.id);
    assert_int_equal(context_subshell_find(c, s.id, 36), 1);
    struct request *cell = submit(c, "1", "", false, 0);
    struct request *beside = ask(c, REQUEST_EXECUTE, 1, "{}"),
                   *next = ask(c, REQUEST_EXECUTE, 1, "{}");
    settle();
    assert_string_equal(frames, "1 13@1 3 3@1 ");
    uint64_t in_subshell = last_of[FRAME_EXECUTE];
    struct subscription_spec spec = {.event = on_event};
    struct subscription *sub;
    assert_int_equal(request_subscribe(beside, &spec, &sub), 0);
    settle();
    print(0, "main", 4); /* nobody's: the main shell's cell */
    print(in_subshell, "sub", 3);
    say(FRAME_DONE, 0, in_subshell, "{}");
    settle();
    assert_string_equal(seen, "status:busy execute_input stream [sub] execute_reply status:idle ");
    assert_false(is_done(cell));
    request_get_info(next, &i);
    assert_int_equal(i.state, REQUEST_RUNNING);
    assert_int_equal(i.execution_count, 2);
    struct request *drop = ask(c, REQUEST_SUBSHELL, 1, "{\"op\":\"delete\"}");
    settle();
    say(FRAME_DONE, 0, last_of[FRAME_SUBSHELL], "{}");
    settle();
    assert_true(is_done(next) && !is_done(cell));
    assert_false(context_subshell_next(c, 0, &s));
    struct request_spec gone = {.kind = REQUEST_HISTORY, .subshell = 1};
    struct request *none = NULL;
    assert_int_equal(context_submit(c, &gone, &none), REQUEST_E_SUBSHELL);
    subscription_cancel(sub);
    request_unref(make);
    request_unref(cell);
    request_unref(beside);
    request_unref(next);
    request_unref(drop);
}

/* The death of the interpreter ends what runs in every lane. */
static void test_death_ends_all_lanes(void **state)
{
    (void)state;
    hello = able;
    struct context *c = open_default();
    settle();
    struct request *make = ask(c, REQUEST_SUBSHELL, 0, "{\"op\":\"create\"}");
    settle();
    say(FRAME_DONE, 0, last_of[FRAME_SUBSHELL], "{}");
    settle();
    struct request *r[] = {submit(c, "1", "", false, 0), ask(c, REQUEST_EXECUTE, 1, "{}"),
                           ask(c, REQUEST_EXECUTE, 1, "{}"), ask(c, REQUEST_DEBUG, 0, "{}"),
                           ask(c, REQUEST_COMPLETE, 0, "{}")};
    settle();
    exited(11);
    settle();
    for (size_t i = 0; i < sizeof r / sizeof *r; i++) {
        assert_true(is_done(r[i]));
        request_unref(r[i]);
    }
    struct context_subshell s;
    assert_false(context_subshell_next(c, 0, &s));
    request_unref(make);
}

/* A subscriber that pauses gets what it missed, one that is too far behind is told so. */
static void test_pause(void **state)
{
    (void)state;
    struct context *c = open_default();
    settle();
    struct subscription *s = subscribe(c);
    struct request *r = submit(c, "1", "", false, 0);
    settle();
    subscription_pause(s);
    print(0, "a", 1);
    settle();
    assert_string_equal(seen, "status:busy execute_input ");
    print(0, "b", 1);
    subscription_resume(s);
    settle();
    print(0, "c", 1);
    say(FRAME_DONE, 0, last_request, "{}");
    settle();
    assert_string_equal(seen,
                        "status:busy execute_input stream [a] stream [b] stream [c] status:idle ");
    subscription_cancel(s);
    request_unref(r);
}

static uint64_t lost_bytes;

static void on_lost(void *user, uint64_t bytes)
{
    (void)user;
    lost_bytes += bytes;
}

static int setup_small_journal(void **state)
{
    journal_max = 64 << 10;
    lost_bytes = 0;
    return setup(state);
}

static int teardown_small_journal(void **state)
{
    journal_max = 0;
    return teardown(state);
}

/* The file is not kept for ever for one who never reads: it is told what it lost, and goes on. */
static void test_lost(void **state)
{
    static char text[8192];
    (void)state;
    struct context *c = open_default();
    settle();
    struct subscription_spec spec = {.event = on_event, .lost = on_lost};
    struct subscription *s;
    assert_int_equal(context_subscribe(c, &spec, &s), 0);
    subscription_pause(s);
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 30; i++) {
        struct request *r = submit(c, "1", "", false, 0);
        settle_ms(4);
        print(0, text, sizeof text);
        say(FRAME_DONE, 0, last_request, "{}");
        settle_ms(4);
        request_unref(r);
    }
    assert_true(lost_bytes > 64 << 10);
    assert_string_equal(seen, "");
    struct request *r = submit(c, "1", "", false, 0);
    settle();
    say(FRAME_DONE, 0, last_request, "{}");
    subscription_resume(s);
    settle();
    assert_non_null(strstr(seen, "status:busy execute_input status:idle "));
    subscription_cancel(s);
    request_unref(r);
}

static unsigned count_executions(struct context *c)
{
    unsigned n = 0;
    for (struct request *r = NULL; (r = execution_next(c, r));)
        n++;
    return n;
}

static void print_much(struct context *c)
{
    static char text[8192];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 30; i++) {
        struct request *r = submit(c, "1", "", false, 0);
        settle_ms(4);
        print(0, text, sizeof text);
        say(FRAME_DONE, 0, last_request, "{}");
        settle_ms(4);
        request_unref(r);
    }
}

/* A sandbox's contexts together, and all contexts, have a bound beside each one's own: old output
 * goes first, as when one alone has too much. */
static void test_journals_together(void **state)
{
    (void)state;
    struct context *c = open_default();
    settle();
    print_much(c);
    unsigned kept = count_executions(c);
    assert_true(kept > 0 && kept < 25);
}

static int setup_small_sandbox(void **state)
{
    sandbox_journals_max = 128 << 10;
    return setup(state);
}

static int setup_small_server(void **state)
{
    journals_max = 128 << 10;
    return setup(state);
}

static int teardown_small(void **state)
{
    sandbox_journals_max = journals_max = 0;
    return teardown(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_run),
        TEST(test_stop_on_error),
        TEST(test_death_and_restart),
        TEST(test_slow_reader),
        TEST(test_time_limit),
        TEST(test_takeover),
        TEST(test_lanes_pass_a_busy_cell),
        TEST(test_unable_runner_is_not_asked),
        TEST(test_subshell),
        TEST(test_death_ends_all_lanes),
        TEST(test_pause),
        cmocka_unit_test_setup_teardown(test_lost, setup_small_journal, teardown_small_journal),
        cmocka_unit_test_setup_teardown(test_journals_together, setup_small_sandbox,
                                        teardown_small),
        cmocka_unit_test_setup_teardown(test_journals_together, setup_small_server,
                                        teardown_small)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
