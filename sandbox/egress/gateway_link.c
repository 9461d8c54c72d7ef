/*
 * The table of what G may ask (enum wire_egress_op). Each call is answered, most at once; reading
 * the log may wait for a record, a handler for its compilation. Texts over 32 KiB travel in memfds.
 */
#include "sandbox/egress/gateway_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/egress/egress.h"
#include "sandbox/egress/log/har.h"

enum { INLINE_MAX = 32768, DATA_MAX = 64 << 20, READ_MAX = 8 << 20 };

struct gateway_link {
    struct egress *egress;
    uv_poll_t poll;
    int fd;
    bool closing;
    struct list waiting; /* struct wait */
};

/* A reader of the log that waits for something to read. */
struct wait {
    struct list link;
    struct gateway_link *owner;
    struct wire_egress_call call;
    uv_timer_t timer;
};

struct call {
    struct gateway_link *l;
    const struct wire_egress_call *m;
    char *data; /* NUL-terminated */
    size_t len;
};

/* ---- answers ---- */

static int memfd_of(const void *data, size_t len)
{
    CLEANUP_FD int fd = memfd_create("egress", MFD_CLOEXEC);
    if (fd < 0 || fd_write_all(fd, data, len) < 0)
        return -1;
    return STEAL_FD(fd);
}

static void answer(struct gateway_link *l, const struct wire_egress_call *to,
                   struct wire_egress_reply *r, const void *data, size_t len)
{
    CLEANUP_BUF struct buf m = {0};
    CLEANUP_FD int fd = -1;
    r->h = (struct wire_head){.type = WIRE_EGRESS_CALL, .seq = to->h.seq, .box = to->h.box};
    if (len > INLINE_MAX && (fd = memfd_of(data, len)) < 0) {
        err_set(&r->err, -ENOMEM, "answer", NULL);
        len = 0;
    }
    r->data_len = (uint32_t)len;
    buf_put(&m, r, sizeof *r);
    if (fd < 0 && len)
        buf_put(&m, data, len);
    ssize_t n = m.err ? m.err : fd_send_wait(l->fd, m.data, m.len, &fd, fd >= 0, 1000);
    if (n < 0)
        log_warn("egress", "answer_lost", "reason=%s", log_quote(strerror((int)-n)));
}

static void answer_err(const struct call *c, int code, const char *step, const char *text)
{
    struct wire_egress_reply r = {0};
    if (code)
        err_set(&r.err, code, step, text ? "%s" : NULL, text);
    answer(c->l, c->m, &r, NULL, 0);
}

static void answer_data(const struct call *c, const struct buf *b)
{
    struct wire_egress_reply r = {0};
    if (b->err)
        err_set(&r.err, b->err, "answer", NULL);
    answer(c->l, c->m, &r, b->data, b->err ? 0 : b->len);
}

/* ---- policies ---- */

static struct policy *parse_policy(const struct call *c)
{
    struct policy_error e;
    struct policy *p;
    int r = policy_parse(c->data, c->len, &p, &e);
    if (r == 0)
        return p;
    if (r < 0) {
        answer_err(c, r, "read policy", NULL);
        return NULL;
    }
    char text[sizeof((struct err *)0)->text], place[48];
    snprintf(place, sizeof place, "%u:%u", e.line, e.column);
    snprintf(text, sizeof text, "%.80s%s%.120s", e.path, *e.path ? ": " : "", e.reason);
    answer_err(c, EGRESS_E_INVALID, place, text);
    return NULL;
}

static void on_box_set(struct call *c)
{
    struct egress_box *b = box_find(c->l->egress, c->m->h.box);
    struct policy *p = parse_policy(c);
    if (!p)
        return;
    if (!b) {
        policy_unref(p);
        answer_err(c, EGRESS_E_NOT_FOUND, "find box", "it is not running");
        return;
    }
    int r = box_set(b, c->m->name, p);
    answer_err(c, r, "set policy", NULL);
}

static void on_policy_check(struct call *c)
{
    struct policy *p = parse_policy(c);
    if (!p)
        return;
    policy_unref(p);
    answer_err(c, 0, NULL, NULL);
}

