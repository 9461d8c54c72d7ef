#include "kernel-gw/api/files_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"

enum { IDLE_MS = 15000, IDLE_MAX = 256, IDLE_PER_BOX = 4, CALLS_PER_BOX = 64, TICK_MS = 5000 };

/* A helper that waits for its next operation. */
struct idle {
    struct list item;
    struct files_calls *owner;
    struct files_link *link;
    uint64_t box, since_ms;
    bool root;
};

struct files_calls {
    struct gateway *gw;
    struct list calls, idle;
    unsigned nidle;
    uv_timer_t tick;
};

static void idle_drop(struct idle *i)
{
    list_remove(&i->item);
    i->owner->nidle--;
    files_link_free(i->link);
    free(i);
}

static void idle_closed(void *user)
{
    idle_drop(user);
}

/* Nobody asked it. */
static void idle_message(void *user, const struct files_head *head, const uint8_t *data, size_t len)
{
    (void)head;
    (void)data;
    (void)len;
    idle_drop(user);
}

static const struct files_link_ops idle_ops = {.message = idle_message, .closed = idle_closed};

static void on_tick(uv_timer_t *t)
{
    struct files_calls *s = t->data;
    uint64_t now = uv_now(s->gw->loop);
    LIST_FOREACH_SAFE (it, &s->idle) {
        struct idle *i = LIST_ENTRY(it, struct idle, item);
        if (now - i->since_ms > IDLE_MS)
            idle_drop(i);
    }
}

int api_files_init(struct gateway *gw)
{
    struct files_calls *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->gw = gw;
    list_init(&s->calls);
    list_init(&s->idle);
    uv_timer_init(gw->loop, &s->tick);
    s->tick.data = s;
    uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    gw->files = s;
    return 0;
}

static void keep_idle(struct files_call *c)
{
    struct files_calls *s = c->gw->files;
    unsigned same = 0;
    LIST_FOREACH (it, &s->idle) {
        const struct idle *i = LIST_ENTRY(it, struct idle, item);
        same += i->box == c->box;
    }
    struct idle *kept = same < IDLE_PER_BOX && s->nidle < IDLE_MAX ? calloc(1, sizeof *kept) : NULL;
    if (!kept)
        return;
    kept->owner = s;
    kept->link = STEAL_PTR(c->link);
    kept->box = c->box;
    kept->root = c->root;
    kept->since_ms = uv_now(c->gw->loop);
    list_append(&s->idle, &kept->item);
    s->nidle++;
    files_link_set_ops(kept->link, &idle_ops, kept);
    files_link_read(kept->link, true);
}

void files_call_free(struct files_call *c)
{
    list_remove(&c->item);
    sandbox_release(&c->hold);
    if (c->ops->freed)
        c->ops->freed(c);
    files_link_free(c->link);
    buf_deinit(&c->strings);
    buf_deinit(&c->unsent);
    buf_deinit(&c->out);
    free(c);
}

/* The end of every call that began: by an error, errno and text, or well (0). */
static void finish(struct files_call *c, int error, const char *text)
{
    struct exchange *x = STEAL_PTR(c->x);
    if (c->over)
        return;
    c->over = true;
    if (x && error && c->begun)
        exchange_abort(x);
    else if (x && error)
        files_error(c->gw, x, error, buf_str(&c->strings), text);
    files_call_free(c);
}

/* ---- the client's side ---- */

static void on_client_gone(void *user)
{
    struct files_call *c = user;
    c->x = NULL;
    if (c->waiting)
        sandbox_forget(c->gw->manager, c);
    finish(c, ECANCELED, NULL);
}

static void on_drained(void *user)
{
    struct files_call *c = user;
    if (c->link)
        files_link_read(c->link, true);
}

