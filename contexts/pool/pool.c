#include "contexts/pool/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "contexts/manager/links/init_link.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/list.h"
#include "sandbox/base/log.h"
#include "sandbox/wire/trust.h"

#define MOD "pool"

enum {
    QUIET_MS = 20,
    NEXT_MS = 2,
    PATIENCE_MS = 200,
    RETRY_MIN_MS = 500,
    RETRY_MAX_MS = 30000,
    WARM_MAX_MS = 30000,
    SETUP_REQ = 1,
    WARMUP_REQ = 2
};

struct entry {
    struct list item;
    struct pool *pool;
    bool ready, has_box;
    struct pool_box b;
    struct proto_decoder decoder;
    uint8_t *scratch;
};

struct pool {
    uv_loop_t *loop;
    struct boxes *boxes;
    unsigned warm[POOL_KINDS];
    bool started;
    struct list entries; /* at most one of them is not ready */
    struct entry *making;
    uv_timer_t timer;
    unsigned retry_ms;
    uint64_t wanted_ms; /* loop time since which a refill waits for a quiet moment */
};

static void refill(uv_timer_t *t);

struct pool *pool_new(uv_loop_t *loop, struct boxes *boxes, const unsigned warm[POOL_KINDS])
{
    struct pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->loop = loop;
    p->boxes = boxes;
    memcpy(p->warm, warm, sizeof p->warm);
    list_init(&p->entries);
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    return p;
}

static void entry_free(struct entry *e)
{
    list_remove(&e->item);
    if (e->pool->making == e)
        e->pool->making = NULL;
    proto_decoder_deinit(&e->decoder);
    free(e->scratch);
    free(e);
}

void pool_box_discard(struct boxes *b, struct pool_box *pb)
{
    runner_link_free(pb->runner);
    wire_link_free(pb->init);
    free(pb->hello);
    if (pb->box)
        boxes_destroy(b, pb->box, false, NULL, NULL);
    *pb = (struct pool_box){0};
}

