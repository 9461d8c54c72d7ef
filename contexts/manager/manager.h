/*
 * Sandboxes and their contexts, as every door (Jupyter, /v1) sees them. Runs in G on one libuv
 * loop; nothing blocks.
 *
 * A sandbox is a named box: it may be stopped (only its disk exists), and starts when something is
 * asked of it. A context is one interpreter in it. Requests of a context run one at a time, in
 * order. Whatever happens becomes an event: of a request (busy ... idle around each, also when the
 * interpreter dies) or of the context (restarting, dead). Events are composed from the context's
 * journal, so that a reader may be slow, late, or come back: it costs no memory and misses nothing
 * that is still on file.
 *
 * Objects are borrowed pointers, valid while they exist; *_ref/_unref where said. Callbacks come
 * from the loop, and some from inside a call where the comment says so. Calling back into the
 * manager from a callback is allowed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "contexts/manager/links/boxes.h"
#include "contexts/proto/proto.h"
#include "sandbox/base/buf.h"
#include "sandbox/base/err.h"
#include "sandbox/base/list.h"

struct manager;
struct sandbox;
struct context;
struct request;
struct subscription;

/* ---- events ---- */

enum context_event_type {
    EVENT_STATUS = 1, /* state; request NULL: of the context itself */
    EVENT_INPUT,      /* execute_input: code, execution_count */
    EVENT_STREAM, /* stream, text; text never ends inside a UTF-8 character, but may hold bytes that
                     are none */
    EVENT_DISPLAY, /* sections: data, metadata, transient, buffers... */
    EVENT_UPDATE_DISPLAY,
    EVENT_RESULT,       /* sections: data, metadata; execution_count */
    EVENT_CLEAR_OUTPUT, /* arg: 1 = wait */
    EVENT_ERROR,  /* sections: {ename, evalue, traceback[]}; typed: also code and details, made by
                     the manager */
    EVENT_COMM,   /* sections: {msg_type}, content, metadata, buffers... */
    EVENT_DEBUG,  /* sections: a DAP event */
    EVENT_NOTICE, /* text: a sentence for the user, e.g. that the state of a restarted context was
                     lost */
    /* To the asker of the request and to subscriptions of that request only: */
    EVENT_STDIN, /* sections: {prompt, password} */
    EVENT_REPLY, /* sections: reply content without execution_count; status. The last event of a
                    request but idle */
};

enum context_state {
    CONTEXT_STARTING,
    CONTEXT_IDLE,
    CONTEXT_BUSY,
    CONTEXT_RESTARTING,
    CONTEXT_DEAD
};

struct context_event {
    enum context_event_type type;
    struct context *context;
    struct request *request; /* NULL: none, or not known any more */
    uint64_t time_us;        /* microseconds since 1970 */
    enum context_state state;
    int stream; /* 1 stdout, 2 stderr */
    bool typed;
    uint32_t arg;
    uint32_t status; /* enum frame_status */
    uint32_t execution_count;
    struct proto_section text;
    unsigned nsections;
    const struct proto_section *sections;
};

/*
 * The content of the Jupyter message that this event is (event_message_type names it), appended to
 * out; buffers are sections 3 and up of DISPLAY and COMM. STDIN and REPLY give input_request and
 * *_reply.
 */
int event_put_content(const struct context_event *ev, struct buf *out);
const char *event_message_type(const struct context_event *ev);
const char *context_state_name(enum context_state s);

/* ---- requests ---- */

enum request_kind {
    REQUEST_EXECUTE = FRAME_EXECUTE,
    REQUEST_COMPLETE = FRAME_COMPLETE,
    REQUEST_INSPECT = FRAME_INSPECT,
    REQUEST_IS_COMPLETE = FRAME_IS_COMPLETE,
    REQUEST_HISTORY = FRAME_HISTORY,
    REQUEST_COMM_INFO = FRAME_COMM_INFO,
    REQUEST_COMM = FRAME_COMM,
    /* Control: never wait for a cell. */
    REQUEST_DEBUG = FRAME_DEBUG,
    REQUEST_SUBSHELL = FRAME_SUBSHELL,
    REQUEST_USAGE = FRAME_USAGE,
};

