/*
 * GET /v1/sandboxes/{name}/watch: changes of files as server-sent events. A watch outlives the
 * connection for a while and keeps its last events, so that a client that comes back with
 * Last-Event-ID misses nothing; where it would, it is told to look for itself (resync).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/files_call.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/id.h"
#include "sandbox/base/json.h"

enum {
    EVENTS_MAX = 4096,    /* kept of a watch */
    RETAIN_MS = 60000,    /* without a client */
    HEARTBEAT_MS = 15000, /* of silence */
    TICK_MS = 1000,
    WATCHES_PER_BOX = 32,
    COALESCE_MAX_MS = 10000,
};

struct event {
    char *json; /* the members behind type and timestamp */
    const char *type;
    uint64_t time_us;
};

struct watch {
    struct list item, clients;
    struct gateway *gw;
    char id[17], sandbox[64], path[FILES_PATH_MAX];
    struct files_link *link;
    bool established;
    struct event events[EVENTS_MAX]; /* number n is at n % EVENTS_MAX */
    uint64_t next;                   /* number of the event to come, from 1 */
    uint64_t orphan_since_ms;        /* 0: it has clients */
};

struct client {
    struct list item;
    struct gateway *gw;
    struct exchange *x;
    struct watch *watch; /* NULL: it waits for the sandbox */
    uint64_t next, sent_ms;
    struct sandbox_hold hold;
    bool begun, root;
    /* the watch to be made */
    char sandbox[64];
    struct files_request rq;
    struct buf strings;
};

struct watches {
    struct list list;
    struct gateway *gw;
    uv_timer_t tick;
};

static void client_free(struct client *c)
{
    list_remove(&c->item);
    sandbox_release(&c->hold);
    if (c->watch && list_empty(&c->watch->clients))
        c->watch->orphan_since_ms = uv_now(c->gw->loop);
    buf_deinit(&c->strings);
    free(c);
}

static void watch_free(struct watch *w)
{
    list_remove(&w->item);
    files_link_free(w->link);
    for (size_t i = 0; i < EVENTS_MAX; i++)
        free(w->events[i].json);
    free(w);
}

/* ---- to the client ---- */

static void put_head(struct buf *b, const struct watch *w, uint64_t number, const char *type,
                     uint64_t time_us)
{
    buf_printf(b, "id: %s:%llu\nevent: %s\ndata: {\"type\":\"%s\",\"timestamp\":", w->id,
               (unsigned long long)number, type, type);
    api_put_time(b, time_us);
}

/* Everything from here on has to be looked at anew. */
static void put_resync(struct client *c, const char *reason)
{
    struct buf *b = exchange_chunk(c->x);
    put_head(b, c->watch, c->watch->next - 1, "resync", api_now_us());
    buf_printf(b, ",\"reason\":\"%s\"}\n\n", reason);
    c->next = c->watch->next;
}

/* Sends what it has not had, as far as it takes it. */
static void feed(struct client *c)
{
    struct watch *w = c->watch;
    uint64_t oldest = w->next > EVENTS_MAX ? w->next - EVENTS_MAX : 1;
    if (c->next < oldest)
        put_resync(c, "slow");
    while (c->next < w->next && exchange_queued(c->x) < HTTP_QUEUE_HIGH) {
        const struct event *e = &w->events[c->next % EVENTS_MAX];
        struct buf *b = exchange_chunk(c->x);
        put_head(b, w, c->next, e->type, e->time_us);
        buf_puts(b, e->json ? e->json : "");
        buf_puts(b, "}\n\n");
        c->next++;
    }
    c->sent_ms = uv_now(c->gw->loop);
    exchange_flush(c->x);
}

static void on_drained(void *user)
{
    struct client *c = user;
    if (c->watch && c->begun)
        feed(c);
}

static void on_client_gone(void *user)
{
    struct client *c = user;
    if (!c->watch)
        sandbox_forget(c->gw->manager, c);
    client_free(c);
}

static const struct exchange_ops client_ops = {.closed = on_client_gone, .drained = on_drained};

static void begin_stream(struct client *c)
{
    struct buf *b;
    c->begun = true;
    api_count(c->gw, 200);
    exchange_header(c->x, "Cache-Control", "no-cache");
    exchange_begin(c->x, 200, "text/event-stream");
    b = exchange_chunk(c->x);
    put_head(b, c->watch, c->next - 1, "watching", api_now_us());
    buf_printf(b, ",\"watchId\":\"%s\",\"cursor\":\"%s:%llu\"", c->watch->id, c->watch->id,
               (unsigned long long)(c->next - 1));
    api_member(b, "path", c->watch->path);
    buf_puts(b, "}\n\n");
}