static void on_timer_closed(uv_handle_t *h)
{
    free(h->data);
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    LIST_FOREACH_SAFE (it, &p->entries) {
        struct entry *e = LIST_ENTRY(it, struct entry, item);
        boxes_forget(p->boxes, e);
        pool_box_discard(p->boxes, &e->b);
        entry_free(e);
    }
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

/* A wait that goes on keeps its beginning: patience is bounded. */
static void schedule(struct pool *p, unsigned ms)
{
    if (!p->started || p->making)
        return;
    if (!uv_is_active((uv_handle_t *)&p->timer))
        p->wanted_ms = uv_now(p->loop);
    if (uv_now(p->loop) - p->wanted_ms <= PATIENCE_MS)
        uv_timer_start(&p->timer, refill, ms, 0);
}

/* The box is no good: drop it and try again later, ever more slowly. */
static void failed(struct entry *e, const char *step, const char *text)
{
    struct pool *p = e->pool;
    log_warn(MOD, "warm box failed", "step=%s error=%s", log_quote(step), log_quote(text));
    boxes_forget(p->boxes, e);
    pool_box_discard(p->boxes, &e->b);
    entry_free(e);
    p->retry_ms = p->retry_ms ? p->retry_ms * 2 : RETRY_MIN_MS;
    if (p->retry_ms > RETRY_MAX_MS)
        p->retry_ms = RETRY_MAX_MS;
    uv_timer_stop(&p->timer);
    schedule(p, p->retry_ms);
}

static void ready(struct entry *e)
{
    struct pool *p = e->pool;
    e->ready = true;
    p->making = NULL;
    p->retry_ms = 0;
    uv_timer_stop(&p->timer);
    free(e->scratch);
    e->scratch = NULL;
    schedule(p, NEXT_MS);
}

static uint8_t *on_reserve(void *user, size_t len)
{
    struct entry *e = user;
    (void)len;
    if (!e->scratch)
        e->scratch = malloc(PACKET_MAX);
    return e->scratch;
}

static void on_packet(void *user, const uint8_t *packet, size_t len)
{
    struct entry *e = user;
    struct proto_message m;
    int r = proto_decoder_feed(&e->decoder, packet, len, &m);
    if (r < 0) {
        failed(e, "frames", proto_decoder_error(&e->decoder));
        return;
    }
    if (r == 0)
        return;
    if (m.type == FRAME_HELLO && !e->b.hello) {
        e->b.hello = strndup((const char *)m.sections[0].data, m.sections[0].len);
    } else if (m.type == FRAME_DONE && m.req == WARMUP_REQ && m.arg == FRAME_OK && !e->ready &&
               (e->b.hello || e->b.kind == POOL_NODE)) {
        ready(e);
    } else if (m.type == MESSAGE_EXITED) {
        failed(e, "warm up", "the interpreter ended");
    }
}

static void on_closed(void *user, int error)
{
    (void)error;
    failed(user, "warm up", "the interpreter closed its socket");
}

static const struct runner_link_ops runner_ops = {
    .reserve = on_reserve, .packet = on_packet, .closed = on_closed};

static void on_init_closed(void *user)
{
    failed(user, "init", "the box has ended");
}

static const struct wire_link_ops init_ops = {.closed = on_init_closed};

int pool_put_environ(struct buf *out, const char *cwd)
{
    static const char *const defaults[] = {
        "HOME=/home/user",
        "PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C.UTF-8",
        "USER=user",
        "TERM=xterm-256color",
        "SHELL=/bin/bash",
        TRUST_ENVIRONMENT,
    };
    buf_put(out, cwd, strlen(cwd) + 1);
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        buf_put(out, defaults[i], strlen(defaults[i]) + 1);
    return out->err;
}

static void on_started(void *user, const struct err *error, const struct wire_message *m)
{
    (void)m;
    if (error->code)
        failed(user, error->step, error->text);
}

static int start_context(struct entry *e)
{
    int fds[2];
    CLEANUP_BUF struct buf env = {0};
    struct proto_section setup = {(const uint8_t *)"{\"env\":{}}", 10},
                         warmup = {(const uint8_t *)"{}", 2};
    int r = fd_seqpacket_pair(fds);
    if (r < 0)
        return r;
    CLEANUP_FD int theirs = fds[1];
    fd_set_nonblock(theirs, 0); /* the runner and init wait in it */
    e->b.runner = runner_link_new(e->pool->loop, fds[0], &runner_ops, e);
    if (!e->b.runner || pool_put_environ(&env, "/workspace") < 0)
        return -ENOMEM;
    e->b.context = 1;
    e->b.next_request = WARMUP_REQ + 1;
    uint32_t program = e->b.kind == POOL_NODE ? WIRE_PROGRAM_NODE : WIRE_PROGRAM_FORK;
    init_context_start(e->b.init, e->b.context, program, env.data, env.len, theirs, on_started, e);
    r = runner_link_send(e->b.runner, FRAME_SETUP, 0, SETUP_REQ, &setup, 1);
    if (r >= 0)
        r = runner_link_send(e->b.runner, FRAME_WARMUP, 0, WARMUP_REQ, &warmup, 1);
    return r < 0 ? r : 0;
}

static void on_created(void *user, const struct err *error, const struct wire_message *m)
{
    struct entry *e = user;
    if (error->code) {
        failed(e, error->step, error->text);
        return;
    }
    if (m->len < sizeof e->b.created || m->nfds < 1) {
        failed(e, "create box", "malformed reply");
        return;
    }
    memcpy(&e->b.created, m->head, sizeof e->b.created);
    e->b.box = m->head->box;
    e->b.init = wire_link_new(e->pool->loop, STEAL_FD(m->fds[0]), &init_ops, e);
    if (e->b.init)
        init_trust(e->b.init, m);
    int r = e->b.init ? start_context(e) : -ENOMEM;
    if (r < 0)
        failed(e, "start context", strerror(-r));
}

/* The kind that lacks most of its boxes; false: all are there. */
static bool missing(const struct pool *p, enum pool_kind *ret_kind)
{
    unsigned have[POOL_KINDS] = {0};
    double most = 0;
    LIST_FOREACH (it, &p->entries)
        have[LIST_ENTRY(it, struct entry, item)->b.kind]++;
    for (unsigned k = 0; k < POOL_KINDS; k++) {
        double lack = have[k] < p->warm[k] ? 1 - (double)have[k] / p->warm[k] : 0;
        if (lack > most) {
            most = lack;
            *ret_kind = k;
        }
    }
    return most > 0;
}

static void refill(uv_timer_t *t)
{
    struct pool *p = t->data;
    enum pool_kind kind = POOL_PYTHON;
    if (p->making && !p->making->b.box) {
        uv_timer_start(&p->timer, refill, WARM_MAX_MS,
                       0); /* B answers in the end; the box must not be forgotten */
        return;
    }
    if (p->making) {
        failed(p->making, "warm up", "it took too long");
        return;
    }
    if (!missing(p, &kind))
        return;
    struct entry *e = calloc(1, sizeof *e);
    if (!e) {
        schedule(p, RETRY_MAX_MS);
        return;
    }
    e->pool = p;
    e->b.kind = kind;
    proto_decoder_init(&e->decoder, NULL);
    list_append(&p->entries, &e->item);
    p->making = e;
    uv_timer_start(&p->timer, refill, WARM_MAX_MS, 0);
    struct wire_limits none = {0};
    boxes_create(p->boxes, "", "", &none, on_created, e);
}

void pool_start(struct pool *p)
{
    p->started = true;
    schedule(p, 0);
}

bool pool_take(struct pool *p, enum pool_kind kind, struct pool_box *ret)
{
    LIST_FOREACH (it, &p->entries) {
        struct entry *e = LIST_ENTRY(it, struct entry, item);
        if (!e->ready || e->b.kind != kind)
            continue;
        boxes_forget(p->boxes, e);
        wire_link_forget(e->b.init, e);
        wire_link_set_ops(e->b.init, NULL, NULL);
        runner_link_set_ops(e->b.runner, NULL, NULL);
        *ret = e->b;
        entry_free(e);
        schedule(p, QUIET_MS);
        return true;
    }
    schedule(p, QUIET_MS);
    return false;
}

void pool_activity(struct pool *p)
{
    if (uv_is_active((uv_handle_t *)&p->timer) && !p->retry_ms)
        schedule(p, QUIET_MS);
}

bool pool_gone(struct pool *p, uint64_t box)
{
    LIST_FOREACH (it, &p->entries) {
        struct entry *e = LIST_ENTRY(it, struct entry, item);
        if (e->b.box != box)
            continue;
        e->b.box = 0; /* nothing to destroy */
        failed(e, "box", "it ended in the pool");
        return true;
    }
    return false;
}

void pool_count(const struct pool *p, unsigned *ret_ready, unsigned *ret_starting)
{
    *ret_ready = *ret_starting = 0;
    LIST_FOREACH (it, &p->entries) {
        if (LIST_ENTRY(it, struct entry, item)->ready)
            (*ret_ready)++;
        else
            (*ret_starting)++;
    }
}
