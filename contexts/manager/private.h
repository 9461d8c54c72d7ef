/* Bodies shared by the files of the manager; nobody else includes this. */
#pragma once

#include "contexts/manager/journal/journal.h"
#include "contexts/manager/links/boxes.h"
#include "contexts/manager/links/init_link.h"
#include "contexts/manager/links/runner_link.h"
#include "contexts/manager/manager.h"
#include "contexts/pool/pool.h"
#include "sandbox/base/list.h"
#include "sandbox/base/map.h"

#define MOD "manager"

enum { HOOKS_MAX = 16, FIRST_REQUEST = 16, ROUTE_MAX = 64 << 10 };
/* Requests that run at once: main shell, side, control, subshells. */
enum { SUBSHELLS_MAX = 16, RUNNING_MAX = SUBSHELLS_MAX + 3 };

/* Kinds of journal records. Integers native, same machine. */
enum journal_kind {
    JOURNAL_PACKET = 1,
    JOURNAL_REQUEST, /* struct request_record, then its bytes: a request was queued */
    JOURNAL_START,   /* struct start_record: it is being sent to the runner */
    JOURNAL_ERROR, /* u64 req, {ename, evalue, traceback, code, details}: an error of the manager */
    JOURNAL_END,   /* u64 req, u64 status, reply content: ended by the manager, not by DONE */
    JOURNAL_STATE, /* u64 enum context_state, reason code: of the context */
    JOURNAL_RUNNER,   /* u64 number in the box: frames of a new interpreter follow */
    JOURNAL_HELLO,    /* info JSON that the pool received */
    JOURNAL_NOTICE,   /* u64 req, text */
    JOURNAL_SUBSHELL, /* struct subshell_record: made or gone */
};

struct request_record {
    uint64_t number;
    uint32_t timeout_ms;
    uint32_t subshell;
    uint8_t kind, silent, no_history, allow_stdin, stop_on_error, side, pad[2];
    char id[37];
    uint8_t pad2[7];
    uint32_t parent, route, session, nsections;
    uint32_t sections[MESSAGE_SECTIONS_MAX];
};

struct start_record {
    uint64_t number;
    uint32_t execution_count;
    uint32_t sent; /* lowest byte: 1 once the runner's socket has all of it */
};

struct subshell_record {
    uint32_t number, alive;
    char id[40];
};

/* The requests that run, in no order. In a set the main shell's is found by its lane. */
struct running_set {
    unsigned n;
    struct request *r[RUNNING_MAX];
};

/* A FIFO of requests of which one runs at a time. docs/protocol.md, "Lanes". */
struct lane {
    struct list item; /* context->subshells */
    uint32_t number;  /* of a subshell; 0 = of the context itself */
    char id[40];      /* of a subshell */
    struct list queue;
    struct request *running;
    uint32_t execution_count;
};

/* Turns journal records into events; one lives with the context, one in every reader that is not up
 * to date. */
struct projector {
    struct proto_decoder decoder;
    struct context *context;
    struct running_set running;
    struct request *hint;   /* found before the context's table is asked */
    uint64_t message_start; /* record in which the open message began */
    struct {
        uint64_t req;
        size_t len;
        uint8_t bytes[4];
    } tail[2];
    void (*message)(struct context *c,
                    const struct proto_message *m); /* NULL but for the live one */
    void (*emit)(void *user, const struct context_event *ev);
    void *user;
    uint64_t time_us;
};

struct projector_point { /* where a reader begins: see projector_seek */
    uint64_t scan, start;
    struct running_set running;
    struct {
        uint64_t req;
        size_t len;
        uint8_t bytes[4];
    } tail[2];
};

/* What half-read messages of one sandbox may hold; shared by all its contexts and outlives it. */
struct quotas {
    unsigned refs;
    struct proto_quota live, readers;
    struct list contexts, subscriptions; /* who waits for room */
    uint64_t journals;                   /* bytes on file of its contexts */
    uint64_t turn, spent_ns;             /* time of the loop that its packets took this turn */
};

void projector_init(struct projector *p, struct context *c, struct proto_quota *quota);
void projector_deinit(struct projector *p);
/* 0, or -EPROTO / -ENOMEM of the decoder. */
int projector_feed(struct projector *p, const struct journal_record *rec);
void projector_point(const struct projector *p, uint64_t next, struct projector_point *ret);
void projector_seek(struct projector *p, const struct projector_point *at);

struct request {
    struct list item;   /* context->requests */
    struct list queued; /* lane->queue */
    unsigned refs;
    struct context *context;
    struct lane *lane; /* NULL once done */
    uint32_t subshell;
    bool main; /* of the main lane */
    uint64_t number;
    enum request_kind kind;
    enum request_state state;
    char id[37];
    bool silent, no_history, allow_stdin, stop_on_error;
    bool timed_out, failed, wants_input, truncated, stdin_offered;
    uint32_t timeout_ms, execution_count, status;
    uint64_t record, started_record; /* journal offsets */
    struct projector_point start;
    uint64_t queued_us, started_us, ended_us;
    const char *lost_reason;
    struct request_asker asker;
    uint8_t *bytes; /* parent, route, session */
    struct proto_section parent, route, session;
    unsigned readers;
};

