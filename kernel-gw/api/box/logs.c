/* GET .../processes/{id}/logs: what is kept of a process's output from a cursor on, as one document
 * or, with follow, as events until it ends. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel-gw/api/box/box.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"

struct logs {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    char id[WIRE_PROCESS_ID];
    bool follow, answered, over, lost;
    int only; /* 0 both, else WIRE_FRAME_STDOUT or _STDERR */
    enum box_encoding encoding;
    struct process_stream *stream;
    struct sandbox_hold hold;
    struct box_events events;
    struct box_text text[2];
    uint64_t tail_at[2]; /* cursor of the first byte that box_text holds back */
    struct buf out[2];
    uint64_t first, next;
};

static void logs_free(struct logs *l)
{
    sandbox_release(&l->hold);
    process_stream_free(l->stream);
    box_events_forget(&l->events);
    buf_deinit(&l->out[0]);
    buf_deinit(&l->out[1]);
    free(l);
}

static void let_go(struct logs *l)
{
    l->over = true;
    process_stream_free(STEAL_PTR(l->stream));
    if (l->answered)
        logs_free(l);
}

static void on_client_gone(void *user)
{
    struct logs *l = user;
    l->x = NULL;
    box_events_forget(&l->events);
    let_go(l);
}

static void on_drained(void *user)
{
    struct logs *l = user;
    if (l->stream)
        process_stream_resume(l->stream);
}

static const struct exchange_ops logs_ops = {.closed = on_client_gone, .drained = on_drained};

static void fail(struct logs *l, const struct err *err)
{
    struct exchange *x = STEAL_PTR(l->x);
    int status;
    if (x && l->events.x) {
        struct buf *b = box_event(&l->events, "error", 0, NULL);
        api_member(b, "code", box_error_code(err, &status));
        api_member(b, "message", err->text);
        box_event_end(&l->events);
        box_events_end(&l->events);
    } else if (x) {
        exchange_set_ops(x, NULL, NULL);
        box_error(l->gw, x, err, "process", l->id);
    }
    let_go(l);
}

/* Where a reader goes on that has had everything up to here: before a character that is cut. */
static uint64_t resume_point(const struct logs *l)
{
    uint64_t at = l->next;
    for (int i = 0; i < 2; i++)
        if (l->text[i].len && l->tail_at[i] < at)
            at = l->tail_at[i];
    return at;
}

static void emit(struct logs *l, int i, uint64_t time_us, const void *data, size_t len, bool end)
{
    CLEANUP_BUF struct buf piece = {0};
    char id[24];
    bool any = box_put_piece(&piece, &l->text[i], l->encoding, data, len, end);
    l->tail_at[i] = l->next - l->text[i].len;
    if (!any)
        return;
    snprintf(id, sizeof id, "%llu", (unsigned long long)resume_point(l));
    struct buf *b = box_event(&l->events, i ? "stderr" : "stdout", time_us, id);
    api_member(b, "processId", l->id);
    buf_put(b, piece.data, piece.len);
    buf_printf(b, ",\"cursor\":%llu", (unsigned long long)resume_point(l));
    if (box_event_end(&l->events))
        process_stream_pause(l->stream);
}

static void on_output(struct logs *l, int i, const struct wire_frame *f, const uint8_t *payload)
{
    bool gap = f->cursor > l->next;
    l->lost |= gap;
    l->next = f->cursor + f->len;
    if (l->only && l->only != f->type)
        return;
    if (!l->follow) {
        buf_put(&l->out[i], payload, f->len);
        return;
    }
    if (gap) {
        struct buf *b = box_event(&l->events, "gap", 0, NULL);
        buf_printf(b, ",\"cursor\":%llu", (unsigned long long)f->cursor);
        box_event_end(&l->events);
    }
    emit(l, i, f->time_us, payload, f->len, false);
}

static void put_document(struct logs *l, struct buf *b)
{
    static const char *const names[] = {"stdout", "stderr"};
    bool base64;
    buf_init(b, 200u << 20);
    buf_puts(b, "{\"processId\":");
    json_put_cstring(b, l->id);
    for (int i = 0; i < 2; i++) {
        buf_printf(b, ",\"%s\":", names[i]);
        box_put_bytes(b, l->out[i].data, l->out[i].len, l->encoding, &base64);
        buf_printf(b, ",\"%sEncoding\":\"%s\"", names[i], base64 ? "base64" : "utf-8");
    }
    buf_printf(b, ",\"cursor\":%llu,\"truncated\":%s}", (unsigned long long)l->next,
               l->lost ? "true" : "false");
}

static void finish(struct logs *l, const struct wire_process_info *info)
{
    struct exchange *x = STEAL_PTR(l->x);
    if (l->follow) {
        for (int i = 0; i < 2; i++)
            emit(l, i, 0, NULL, 0, true);
        struct buf *b = box_event(&l->events, "exit", info->ended_us, NULL);
        api_member(b, "processId", l->id);
        box_put_end(b, info->status, info->marks);
        box_event_end(&l->events);
        box_events_end(&l->events);
    } else {
        CLEANUP_BUF struct buf b = {0};
        put_document(l, &b);
        exchange_set_ops(x, NULL, NULL);
        api_json(l->gw, x, 200, &b);
    }
    let_go(l);
}