/* ---- secrets and handlers ---- */

static void on_secret_put(struct call *c)
{
    char reason[208] = "";
    int r = secrets_put(c->l->egress->secrets, c->m->name, c->data, c->len, reason);
    if (r == 0)
        handlers_secrets_changed(c->l->egress->handlers);
    answer_err(c, r > 0 ? EGRESS_E_INVALID : r, "keep secret",
               *reason                   ? reason
               : r == SECRETS_E_TOO_MANY ? "there are too many secrets"
                                         : NULL);
}

static void on_secret_remove(struct call *c)
{
    int r = secrets_remove(c->l->egress->secrets, c->m->name);
    answer_err(c, r > 0 ? EGRESS_E_NOT_FOUND : r, "remove secret",
               r > 0 ? "there is none of that name" : NULL);
}

static void on_secret_list(struct call *c)
{
    CLEANUP_BUF struct buf out = {0};
    secrets_list(c->l->egress->secrets, &out);
    answer_data(c, &out);
}

/* Outlives the call, and perhaps the link. */
struct put {
    struct egress *egress;
    struct wire_egress_call call;
    int fd;
};

static void on_compiled(void *arg, int result, const char *text)
{
    struct put *p = arg;
    struct gateway_link *l = p->egress->gateway;
    if (l && l->fd == p->fd && !l->closing) {
        struct call c = {.l = l, .m = &p->call};
        answer_err(&c, result > 0 ? EGRESS_E_INVALID : result, "compile handler", text);
    }
    free(p);
}

static void on_handler_put(struct call *c)
{
    struct put *p = c->m->value <= c->len ? calloc(1, sizeof *p) : NULL;
    if (!p) {
        answer_err(c, -EINVAL, "read handler", NULL);
        return;
    }
    p->egress = c->l->egress;
    p->call = *c->m;
    p->fd = c->l->fd;
    handlers_put(c->l->egress->handlers, c->m->name, c->data, c->m->value, c->data + c->m->value,
                 on_compiled, p);
}

static void on_handler_remove(struct call *c)
{
    int r = handlers_remove(c->l->egress->handlers, c->m->name);
    answer_err(c, r > 0 ? EGRESS_E_NOT_FOUND : r, "remove handler",
               r > 0 ? "there is none of that name" : NULL);
}

static void on_handler_list(struct call *c)
{
    CLEANUP_BUF struct buf out = {0};
    handlers_list(c->l->egress->handlers, &out);
    answer_data(c, &out);
}

static void on_handler_source(struct call *c)
{
    CLEANUP_BUF struct buf out = {0};
    int r = handlers_source(c->l->egress->handlers, c->m->name, &out);
    if (r > 0)
        answer_err(c, EGRESS_E_NOT_FOUND, "find handler", "there is none of that name");
    else
        answer_data(c, &out);
}

/* ---- log, metrics, usage ---- */

static struct egress_log *log_of(struct egress *e, const char *disk, struct egress_log **ret_own)
{
    *ret_own = NULL;
    LIST_FOREACH (it, &e->boxes) {
        struct egress_box *b = LIST_ENTRY(it, struct egress_box, link);
        if (b->log && !strcmp(b->disk, disk))
            return b->log;
    }
    return egress_log_open(e->log_dir, disk, ret_own) == 0 ? *ret_own : NULL;
}

/* False: there is nothing, and the caller may wait. */
static bool read_log(struct gateway_link *l, const struct wire_egress_call *m, bool empty_too)
{
    struct egress_log *own, *log = log_of(l->egress, m->disk, &own);
    CLEANUP_BUF struct buf out = {0};
    struct wire_egress_reply r = {0};
    size_t most = m->count && m->count < READ_MAX ? m->count : READ_MAX;
    int e = log ? egress_log_read(log, m->value, most, &out, &r.value, &r.lost) : -ENOENT;
    egress_log_close(own);
    if (e < 0)
        err_set(&r.err, e, "read log", NULL);
    if (e == 0 && !out.len && !empty_too)
        return false;
    answer(l, m, &r, out.data, out.len);
    return true;
}

static void wait_closed(uv_handle_t *h)
{
    free(h->data);
}

