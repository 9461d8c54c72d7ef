/*
 * .../processes: programs that outlive the request that started them, and the gateway. What a
 * client knows of one (its command, when it asked) is the note that init keeps beside it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel-gw/api/box/box.h"
#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"

static const char *status_of(const struct wire_process_info *i)
{
    if (i->error)
        return "error";
    switch (i->state) {
    case WIRE_PROCESS_RUNNING:
        return "running";
    case WIRE_PROCESS_WAITING:
        return "restarting";
    default:
        break;
    }
    if (i->marks & (WIRE_MARK_KILLED | WIRE_MARK_TIMED_OUT))
        return "killed";
    return WIFEXITED(i->status) && !WEXITSTATUS(i->status) ? "completed" : "failed";
}

void box_put_process(struct buf *out, const struct wire_process_info *i, const char *note)
{
    buf_puts(out, "{\"id\":");
    json_put_cstring(out, i->id);
    if (i->pid > 0)
        buf_printf(out, ",\"pid\":%d", i->pid);
    else
        buf_puts(out, ",\"pid\":null");
    api_member(out, "status", status_of(i));
    buf_puts(out, ",\"startTime\":");
    api_put_time(out, i->started_us);
    if (i->ended_us && i->state != WIRE_PROCESS_RUNNING) {
        buf_puts(out, ",\"endTime\":");
        api_put_time(out, i->ended_us);
        box_put_end(out, i->status, i->marks);
    }
    if (i->error)
        api_member(out, "error", strerror(-i->error));
    buf_printf(out, ",\"restarts\":%u,\"logs\":{\"first\":%llu,\"next\":%llu}", i->restarts,
               (unsigned long long)i->first, (unsigned long long)i->next);
    /* What init kept for us: members of an object, checked, for the box may have changed them. */
    if (i->note_len && json_check_object(note, i->note_len) == 0 && i->note_len > 2) {
        buf_putc(out, ',');
        buf_put(out, note + 1, i->note_len - 2);
    }
    buf_putc(out, '}');
}

/* ---- start ---- */

struct start {
    struct gateway *gw;
    struct exchange *x;
    json_t *body;
    struct box_command command;
};

static void start_free(void *user)
{
    struct start *s = user;
    box_command_deinit(&s->command);
    json_decref(s->body);
    free(s);
}

static char *make_note(const struct start *s)
{
    CLEANUP_BUF struct buf b = {0};
    CLEANUP_BUF struct buf command = {0};
    const json_t *labels = json_object_get(s->body, "labels");
    const char *cwd = api_string(s->body, "cwd"), *restart = api_string(s->body, "restart");
    enum { COMMAND_SHOWN = 4096 };
    box_put_command(&command, json_object_get(s->body, "command"));
    buf_puts(&b, "{\"command\":");
    if (command.len <= COMMAND_SHOWN) {
        buf_put(&b, command.data, command.len);
    } else { /* whole elsewhere; here people look at it */
        json_put_cstring(&b, "(a long script)");
    }
    api_member(&b, "cwd", cwd ? cwd : "/workspace");
    api_member(&b, "restart", restart ? restart : "never");
    if (json_is_true(json_object_get(s->body, "keepAwake")))
        buf_puts(&b, ",\"keepAwake\":true");
    if (json_is_true(json_object_get(s->body, "stdin")))
        buf_puts(&b, ",\"stdin\":true");
    if (labels) {
        char *text = json_dumps(labels, JSON_COMPACT);
        buf_printf(&b, ",\"labels\":%s", text ? text : "{}");
        free(text);
    }
    buf_putc(&b, '}');
    size_t len;
    return b.err || b.len > WIRE_PROCESS_NOTE_MAX ? NULL : (char *)buf_steal(&b, &len);
}

static int restart_of(const json_t *o)
{
    const char *word = api_string(o, "restart");
    return !word || !strcmp(word, "never") ? WIRE_RESTART_NEVER
           : !strcmp(word, "on-failure")   ? WIRE_RESTART_ON_FAILURE
           : !strcmp(word, "always")       ? WIRE_RESTART_ALWAYS
                                           : -1;
}

static void go(void *user, struct sandbox *sb)
{
    struct start *s = user;
    struct wire_process_start *st = &s->command.start;
    const char *id = api_string(s->body, "processId");
    char *note = make_note(s);
    int r = note ? box_command_make(sb, s->body, note, &s->command) : -EMSGSIZE;
    free(note);
    if (id)
        box_copy(st->id, sizeof st->id, id);
    else
        box_make_id(st->id, "proc");
    st->kind = WIRE_PROCESS_BACKGROUND;
    st->restart = (uint8_t)restart_of(s->body);
    st->restart_max = (uint32_t)api_integer(s->body, "maxRestarts", 0);
    if (json_is_true(json_object_get(s->body, "keepAwake")))
        st->flags |= WIRE_PROCESS_AWAKE;
    if (json_is_true(json_object_get(s->body, "stdin")))
        st->flags |= WIRE_PROCESS_STDIN;
    st->log_max = (uint32_t)api_integer(s->body, "logLimit", BOX_LOG_MAX);
    struct box_question *q =
        r ? NULL : box_question_new(s->gw, s->x, "process", st->id, 201, box_put_process);
    if (r)
        api_error(s->gw, s->x, r == -EMSGSIZE ? 413 : 503,
                  r == -EMSGSIZE ? "COMMAND_TOO_LARGE" : "OUT_OF_MEMORY",
                  "the process was not started");
    else if (q && process_link_start(sandbox_init(sb), st, &s->command.spec, -1,
                                     box_question_answer, q) < 0)
        box_question_fail(q, -EMSGSIZE);
    start_free(s);
}