static void on_frame(void *user, const struct wire_frame *f, const uint8_t *payload)
{
    struct logs *l = user;
    struct wire_process_info info;
    if (f->type == WIRE_FRAME_STDOUT || f->type == WIRE_FRAME_STDERR) {
        on_output(l, f->type - WIRE_FRAME_STDOUT, f, payload);
        return;
    }
    if (f->type == WIRE_FRAME_CAUGHT_UP) /* nobody has come further */
        l->next = f->cursor;
    if (f->len != sizeof info)
        return;
    memcpy(&info, payload, sizeof info);
    if (f->type == WIRE_FRAME_EXIT) {
        finish(l, &info);
    } else if (f->type == WIRE_FRAME_RESTART && l->follow) {
        struct buf *b = box_event(&l->events, "restart", info.ended_us, NULL);
        buf_printf(b, ",\"restarts\":%u", info.restarts);
        box_put_end(b, info.status, info.marks);
        box_event_end(&l->events);
    }
}

static void on_stream_closed(void *user)
{
    struct logs *l = user;
    struct err gone = {0};
    process_stream_free(STEAL_PTR(l->stream));
    if (!l->answered)
        return;
    err_set(&gone, -ECONNRESET, "logs", "the sandbox ended");
    fail(l, &gone);
}

static const struct process_stream_ops stream_ops = {.frame = on_frame, .closed = on_stream_closed};

static void on_attached(void *user, const struct err *error, const struct wire_message *m)
{
    struct logs *l = user;
    struct err err = *error;
    (void)m;
    l->answered = true;
    if (l->over) {
        logs_free(l);
        return;
    }
    if (!err.code && !l->stream)
        err_set(&err, -ECONNRESET, "logs", "the sandbox ended");
    if (!err.code && l->follow && box_events_begin(&l->events, l->gw, l->x, &logs_ops, l) < 0)
        err_set(&err, -ENOMEM, "logs", NULL);
    if (err.code) {
        fail(l, &err);
        return;
    }
    if (l->follow)
        exchange_flush(l->x); /* the head: it is being followed now */
    process_stream_resume(l->stream);
}

/* Where to begin: Last-Event-ID of a client that comes back, else ?cursor=. False: answered. */
static bool read_cursor(struct gateway *gw, struct exchange *x, const struct http_request *r,
                        uint64_t *ret)
{
    const char *last = http_header(r, "last-event-id");
    char text[24] = "0", *end;
    if (last)
        box_copy(text, sizeof text, last);
    else if (strstr(r->query, "cursor=") && !http_query(r, "cursor", text, sizeof text))
        text[0] = 0;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    enum { CURSOR_BITS = 53 }; /* what numbers of JSON hold */
    if (*text >= '0' && *text <= '9' && !*end && !errno && *ret >> CURSOR_BITS == 0)
        return true;
    api_error_detail(gw, x, 400, "INVALID_PARAMETER", "parameter", "cursor",
                     "a cursor is a number that logs gave");
    return false;
}

/* 1, true, 0, false or nothing; -1: something else. */
static int read_flag(const struct http_request *r, const char *name)
{
    char word[8];
    if (!strstr(r->query, name))
        return 0;
    if (!http_query(r, name, word, sizeof word))
        return -1;
    return !strcmp(word, "1") || !strcmp(word, "true")    ? 1
           : !strcmp(word, "0") || !strcmp(word, "false") ? 0
                                                          : -1;
}

static bool read_choices(struct logs *l, const struct http_request *r)
{
    char word[16];
    int follow = read_flag(r, "follow");
    if (follow < 0)
        return false;
    l->follow = follow || api_wants_events(r);
    if (http_query(r, "encoding", word, sizeof word)) {
        if (strcmp(word, "base64") != 0 && strcmp(word, "utf-8") != 0)
            return false;
        l->encoding = !strcmp(word, "base64") ? BOX_BASE64 : BOX_UTF8;
    }
    if (!http_query(r, "stream", word, sizeof word))
        return true;
    l->only = !strcmp(word, "stdout")   ? WIRE_FRAME_STDOUT
              : !strcmp(word, "stderr") ? WIRE_FRAME_STDERR
                                        : 0;
    return l->only != 0;
}

static void attach(struct logs *l, struct wire_link *init)
{
    int theirs = -1;
    struct err err = {0};
    exchange_set_ops(l->x, &logs_ops, l);
    l->stream = process_stream_new(l->gw->loop, &stream_ops, l, &theirs);
    if (!l->stream) {
        l->answered = true;
        err_set(&err, -EMFILE, "logs", NULL);
        fail(l, &err);
        return;
    }
    process_stream_pause(l->stream);
    process_link_attach(init, l->id, l->next,
                        WIRE_ATTACH_READ_ONLY | (l->follow ? 0 : WIRE_ATTACH_NO_FOLLOW), theirs,
                        on_attached, l);
    fd_close(theirs);
}

void box_logs(struct gateway *gw, struct exchange *x, const struct http_request *r,
              const struct route_params *p)
{
    uint64_t cursor;
    if (!read_cursor(gw, x, r, &cursor))
        return;
    struct wire_link *init = box_running(gw, x, p->value[0], "process", p->value[1]);
    struct logs *l = init ? calloc(1, sizeof *l) : NULL;
    if (!init)
        return;
    if (!l) {
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    *l = (struct logs){.gw = gw, .x = x, .next = cursor};
    box_copy(l->id, sizeof l->id, p->value[1]);
    sandbox_hold(sandbox_get(gw->manager, p->value[0]), &l->hold);
    if (read_choices(l, r)) {
        attach(l, init);
        return;
    }
    api_error(gw, x, 400, "INVALID_PARAMETER",
              "encoding is utf-8 or base64, stream is stdout or stderr, follow is 1 or 0");
    logs_free(l);
}
