/*
 * What the resources that run programs in a box share: exec, sessions, processes, terminals.
 * G keeps no record of any of them: init of the box does (sandbox/wire/process.h), so a gateway
 * that was restarted knows as much as its predecessor.
 */
#pragma once

#include "contexts/manager/links/process_link.h"
#include "kernel-gw/api/api.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

enum {
    BOX_GRACE_MS = 5000, /* between TERM and KILL, unless the request says otherwise */
    BOX_TIMEOUT_MAX_MS = 7 * 24 * 3600 * 1000,
    BOX_LOG_MAX = 1 << 20 /* output that is kept of each process, bytes */
};

/* ---- call.c: requests that need a box ---- */

/*
 * Calls go once the sandbox runs; wakes it. create: also makes it. Otherwise the error has been
 * answered and drop called. While it waits the exchange is watched: a client that leaves drops.
 * May call from inside.
 */
void box_call(struct gateway *gw, struct exchange *x, const char *name, bool create,
              void (*go)(void *user, struct sandbox *sb), void (*drop)(void *user), void *user);
/* The init of a running sandbox; NULL: answered with 404, for nothing runs in one that sleeps.
 * what: "process", id: of what is asked for, NULL: no answer is given. */
struct wire_link *box_running(struct gateway *gw, struct exchange *x, const char *name,
                              const char *what, const char *id);
/*
 * One question to init about a process, answered with one record, which put writes into the
 * response; status 204: with nothing. NULL: answered with 503.
 */
struct box_question;
typedef void box_put_fn(struct buf *out, const struct wire_process_info *info, const char *note);
struct box_question *box_question_new(struct gateway *gw, struct exchange *x, const char *what,
                                      const char *id, int status, box_put_fn *put);
/* user: the question; frees it */
void box_question_answer(void *user, const struct err *error, const struct wire_message *m);
void box_question_fail(struct box_question *q, int error);

/* {"processes":[...]} of one kind; nothing runs in a sandbox that sleeps. */
void box_list(struct gateway *gw, struct exchange *x, const char *sandbox, uint8_t kind,
              const char *member, box_put_fn *put);
/* The record named by the path's second parameter. */
void box_get(struct gateway *gw, struct exchange *x, const struct route_params *p, const char *what,
             uint8_t kind, box_put_fn *put);
/* Ends it and forgets it: 204. */
void box_remove(struct gateway *gw, struct exchange *x, const struct route_params *p,
                const char *what);
void box_put_process(struct buf *out, const struct wire_process_info *i, const char *note);
/* logs.c, wait.c, input.c: handlers of routes */
void box_input(struct gateway *gw, struct exchange *x, const struct http_request *r,
               const struct route_params *p);
void box_logs(struct gateway *gw, struct exchange *x, const struct http_request *r,
              const struct route_params *p);
void box_wait(struct gateway *gw, struct exchange *x, const struct http_request *r,
              const struct route_params *p);

/* Answers with what an init said. */
void box_error(struct gateway *gw, struct exchange *x, const struct err *e, const char *what,
               const char *name);
/* The code of such an error, and its status. */
const char *box_error_code(const struct err *e, int *ret_status);

/* ---- command.c: from a body to what init starts ---- */

/* Fields that every command has; a table of a resource begins with them. */
#define BOX_COMMAND_FIELDS                                                                     \
    {.name = "cwd", .type = API_STRING, .max = 4096}, {.name = "env", .type = API_STRING_MAP}, \
    {                                                                                          \
        .name = "timeout", .type = API_INTEGER, .min = 1, .max = BOX_TIMEOUT_MAX_MS            \
    }

struct box_command {
    struct wire_process_start start;
    struct buf spec;
};

/*
 * From a body with "command", "cwd", "env", "timeout", "grace"; note: JSON that comes back in
 * records. NULL command: a login-less shell. The environment is the sandbox's, with the request's
 * over it. -ENOMEM, -EMSGSIZE.
 */
int box_command_make(struct sandbox *sb, const json_t *o, const char *note,
                     struct box_command *ret);
#define BOX_TAKES_INPUT "{\"stdin\":true}" /* note of one that box_input may write to */
void box_command_deinit(struct box_command *c);
/* "echo hi", or the arguments joined for people. */
void box_put_command(struct buf *out, const json_t *command);
/* An id that a client may give: 1-64 of A-Z a-z 0-9 . _ - */
bool box_id_valid(const char *id);
void box_copy(char *to, size_t cap, const char *from); /* cut if need be */
void box_make_id(char out[WIRE_PROCESS_ID], const char *prefix);
/* A number of 1..64 or a name like "SIGTERM", "TERM"; 0: neither. */
int box_signal(const json_t *v);
const char *box_signal_name(int signo); /* "SIGTERM"; NULL */

/* ---- text.c: bytes of programs in JSON ---- */

enum box_encoding { BOX_AUTO, BOX_UTF8, BOX_BASE64 };

/* False: answered with 400. */
bool box_read_encoding(struct gateway *gw, struct exchange *x, const json_t *o,
                       enum box_encoding *ret);
void box_put_base64(struct buf *out, const void *data, size_t len);
/* -EINVAL: it is none. */
int box_read_base64(const char *text, size_t len, struct buf *out);
/* A JSON string; *ret_base64: how. */
void box_put_bytes(struct buf *out, const void *data, size_t len, enum box_encoding e,
                   bool *ret_base64);

/* Pieces of one stream as they come: keeps characters whole. */
struct box_text {
    uint8_t tail[4];
    size_t len;
};
/* ,"data":"...","encoding":"..." of a piece; nothing is put and false returned when only the
 * beginning of a character came. end: there is no more. */
bool box_put_piece(struct buf *out, struct box_text *t, enum box_encoding e, const void *data,
                   size_t len, bool end);

/* ---- how it ended: exitCode, signal, timedOut ---- */

int box_exit_code(int wait_status, uint8_t marks);
/* ,"exitCode":0,"signal":null,"timedOut":false */
void box_put_end(struct buf *out, int wait_status, uint8_t marks);

/* ---- events.c: a response of server-sent events ---- */

struct box_events {
    struct gateway *gw;
    struct exchange *x; /* NULL: not begun, or over */
    uv_timer_t *beat;
    uint64_t sent_ms;
};
/* Heartbeats come by themselves. -ENOMEM */
int box_events_begin(struct box_events *e, struct gateway *gw, struct exchange *x,
                     const struct exchange_ops *ops, void *user);
uint64_t box_now_us(void); /* since 1970 */
/* "event: TYPE", id if not NULL, and {"type":...,"timestamp":... ; the caller goes on with members,
 * then _end. */
struct buf *box_event(struct box_events *e, const char *type, uint64_t time_us, const char *id);
/* Sends it. true: much is queued, stop until drained. */
bool box_event_end(struct box_events *e);
void box_events_end(struct box_events *e);
void box_events_forget(struct box_events *e); /* the client has gone */

extern const struct route api_exec_routes[], api_process_routes[], api_session_routes[],
    api_terminal_routes[];
extern const size_t api_exec_nroutes, api_process_nroutes, api_session_nroutes,
    api_terminal_nroutes;

/* exec.c, for sessions: the same watch over a script in a shell. */
void exec_in_session(struct gateway *gw, struct exchange *x, const struct http_request *r,
                     const char *sandbox, const char *session);