/* ---- from the helper ---- */

static void add_event(struct watch *w, const char *type, char *take_json)
{
    struct event *e = &w->events[w->next % EVENTS_MAX];
    free(e->json);
    *e = (struct event){take_json, type, api_now_us()};
    w->next++;
    LIST_FOREACH_SAFE (it, &w->clients) {
        struct client *c = LIST_ENTRY(it, struct client, item);
        if (c->begun && exchange_queued(c->x) < HTTP_QUEUE_HIGH)
            feed(c);
    }
}

/* The watch is over: clients get what is theirs, or the error if it never was one. */
static void end(struct watch *w, int error, const char *text, const char *reason)
{
    if (w->established) {
        CLEANUP_BUF struct buf b = {0};
        buf_printf(&b, ",\"reason\":\"%s\"", reason);
        add_event(w, "stopped", (char *)buf_steal(&b, &(size_t){0}));
    }
    while (!list_empty(&w->clients)) {
        struct client *c = LIST_ENTRY(w->clients.next, struct client, item);
        struct exchange *x = c->x;
        bool begun = c->begun;
        client_free(c);
        exchange_set_ops(x, NULL, NULL);
        if (begun)
            exchange_end(x);
        else
            files_error(w->gw, x, error, w->path, text);
    }
    watch_free(w);
}

static const char *const event_names[] = {
    [FILES_EV_CREATE] = "create", [FILES_EV_MODIFY] = "modify",     [FILES_EV_DELETE] = "delete",
    [FILES_EV_RENAME] = "rename", [FILES_EV_ATTRIB] = "attributes", [FILES_EV_OVERFLOW] = "resync"};

static bool on_event(struct watch *w, const struct files_head *head, const uint8_t *data,
                     size_t len)
{
    CLEANUP_BUF struct buf b = {0};
    const char *path = (const char *)data;
    if (!len || data[len - 1] || head->arg < FILES_EV_CREATE || head->arg > FILES_EV_GONE)
        return false;
    size_t n = strlen(path) + 1;
    bool pair = head->arg == FILES_EV_RENAME;
    if (pair ? n >= len || strlen(path + n) + n + 1 != len : n != len)
        return false;
    if (head->arg == FILES_EV_GONE) {
        end(w, ENOENT, NULL, "deleted");
        return true;
    }
    if (pair) {
        api_member(&b, "path", path + n);
        api_member(&b, "oldPath", path);
    } else {
        api_member(&b, "path", path);
    }
    if (head->arg == FILES_EV_OVERFLOW)
        buf_puts(&b, ",\"reason\":\"overflow\"");
    buf_printf(&b, ",\"isDirectory\":%s", head->flags & FILES_DIRECTORY ? "true" : "false");
    size_t size;
    add_event(w, event_names[head->arg], b.err ? NULL : (char *)buf_steal(&b, &size));
    return true;
}

static void establish(struct watch *w, const uint8_t *data, size_t len)
{
    size_t n = len < sizeof w->path - 1 ? len : sizeof w->path - 1;
    memcpy(w->path, data, n);
    w->path[n] = 0;
    w->established = true;
    LIST_FOREACH (it, &w->clients) {
        struct client *c = LIST_ENTRY(it, struct client, item);
        begin_stream(c);
        exchange_flush(c->x);
    }
}

static void on_message(void *user, const struct files_head *head, const uint8_t *data, size_t len)
{
    struct watch *w = user;
    char text[300];
    if (head->type == FILES_ENTRY && !w->established) {
        establish(w, data, len);
    } else if (head->type == FILES_ERROR) {
        size_t n = len < sizeof text ? len : sizeof text - 1;
        memcpy(text, data, n);
        text[n] = 0;
        end(w, head->arg && head->arg < 4096 ? (int)head->arg : EIO, text, "failed");
    } else if (head->type != FILES_EVENT || !w->established || !on_event(w, head, data, len)) {
        end(w, EPROTO, NULL, "failed");
    }
}

static void on_link_closed(void *user)
{
    end(user, EHOSTDOWN, "the sandbox has stopped", "sandbox_stopped");
}

static void on_writable(void *user)
{
    (void)user;
}

