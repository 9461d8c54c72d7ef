/*
 * libcellbox: a client of a Cellbox server. libcellbox(3) is the tour of what is described here.
 *
 * Errors. Every function that can fail returns CELLBOX_OK (0) or a CELLBOX_E_* (negative) and fills
 * the struct cellbox_error that it was given; NULL is fine for callers who do not want it. Out
 * parameters are untouched on failure. Code that raises and commands that fail are results, not
 * errors. Nothing here ends the program, writes to a descriptor of it or changes a signal.
 *
 * Ownership. What comes back through a ret_ parameter belongs to the caller, who frees it with
 * cellbox_free(); everything a struct points to lives as long as the struct. What a callback is
 * given lives until it returns. Arguments are never kept, except by cellbox_terminal_attach(): its
 * client, its callbacks.
 *
 * Units. Times are milliseconds, sizes bytes. Texts are UTF-8 and end with NUL; bytes come with
 * their length. A pointer member is NULL where the server says nothing. In options, 0 and NULL
 * stand for the server's default: start from {0} and set what you need by name.
 *
 * Threads. A client may be used by any number of threads at once, and by a callback of a call that
 * runs. A terminal belongs to one thread. There is no state outside of these objects; callbacks run
 * in the thread that made the call.
 *
 * Repetition. Calls that read or may be sent twice are repeated after a broken connection and after
 * HTTP 429, 502, 503 and 504; others only if nothing can have begun: connection refused, 429, 503
 * STARTING. Runs, followed logs and terminals are taken up behind the last byte that arrived when a
 * connection breaks. Nothing is done, lost or told twice. A command belongs to its request: if that
 * breaks, cellbox_exec() fails.
 *
 * Stopping. A callback that returns anything but 0 ends its call with CELLBOX_E_STOPPED; so does
 * cellbox_client_options.interrupted. A command is ended with all that it started, a run is
 * interrupted (its variables stay), everything else is only no longer looked at.
 *
 * Sandboxes are named: 1-63 of a-z 0-9 -, none of them - at an end. Calls that put something into a
 * sandbox (code, a command, process, terminal, context, file, directory, port, policy) make one
 * that does not exist; those that look at something or remove it fail with SANDBOX_NOT_FOUND. Both
 * wake one that sleeps.
 */
#ifndef CELLBOX_H
#define CELLBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined __GNUC__
#define CELLBOX_API __attribute__((visibility("default")))
#else
#define CELLBOX_API
#endif

enum {
    CELLBOX_OK = 0,
    CELLBOX_E_MEMORY = -1,     /* out of memory */
    CELLBOX_E_ARGUMENT = -2,   /* an argument makes no sense; nothing was sent */
    CELLBOX_E_SETTINGS = -3,   /* no server is known, or no token of it; nothing was sent */
    CELLBOX_E_CONNECTION = -4, /* no answer, or it broke off */
    CELLBOX_E_SERVER = -5,     /* the server refused: code and http_status say what */
    CELLBOX_E_PROTOCOL = -6,   /* the answer makes no sense: is that a Cellbox server? */
    CELLBOX_E_STOPPED = -7,    /* a callback, or interrupted, wanted it */
};

struct cellbox_error {
    int result;        /* the CELLBOX_E_* that was returned */
    int http_status;   /* 0: there was no answer */
    char code[64];     /* stable name, e.g. "FILE_NOT_FOUND"; "" unless the server gave one */
    char message[512]; /* for people; one line, cut where it is longer */
};

struct cellbox_client;

/* "0.1.0" */
CELLBOX_API const char *cellbox_version(void);
/* A name of a CELLBOX_E_*, e.g. "connection failed". Never NULL. */
CELLBOX_API const char *cellbox_strerror(int result);
/* Frees what a ret_ parameter gave; NULL is fine. */
CELLBOX_API void cellbox_free(void *result);
/*
 * The server's whole answer behind a struct that a ret_ parameter gave (not one of its elements),
 * as JSON: for members that the struct does not have. Freed with cellbox_free(); NULL: no memory.
 */