static const struct api_field start_fields[] = {
    {.name = "command", .type = API_COMMAND, .required = true},
    BOX_COMMAND_FIELDS,
    {.name = "grace", .type = API_INTEGER, .min = 0, .max = 600000},
    {.name = "processId", .type = API_STRING, .max = 64},
    {.name = "restart", .type = API_STRING, .max = 16},
    {.name = "maxRestarts", .type = API_INTEGER, .min = 0, .max = 1000000},
    {.name = "logLimit", .type = API_INTEGER, .min = 65536, .max = 64 << 20},
    {.name = "labels", .type = API_STRING_MAP},
    {.name = "keepAwake", .type = API_BOOLEAN},
    {.name = "stdin", .type = API_BOOLEAN},
};

static void create(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct route_params *p)
{
    json_t *o = api_body(gw, x, r, start_fields, COUNT(start_fields));
    const char *id = o ? api_string(o, "processId") : NULL;
    if (!o)
        return;
    struct start *s = NULL;
    if (id && !box_id_valid(id))
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "processId",
                         "an id is 1-64 of A-Z a-z 0-9 . _ -");
    else if (restart_of(o) < 0)
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "restart",
                         "restart is never, on-failure or always");
    else if (!(s = calloc(1, sizeof *s)))
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
    if (!s) {
        json_decref(o);
        return;
    }
    *s = (struct start){.gw = gw, .x = x, .body = o};
    box_call(gw, x, p->value[0], true, go, start_free, s);
}

/* ---- list, get, kill, forget ---- */

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    (void)r;
    box_list(gw, x, p->value[0], WIRE_PROCESS_BACKGROUND, "processes", box_put_process);
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    (void)r;
    box_get(gw, x, p, "process", WIRE_PROCESS_BACKGROUND, box_put_process);
}

static const struct api_field kill_fields[] = {
    {.name = "signal", .type = API_ANY},
    {.name = "grace", .type = API_INTEGER, .min = 0, .max = 600000},
    {.name = "tree", .type = API_BOOLEAN},
};

/* TERM, KILL and the like end it, the whole tree of it; other signals only arrive. */
static bool ends(int signo)
{
    return signo == SIGTERM || signo == SIGKILL || signo == SIGINT || signo == SIGHUP ||
           signo == SIGQUIT;
}

static void signal_process(struct gateway *gw, struct exchange *x, const struct route_params *p,
                           const json_t *o)
{
    const json_t *word = json_object_get(o, "signal");
    int signo = word ? box_signal(word) : SIGTERM;
    bool tree = json_object_get(o, "tree") ? json_is_true(json_object_get(o, "tree")) : true;
    uint32_t grace = (uint32_t)api_integer(o, "grace", BOX_GRACE_MS);
    if (!signo) {
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "signal",
                         "signal is a number or a name like SIGTERM");
        return;
    }
    if (tree && ends(signo) && !grace)
        signo = SIGKILL; /* no time to leave in good order */
    struct wire_link *init = box_running(gw, x, p->value[0], "process", p->value[1]);
    struct box_question *q =
        init ? box_question_new(gw, x, "process", p->value[1], 200, box_put_process) : NULL;
    if (q)
        process_link_signal(init, p->value[1], signo, tree, ends(signo) ? grace : 0,
                            box_question_answer, q);
}

static void kill_process(struct gateway *gw, struct exchange *x, const struct http_request *r,
                         const struct route_params *p)
{
    json_t *o = api_body(gw, x, r, kill_fields, COUNT(kill_fields));
    if (o)
        signal_process(gw, x, p, o);
    json_decref(o);
}

static void delete (struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    (void)r;
    box_remove(gw, x, p, "process");
}

const struct route api_process_routes[] = {
    {"POST", "/v1/sandboxes/{name}/processes", create, 0},
    {"GET", "/v1/sandboxes/{name}/processes", list, 0},
    {"GET", "/v1/sandboxes/{name}/processes/{id}", get, 0},
    {"DELETE", "/v1/sandboxes/{name}/processes/{id}", delete, 0},
    {"POST", "/v1/sandboxes/{name}/processes/{id}/kill", kill_process, 0},
    {"GET", "/v1/sandboxes/{name}/processes/{id}/logs", box_logs, 0},
    {"POST", "/v1/sandboxes/{name}/processes/{id}/wait", box_wait, 0},
    {"POST", "/v1/sandboxes/{name}/processes/{id}/input", box_input, ROUTE_STREAM},
};
const size_t api_process_nroutes = COUNT(api_process_routes);