/* What a runner may be able to do besides; kernel_info's supported_features. */
enum context_feature { CONTEXT_DEBUGGER = 1, CONTEXT_SUBSHELLS = 2 };

/* Who asked. Both may be NULL. request->user in callbacks is this user; a vanished client calls
 * request_detach. */
struct request_asker {
    void (*stdin_wanted)(void *user, const struct context_event *ev);
    void (*reply)(void *user,
                  const struct context_event *ev); /* exactly once; the request is done after it */
    void *user;
};

struct request_spec {
    enum request_kind kind;
    /*
     * Sections as docs/protocol.md has them for this kind. EXECUTE: options without execution_count
     * and cell (a JSON object; "{}" at least), code.
     */
    const struct proto_section *sections;
    unsigned nsections;
    bool silent, no_history, allow_stdin, stop_on_error; /* EXECUTE; must agree with the options */
    /*
     * Number of the subshell that runs it, 0 = the main shell. SUBSHELL: the one to delete, 0 makes
     * a new one, whose id is that of the request.
     */
    uint32_t subshell;
    uint32_t timeout_ms;         /* 0 = none; counts from the start of the run */
    struct proto_section parent; /* raw header of the Jupyter request, {} or empty for none */
    struct proto_section
        route; /* opaque bytes of the asker, at most 64 KiB; on file, so they survive G */
    struct proto_section
        session; /* client session: an error aborts its queued executes if stop_on_error */
    struct request_asker asker;
};

enum {
    REQUEST_E_QUEUE_FULL = 1,
    REQUEST_E_GONE = 2,
    REQUEST_E_SUBSHELL = 3 /* no such subshell, or too many */
};

/*
 * Queues a request; starts context and sandbox if need be. The reply and events may come before it
 * returns. The returned request is referenced for the caller: request_unref. REQUEST_E_*, -ENOMEM,
 * -EMSGSIZE.
 */
int context_submit(struct context *c, const struct request_spec *spec, struct request **ret);
void request_ref(struct request *r);
void request_unref(struct request *r);
void request_detach(struct request *r); /* no more callbacks to its asker; it runs on */

enum request_state { REQUEST_QUEUED, REQUEST_RUNNING, REQUEST_DONE };

struct request_info {
    const char *id;          /* UUID; the execution id of EXECUTE */
    struct context *context; /* NULL when the context was removed */
    enum request_kind kind;
    enum request_state state;
    uint64_t number;
    struct proto_section parent, route, session;
    uint32_t execution_count;                 /* 0 while queued */
    uint32_t status;                          /* enum frame_status, once done */
    uint64_t queued_us, started_us, ended_us; /* 0 = not yet */
    bool truncated;                           /* output beyond the limit was not kept */
    bool fresh_state;                         /* first run after the context lost its state */
    const char *lost_reason;                  /* then: why */
    bool allow_stdin, wants_input;            /* wants_input: a STDIN event is unanswered */
};
void request_get_info(const struct request *r, struct request_info *ret);
/* The code of an EXECUTE, read back from the journal. */
int request_get_code(const struct request *r, struct buf *out);

/* One that is queued, runs or is retained. Borrowed; NULL: there is none. */
struct request *context_request(struct context *c, uint64_t number);

/* Answers STDIN of a running request. -ENOENT when nothing waits. r may be NULL: whatever waits. */
int context_input(struct context *c, const struct request *r, const void *value, size_t len);
/* Interrupts what runs in the main shell (nothing: 0 as well). */
int context_interrupt(struct context *c);
/* Replies of requests that were read back after a restart of G and have no asker go to the
 * manager's orphan hook. */

/* ---- subshells (JEP 91): shells of their own in the same interpreter, made by REQUEST_SUBSHELL
 * ---- */

struct context_subshell {
    const char *id; /* UUID */
    uint32_t number;
};
/* Oldest first; after 0 starts. false: no more. */
bool context_subshell_next(const struct context *c, uint32_t after, struct context_subshell *ret);
/* Its number; 0 = unknown. */
uint32_t context_subshell_find(const struct context *c, const void *id, size_t len);