CELLBOX_API char *cellbox_json(const void *result);

/* ---- client ---- */

struct cellbox_client_options {
    const char *url;   /* http:// or https://; NULL: CELLBOX_URL, else the server of this machine */
    const char *token; /* NULL: CELLBOX_TOKEN, else that of the server of this machine */
    int retries;       /* repetitions of a call; 0: 4; -1: none */
    long retry_delay_ms; /* before the first one; doubles up to 5000, half is random. 0: 200 */
    /* Not 0: the call that runs ends. Asked at least once a second; may be NULL. */
    int (*interrupted)(void *user);
    void *user;
};

/* Sends nothing. options may be NULL. CELLBOX_E_SETTINGS: the message says what to set. */
CELLBOX_API int cellbox_client_new(const struct cellbox_client_options *options,
                                   struct cellbox_client **ret_client, struct cellbox_error *error);
/* When no call of it runs any more; NULL is fine. */
CELLBOX_API void cellbox_client_free(struct cellbox_client *client);
/* Its server, without a slash at the end. */
CELLBOX_API const char *cellbox_client_url(const struct cellbox_client *client);

/*
 * Any other call of the server (docs/api.md): path is "/v1/...", percent-encoded, with its query.
 * body is JSON or NULL; *ret_body is what came back, "" for nothing, and may be NULL. All methods
 * but POST are taken to be safe to repeat.
 */
CELLBOX_API int cellbox_request(struct cellbox_client *client, const char *method, const char *path,
                                const char *body, char **ret_body, struct cellbox_error *error);

/* ---- sandboxes ---- */

struct cellbox_sandbox_options {
    const char *image;         /* name or sha256 */
    const char *const *env;    /* "NAME=VALUE", NULL at the end */
    const char *const *labels; /* the same */
    int64_t memory;            /* limits: bytes */
    double cpu;                /* CPUs */
    int64_t pids;              /* processes and threads */
    int64_t disk;              /* bytes */
    const char *instance_type; /* "lite", "basic", "standard-1" ...: instead of limits */
    int64_t sleep_after_ms;    /* idle time */
    bool keep_alive;           /* never sleeps */
    const char *egress;        /* a policy as JSON */
};

struct cellbox_sandbox {
    const char *name, *state; /* "stopped", "starting", "running", "failed" */
    const char *image, *created_at, *last_used_at;
    int64_t memory, pids, disk, sleep_after_ms; /* 0: no limit, never */
    double cpu;
    int64_t contexts;
    bool keep_alive;
};

struct cellbox_sandboxes {
    size_t n;
    const struct cellbox_sandbox *items;
};

struct cellbox_usage {
    const char *state;
    double active_cpu_ms;
    double memory_gib_seconds; /* memory times time */
    int64_t memory;            /* bytes, now */
    int64_t disk;              /* bytes that it wrote and did not delete; -1: too many to count */
    int64_t processes, oom_kills;
    int64_t egress; /* bytes to and from the world */
};

/* Makes it if there is none, starts it if it is stopped. options and ret_sandbox may be NULL. */
CELLBOX_API int cellbox_sandbox_start(struct cellbox_client *client, const char *sandbox,
                                      const struct cellbox_sandbox_options *options,
                                      struct cellbox_sandbox **ret_sandbox,
                                      struct cellbox_error *error);
/* None of these makes or wakes one: SANDBOX_NOT_FOUND. */
CELLBOX_API int cellbox_sandbox_get(struct cellbox_client *client, const char *sandbox,
                                    struct cellbox_sandbox **ret_sandbox,
                                    struct cellbox_error *error);
CELLBOX_API int cellbox_sandbox_list(struct cellbox_client *client,
                                     struct cellbox_sandboxes **ret_sandboxes,
                                     struct cellbox_error *error);
/* Changes what options set; env and labels are replaced whole. */
CELLBOX_API int cellbox_sandbox_patch(struct cellbox_client *client, const char *sandbox,
                                      const struct cellbox_sandbox_options *options,
                                      struct cellbox_sandbox **ret_sandbox,
                                      struct cellbox_error *error);