static void end_wait(struct wait *w)
{
    list_remove(&w->link);
    uv_close((uv_handle_t *)&w->timer, wait_closed);
}

static void on_wait_over(uv_timer_t *t)
{
    struct wait *w = t->data;
    read_log(w->owner, &w->call, true);
    end_wait(w);
}

static void on_log_read(struct call *c)
{
    struct wait *w;
    if (read_log(c->l, c->m, !c->m->wait_ms))
        return;
    w = calloc(1, sizeof *w);
    if (!w) {
        answer_err(c, -ENOMEM, "read log", NULL);
        return;
    }
    w->owner = c->l;
    w->call = *c->m;
    uv_timer_init(&c->l->egress->loop, &w->timer);
    w->timer.data = w;
    uv_timer_start(&w->timer, on_wait_over, c->m->wait_ms, 0);
    list_append(&c->l->waiting, &w->link);
}

void gateway_link_log_grew(struct gateway_link *l, const struct egress_box *b)
{
    if (!l)
        return;
    LIST_FOREACH_SAFE (it, &l->waiting) {
        struct wait *w = LIST_ENTRY(it, struct wait, link);
        if (!strcmp(w->call.disk, b->disk) && read_log(l, &w->call, false))
            end_wait(w);
    }
}

static void on_log_har(struct call *c)
{
    struct egress_log *own, *log = log_of(c->l->egress, c->m->disk, &own);
    CLEANUP_BUF struct buf lines = {0}, out = {0};
    uint64_t cursor, lost;
    size_t most = c->m->count && c->m->count < READ_MAX ? c->m->count : READ_MAX;
    int r = log ? egress_log_read(log, c->m->value, most, &lines, &cursor, &lost) : -ENOENT;
    egress_log_close(own);
    if (r == 0)
        r = har_render(buf_str(&lines), lines.len, &out);
    if (r < 0)
        answer_err(c, r, "render HAR", NULL);
    else
        answer_data(c, &out);
}

static void on_log_remove(struct call *c)
{
    egress_log_remove(c->l->egress->log_dir, c->m->disk);
    unlinkat(c->l->egress->usage_dir, c->m->disk, 0);
    answer_err(c, 0, NULL, NULL);
}

static void on_metrics(struct call *c)
{
    CLEANUP_BUF struct buf out = {0};
    counters_render(&c->l->egress->counters, &out);
    answer_data(c, &out);
}

static void on_usage(struct call *c)
{
    struct wire_egress_reply r = {0};
    r.value = box_stored_usage(c->l->egress, c->m->disk);
    LIST_FOREACH (it, &c->l->egress->boxes) {
        struct egress_box *b = LIST_ENTRY(it, struct egress_box, link);
        if (b->policy && !strcmp(b->disk, c->m->disk))
            r.value = b->bytes;
    }
    answer(c->l, c->m, &r, NULL, 0);
}

static void on_box_ca(struct call *c)
{
    struct egress_box *b = box_find(c->l->egress, c->m->h.box);
    CLEANUP_BUF struct buf out = {0};
    struct wire_egress_reply r = {0};
    if (!b) {
        answer_err(c, EGRESS_E_NOT_FOUND, "find box", "it is not running");
        return;
    }
    int e = authority_pem(b->authority, &out);
    if (e < 0)
        err_set(&r.err, e, "write certificate", NULL);
    r.value = authority_made(b->authority);
    answer(c->l, c->m, &r, out.data, e < 0 ? 0 : out.len);
}

static void (*const table[])(struct call *c) = {
    [EGRESS_BOX_SET] = on_box_set,
    [EGRESS_POLICY_CHECK] = on_policy_check,
    [EGRESS_SECRET_PUT] = on_secret_put,
    [EGRESS_SECRET_REMOVE] = on_secret_remove,
    [EGRESS_SECRET_LIST] = on_secret_list,
    [EGRESS_HANDLER_PUT] = on_handler_put,
    [EGRESS_HANDLER_REMOVE] = on_handler_remove,
    [EGRESS_HANDLER_LIST] = on_handler_list,
    [EGRESS_HANDLER_SOURCE] = on_handler_source,
    [EGRESS_LOG_READ] = on_log_read,
    [EGRESS_LOG_HAR] = on_log_har,
    [EGRESS_LOG_REMOVE] = on_log_remove,
    [EGRESS_METRICS] = on_metrics,
    [EGRESS_USAGE] = on_usage,
    [EGRESS_BOX_CA] = on_box_ca,
};