static const struct files_link_ops link_ops = {
    .message = on_message, .writable = on_writable, .closed = on_link_closed};

/* ---- beginning ---- */

static void refuse(struct client *c, int status, const char *code, const char *text)
{
    struct exchange *x = c->x;
    struct gateway *gw = c->gw;
    client_free(c);
    exchange_set_ops(x, NULL, NULL);
    api_error(gw, x, status, code, "%s", text);
}

static void join(struct client *c, struct watch *w)
{
    c->watch = w;
    w->orphan_since_ms = 0;
    list_append(&w->clients, &c->item);
}

static struct watch *watch_new(struct client *c, struct sandbox *sb)
{
    struct watch *w = calloc(1, sizeof *w);
    int fd;
    if (!w)
        return NULL;
    w->gw = c->gw;
    w->next = 1;
    list_init(&w->item);
    list_init(&w->clients);
    id_hex(w->id, 8);
    memcpy(w->sandbox, c->sandbox, sizeof w->sandbox);
    snprintf(w->path, sizeof w->path, "%s", buf_str(&c->strings));
    if (sandbox_helper(sb, c->root, &fd) == 0)
        w->link = files_link_new(c->gw->loop, fd, &link_ops, w);
    if (!w->link ||
        files_link_send(w->link, &c->rq, sizeof c->rq, c->strings.data, c->strings.len) < 0) {
        watch_free(w);
        return NULL;
    }
    files_link_read(w->link, true);
    list_append(&c->gw->watches->list, &w->item);
    return w;
}

static void on_running(void *user, const struct err *e)
{
    struct client *c = user;
    struct sandbox *sb = sandbox_get(c->gw->manager, c->sandbox);
    if (e->code || !sb) {
        refuse(c, 503, "SANDBOX_START_FAILED", e->text);
        return;
    }
    struct watch *w = watch_new(c, sb);
    if (!w) {
        refuse(c, 503, "WATCH_START_ERROR", "no helper could be reached in the sandbox");
        return;
    }
    c->next = w->next;
    join(c, w);
}

/* The watch that the client had, and goes on where it was. */
static bool resume(struct client *c, const char *cursor)
{
    const char *colon = cursor ? strchr(cursor, ':') : NULL;
    char *rest;
    uint64_t number = colon ? strtoull(colon + 1, &rest, 10) : 0;
    LIST_FOREACH (it, &c->gw->watches->list) {
        struct watch *w = LIST_ENTRY(it, struct watch, item);
        if (!colon || *rest || strlen(w->id) != (size_t)(colon - cursor) ||
            strncmp(w->id, cursor, strlen(w->id)) != 0 || strcmp(w->sandbox, c->sandbox) != 0 ||
            !w->established || number >= w->next)
            continue;
        c->next = number + 1;
        join(c, w);
        begin_stream(c);
        feed(c);
        return true;
    }
    return false;
}

/* ---- the request ---- */