CELLBOX_API int cellbox_sandbox_usage(struct cellbox_client *client, const char *sandbox,
                                      struct cellbox_usage **ret_usage,
                                      struct cellbox_error *error);
/* Ends all of it and removes its disk. Fine if there is none. */
CELLBOX_API int cellbox_sandbox_delete(struct cellbox_client *client, const char *sandbox,
                                       struct cellbox_error *error);

/* ---- commands ---- */

enum { CELLBOX_STDOUT = 1, CELLBOX_STDERR = 2 };

/* Output as it comes, bytes as they are. */
typedef int cellbox_output_fn(void *user, int stream, const void *data, size_t len);

struct cellbox_exec_options {
    const char *const *argv; /* a program and its arguments, NULL at the end: instead of command */
    const char *cwd;         /* default /workspace */
    const char *const *env;  /* "NAME=VALUE", NULL at the end */
    const void *input;       /* all of its standard input */
    size_t input_len;
    int64_t timeout_ms;           /* then it is ended, with all that it started */
    int64_t grace_ms;             /* from SIGTERM to SIGKILL; default 5000 */
    const char *session;          /* in that persistent shell: no argv, cwd, env, input */
    cellbox_output_fn *on_output; /* then the result holds none */
    void *user;
    size_t max_output; /* of each stream in the result; default 8 MiB. The rest is dropped */
};

struct cellbox_exec_result {
    bool success;
    int exit_code;      /* 128 + the signal that ended it; 124 when the time was over */
    const char *signal; /* "SIGKILL" */
    bool timed_out, truncated;
    double duration_ms;
    const char *out, *err; /* NUL behind it; may hold others */
    size_t out_len, err_len;
};

/*
 * Runs command, a line for the shell, and waits for its end. COMMAND_NOT_FOUND and the like are
 * errors. options and ret_result may be NULL.
 */
CELLBOX_API int cellbox_exec(struct cellbox_client *client, const char *sandbox,
                             const char *command, const struct cellbox_exec_options *options,
                             struct cellbox_exec_result **ret_result, struct cellbox_error *error);

/* ---- code ---- */

struct cellbox_context_options {
    const char *language;   /* "python" (default), "javascript", "typescript" */
    const char *cwd;        /* default /workspace */
    const char *const *env; /* "NAME=VALUE", NULL at the end */
    int64_t timeout_ms;     /* of each run, unless that says otherwise */
};

struct cellbox_context {
    const char *id, *language, *cwd;
    const char *state;  /* "starting", "idle", "busy", "restarting", "dead" */
    const char *reason; /* why it is dead */
    int64_t execution_count, queued;
};

struct cellbox_contexts {
    size_t n;
    const struct cellbox_context *items;
};

CELLBOX_API int cellbox_context_create(struct cellbox_client *client, const char *sandbox,
                                       const struct cellbox_context_options *options,
                                       struct cellbox_context **ret_context,
                                       struct cellbox_error *error);
CELLBOX_API int cellbox_context_list(struct cellbox_client *client, const char *sandbox,
                                     struct cellbox_contexts **ret_contexts,
                                     struct cellbox_error *error);
CELLBOX_API int cellbox_context_delete(struct cellbox_client *client, const char *sandbox,
                                       const char *context, struct cellbox_error *error);
/* Ends what runs; variables stay. */
CELLBOX_API int cellbox_context_interrupt(struct cellbox_client *client, const char *sandbox,
                                          const char *context, struct cellbox_error *error);
/* A new interpreter under the same id. */
CELLBOX_API int cellbox_context_restart(struct cellbox_client *client, const char *sandbox,
                                        const char *context, struct cellbox_error *error);

/* One form of a result. JSON types are JSON text, pictures base64. */
struct cellbox_mime {
    const char *type; /* "text/plain" */
    const char *data;
    size_t len;
};