/* Sends what of the body waits. false: there is no room, or the link is broken. */
static bool push(struct files_call *c)
{
    struct files_head head = {.type = FILES_DATA};
    while (c->unsent.len) {
        size_t n = c->unsent.len < FILES_DATA_MAX ? c->unsent.len : FILES_DATA_MAX;
        if (files_link_send(c->link, &head, sizeof head, c->unsent.data, n) < 0)
            return false;
        buf_consume(&c->unsent, n);
    }
    buf_reset(&c->unsent);
    head.type = FILES_END;
    if (c->body_ended && files_link_send(c->link, &head, sizeof head, NULL, 0) == 0) {
        c->body_ended = false;
        c->upload = false;
    }
    return true;
}

static void on_body(void *user, const char *data, size_t len)
{
    struct files_call *c = user;
    struct files_head head = {.type = FILES_DATA};
    while (len) {
        size_t n = len < FILES_DATA_MAX ? len : FILES_DATA_MAX;
        int r = files_link_send(c->link, &head, sizeof head, data, n);
        if (r < 0) {
            exchange_body_read(c->x, false);
            if (r == -EAGAIN && buf_put(&c->unsent, data, len) < 0)
                finish(c, ENOMEM, NULL);
            return; /* the helper has ended: it said why, and that is read in a moment */
        }
        data += n;
        len -= n;
    }
}

static void on_body_end(void *user)
{
    struct files_call *c = user;
    c->body_ended = true;
    push(c);
}

static const struct exchange_ops exchange_ops = {
    .closed = on_client_gone, .drained = on_drained, .body = on_body, .body_end = on_body_end};

/* ---- the helper's side ---- */

/* The helper is ready for the body. */
static void begin_upload(struct files_call *c)
{
    if (!exchange_body_pending(c->x))
        on_body_end(c);
    else
        exchange_body_read(c->x, true);
}

static void on_error(struct files_call *c, const struct files_head *head, const uint8_t *data,
                     size_t len)
{
    char text[300];
    size_t n = len < sizeof text ? len : sizeof text - 1;
    memcpy(text, data, n);
    text[n] = 0;
    if (!c->upload && c->rq.h.type != FILES_WRITE && c->rq.h.type != FILES_UNPACK)
        keep_idle(c);
    finish(c, head->arg && head->arg < 4096 ? (int)head->arg : EIO, text);
}

static void on_end(struct files_call *c, const struct files_head *head)
{
    struct exchange *x = c->x;
    exchange_set_ops(x, NULL, NULL);
    keep_idle(c);
    c->over = true;
    c->ops->end(c, head);
    c->x = NULL;
    files_call_free(c);
}

static void on_message(void *user, const struct files_head *head, const uint8_t *data, size_t len)
{
    struct files_call *c = user;
    int r = 0;
    switch (head->type) {
    case FILES_ENTRY:
        if (c->upload && !len) {
            begin_upload(c);
            return; /* it may be over */
        }
        r = c->ops->entry ? c->ops->entry(c, head->flags, data, len) : 0;
        break;
    case FILES_DATA:
    case FILES_EVENT:
        r = c->ops->data ? c->ops->data(c, head, data, len) : -EPROTO;
        break;
    case FILES_END:
        if (!c->upload) {
            on_end(c, head);
            return;
        }
        r = -EPROTO;
        break;
    case FILES_ERROR:
        on_error(c, head, data, len);
        return;
    default:
        r = -EPROTO;
    }
    if (r < 0)
        finish(c, -r, "the helper in the sandbox broke the protocol");
    else if (c->begun && exchange_queued(c->x) > HTTP_QUEUE_HIGH)
        files_link_read(c->link, false);
}

static void on_writable(void *user)
{
    struct files_call *c = user;
    if (push(c) && c->upload && c->x && exchange_body_pending(c->x))
        exchange_body_read(c->x, true);
}

static void on_closed(void *user)
{
    finish(user, EHOSTDOWN, "the helper in the sandbox has ended");
}

static const struct files_link_ops link_ops = {
    .message = on_message, .writable = on_writable, .closed = on_closed};

/* ---- beginning ---- */

