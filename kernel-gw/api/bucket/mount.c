/*
 * One mount, step by step: the mount itself, which B makes; s3fs, which init starts with its end of
 * the mount; a program that looks at the directory. Nothing here looks at it itself: what s3fs
 * does is up to the box.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contexts/manager/links/boxes.h"
#include "kernel-gw/api/bucket/bucket.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"

enum { SAID_MAX = 4096, PROBE_MS = 40000, AGAIN_MAX = 5, AGAIN_MS = 1000, GRACE_MS = 5000 };

static struct sandbox *sandbox_of(const struct bucket *b)
{
    struct sandbox *sb = sandbox_get(b->gw->manager, b->sandbox);
    return sb && sandbox_box(sb) == b->box && sandbox_init(sb) ? sb : NULL;
}

static void call_done(struct bucket *b)
{
    void (*done)(void *user, struct bucket *b) = b->done;
    b->done = NULL;
    if (done)
        done(b->user, b);
}

static void on_timer_closed(uv_handle_t *h)
{
    free(h);
}

void bucket_forget_mount(struct bucket *b)
{
    struct sandbox *sb = sandbox_get(b->gw->manager, b->sandbox);
    struct wire_link *init = sb ? sandbox_init(sb) : NULL;
    boxes_forget(b->gw->boxes, b);
    if (init)
        wire_link_forget(init, b);
    process_stream_free(STEAL_PTR(b->server));
    process_stream_free(STEAL_PTR(b->probe));
    box_command_deinit(&b->command);
    buf_reset(&b->said);
    if (b->later)
        uv_close((uv_handle_t *)STEAL_PTR(b->later), on_timer_closed);
    b->box = 0;
    b->state = BUCKET_ASLEEP;
}

void bucket_end_server(struct bucket *b)
{
    struct sandbox *sb = sandbox_of(b);
    if (sb && *b->process)
        process_link_signal(sandbox_init(sb), b->process, SIGTERM, true, GRACE_MS, NULL, NULL);
}

static void on_failed_unmounted(void *user, const struct err *error, const struct wire_message *m)
{
    (void)error;
    (void)m;
    call_done(user);
}

/* It is told once nothing of the mount is left. */
static void fail(struct bucket *b, const char *fmt, const char *text)
{
    uint64_t box = b->box;
    if (b->state == BUCKET_FAILED)
        return;
    snprintf(b->error, sizeof b->error, fmt, text);
    log_warn("bucket", "failed", "sandbox=%s bucket=%s error=%s", b->sandbox, b->id,
             log_quote(b->error));
    bucket_end_server(b);
    bucket_forget_mount(b);
    b->state = BUCKET_FAILED;
    if (box)
        boxes_unfuse(b->gw->boxes, box, b->id, WIRE_FUSE_DETACH, on_failed_unmounted, b);
    else
        call_done(b);
}

static void fail_err(struct bucket *b, const struct err *e)
{
    char text[300];
    snprintf(text, sizeof text, "%s: %s", e->step, e->text);
    fail(b, "%s", text);
}

static void fail_said(struct bucket *b)
{
    char reason[400];
    struct bucket_failure f = bucket_failure_of(buf_str(&b->said));
    bucket_reason(buf_str(&b->said), reason);
    b->failure = f;
    fail(b, "s3fs: %s", *reason ? reason : "it has ended");
}

/* ---- the probe ---- */

static void on_probe_frame(void *user, const struct wire_frame *f, const uint8_t *payload)
{
    struct bucket *b = user;
    struct wire_process_info info;
    if (f->type != WIRE_FRAME_EXIT || f->len != sizeof info)
        return;
    memcpy(&info, payload, sizeof info);
    process_stream_free(STEAL_PTR(b->probe));
    if (b->state != BUCKET_MOUNTING)
        return;
    if (info.status == 0) {
        b->state = BUCKET_MOUNTED;
        *b->error = 0;
        call_done(b);
    } else if (b->said.len) {
        fail_said(b);
    } else {
        fail(b, "%s", "the directory does not answer");
    }
}

static void on_probe_closed(void *user)
{
    struct bucket *b = user;
    process_stream_free(STEAL_PTR(b->probe));
}

static const struct process_stream_ops probe_ops = {.frame = on_probe_frame,
                                                    .closed = on_probe_closed};

static int start(struct bucket *b, json_t *take, const char *id, uint8_t flags, int given,
                 const struct process_stream_ops *ops, struct process_stream **ret,
                 wire_reply_fn *reply)
{
    struct sandbox *sb = sandbox_of(b);
    struct wire_process_start *st = &b->command.start;
    int theirs = -1;
    int r = !take ? -ENOMEM : !sb ? -ENOTCONN : 0;
    b->command = (struct box_command){0};
    if (r == 0)
        r = box_command_make(sb, take, NULL, &b->command);
    json_decref(take);
    if (r == 0 && !(*ret = process_stream_new(b->gw->loop, ops, b, &theirs)))
        r = -EMFILE;
    if (r == 0) {
        snprintf(st->id, sizeof st->id, "%s", id);
        st->kind = WIRE_PROCESS_COMMAND;
        st->flags |= flags;
        r = process_link_start_given(sandbox_init(sb), st, &b->command.spec, given, theirs, reply,
                                     b);
    }
    fd_close(theirs);
    box_command_deinit(&b->command);
    return r;
}

static void on_probe_started(void *user, const struct err *error, const struct wire_message *m)
{
    (void)m;
    if (error->code)
        fail_err(user, error);
}