struct cellbox_result {
    bool is_main;   /* the value of the last expression */
    bool is_update; /* in on_result: of the display with the same display_id */
    const char *display_id;
    size_t n;
    const struct cellbox_mime *data;
};

/* Its data of that type, or NULL. */
CELLBOX_API const struct cellbox_mime *cellbox_result_find(const struct cellbox_result *result,
                                                           const char *type);
/* The bytes of base64 data, freed with cellbox_free(); NULL: no base64, or no memory. */
CELLBOX_API void *cellbox_mime_bytes(const struct cellbox_mime *mime, size_t *ret_len);

struct cellbox_code_error {
    const char *code; /* "EXCEPTION", "TIMEOUT", "CONTEXT_DIED" ...: docs/api.md */
    const char *name, *message;
    const char *traceback; /* lines joined by \n; holds terminal colours */
};

struct cellbox_run_options {
    const char *context;    /* id; default: the sandbox's own of that language */
    const char *language;   /* default "python" */
    const char *const *env; /* for this run: "NAME=VALUE", NULL at the end */
    int64_t timeout_ms;
    const char *const
        *formats;       /* of figures: "png", "svg", "jpeg", "retina", "pdf"; NULL at the end */
    bool stop_on_error; /* after an error, runs that wait and set this are aborted */
    cellbox_output_fn *on_output; /* text */
    int (*on_result)(void *user, const struct cellbox_result *result);
    int (*on_error)(void *user, const struct cellbox_code_error *error);
    int (*on_notice)(void *user, const char *text); /* e.g. that state was lost */
    /*
     * The code asks for input. *ret_answer is memory of malloc(), which the library frees; NULL
     * interrupts the run. Without this function input() fails in the code.
     */
    int (*on_input)(void *user, const char *prompt, bool password, char **ret_answer);
    void *user;
};

struct cellbox_execution {
    const char *id, *context;
    const char *status; /* "ok", "error", "aborted" */
    int64_t execution_count;
    double duration_ms;
    bool context_restarted; /* state of earlier runs was lost; reason says why */
    const char *reason;
    bool truncated; /* output over 512 MiB was not kept */
    size_t n;
    const struct cellbox_result *results;
    const char *text; /* text/plain of the value of the last expression, or NULL */
    const char *out, *err;
    size_t out_len, err_len;
    const struct cellbox_code_error *error; /* NULL: none */
};

/* Runs code and waits for its end. Callbacks get what happens as it happens, the result has all of
 * it. options and ret_execution may be NULL. */
CELLBOX_API int cellbox_run_code(struct cellbox_client *client, const char *sandbox,
                                 const char *code, const struct cellbox_run_options *options,
                                 struct cellbox_execution **ret_execution,
                                 struct cellbox_error *error);

/* ---- background processes ---- */

struct cellbox_process_options {
    const char *const *argv; /* instead of command; NULL at the end */
    const char *id;          /* 1-64 of A-Z a-z 0-9 . _ -; default: made up */
    const char *cwd;
    const char *const *env; /* "NAME=VALUE", NULL at the end */
    int64_t timeout_ms, grace_ms;
    const char *restart; /* "never" (default), "on-failure", "always" */
    int64_t max_restarts, log_limit;
    bool keep_awake; /* the sandbox does not sleep while it runs */
    bool input;      /* it reads what cellbox_process_put gives; else nothing */
};

struct cellbox_process {
    const char *id, *command;
    /* "running", "restarting", "completed", "failed", "killed", "error" */
    const char *status;
    const char *signal, *started_at, *ended_at;
    int64_t pid, restarts;
    int exit_code; /* -1 while it runs */
    bool timed_out;
};

struct cellbox_processes {
    size_t n;
    const struct cellbox_process *items;
};

struct cellbox_logs {
    const char *out, *err;
    size_t out_len, err_len;
    int64_t cursor; /* where the next call goes on */
    bool truncated; /* some of what was asked for is not kept any more */
};