/* ---- executions: EXECUTE requests, the last ones of a context ---- */
struct request *execution_get(struct context *c, const char *id); /* borrowed; NULL */
struct request *execution_next(struct context *c,
                               const struct request *after); /* newest first; NULL starts */

/*
 * Reads the events of one request from its start, as far as they have come. _step: 1 = one more
 * record was looked at (it may have called event), 0 = nothing more now (after REPLY: for ever),
 * -EAGAIN = no room for the message that it is in, try again in a while, other negative errno.
 * -ENOMEM from _open.
 */
struct execution_reader;
int execution_reader_open(struct request *r,
                          void (*event)(void *user, const struct context_event *ev), void *user,
                          struct execution_reader **ret);
int execution_reader_step(struct execution_reader *rd);
void execution_reader_close(struct execution_reader *rd);

/* ---- subscriptions ---- */

struct subscription_spec {
    struct request
        *only; /* events of this request from its start; NULL: all of the context from now on */
    /*
     * 0: go on. 1: this event was taken, but no more until subscription_resume: what happens
     * meanwhile is read from the journal then (events of the same journal record may still follow).
     * Must not keep pointers of the event.
     */
    int (*event)(void *user, const struct context_event *ev);
    /*
     * It was so far behind that the file could not be kept for it: this many bytes of the journal
     * are skipped, and it goes on from there. From the loop. NULL: the file is kept for it,
     * whatever its size.
     */
    void (*lost)(void *user, uint64_t bytes);
    /*
     * The file could not be read on (-EIO, -ENOMEM): no event comes any more. Cancel it, now or
     * later. NULL: it stays silent.
     */
    void (*failed)(void *user, int error);
    void *user;
};
/* -ENOMEM. Events of the past come from the loop, not from inside. Keeps the context's journal
 * alive. */
int context_subscribe(struct context *c, const struct subscription_spec *spec,
                      struct subscription **ret);
/* The same for a request alone; works after its context was removed, too. */
int request_subscribe(struct request *r, const struct subscription_spec *spec,
                      struct subscription **ret);
void subscription_resume(struct subscription *s); /* may deliver from inside */
/* No more events until subscription_resume, as if the last one had returned 1. */
void subscription_pause(struct subscription *s);
void subscription_cancel(struct subscription *s); /* allowed in its own callback; NULL is fine */

/* ---- contexts ---- */

struct context_spec {
    const char *id;       /* UUID to use, NULL: a new one */
    const char *language; /* "python" */
    const char *cwd;      /* NULL: /workspace */
    const char *env;      /* JSON object of strings, NULL: {} */
    uint32_t timeout_ms;  /* default for runs; 0 = none */
};

enum { CONTEXT_E_LANGUAGE = 1, CONTEXT_E_LIMIT = 2, CONTEXT_E_SANDBOX_GONE = 3 };

/* Makes the context object at once and starts the interpreter behind it. CONTEXT_E_*, -ENOMEM. */
int context_open(struct sandbox *sb, const struct context_spec *spec, struct context **ret,
                 struct err *e);
struct context *context_get(struct manager *m, const char *id);
struct context *sandbox_context_next(struct sandbox *sb,
                                     const struct context *after); /* oldest first */
/* The context that runs of no named context go to; made on first use. */
int sandbox_default_context(struct sandbox *sb, const char *language, struct context **ret,
                            struct err *e);
/* Ends the interpreter (atexit hooks run) and starts a new one under the same id; counters begin
 * again. */
void context_restart(struct context *c);
/* Ends it for good. Running and queued requests are answered. */
void context_remove(struct context *c);

struct context_info {
    const char *id, *language, *cwd, *env;
    struct sandbox *sandbox;
    enum context_state state;
    uint32_t execution_count, timeout_ms;
    unsigned queued; /* running ones included */
    uint64_t created_us, last_used_us;
    const char *dead_reason;    /* code like "EXITED", "OUT_OF_MEMORY"; NULL when alive */
    struct proto_section hello; /* info JSON of the runner (kernel_info); len 0 while unknown */
    unsigned features;          /* enum context_feature; 0 while unknown */
};
void context_get_info(const struct context *c, struct context_info *ret);
/* Calls back once the runner's HELLO is known, or the context failed (ok false). May call from
 * inside. */
