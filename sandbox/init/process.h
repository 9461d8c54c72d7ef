/*
 * Programs that init runs for G: commands, background processes, shells, terminals. Init owns their
 * table, output and terminals, so all of it outlives G. Private to sandbox/init.
 *
 * Everything here is plain data and descriptors; processes.c is the table and its clock, process.c
 * one process's life, stream.c its readers.
 */
#pragma once

#include <stdbool.h>

#include "sandbox/base/list.h"
#include "sandbox/init/ring.h"
#include "sandbox/init/tree.h"
#include "sandbox/init/watch.h"
#include "sandbox/wire/process.h"

struct processes {
    struct list list; /* oldest first */
    int epoll;
    uint32_t number;
    unsigned count;
    bool as_box_user;
    int oom_fd; /* the kernel's count of processes killed for memory; -1: none */
};

enum process_source { PROCESS_OUT, PROCESS_ERR, PROCESS_SOURCES };

struct process;

struct process_watch {
    struct init_watch watch; /* first: cast */
    struct process *process;
};

struct process {
    struct list item;
    struct processes *table;
    struct wire_process_start start;
    char *spec, *note;   /* note points into spec */
    char **argv, **envp; /* pointers into spec and mark */
    char mark[sizeof TREE_VARIABLE + WIRE_PROCESS_ID];
    uint32_t number, restarts;
    uint16_t cols, rows;

    pid_t pid, session; /* pid -1: reaped */
    int given;          /* becomes the program's descriptor 3; -1: none, or given already */
    int status, error;
    uint64_t oom_before; /* that count when the run began */
    uint8_t state, marks;
    uint64_t started_us, ended_us; /* since 1970 */
    bool reaped, settled;          /* settled: end and all output before it may be told */

    struct process_watch source[PROCESS_SOURCES], input, control;
    struct ring log;
    struct list streams;
    struct list writers; /* streams whose bytes the input is short of room for */

    /* Monotonic microseconds, 0 = none. */
    int64_t timeout_at, kill_at, restart_at, drain_at;
    bool forgotten;        /* no name leads to it any more; freed once it has ended */
    bool ending;           /* its tree is to be gone before its end is told */
    struct session *shell; /* of a session */
};

/* ---- processes.c: the table ---- */

/* Processes of the box that were killed for memory so far. */
uint64_t processes_oom_kills(const struct processes *t);
void processes_init(struct processes *t, int epoll, bool as_box_user);
void processes_deinit(struct processes *t);
struct process *processes_find(struct processes *t, const char *id);
/* The child belongs to one of them. */
bool processes_reaped(struct processes *t, pid_t pid, int status);
/* Any child has ended: trees that are being killed may be empty now. */
void processes_settle(struct processes *t);
/* Does what is due; microseconds until the next time, -1 = none. */
int64_t processes_tick(struct processes *t, int64_t now_us);

/* ---- process.c: one of them ---- */

/* Takes spec and stream (-1: none). Fills err and returns NULL; a stream is closed then. */
struct process *process_start(struct processes *t, const struct wire_process_start *start,
                              char *take_spec, int take_given, int take_stream, struct err *err);
int process_attach(struct process *p, int take_fd, uint64_t cursor, uint8_t flags);
/* TERM or the like to all of it, KILL after grace_ms; 0: never. */
void process_end(struct process *p, int signo, uint32_t grace_ms, uint8_t mark);
void process_reaped(struct process *p, int status);
/* Reads what its pipes hold now, whoever is behind. */
void process_drain(struct process *p);
void process_pump(struct process *p); /* all streams */
/* The trees of those that are being ended may be empty now. */
void process_settle(struct process *p);
/* Does what is due. Returns the next time, 0 = none. */
int64_t process_tick(struct process *p, int64_t now_us);
bool process_restart(struct process *p); /* false: it cannot be */
/* Nothing needs it any more. */
bool process_is_over(const struct process *p);
void process_info(const struct process *p, struct wire_process_info *ret);
/* Streams have moved on: pipes that waited for them are read again. */
void process_resume(struct process *p);
/* Writes to its input. Bytes taken (0: no room, *_input_wait), -EPIPE: nobody reads. */
long process_input(struct process *p, const void *data, size_t len);
void process_input_wait(struct process *p, struct list *writer); /* stream_input comes then */
void process_input_end(struct process *p);
/* What kill() takes for whoever is spoken to: the process, or the foreground of its terminal. */
pid_t process_foreground(const struct process *p);
void process_set_size(struct process *p, uint16_t cols, uint16_t rows);
void process_free(struct process *p);
int64_t process_now_us(void);

/* ---- stream.c: one reader ---- */

struct stream;
int stream_new(struct process *p, int take_fd, uint64_t cursor, uint8_t flags, bool owner);
void stream_free(struct stream *s);
/* Sends what it can. The stream may be freed. */
void stream_pump(struct stream *s);
void stream_tell(struct stream *s, uint16_t type, const void *payload, size_t len);
void stream_input(struct stream *s);                /* there is room for its input again */
struct stream *stream_of(struct list *item);        /* item of process->streams */
struct stream *stream_of_writer(struct list *item); /* of process->writers */
bool stream_is_owner(const struct stream *s);
/* Bytes that it has not sent yet, of a reader that must miss none; else 0. */
uint64_t stream_behind(const struct stream *s);