/* A line that was waited for. */
struct cellbox_log_match {
    int stream; /* CELLBOX_STDOUT, CELLBOX_STDERR */
    const char *line;
    size_t n; /* of a pattern: the whole match, then its groups; NULL: one that matched nothing */
    const char *const *groups;
};

/* A condition; exactly one of log, pattern, port is set. */
struct cellbox_wait {
    const char *log;            /* text in a line */
    const char *pattern;        /* a Perl-compatible regular expression */
    int port;                   /* of the sandbox */
    const char *mode;           /* of a port: "http" (default) or "tcp" */
    const char *path;           /* of http: default "/" */
    int status_min, status_max; /* of http: default 200 to 399 */
    int64_t timeout_ms;         /* 0: none. PROCESS_READY_TIMEOUT */
};

/* ret_process may be NULL. */
CELLBOX_API int cellbox_process_start(struct cellbox_client *client, const char *sandbox,
                                      const char *command,
                                      const struct cellbox_process_options *options,
                                      struct cellbox_process **ret_process,
                                      struct cellbox_error *error);
CELLBOX_API int cellbox_process_list(struct cellbox_client *client, const char *sandbox,
                                     struct cellbox_processes **ret_processes,
                                     struct cellbox_error *error);
CELLBOX_API int cellbox_process_get(struct cellbox_client *client, const char *sandbox,
                                    const char *process, struct cellbox_process **ret_process,
                                    struct cellbox_error *error);
/*
 * Standard input of one that was started with `input`, in as many pieces as one likes; returns once
 * the process has been given this one. end: nothing follows. CELLBOX_E_SERVER with PROCESS_ENDED
 * when it ends before.
 */
CELLBOX_API int cellbox_process_put(struct cellbox_client *client, const char *sandbox,
                                    const char *process, const void *data, size_t len, bool end,
                                    struct cellbox_error *error);
/* signal: NULL: SIGTERM to all that it started, SIGKILL after 5 s. */
CELLBOX_API int cellbox_process_kill(struct cellbox_client *client, const char *sandbox,
                                     const char *process, const char *signal,
                                     struct cellbox_error *error);
/* Ends it, and forgets it. */
CELLBOX_API int cellbox_process_delete(struct cellbox_client *client, const char *sandbox,
                                       const char *process, struct cellbox_error *error);
/* What is kept of its output behind cursor; 0: all. */
CELLBOX_API int cellbox_process_logs(struct cellbox_client *client, const char *sandbox,
                                     const char *process, int64_t cursor,
                                     struct cellbox_logs **ret_logs, struct cellbox_error *error);
/* Output, kept and new, until the process ends. */
CELLBOX_API int cellbox_process_follow(struct cellbox_client *client, const char *sandbox,
                                       const char *process, int64_t cursor,
                                       cellbox_output_fn *on_output, void *user,
                                       struct cellbox_error *error);
/* Until the condition is met; an end before: PROCESS_EXITED_BEFORE_READY. ret_match, which may be
 * NULL, gets the line that log or pattern found, and NULL for a port. */
CELLBOX_API int cellbox_process_wait(struct cellbox_client *client, const char *sandbox,
                                     const char *process, const struct cellbox_wait *condition,
                                     struct cellbox_log_match **ret_match,
                                     struct cellbox_error *error);
/* Until it has ended. timeout_ms 0: none; else PROCESS_READY_TIMEOUT. */
CELLBOX_API int cellbox_process_wait_exit(struct cellbox_client *client, const char *sandbox,
                                          const char *process, int64_t timeout_ms,
                                          struct cellbox_process **ret_process,
                                          struct cellbox_error *error);

/* ---- files ---- */

/* Paths that do not begin with / lie below /workspace; ~ is the home of the box user. "." and ".."
 * are resolved in the text of the path. */

struct cellbox_file {
    const char *name, *path; /* path: absolute */
    const char *relative;    /* below the directory that was listed */
    const char *type;        /* "file", "directory", "symlink", "other" */
    const char *modified_at, *mode, *target;
    int64_t size, uid, gid;
};