struct subscription {
    struct list item;
    struct context *context;
    struct subscription_spec spec;
    bool reading; /* behind: gets its events from the journal */
    bool full;    /* said so; becomes reading at the end of the record */
    bool paused;  /* waits for subscription_resume */
    bool cancelled, busy;
    uint64_t lost; /* bytes skipped that it has not been told of */
    struct projector_point point;
    struct journal_reader reader;
    struct projector projector;
    struct list starved; /* quotas->subscriptions */
    bool reader_open;
};

struct waiter {
    struct list item;
    void (*done)(void *user, const struct err *error);
    void (*ready)(void *user, bool ok);
    void *user;
};

struct death {
    bool pending;
    const char *code;  /* static: EXITED, SIGNAL, ... */
    const char *ename; /* static */
    char text[256];
    char details[160]; /* JSON object */
};

struct context {
    struct list item; /* sandbox->contexts */
    struct manager *manager;
    struct sandbox *sandbox; /* NULL once removed */
    unsigned refs;
    unsigned round; /* of sandbox_each that it was visited in */
    char id[37];
    char *language, *cwd, *env;
    uint32_t timeout_ms;
    uint64_t created_us, last_used_us;

    enum context_state state;
    bool removed, applying, replaying, ready, is_default;
    uint32_t number; /* in the box; 0 = no interpreter */
    struct runner_link *runner;
    struct journal *journal;
    uint64_t journal_size; /* as the sandbox's and the manager's accounts have it */
    struct projector live;
    uint64_t next_request, setup_request;
    bool truncating, dropping;  /* output of the running execution is over its bound */
    struct proto_section hello; /* malloc'ed */
    bool exited, stat_pending, kill_sent, restart_wanted, interrupt_pending;
    bool warm; /* the interpreter is the box's spare and has not answered SETUP yet */
    uint32_t exit_status;
    bool broken; /* runner broke the protocol or the socket */
    bool silent; /* its socket closed and nobody has said why in time */
    const char *broken_why;
    struct death death;
    const char *lost_reason; /* the next run is told */
    uint32_t next_subshell;
    unsigned features;   /* enum context_feature */
    unsigned concurrent; /* kinds of requests of the side lane, a bit each */

    struct lane main, side, control;
    struct list subshells;     /* struct lane */
    struct request *last;      /* of the main lane: what output of nobody belongs to */
    struct request *abort_for; /* failed with stop_on_error: its session's queue is to be aborted */
    struct lane *abort_lane;
    struct request *subshell_done; /* a SUBSHELL request that has just ended well */
    struct list requests, subscriptions;
    unsigned nqueue, nexecutions;
    struct list waiters;
    struct list lagging; /* manager->lagging */
    struct list starved; /* quotas->contexts */
    struct quotas *quotas;

    uv_timer_t timer, start_timer;
    int handles;
    enum { TIMER_NONE, TIMER_RUN, TIMER_GRACE, TIMER_SHUTDOWN } timer_for;
};

struct sandbox {
    struct manager *manager;
    unsigned refs;  /* held over callbacks, which may remove it */
    bool removed;   /* only refs keep it */
    unsigned round; /* of sandbox_each */
    char *name, *image, *env, *labels;
    char disk[WIRE_DISK];
    struct wire_limits limits;
    enum sandbox_state state;
    struct err error;
    uint64_t box;
    struct wire_link *init;
    uint32_t next_context;
    uint64_t oom_kills;
    uint64_t created_us, last_used_us;
    enum pool_kind pool_kind;  /* which kind of warm box it wants */
    struct pool_box spare;     /* spare.runner: the warm context that came with the box */
    struct creation *creation; /* BOX_CREATE under way */
    struct list contexts, waiters, holds;
    struct list mourners; /* wait until nothing is left of its box */
    struct quotas *quotas;
    unsigned ncontexts;
    uint64_t sleep_after_ms, quiet_since_ms, dozing_since_ms; /* dozing: init was asked, 0 = no */
    struct sandbox_used used_before;
    bool preparing;                      /* a hook said so */
    bool keep_alive, dying, start_after; /* dying: its box is on its way out */
};

struct manager {
    unsigned refs; /* itself, and every context object */
    struct manager_config config;
    struct pool *pool;
    struct map *sandboxes, *contexts;
    struct manager_stats stats;
    struct manager_hooks hooks[HOOKS_MAX];
    unsigned nhooks;
    char *hello; /* latest info JSON of a runner */
    uv_idle_t pump;
    uv_timer_t life;
    uv_prepare_t counter;
    uint64_t turn;       /* of the loop */
    uint64_t journals;   /* bytes of all journals */
    struct list lagging; /* contexts with a subscriber to be fed from the journal */
    bool adopted;
};

