/* .../sessions: persistent shells. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/box/box.h"
#include "sandbox/base/json.h"

static void put_session(struct buf *out, const struct wire_process_info *i, const char *note)
{
    buf_puts(out, "{\"id\":");
    json_put_cstring(out, i->id);
    api_member(out, "status", i->state == WIRE_PROCESS_RUNNING ? "running" : "ended");
    if (i->pid > 0)
        buf_printf(out, ",\"pid\":%d", i->pid);
    buf_puts(out, ",\"createdAt\":");
    api_put_time(out, i->started_us);
    buf_printf(out, ",\"restarts\":%u", i->restarts);
    if (i->note_len > 2 && json_check_object(note, i->note_len) == 0) {
        buf_putc(out, ',');
        buf_put(out, note + 1, i->note_len - 2);
    }
    buf_putc(out, '}');
}

struct opening {
    struct gateway *gw;
    struct exchange *x;
    json_t *body;
    struct box_command command;
};

static void opening_free(void *user)
{
    struct opening *o = user;
    box_command_deinit(&o->command);
    json_decref(o->body);
    free(o);
}

static void go(void *user, struct sandbox *sb)
{
    struct opening *o = user;
    struct wire_process_start *st = &o->command.start;
    const char *id = api_string(o->body, "id"), *cwd = api_string(o->body, "cwd");
    json_t *argv =
        json_pack("{s:[sssss]}", "command", "bash", "--norc", "--noprofile", "--noediting", "-i");
    CLEANUP_BUF struct buf note = {0};
    buf_puts(&note, "{\"cwd\":");
    json_put_cstring(&note, cwd ? cwd : "/workspace");
    buf_putc(&note, '}');
    json_object_update(argv, o->body);
    int r = argv ? box_command_make(sb, argv, buf_str(&note), &o->command) : -ENOMEM;
    json_decref(argv);
    if (id)
        box_copy(st->id, sizeof st->id, id);
    else
        box_make_id(st->id, "session");
    st->kind = WIRE_PROCESS_SESSION;
    st->flags |= WIRE_PROCESS_STDIN;
    st->log_max = BOX_LOG_MAX;
    struct box_question *q =
        r ? NULL : box_question_new(o->gw, o->x, "session", st->id, 201, put_session);
    if (r)
        api_error(o->gw, o->x, 503, "OUT_OF_MEMORY", "the session was not started");
    else if (q && process_link_start(sandbox_init(sb), st, &o->command.spec, -1,
                                     box_question_answer, q) < 0)
        box_question_fail(q, -E2BIG);
    opening_free(o);
}

static const struct api_field open_fields[] = {
    {.name = "id", .type = API_STRING, .max = 64},
    {.name = "cwd", .type = API_STRING, .max = 4096},
    {.name = "env", .type = API_STRING_MAP},
};

static void create(struct gateway *gw, struct exchange *x, const struct http_request *r,
                   const struct route_params *p)
{
    json_t *body = api_body(gw, x, r, open_fields, COUNT(open_fields));
    const char *id = body ? api_string(body, "id") : NULL;
    struct opening *o = NULL;
    if (!body)
        return;
    if (id && !box_id_valid(id))
        api_error_detail(gw, x, 400, "INVALID_FIELD", "field", "id",
                         "an id is 1-64 of A-Z a-z 0-9 . _ -");
    else if (!(o = calloc(1, sizeof *o)))
        api_error(gw, x, 503, "OUT_OF_MEMORY", "out of memory");
    if (!o) {
        json_decref(body);
        return;
    }
    *o = (struct opening){.gw = gw, .x = x, .body = body};
    box_call(gw, x, p->value[0], true, go, opening_free, o);
}

static void list(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    (void)r;
    box_list(gw, x, p->value[0], WIRE_PROCESS_SESSION, "sessions", put_session);
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    (void)r;
    box_get(gw, x, p, "session", WIRE_PROCESS_SESSION, put_session);
}

static void delete (struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    (void)r;
    box_remove(gw, x, p, "session");
}

static void exec(struct gateway *gw, struct exchange *x, const struct http_request *r,
                 const struct route_params *p)
{
    if (box_running(gw, x, p->value[0], "session", p->value[1]))
        exec_in_session(gw, x, r, p->value[0], p->value[1]);
}

const struct route api_session_routes[] = {
    {"POST", "/v1/sandboxes/{name}/sessions", create, 0},
    {"GET", "/v1/sandboxes/{name}/sessions", list, 0},
    {"GET", "/v1/sandboxes/{name}/sessions/{id}", get, 0},
    {"DELETE", "/v1/sandboxes/{name}/sessions/{id}", delete, 0},
    {"POST", "/v1/sandboxes/{name}/sessions/{id}/exec", exec, 0},
};
const size_t api_session_nroutes = COUNT(api_session_routes);