struct cellbox_files {
    bool truncated; /* there are more */
    size_t n;
    const struct cellbox_file *items;
};

struct cellbox_write_options {
    bool append;      /* to the end of the file as it is */
    bool exclusive;   /* FILE_EXISTS if something is there */
    bool parents;     /* make missing directories */
    const char *mode; /* octal: "0755" */
};

struct cellbox_list_options {
    bool recursive, include_hidden;
    const char *const *include, *const *exclude; /* patterns, NULL at the end */
    int64_t limit;
};

/* Bytes of a file as they come; length 0: to its end. */
CELLBOX_API int cellbox_file_read(struct cellbox_client *client, const char *sandbox,
                                  const char *path, int64_t offset, int64_t length,
                                  int (*on_data)(void *user, const void *data, size_t len),
                                  void *user, struct cellbox_error *error);
/* A whole file; a NUL stands behind it. */
CELLBOX_API int cellbox_file_get(struct cellbox_client *client, const char *sandbox,
                                 const char *path, char **ret_data, size_t *ret_len,
                                 struct cellbox_error *error);
/*
 * Replaces a file at once with what next gives: up to size bytes into data, as *ret_len; 0 ends it,
 * a result that is not 0 stops and leaves the file as it was. It is asked only once, so nothing is
 * repeated. options may be NULL.
 */
CELLBOX_API int
cellbox_file_write(struct cellbox_client *client, const char *sandbox, const char *path,
                   int (*next)(void *user, void *data, size_t size, size_t *ret_len), void *user,
                   const struct cellbox_write_options *options, struct cellbox_error *error);
CELLBOX_API int cellbox_file_put(struct cellbox_client *client, const char *sandbox,
                                 const char *path, const void *data, size_t len,
                                 const struct cellbox_write_options *options,
                                 struct cellbox_error *error);
CELLBOX_API int cellbox_file_list(struct cellbox_client *client, const char *sandbox,
                                  const char *path, const struct cellbox_list_options *options,
                                  struct cellbox_files **ret_files, struct cellbox_error *error);
/* A link is followed. FILE_NOT_FOUND. */
CELLBOX_API int cellbox_file_stat(struct cellbox_client *client, const char *sandbox,
                                  const char *path, struct cellbox_file **ret_file,
                                  struct cellbox_error *error);
/* parents: also those above, and fine if it is there. */
CELLBOX_API int cellbox_file_mkdir(struct cellbox_client *client, const char *sandbox,
                                   const char *path, bool parents, struct cellbox_error *error);
/* What is at the destination is replaced. */
CELLBOX_API int cellbox_file_move(struct cellbox_client *client, const char *sandbox,
                                  const char *source, const char *destination,
                                  struct cellbox_error *error);
CELLBOX_API int cellbox_file_delete(struct cellbox_client *client, const char *sandbox,
                                    const char *path, bool recursive, struct cellbox_error *error);

/* ---- ports ---- */

struct cellbox_port_options {
    const char *name, *token;
    int64_t expires_in_ms;
    bool rotate; /* a new address; the old one is gone */
};

struct cellbox_port {
    int port;
    const char *status, *name, *token;
    const char *url, *path_url; /* by host name; by path */
};

struct cellbox_ports {
    size_t n;
    const struct cellbox_port *items;
};

CELLBOX_API int cellbox_port_expose(struct cellbox_client *client, const char *sandbox, int port,
                                    const struct cellbox_port_options *options,
                                    struct cellbox_port **ret_port, struct cellbox_error *error);
CELLBOX_API int cellbox_port_unexpose(struct cellbox_client *client, const char *sandbox, int port,
                                      struct cellbox_error *error);
CELLBOX_API int cellbox_port_list(struct cellbox_client *client, const char *sandbox,
                                  struct cellbox_ports **ret_ports, struct cellbox_error *error);

/* ---- what a sandbox may reach: docs/egress.md ---- */