/* Every value of a parameter that may come several times, and each a list with commas. */
static bool put_patterns(struct client *c, const struct http_request *r, const char *name,
                         uint32_t *count)
{
    size_t n = strlen(name);
    char value[4096], *save = NULL;
    for (const char *p = r->query; *p;) {
        size_t len = strcspn(p, "&");
        if (len > n && !strncmp(p, name, n) && p[n] == '=') {
            if (http_percent_decode(p + n + 1, len - n - 1, true, value, sizeof value) < 0)
                return false;
            for (char *s = strtok_r(value, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
                if (c->rq.nstrings == FILES_STRINGS_MAX)
                    return false;
                c->rq.nstrings++;
                ++*count;
                buf_put(&c->strings, s, strlen(s) + 1);
            }
        }
        p += len + (p[len] == '&');
    }
    return true;
}

static bool read_options(struct client *c, const struct http_request *r)
{
    static const char *const unwatched[] = {".git", "node_modules", ".DS_Store"};
    char path[FILES_PATH_MAX + 16] = "/workspace";
    bool recursive = true;
    uint32_t excludes = 0;
    long coalesce = 0;
    if (strstr(r->query, "path=") && !http_query(r, "path", path, sizeof path)) {
        api_error(c->gw, c->x, 400, "INVALID_PATH",
                  "the path is too long, not well encoded, or holds a NUL");
        return false;
    }
    if (!files_path_text(c->gw, c->x, path) || !files_user(c->gw, c->x, r, &c->root) ||
        !files_query_flag(c->gw, c->x, r, "recursive", &recursive) ||
        !api_query_int(c->gw, c->x, r, "coalesce", 0, COALESCE_MAX_MS, &coalesce))
        return false;
    c->rq = (struct files_request){
        .h = {.type = FILES_WATCH}, .nstrings = 1, .offset = (uint64_t)coalesce};
    buf_put(&c->strings, path, strlen(path) + 1);
    c->rq.h.flags = recursive ? FILES_RECURSIVE : 0;
    bool ok =
        put_patterns(c, r, "include", &c->rq.npatterns) && put_patterns(c, r, "exclude", &excludes);
    for (size_t i = 0; ok && !strstr(r->query, "exclude=") && i < 3; i++) {
        ok = c->rq.nstrings++ < FILES_STRINGS_MAX;
        buf_put(&c->strings, unwatched[i], strlen(unwatched[i]) + 1);
    }
    if (!ok || c->strings.err)
        api_error(c->gw, c->x, 400, "INVALID_PARAMETER", "too many or malformed patterns");
    return ok && !c->strings.err;
}

static unsigned count_watches(struct gateway *gw, const char *sandbox)
{
    unsigned n = 0;
    LIST_FOREACH (it, &gw->watches->list) {
        const struct watch *w = LIST_ENTRY(it, struct watch, item);
        n += !strcmp(w->sandbox, sandbox);
    }
    return n;
}

static void start(struct client *c, struct sandbox *sb, const struct http_request *r)
{
    const char *last = http_header(r, "last-event-id");
    char since[64];
    if (!last && http_query(r, "since", since, sizeof since))
        last = since;
    exchange_set_ops(c->x, &client_ops, c);
    sandbox_hold(sb, &c->hold);
    if (resume(c, last))
        return;
    if (last) {
        /* A client that was away for too long: told apart from one that is new. */
        refuse(c, 410, "WATCH_EXPIRED",
               "this watch is over: begin a new one without a cursor and look for yourself");
        return;
    }
    if (count_watches(c->gw, c->sandbox) >= WATCHES_PER_BOX) {
        refuse(c, 429, "TOO_MANY_WATCHES", "a sandbox has at most 32 watches");
        return;
    }
    if (sandbox_when_running(sb, on_running, c) < 0)
        refuse(c, 503, "OUT_OF_MEMORY", "out of memory");
}

static void watch(struct gateway *gw, struct exchange *x, const struct http_request *r,
                  const struct route_params *p)
{
    struct sandbox *sb = api_sandbox(gw, x, p->value[0]);
    if (sb && !api_wants_events(r)) {
        api_error(gw, x, 406, "NOT_ACCEPTABLE", "a watch is a stream: Accept: text/event-stream");
        return;
    }
    struct client *c = sb ? calloc(1, sizeof *c) : NULL;
    if (!sb)
        return;
    if (!c) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    c->gw = gw;
    c->x = x;
    c->sent_ms = uv_now(gw->loop);
    list_init(&c->item);
    buf_init(&c->strings, FILES_DATA_MAX - sizeof c->rq);
    memcpy(c->sandbox, p->value[0], strlen(p->value[0]) + 1);
    if (read_options(c, r))
        start(c, sb, r);
    else
        client_free(c);
}

static void on_tick(uv_timer_t *t)
{
    struct watches *s = t->data;
    uint64_t now = uv_now(s->gw->loop);
    LIST_FOREACH_SAFE (it, &s->list) {
        struct watch *w = LIST_ENTRY(it, struct watch, item);
        if (w->orphan_since_ms && now - w->orphan_since_ms > RETAIN_MS) {
            watch_free(w);
            continue;
        }
        LIST_FOREACH_SAFE (jt, &w->clients) {
            struct client *c = LIST_ENTRY(jt, struct client, item);
            if (c->begun && now - c->sent_ms >= HEARTBEAT_MS) {
                c->sent_ms = now;
                exchange_write(c->x, ":\n\n", 3);
            }
        }
    }
}

int api_watches_init(struct gateway *gw)
{
    struct watches *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->gw = gw;
    list_init(&s->list);
    uv_timer_init(gw->loop, &s->tick);
    s->tick.data = s;
    uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    gw->watches = s;
    return 0;
}

const struct route api_watch_routes[] = {{"GET", "/v1/sandboxes/{name}/watch", watch, 0}};
const size_t api_watch_nroutes = 1;