uint64_t manager_now_us(void);
void manager_unref(struct manager *m);
#define MANAGER_HOOK(m, name, ...)                                           \
    do {                                                                     \
        for (unsigned hook_ = 0; hook_ < (m)->nhooks; hook_++)               \
            if ((m)->hooks[hook_].name)                                      \
                (m)->hooks[hook_].name((m)->hooks[hook_].user, __VA_ARGS__); \
    } while (0)

/* context.c */
struct context *context_new(struct sandbox *sb, const struct context_spec *spec, struct err *e);
void context_ref(struct context *c);
void context_unref(struct context *c);
void context_keep(struct context *c, bool with_fd);
int context_record(struct context *c, enum journal_kind kind, const struct iovec *iov, int n,
                   uint64_t *ret_offset);
void context_apply(struct context *c, const struct journal_record *rec);
void context_settle(struct context *c); /* after anything happened: death, next request, trimming */
void context_set_state(struct context *c, enum context_state s, const char *reason);
void context_on_event(void *user, const struct context_event *ev);
void context_take_abilities(struct context *c);
void context_on_message(struct context *c, const struct proto_message *m);
extern const struct runner_link_ops context_runner_ops;

/* start.c */
void context_start(struct context *c);
void context_box_ready(struct context *c);
void context_box_failed(struct context *c, const struct err *e);
void context_tell_ready(struct context *c, bool ok);

/* request.c */
struct request *request_from_record(struct context *c, const struct journal_record *rec);
struct request *request_find(struct context *c, uint64_t number);
void request_advance(struct context *c);
void request_resend(struct context *c, struct request *r);
/* A new interpreter gets what was sent to one that died before it took anything. */
void request_send_again(struct context *c);
void request_end(struct context *c, struct request *r, enum frame_status status,
                 const char *content);
void request_finished(struct context *c, struct request *r, uint32_t status);
void request_abort_queue(struct lane *l, const struct proto_section *session);
void request_drop(struct request *r);

/* lane.c */
void lanes_init(struct context *c);
void lane_init(struct lane *l);
/* Every lane of c in turn; NULL starts and ends. */
struct lane *lane_next(struct context *c, const struct lane *after);
/* The lane of a request to be queued or read back; NULL: no such subshell. */
struct lane *lane_for(struct context *c, enum request_kind kind, bool side, uint32_t subshell);
struct lane *lane_subshell(const struct context *c, uint32_t number);
unsigned lanes_running(const struct context *c);
void lanes_abort(struct context *c); /* what waits in all of them */
int lane_record(struct context *c, uint32_t number, const char *id, bool alive);
void lane_apply(struct context *c, const struct journal_record *rec);
void lanes_forget(struct context *c); /* subshells end with their interpreter */
/* A SUBSHELL request has ended well: the shell is there, or to be taken apart. */
void lane_finished(struct context *c, const struct request *r);

/* death.c */
void context_died(struct context *c);
void context_death_set(struct context *c, const char *code, const char *ename, const char *details,
                       const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void context_close_runner(struct context *c, bool kill);
int manager_error_json(struct buf *out, const char *ename, const char *evalue, const char *code,
                       const char *details);

/* interrupt.c */
void context_arm_timeout(struct context *c);
void context_disarm(struct context *c);
void context_shutdown_timer(struct context *c, uint32_t ms);

/* execution.c */
void context_trim(struct context *c);
void context_account(struct context *c, uint64_t size); /* of its journal, as it is now */

/* publish.c */
void publish(struct context *c, const struct context_event *ev);
void publish_settle(struct context *c, uint64_t next);
void publish_pump(struct manager *m);
void publish_enlist(struct context *c); /* a subscriber of it can read on */
/* Subscribers that hold more of the file than max bytes are sent ahead. */
void publish_shed(struct context *c, uint64_t max);

/* sandbox.c */
void sandbox_touch(struct sandbox *sb);
/* Everything in its box is lost, for this reason; the box itself is the caller's. */
void sandbox_lose_box(struct sandbox *sb, const char *code, const char *text);

/* quotas.c */
struct quotas *quotas_new(void);
struct quotas *quotas_ref(struct quotas *q);
void quotas_unref(struct quotas *q);
void quotas_settle(struct quotas *q); /* something was given back: whoever fits now goes on */
void context_admit(struct context *c);
bool subscription_admit(struct subscription *s); /* false: it is to be pumped later */

/* spare.c */
/* The warm context of a box from the pool becomes the sandbox's. */
void spare_take(struct sandbox *sb, const struct pool_box *pb);
void spare_discard(struct sandbox *sb);

/* life.c */
void life_init(struct manager *m);
void sandbox_drop_holds(struct sandbox *sb);
void sandbox_ref(struct sandbox *sb);
void sandbox_unref(struct sandbox *sb);
/* Nothing is left of its box. What waited for that goes on. */
void sandbox_box_gone(struct sandbox *sb);
void sandbox_tell_gone(struct sandbox *sb);
/* Its box has ended by itself. */
void sandbox_box_ended(struct sandbox *sb);
void sandbox_attach_box(struct sandbox *sb, const struct pool_box *pb, bool adopted);
struct sandbox *sandbox_by_box(struct manager *m, uint64_t box);