/* The policy as JSON. */
CELLBOX_API int cellbox_egress_get(struct cellbox_client *client, const char *sandbox,
                                   char **ret_policy, struct cellbox_error *error);
CELLBOX_API int cellbox_egress_put(struct cellbox_client *client, const char *sandbox,
                                   const char *policy, struct cellbox_error *error);
/* secret: JSON, {"value": "...", "hosts": [...]}, perhaps "sandboxes", and "handlers" that get it
 * in clear text. No call gives it back. */
CELLBOX_API int cellbox_secret_put(struct cellbox_client *client, const char *name,
                                   const char *secret, struct cellbox_error *error);
CELLBOX_API int cellbox_secret_delete(struct cellbox_client *client, const char *name,
                                      struct cellbox_error *error);

/* ---- terminals ---- */

struct cellbox_terminal_options {
    const char *id;            /* of one that runs: it is used again; default: made up */
    const char *command, *cwd; /* default: a shell, /workspace */
    const char *const *env;
    int cols, rows; /* default 80, 24 */
};

struct cellbox_attach_options {
    bool read_only;
    int cols, rows;    /* set on every connection */
    int64_t cursor;    /* bytes of its output that are known already */
    bool no_reconnect; /* a lost connection is the end */
    int (*on_output)(void *user, const void *data, size_t len);
    void *user;
};

struct cellbox_terminal; /* one viewer */

/* Makes a terminal, or finds the one that runs under that id. */
CELLBOX_API int cellbox_terminal_open(struct cellbox_client *client, const char *sandbox,
                                      const struct cellbox_terminal_options *options, char **ret_id,
                                      struct cellbox_error *error);
/* Ends its program and forgets it. */
CELLBOX_API int cellbox_terminal_delete(struct cellbox_client *client, const char *sandbox,
                                        const char *id, struct cellbox_error *error);
/* A viewer of a terminal. What is kept of its output comes first. */
CELLBOX_API int cellbox_terminal_attach(struct cellbox_client *client, const char *sandbox,
                                        const char *id,
                                        const struct cellbox_attach_options *options,
                                        struct cellbox_terminal **ret_terminal,
                                        struct cellbox_error *error);
/*
 * Waits at most timeout_ms (-1: without end) for something to happen and handles it. *ret_going is
 * false once the program has ended. To wait for other descriptors as well, poll() that of the
 * terminal and step with 0; it changes when the viewer connects again, and is -1 meanwhile.
 * Connecting again takes up to 20 s when the server does not answer. After CELLBOX_E_STOPPED, and
 * after code TERMINAL_ERROR (a message that the server did not take), the viewer can be used on.
 */
CELLBOX_API int cellbox_terminal_step(struct cellbox_terminal *terminal, int timeout_ms,
                                      bool *ret_going, struct cellbox_error *error);
CELLBOX_API int cellbox_terminal_fd(const struct cellbox_terminal *terminal);
/* These send at once. They fail with CELLBOX_E_CONNECTION while it is not connected or 4 MiB wait
 * to be sent: step on. */
CELLBOX_API int cellbox_terminal_write(struct cellbox_terminal *terminal, const void *data,
                                       size_t len, struct cellbox_error *error);
CELLBOX_API int cellbox_terminal_resize(struct cellbox_terminal *terminal, int cols, int rows,
                                        struct cellbox_error *error);
/* To what runs in the foreground: "SIGINT". */
CELLBOX_API int cellbox_terminal_signal(struct cellbox_terminal *terminal, const char *signal,
                                        struct cellbox_error *error);
/* Bytes of its output so far, for a later viewer. */
CELLBOX_API int64_t cellbox_terminal_cursor(const struct cellbox_terminal *terminal);
/* Of its program once it has ended, else -1. */
CELLBOX_API int cellbox_terminal_exit_code(const struct cellbox_terminal *terminal);
/* Ends the viewer; the terminal goes on. NULL is fine. */
CELLBOX_API void cellbox_terminal_close(struct cellbox_terminal *terminal);

#ifdef __cplusplus
}
#endif

#endif