static struct files_link *take_idle(struct files_call *c)
{
    LIST_FOREACH (it, &c->gw->files->idle) {
        struct idle *i = LIST_ENTRY(it, struct idle, item);
        if (i->box != c->box || i->root != c->root)
            continue;
        struct files_link *link = STEAL_PTR(i->link);
        idle_drop(i);
        files_link_set_ops(link, &link_ops, c);
        return link;
    }
    return NULL;
}

static int send_request(struct files_call *c)
{
    return files_link_send(c->link, &c->rq, sizeof c->rq, c->strings.data, c->strings.len);
}

static int open_link(struct files_call *c, struct sandbox *sb)
{
    int fd;
    while ((c->link = take_idle(c))) {
        if (send_request(c) == 0)
            return 0;
        files_link_free(c->link); /* it had ended, and we had not heard yet */
    }
    int r = sandbox_helper(sb, c->root, &fd);
    if (r < 0)
        return r;
    c->link = files_link_new(c->gw->loop, fd, &link_ops, c);
    return c->link ? send_request(c) : -ENOMEM;
}

static void on_running(void *user, const struct err *e)
{
    struct files_call *c = user;
    struct sandbox *sb = sandbox_get(c->gw->manager, c->sandbox);
    c->waiting = false;
    if (e->code || !sb) {
        struct exchange *x = c->x;
        struct gateway *gw = c->gw;
        files_call_free(c);
        if (sb)
            api_error_err(gw, x, 503, "SANDBOX_START_FAILED", e);
        else
            api_error(gw, x, 404, "SANDBOX_NOT_FOUND", "the sandbox was removed");
        return;
    }
    c->box = sandbox_box(sb);
    int r = open_link(c, sb);
    if (r < 0)
        finish(c, -r, NULL);
    else
        files_link_read(c->link, true);
}

struct files_call *files_call_new(struct gateway *gw, struct exchange *x, struct sandbox *sb,
                                  const struct files_call_ops *ops, enum files_type type,
                                  const char *path)
{
    struct files_call *c = calloc(1, sizeof *c);
    struct sandbox_info info;
    if (!c) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return NULL;
    }
    sandbox_get_info(sb, &info);
    *c = (struct files_call){.gw = gw, .x = x, .ops = ops, .rq.h.type = type};
    memcpy(c->sandbox, info.name, strlen(info.name) + 1);
    list_init(&c->item);
    buf_init(&c->strings, FILES_DATA_MAX - sizeof c->rq);
    files_call_string(c, path);
    return c;
}

int files_call_string(struct files_call *c, const char *s)
{
    c->rq.nstrings++;
    return buf_put(&c->strings, s, strlen(s) + 1);
}

void files_call_start(struct files_call *c)
{
    struct sandbox *sb = sandbox_get(c->gw->manager, c->sandbox);
    unsigned running = 0;
    LIST_FOREACH (it, &c->gw->files->calls) {
        const struct files_call *other = LIST_ENTRY(it, struct files_call, item);
        running += !strcmp(other->sandbox, c->sandbox);
    }
    if (running >= CALLS_PER_BOX || c->strings.err) {
        struct exchange *x = c->x;
        struct gateway *gw = c->gw;
        bool busy = running >= CALLS_PER_BOX;
        files_call_free(c);
        api_error(gw, x, busy ? 429 : 400, busy ? "TOO_MANY_OPERATIONS" : "REQUEST_TOO_LARGE",
                  busy ? "%d file operations are running in this sandbox"
                       : "the paths and patterns together are too long",
                  CALLS_PER_BOX);
        return;
    }
    list_append(&c->gw->files->calls, &c->item);
    exchange_set_ops(c->x, &exchange_ops, c);
    c->waiting = true;
    sandbox_hold(sb, &c->hold);
    if (sandbox_when_running(sb, on_running, c) < 0) {
        c->waiting = false;
        finish(c, ENOMEM, NULL);
    }
}
