/*
 * POST .../processes/{id}/input: standard input of a background process, or of a command of exec,
 * as it comes and however long. Answered once the program has been given all of it; a program that
 * reads slowly makes the client wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/box/box.h"
#include "sandbox/base/fd.h"

enum { QUEUED_MAX = 256 << 10 };

struct input {
    struct gateway *gw;
    struct exchange *x; /* NULL: the client has gone */
    char id[WIRE_PROCESS_ID];
    struct process_stream *stream;
    bool answered, over, end, all_here;
    uint64_t sent, given;
};

static void input_free(struct input *i)
{
    process_stream_free(i->stream);
    free(i);
}

/* init's answer is still to come: it finds the input and frees it. */
static void let_go(struct input *i)
{
    i->over = true;
    process_stream_free(STEAL_PTR(i->stream));
    if (i->answered)
        input_free(i);
}

static void refuse(struct input *i, const char *code, const char *text)
{
    struct exchange *x = STEAL_PTR(i->x);
    if (x) {
        exchange_set_ops(x, NULL, NULL);
        api_error_detail(i->gw, x, 409, code, "process", i->id, "process %s %s", i->id, text);
    }
    let_go(i);
}

/* ---- the client's side ---- */

static void on_client_gone(void *user)
{
    struct input *i = user;
    i->x = NULL;
    let_go(i);
}

static void on_body(void *user, const char *data, size_t len)
{
    struct input *i = user;
    if (!i->stream || process_stream_input(i->stream, data, len) < 0) {
        refuse(i, "PROCESS_ENDED", "ended before it had taken all of its input");
        return;
    }
    i->sent += len;
    if (process_stream_queued(i->stream) > QUEUED_MAX)
        exchange_body_read(i->x, false);
}

static void done(struct input *i)
{
    struct exchange *x = STEAL_PTR(i->x);
    exchange_set_ops(x, NULL, NULL);
    api_empty(i->gw, x, 204);
    let_go(i);
}

static void on_body_end(void *user)
{
    struct input *i = user;
    i->all_here = true;
    if (!i->stream) {
        done(i); /* it ended, but has all */
        return;
    }
    if (i->end)
        process_stream_input_end(i->stream);
    process_stream_sync(i->stream);
}

static const struct exchange_ops input_ops = {
    .closed = on_client_gone, .body = on_body, .body_end = on_body_end};

/* ---- the process' side ---- */

static void on_frame(void *user, const struct wire_frame *f, const uint8_t *payload)
{
    struct input *i = user;
    struct wire_given given;
    if (f->type == WIRE_FRAME_SYNCED && f->len == sizeof given) {
        memcpy(&given, payload, sizeof given);
        i->given = given.bytes;
        if (i->all_here && i->given == i->sent)
            done(i);
        else if (i->all_here)
            refuse(i, "PROCESS_ENDED", "ended, or closed its input, before it had taken all");
    } else if (f->type == WIRE_FRAME_EXIT && i->given < i->sent) {
        refuse(i, "PROCESS_ENDED", "ended before it had taken all of its input");
    } else if (f->type == WIRE_FRAME_EXIT) {
        process_stream_free(STEAL_PTR(i->stream)); /* it is well if no more is to come */
        if (i->all_here)
            done(i);
        else
            exchange_body_read(i->x, true);
    }
}

static void on_drained(void *user)
{
    struct input *i = user;
    if (i->x && !i->all_here && exchange_body_pending(i->x))
        exchange_body_read(i->x, true);
}

static void on_stream_closed(void *user)
{
    struct input *i = user;
    process_stream_free(STEAL_PTR(i->stream));
    if (i->answered) /* else init says why */
        refuse(i, "PROCESS_ENDED", "or its sandbox ended");
}

static const struct process_stream_ops stream_ops = {
    .frame = on_frame, .drained = on_drained, .closed = on_stream_closed};

static void on_attached(void *user, const struct err *error, const struct wire_message *m)
{
    struct input *i = user;
    struct wire_process_info info;
    const char *note;
    size_t cursor = 0;
    i->answered = true;
    if (i->over) {
        input_free(i);
        return;
    }
    bool known = !error->code && process_table_next(m, &cursor, &info, &note) &&
                 (info.kind == WIRE_PROCESS_BACKGROUND || info.kind == WIRE_PROCESS_COMMAND);
    if (!known) {
        static const struct err missing = {.code = -ESRCH};
        struct exchange *x = STEAL_PTR(i->x);
        exchange_set_ops(x, NULL, NULL);
        box_error(i->gw, x, error->code ? error : &missing, "process", i->id);
        let_go(i);
        return;
    }
    json_t *o = json_loadb(note, info.note_len, 0, NULL);
    bool takes = json_is_true(json_object_get(o, "stdin"));
    json_decref(o);
    if (!takes)
        refuse(i, "NO_INPUT", "was started without \"stdin\": true");
    else if (info.state == WIRE_PROCESS_ENDED || !i->stream)
        refuse(i, "PROCESS_ENDED", "has ended");
    else if (!exchange_body_pending(i->x))
        on_body_end(i);
    else
        exchange_body_read(i->x, true);
}

void box_input(struct gateway *gw, struct exchange *x, const struct http_request *r,
               const struct route_params *p)
{
    char end[8];
    int theirs = -1;
    struct wire_link *init = box_running(gw, x, p->value[0], "process", p->value[1]);
    struct input *i = init ? calloc(1, sizeof *i) : NULL;
    if (i)
        i->stream = process_stream_new(gw->loop, &stream_ops, i, &theirs);
    if (!init)
        return;
    if (!i || !i->stream) {
        free(i);
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
        return;
    }
    i->gw = gw;
    i->x = x;
    i->end = http_query(r, "end", end, sizeof end) && !strcmp(end, "true");
    box_copy(i->id, sizeof i->id, p->value[1]);
    exchange_set_ops(x, &input_ops, i);
    /* behind all output, of which this reader wants none */
    process_link_attach(init, i->id, UINT64_MAX, 0, theirs, on_attached, i);
    fd_close(theirs);
}