/* ---- the link ---- */

/* The data of a call, copied: never G's own memory, which could change. */
static int take_data(const struct wire_egress_call *m, const uint8_t *msg, size_t len,
                     const int *fds, size_t nfds, char **ret)
{
    struct stat st;
    size_t n = m->data_len, at = 0;
    if (n > DATA_MAX ||
        (nfds ? fstat(fds[0], &st) < 0 || (uint64_t)st.st_size != n : len - sizeof *m != n))
        return -EBADMSG;
    char *data = malloc(n + 1);
    if (!data)
        return -ENOMEM;
    if (!nfds)
        memcpy(data, msg + sizeof *m, n);
    for (ssize_t got; nfds && at < n; at += (size_t)got) {
        got = pread(fds[0], data + at, n - at, (off_t)at);
        if (got <= 0) {
            free(data);
            return -EIO;
        }
    }
    data[n] = 0;
    *ret = data;
    return 0;
}

static void dispatch(struct gateway_link *l, const uint8_t *msg, size_t len, const int *fds,
                     size_t nfds)
{
    struct wire_egress_call m;
    if (len < sizeof m)
        return;
    memcpy(&m, msg, sizeof m);
    m.name[sizeof m.name - 1] = m.disk[sizeof m.disk - 1] = 0;
    struct call c = {.l = l, .m = &m, .len = m.data_len};
    if (m.h.type != WIRE_EGRESS_CALL || m.op >= sizeof table / sizeof *table || !table[m.op] ||
        (*m.disk && strspn(m.disk, "0123456789abcdef") != strlen(m.disk)) ||
        take_data(&m, msg, len, fds, nfds, &c.data) < 0) {
        answer_err(&c, -EBADMSG, "read call", NULL);
        return;
    }
    table[m.op](&c);
    explicit_bzero(c.data, c.len); /* it may have been a secret */
    free(c.data);
}

static void link_closed(uv_handle_t *h)
{
    struct gateway_link *l = h->data;
    close(l->fd);
    free(l);
}

static void drop(struct gateway_link *l)
{
    if (l->closing)
        return;
    l->closing = true;
    LIST_FOREACH_SAFE (it, &l->waiting)
        end_wait(LIST_ENTRY(it, struct wait, link));
    if (l->egress->gateway == l)
        l->egress->gateway = NULL;
    uv_close((uv_handle_t *)&l->poll, link_closed);
}

static void on_ready(uv_poll_t *h, int status, int events)
{
    static uint8_t message[WIRE_MSG_MAX] __attribute__((aligned(16)));
    struct gateway_link *l = h->data;
    (void)status;
    (void)events;
    for (int i = 0; i < 64 && !l->closing; i++) {
        int fds[FD_MSG_MAX_FDS];
        size_t nfds = FD_MSG_MAX_FDS;
        ssize_t n = fd_recv(l->fd, message, sizeof message, fds, &nfds);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            drop(l);
            return;
        }
        dispatch(l, message, (size_t)n, fds, nfds);
        explicit_bzero(message, (size_t)n);
        for (size_t k = 0; k < nfds; k++)
            fd_close(fds[k]);
    }
}

void gateway_link_replace(struct egress *e, int take_fd)
{
    struct gateway_link *l = calloc(1, sizeof *l);
    if (e->gateway)
        drop(e->gateway);
    if (!l || fd_set_nonblock(take_fd, 1) < 0 || uv_poll_init(&e->loop, &l->poll, take_fd) < 0) {
        close(take_fd);
        free(l);
        return;
    }
    l->egress = e;
    l->fd = take_fd;
    list_init(&l->waiting);
    l->poll.data = l;
    e->gateway = l;
    uv_poll_start(&l->poll, UV_READABLE, on_ready);
}