static void start_probe(struct bucket *b)
{
    char id[WIRE_PROCESS_ID];
    const char *path = api_string(b->spec, "path");
    box_make_id(id, "bucket-probe");
    json_t *o = json_pack("{s:[s, s, s, s], s:s, s:i}", "command", "stat", "-f", "--", path, "cwd",
                          "/", "timeout", PROBE_MS);
    int r = start(b, o, id, WIRE_PROCESS_TIED, -1, &probe_ops, &b->probe, on_probe_started);
    if (r < 0)
        fail(b, "cannot look at the directory: %s", strerror(-r));
}

/* ---- s3fs ---- */

static void on_again(uv_timer_t *t)
{
    struct bucket *b = t->data;
    struct sandbox *sb = sandbox_get(b->gw->manager, b->sandbox);
    uv_close((uv_handle_t *)STEAL_PTR(b->later), on_timer_closed);
    if (sb && sandbox_box(sb))
        bucket_mount(b);
}

/* It ended by itself: the directory answers with errors until it is mounted anew. */
static void ended(struct bucket *b)
{
    uint64_t box = b->box;
    if (b->state != BUCKET_MOUNTED || b->again >= AGAIN_MAX) {
        fail_said(b);
        return;
    }
    log_warn("bucket", "server_ended", "sandbox=%s bucket=%s", b->sandbox, b->id);
    bucket_forget_mount(b);
    boxes_unfuse(b->gw->boxes, box, b->id, WIRE_FUSE_DETACH, NULL, NULL);
    b->again++;
    b->state = BUCKET_MOUNTING;
    if (!(b->later = calloc(1, sizeof *b->later)))
        return;
    uv_timer_init(b->gw->loop, b->later);
    b->later->data = b;
    uv_timer_start(b->later, on_again, AGAIN_MS * b->again, 0);
}

static void on_server_frame(void *user, const struct wire_frame *f, const uint8_t *payload)
{
    struct bucket *b = user;
    if (f->type == WIRE_FRAME_EXIT) {
        ended(b);
    } else if (f->type == WIRE_FRAME_STDOUT || f->type == WIRE_FRAME_STDERR) {
        if (b->said.len + f->len > SAID_MAX)
            buf_reset(&b->said);
        buf_put(&b->said, payload, f->len < SAID_MAX ? f->len : SAID_MAX);
    }
}

static void on_server_closed(void *user)
{
    struct bucket *b = user;
    process_stream_free(STEAL_PTR(b->server));
}

static const struct process_stream_ops server_ops = {.frame = on_server_frame,
                                                     .closed = on_server_closed};

static void on_server_started(void *user, const struct err *error, const struct wire_message *m)
{
    struct bucket *b = user;
    (void)m;
    if (error->code == -ENOENT)
        fail(b, "%s", "there is no s3fs in the image of this sandbox");
    else if (error->code)
        fail_err(b, error);
    else
        start_probe(b);
}

/* The keys say only that requests are to be signed: they are signed again on their way. */
static void on_mount(void *user, const struct err *error, const struct wire_message *m)
{
    struct bucket *b = user;
    if (error->code) {
        fail_err(b, error);
        return;
    }
    if (m->nfds < 1) {
        fail(b, "%s", "the mount has no descriptor");
        return;
    }
    json_t *o =
        json_pack("{s:o, s:s, s:{s:s, s:s, s:s, s:s, s:s}}", "command", bucket_command(b), "cwd",
                  "/", "env", "PATH", "/opt/cellbox/fuse:/usr/local/bin:/usr/bin:/bin",
                  "AWSACCESSKEYID", "signed-outside", "AWSSECRETACCESSKEY", "signed-outside",
                  "AWS_ACCESS_KEY_ID", "signed-outside", "AWS_SECRET_ACCESS_KEY", "signed-outside");
    box_make_id(b->process, "bucket");
    json_object_set_new(b->spec, "process", json_string(b->process));
    int r = start(b, o, b->process, 0, m->fds[0], &server_ops, &b->server, on_server_started);
    if (r < 0)
        fail(b, "cannot start s3fs: %s", strerror(-r));
}

void bucket_mount(struct bucket *b)
{
    struct sandbox *sb = sandbox_get(b->gw->manager, b->sandbox);
    bool read_only = json_is_true(json_object_get(b->spec, "readOnly"));
    b->state = BUCKET_MOUNTING;
    b->failure = (struct bucket_failure){502, "BUCKET_MOUNT_FAILED"};
    b->box = sandbox_box(sb);
    buf_init(&b->said, 2 * SAID_MAX);
    boxes_fuse(b->gw->boxes, b->box, b->id, api_string(b->spec, "path"),
               read_only ? WIRE_FUSE_READ_ONLY : 0, on_mount, b);
}

static void on_watched(void *user, const struct err *error, const struct wire_message *m)
{
    struct bucket *b = user;
    (void)m;
    if (error->code)
        ended(b);
}

void bucket_watch(struct bucket *b)
{
    struct sandbox *sb = sandbox_get(b->gw->manager, b->sandbox);
    const char *process = api_string(b->spec, "process");
    int theirs = -1;
    b->box = sandbox_box(sb);
    b->state = BUCKET_MOUNTED;
    buf_init(&b->said, 2 * SAID_MAX);
    snprintf(b->process, sizeof b->process, "%s", process ? process : "");
    b->server = process_stream_new(b->gw->loop, &server_ops, b, &theirs);
    if (b->server)
        process_link_attach(sandbox_init(sb), b->process, 0, 0, theirs, on_watched, b);
    fd_close(theirs);
}
