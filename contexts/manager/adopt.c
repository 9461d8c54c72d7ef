/* After a restart of G: B hands the live boxes and contexts back, the journals tell the rest. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "contexts/manager/private.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"

static json_t *blob(const struct wire_message *msg, size_t head)
{
    return msg->len > head ? json_loadb((const char *)msg->head + head, msg->len - head, 0, NULL)
                           : NULL;
}

static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* A box without a blob was waiting in the pool; what it was doing is not known any more. */
static void adopt_box(struct manager *m, const struct wire_message *msg)
{
    struct pool_box pb = {0};
    if (msg->len < sizeof pb.created || msg->nfds < 1)
        return;
    memcpy(&pb.created, msg->head, sizeof pb.created);
    pb.box = msg->head->box;
    json_t *o = blob(msg, sizeof pb.created);
    /* A sandbox that the registry does not know was never told of: its box goes with the rest. */
    struct sandbox *sb = sandbox_get(m, text(o, "name"));
    json_decref(o);
    if (sb && sb->state != SANDBOX_RUNNING)
        pb.init = wire_link_new(m->config.loop, STEAL_FD(msg->fds[0]), NULL, NULL);
    if (!pb.init) {
        log_info(MOD, "box not adopted", "box=%llu sandbox=%s", (unsigned long long)pb.box,
                 sb ? sb->name : "-");
        boxes_destroy(m->config.boxes, pb.box, sb != NULL, NULL, NULL);
        return;
    }
    pb.context = 0;
    sandbox_attach_box(sb, &pb, true);
}

/* What a record means to the state machine beyond its events. */
static void replay_record(struct context *c, const struct journal_record *rec)
{
    uint64_t word = 0;
    if (rec->len >= 8)
        memcpy(&word, rec->data, 8);
    switch (rec->kind) {
    case JOURNAL_REQUEST:
        request_from_record(c, rec);
        return;
    case JOURNAL_STATE:
        c->state = (enum context_state)word;
        break;
    case JOURNAL_RUNNER:
        c->exited = c->broken = false;
        c->live.decoder.error = NULL;
        c->main.execution_count = 0;
        lanes_forget(c);
        c->lost_reason = NULL;
        break;
    case JOURNAL_HELLO: {
        if (rec->len > PROTO_HELLO_MAX) /* of a gateway that took longer ones */
            return;
        struct proto_section s = {rec->data, rec->len};
        struct proto_message hello = {.type = FRAME_HELLO, .nsections = 1, .sections = {s}};
        context_on_message(c, &hello);
        return;
    }
    case JOURNAL_SUBSHELL:
        lane_apply(c, rec);
        return;
    case JOURNAL_NOTICE: {
        struct request *r = request_find(c, word);
        if (r)
            r->lost_reason = "CONTEXT_DIED";
        break;
    }
    default:
        break;
    }
    context_apply(c, rec);
    context_trim(c);
}

static int replay(struct context *c)
{
    struct journal_reader reader;
    struct journal_record rec;
    int r;
    c->replaying = true;
    c->live.decoder.resync = true;
    journal_reader_init(&reader, c->journal, journal_floor(c->journal));
    while ((r = journal_read(&reader, &rec)) == 1)
        replay_record(c, &rec);
    journal_reader_deinit(&reader);
    c->replaying = false;
    return r;
}

static void go_on(struct context *c)
{
    struct request *r = c->main.running;
    c->ready = true;
    for (struct lane *l = NULL; (l = lane_next(c, l));)
        if (l->running)
            request_resend(c, l->running);
    if (r) {
        context_arm_timeout(c);
        if (r->timed_out)
            context_interrupt(c);
    }
    context_settle(c);
}

static void adopt_context(struct manager *m, const struct wire_message *msg)
{
    const struct wire_context *w = (const struct wire_context *)msg->head;
    struct sandbox *sb = sandbox_by_box(m, msg->head->box);
    struct err e = {0};
    if (msg->len < sizeof *w || msg->nfds < 1)
        return;
    json_t *o = blob(msg, sizeof *w);
    if (!o || !sb || context_get(m, text(o, "id")) || strlen(text(o, "id")) != 36) {
        log_error(MOD, "context not adopted", "box=%llu number=%u context=%s box_known=%d",
                  (unsigned long long)msg->head->box, w->context, log_quote(text(o, "id")),
                  sb != NULL);
        json_decref(o);
        boxes_drop_context(m->config.boxes, msg->head->box, w->context);
        return;
    }
    char *env = json_dumps(json_object_get(o, "env"), JSON_COMPACT);
    struct context_spec spec = {.id = text(o, "id"),
                                .language = text(o, "language"),
                                .cwd = text(o, "cwd"),
                                .env = env ? env : "{}",
                                .timeout_ms =
                                    (uint32_t)json_integer_value(json_object_get(o, "timeout"))};
    struct context *c = context_new(sb, &spec, &e);
    free(env);
    if (c) {
        c->created_us = (uint64_t)json_integer_value(json_object_get(o, "created"));
        c->is_default = json_is_true(json_object_get(o, "default"));
        c->number = w->context;
        if (sb->next_context <= w->context)
            sb->next_context = w->context + 1;
        c->state = CONTEXT_IDLE;
        int r = replay(c);
        if (r < 0)
            log_error(MOD, "replay", "context=%s error=%d", c->id, r);
        /* Only now: what waits in the socket comes after what is on file. */
        c->runner = runner_link_new(m->config.loop, STEAL_FD(msg->fds[0]), &context_runner_ops, c);
        c->broken |= !c->runner;
        context_admit(c);
        MANAGER_HOOK(m, context_opened, c);
        log_info(MOD, "context adopted", "context=%s running=%d queued=%u", c->id,
                 c->main.running != NULL, c->nqueue);
        go_on(c);
    } else {
        log_error(MOD, "context not adopted", "context=%s step=%s error=%s", text(o, "id"),
                  log_quote(e.step), log_quote(e.text));
        boxes_drop_context(m->config.boxes, msg->head->box, w->context);
    }
    json_decref(o);
}

void manager_adopt(struct manager *m, const struct wire_message *msg)
{
    if (msg->head->type == WIRE_ADOPT_BOX)
        adopt_box(m, msg);
    else if (msg->head->type == WIRE_ADOPT_CONTEXT)
        adopt_context(m, msg);
}

/* Journals of contexts that ended while nobody looked. */
static void remove_stale(struct manager *m)
{
    int fd = openat(m->config.journal_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    if (!d) {
        fd_close(fd);
        return;
    }
    while ((e = readdir(d))) {
        if (strlen(e->d_name) == 36 && !context_get(m, e->d_name))
            unlinkat(m->config.journal_dir, e->d_name, 0);
    }
    closedir(d);
}

void manager_adopted(struct manager *m)
{
    m->adopted = true;
    remove_stale(m);
    pool_start(m->pool);
}