int context_when_ready(struct context *c, void (*ready)(void *user, bool ok), void *user);
void context_forget(struct context *c, void *user); /* drops context_when_ready callbacks of user */

/* ---- sandboxes ---- */

enum sandbox_state { SANDBOX_STOPPED, SANDBOX_STARTING, SANDBOX_RUNNING, SANDBOX_FAILED };

struct sandbox_spec {
    const char *name;
    const char *image;  /* "" = default */
    const char *env;    /* JSON object of strings, for all contexts */
    const char *labels; /* JSON object of strings */
    struct wire_limits limits;
    const char *disk; /* sandbox_define: id of its disk */
    uint64_t created_us, last_used_us;
    const char *language; /* what it is likely to run first: which kind of warm box fits. NULL: any
                             name that language.h does not know, too */
};

enum { SANDBOX_E_NAME = 1, SANDBOX_E_LIMIT = 2 };

bool sandbox_name_valid(const char *name);
struct sandbox *sandbox_get(struct manager *m, const char *name);
struct sandbox *sandbox_next(struct manager *m, size_t *cursor); /* *cursor starts at 0 */
/* A new sandbox; its box is taken from the pool or being made when this returns. SANDBOX_E_*,
 * -EEXIST, -ENOMEM. */
int sandbox_create(struct manager *m, const struct sandbox_spec *spec, struct sandbox **ret);
/* One that exists on disk, from the registry: stopped. */
int sandbox_define(struct manager *m, const struct sandbox_spec *spec, struct sandbox **ret);
void sandbox_start(struct sandbox *sb);
void sandbox_prepared(struct sandbox *sb); /* see box_attached */
/*
 * Calls back once it runs or failed (error->code != 0). May call from inside when that is known
 * already. Cancel with sandbox_forget.
 */
int sandbox_when_running(struct sandbox *sb, void (*done)(void *user, const struct err *error),
                         void *user);
/* Its box is on its way out: calls back when nothing is left of it. -ENOTCONN: it is not. */
int sandbox_when_gone(struct sandbox *sb, void (*done)(void *user, const struct err *error),
                      void *user);
/* Destroys box and disk; the object is gone when this returns. done comes when B has answered. */
void sandbox_remove(struct sandbox *sb, void (*done)(void *user, const struct err *error),
                    void *user);
void sandbox_set_labels(struct sandbox *sb, const char *labels);
int sandbox_set_env(struct sandbox *sb, const char *env); /* for contexts started from now on */
void sandbox_forget(struct manager *m, void *user);       /* drops all callbacks of user */
/* A new file helper in a running box (sandbox/wire/files.h); its socket is the caller's. -ENOTCONN:
 * it is not running. */
int sandbox_helper(struct sandbox *sb, bool root, int *ret_fd);
/* TCP sockets of a running box's network: reply with an IPv4 and perhaps an IPv6 one. -ENOTCONN.
 * Cancel with sandbox_forget. */
int sandbox_sockets(struct sandbox *sb, wire_reply_fn *reply, void *user);
uint64_t sandbox_box(const struct sandbox *sb); /* number of its box, 0: it does not run */
/* 0 = never sleeps. */
void sandbox_set_life(struct sandbox *sb, uint64_t sleep_after_ms, bool keep_alive);
/* What all boxes of a sandbox together used. */
struct sandbox_used {
    uint64_t cpu_ns, memory_mib_ms;
};
/* Before the box that it has now, from the registry. */
void sandbox_set_used_before(struct sandbox *sb, const struct sandbox_used *u);
/*
 * Something is going on that keeps the box awake, until released. The struct is the caller's;
 * zeroed it is not held. Removing the sandbox releases it.
 */
struct sandbox_hold {
    struct list item;
    struct sandbox *sandbox;
};
void sandbox_hold(struct sandbox *sb, struct sandbox_hold *h);
void sandbox_release(struct sandbox_hold *h);
/*
 * New limits. 0: taken, it does not run. 1: B has been asked and replies; then call
 * sandbox_limits_set. -EAGAIN: it is starting.
 */
int sandbox_set_limits(struct sandbox *sb, const struct wire_limits *l, wire_reply_fn *reply,
                       void *user);
