/* .../terminals: pseudo-terminals that outlive their viewers. attach.c shows one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "kernel-gw/api/box/box.h"
#include "kernel-gw/api/box/terminal.h"
#include "sandbox/base/json.h"

void terminal_put(struct buf *out, const struct wire_process_info *i, const char *note)
{
    buf_puts(out, "{\"id\":");
    json_put_cstring(out, i->id);
    if (i->pid > 0)
        buf_printf(out, ",\"pid\":%d", i->pid);
    api_member(out, "status", i->state == WIRE_PROCESS_RUNNING ? "running" : "exited");
    buf_printf(out, ",\"cols\":%u,\"rows\":%u,\"viewers\":%u,\"startTime\":", i->cols, i->rows,
               i->streams);
    api_put_time(out, i->started_us);
    if (i->state != WIRE_PROCESS_RUNNING)
        box_put_end(out, i->status, i->marks);
    buf_printf(out, ",\"cursor\":%llu", (unsigned long long)i->next);
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
    const json_t *command = json_object_get(o->body, "command");
    const char *id = api_string(o->body, "id");
    CLEANUP_BUF struct buf note = {0};
    enum { NOTE_COMMAND_MAX = 4096 };
    buf_puts(&note, "{\"command\":");
    if (command && json_string_length(command) < NOTE_COMMAND_MAX)
        box_put_command(&note, command);
    else
        json_put_cstring(&note, command ? "(a long script)" : "bash");
    buf_putc(&note, '}');
    int r = note.len < WIRE_PROCESS_NOTE_MAX
                ? box_command_make(sb, o->body, buf_str(&note), &o->command)
                : -E2BIG;
    if (id)
        box_copy(st->id, sizeof st->id, id);
    else
        box_make_id(st->id, "term");
    st->kind = WIRE_PROCESS_TERMINAL;
    st->cols = (uint16_t)api_integer(o->body, "cols", TERMINAL_COLS);
    st->rows = (uint16_t)api_integer(o->body, "rows", TERMINAL_ROWS);
    st->log_max = BOX_LOG_MAX;
    struct box_question *q = box_question_new(o->gw, o->x, "terminal", st->id, 201, terminal_put);
    if (q && r == 0)
        r = process_link_start(sandbox_init(sb), st, &o->command.spec, -1, box_question_answer, q);
    if (q && r)
        box_question_fail(q, -E2BIG);
    opening_free(o);
}

static const struct api_field open_fields[] = {
    {.name = "id", .type = API_STRING, .max = 64},
    {.name = "command", .type = API_COMMAND},
    BOX_COMMAND_FIELDS,
    {.name = "cols", .type = API_INTEGER, .min = 1, .max = TERMINAL_SIZE_MAX},
    {.name = "rows", .type = API_INTEGER, .min = 1, .max = TERMINAL_SIZE_MAX},
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
    box_list(gw, x, p->value[0], WIRE_PROCESS_TERMINAL, "terminals", terminal_put);
}

static void get(struct gateway *gw, struct exchange *x, const struct http_request *r,
                const struct route_params *p)
{
    (void)r;
    box_get(gw, x, p, "terminal", WIRE_PROCESS_TERMINAL, terminal_put);
}

static void delete (struct gateway *gw, struct exchange *x, const struct http_request *r,
                    const struct route_params *p)
{
    (void)r;
    box_remove(gw, x, p, "terminal");
}

const struct route api_terminal_routes[] = {
    {"POST", "/v1/sandboxes/{name}/terminals", create, 0},
    {"GET", "/v1/sandboxes/{name}/terminals", list, 0},
    {"GET", "/v1/sandboxes/{name}/terminals/{id}", get, 0},
    {"DELETE", "/v1/sandboxes/{name}/terminals/{id}", delete, 0},
    {"GET", "/v1/sandboxes/{name}/terminals/{id}/attach", terminal_attach, 0},
};
const size_t api_terminal_nroutes = COUNT(api_terminal_routes);