void sandbox_limits_set(struct sandbox *sb, const struct wire_limits *l);
int sandbox_stat(struct sandbox *sb, wire_reply_fn *reply,
                 void *user); /* -ENOTCONN when it is not running */

/* Reply: struct wire_disk_usage. -ENOENT: it has no disk yet. */
int sandbox_measure(struct sandbox *sb, wire_reply_fn *reply, void *user);

/* Link to its init, NULL unless it runs or is being prepared; gone when it stops: pending calls are
 * answered then. */
struct wire_link *sandbox_init(struct sandbox *sb);

struct sandbox_info {
    const char *name, *image, *env, *labels, *disk;
    struct wire_limits limits;
    enum sandbox_state state;
    const struct err *error; /* of SANDBOX_FAILED */
    uint64_t created_us, last_used_us;
    unsigned contexts;
    uint64_t box; /* number while it has one, 0 else */
    uint64_t sleep_after_ms;
    struct sandbox_used used_before;
    bool keep_alive;
};
void sandbox_get_info(const struct sandbox *sb, struct sandbox_info *ret);
const char *sandbox_state_name(enum sandbox_state s);

/* ---- the whole ---- */

struct manager_stats {
    uint64_t requests, executions, errors, timeouts, interrupts;
    uint64_t contexts_started, contexts_died, oom_kills, boxes_started, boxes_gone;
    uint64_t protocol_errors, bytes_in, pool_hits, pool_misses;
    uint64_t run_us_buckets[12], run_us_sum, run_us_count; /* upper bounds: manager_run_bounds_ms */
    unsigned pool_ready, pool_starting;
};
extern const double manager_run_bounds_ms[11];

struct manager_hooks {
    void (*sandbox_changed)(void *user, struct sandbox *sb); /* keep it in the registry */
    void (*sandbox_removed)(void *user, const char *name);
    /* It has a box. true: requests wait until sandbox_prepared is called; of an adopted box, which
     * is as it was left, nobody waits. */
    bool (*box_attached)(void *user, struct sandbox *sb, bool adopted);
    void (*disk_removed)(void *user, const char *disk);    /* of a removed sandbox */
    void (*context_opened)(void *user, struct context *c); /* also for adopted ones */
    void (*context_removed)(void *user, struct context *c);
    void (*orphan)(
        void *user,
        const struct context_event *ev); /* REPLY or STDIN of a request without an asker */
    void *user;
};

struct manager_config {
    uv_loop_t *loop;
    struct boxes *boxes;
    int journal_dir;               /* fd of the directory for journals; taken */
    unsigned pool_warm;            /* boxes kept ready, with Python in them */
    unsigned pool_node;            /* the same, with Node */
    unsigned queue_max;            /* requests per context, 0 = 1000 */
    unsigned contexts_max;         /* per sandbox, 0 = 100 */
    unsigned sandboxes_max;        /* 0 = 10000 */
    unsigned executions_max;       /* retained per context, 0 = 1000 */
    uint64_t journal_max;          /* bytes per context, 0 = 1 GiB */
    uint64_t sandbox_journals_max; /* of all contexts of a sandbox, 0 = 4 GiB */
    uint64_t journals_max;         /* of all, 0 = 32 GiB */
    uint64_t execution_max;        /* bytes of one execution, 0 = 512 MiB */
    uint32_t grace_ms;             /* between interrupt and kill after a timeout, 0 = 5000 */
};

struct manager *manager_new(const struct manager_config *config); /* NULL: out of memory */
void manager_free(struct manager *m); /* for tests: stops everything, boxes live on */
void manager_set_hooks(struct manager *m,
                       const struct manager_hooks *hooks); /* several sets may be added: 4 */
/* Messages of B that the manager is for: gone boxes, adoption. manager_adopted: after ADOPT_END;
 * fills the pool. */
void manager_box_gone(struct manager *m, const struct wire_gone *gone);
void manager_box_used(struct manager *m, const struct wire_gone *used);
void manager_adopt(struct manager *m, const struct wire_message *msg);
void manager_adopted(struct manager *m);
void manager_get_stats(struct manager *m, struct manager_stats *ret);
