/*
 * Programs in a box that are no contexts (commands, background processes, shells, terminals), as G
 * and init speak of them: messages of the init link, and the frames on a *stream*, one SOCK_STREAM
 * socket per reader, which G makes and of which init gets an end. Whatever is bulky travels on
 * streams, so that neither side's link is ever blocked by it.
 *
 * Output of a process has one cursor: the number of bytes that it had written, to stdout and
 * stderr together, before a given byte. Times are microseconds since 1970.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sandbox/wire/wire.h"

enum {
    WIRE_PROCESS_ID = 65,            /* bytes of an id with its NUL */
    WIRE_PROCESS_SPEC_MAX = 8 << 20, /* bytes of command, environment and note */
    WIRE_PROCESS_NOTE_MAX = 16 << 10,
    WIRE_FRAME_MAX = 32 << 10 /* payload of one frame */
};

enum wire_process_kind {
    WIRE_PROCESS_COMMAND = 1, /* forgotten once its end was told */
    WIRE_PROCESS_BACKGROUND,
    WIRE_PROCESS_SESSION, /* a shell that waits for commands: sandbox/init/session.h */
    WIRE_PROCESS_TERMINAL
};

enum wire_restart { WIRE_RESTART_NEVER, WIRE_RESTART_ON_FAILURE, WIRE_RESTART_ALWAYS };

enum wire_process_flags {
    WIRE_PROCESS_STDIN = 1,  /* a pipe that streams write to; else /dev/null */
    WIRE_PROCESS_TIED = 2,   /* the stream of START is its owner: when it closes, all is killed */
    WIRE_PROCESS_SCRIPT = 4, /* the last argument is a script: given as a file, whatever its size */
    WIRE_PROCESS_SPEC_FD = 8, /* the spec is in a memfd, the first descriptor */
    WIRE_PROCESS_GIVE = 32,   /* a descriptor behind the memfd becomes the program's 3 */
    WIRE_PROCESS_AWAKE = 16   /* while it runs, or is to be started again, the box does not sleep */
};

/*
 * Spec, in the tail or in a memfd: cwd NUL, argc arguments with their NULs, envc K=V with their
 * NULs, note_len bytes that init only keeps. fds: the memfd if there is one, what is given if there
 * is something, then a stream or none.
 */
struct wire_process_start {
    struct wire_head h;
    char id[WIRE_PROCESS_ID];
    uint8_t kind, restart;
    uint8_t flags;
    uint16_t cols, rows;  /* of a terminal */
    uint32_t timeout_ms;  /* 0 = none; each run of a restarted process anew */
    uint32_t grace_ms;    /* between TERM and KILL */
    uint32_t restart_max; /* 0 = no limit */
    uint32_t log_max;     /* bytes of output kept */
    uint32_t argc, envc, note_len, spec_len;
};

enum { WIRE_ATTACH_READ_ONLY = 1, WIRE_ATTACH_NO_FOLLOW = 2 };

struct wire_process_attach {
    struct wire_head h;
    char id[WIRE_PROCESS_ID];
    uint8_t flags;
    uint64_t cursor; /* where to begin; what is not kept any more is skipped */
};

struct wire_process_signal {
    struct wire_head h;
    char id[WIRE_PROCESS_ID];
    uint8_t tree; /* 0: only its own process; else everything that came from it */
    int32_t signo;
    uint32_t grace_ms; /* of a tree: KILL follows after this unless all is gone; 0: never */
};

struct wire_process_name {
    struct wire_head h;
    char id[WIRE_PROCESS_ID];
    uint32_t grace_ms;
};

struct wire_process_list {
    struct wire_head h;
    char id[WIRE_PROCESS_ID]; /* "": all of that kind, else this one */
    uint8_t kind;             /* 0: any */
    uint32_t after;           /* number of the last record that is known; 0 begins */
};

struct wire_process_table {
    struct wire_head h;
    uint32_t records, more;
};

enum wire_process_state {
    WIRE_PROCESS_RUNNING = 1,
    WIRE_PROCESS_WAITING, /* to be started again */
    WIRE_PROCESS_ENDED
};

enum wire_process_mark {
    WIRE_MARK_TIMED_OUT = 1,
    WIRE_MARK_KILLED = 2,       /* somebody asked for its end */
    WIRE_MARK_LOST = 4,         /* output was dropped from the log */
    WIRE_MARK_OUT_OF_MEMORY = 8 /* the kernel killed it, or a child, for lack of memory */
};

/* One record of a table, followed by its note; also the payload of EXIT and RESTART. */
struct wire_process_info {
    char id[WIRE_PROCESS_ID];
    uint8_t kind, state, marks;
    int32_t pid;    /* of the run, inside the box */
    int32_t status; /* wait status of the last run that ended */
    int32_t error;  /* it could not be started again: negative errno */
    uint32_t number, restarts, note_len;
    uint32_t streams; /* that read it now */
    uint16_t cols, rows;
    uint64_t started_us, ended_us; /* ended_us 0: runs */
    uint64_t first, next;          /* cursors: oldest byte kept, next to come */
};

/* Tail (or memfd, the first descriptor): the script. fds: a stream, which gets the output from here
 * on and DONE. */
struct wire_session_run {
    struct wire_head h;
    char id[WIRE_PROCESS_ID];
    uint8_t in_fd;
    uint32_t timeout_ms, grace_ms; /* then it is interrupted; killed; the shell ended */
    uint32_t script_len;
};

enum wire_session_end {
    WIRE_SESSION_OVER = 1, /* the shell itself has ended: status is its wait status */
    WIRE_SESSION_TIMED_OUT = 2,
    WIRE_SESSION_CANCELLED = 4,
    WIRE_SESSION_FRESH = 8 /* the shell had ended before and is a new one */
};

struct wire_session_done {
    int32_t status; /* exit code */
    uint32_t how;
};

struct wire_port {
    struct wire_head h;
    uint16_t port;
    uint32_t timeout_ms;
};

/* ---- frames on a stream ---- */

enum wire_frame_type {
    /* init to G */
    WIRE_FRAME_STDOUT = 1, /* cursor: of its first byte. A terminal has only this one */
    WIRE_FRAME_STDERR = 2,
    WIRE_FRAME_CAUGHT_UP = 3, /* what was kept has been sent; what follows is new */
    WIRE_FRAME_EXIT = 4,      /* struct wire_process_info; the last one */
    WIRE_FRAME_RESTART = 5,   /* struct wire_process_info: it ended and is started again */
    WIRE_FRAME_DONE = 6,      /* struct wire_session_done: a command of a session has ended */
    WIRE_FRAME_SYNCED = 7,    /* struct wire_given: answers SYNC, and comes before EXIT */
    /* G to init */
    WIRE_FRAME_STDIN = 16,
    WIRE_FRAME_STDIN_END = 17,
    WIRE_FRAME_RESIZE = 18, /* struct wire_resize */
    WIRE_FRAME_SYNC = 19,   /* SYNCED follows once the input so far was given or refused */
};

/* Bytes of this reader's input that the program has been given; it takes no others if there are
 * fewer than were sent. */
struct wire_given {
    uint64_t bytes;
};

struct wire_frame {
    uint16_t type, reserved;
    uint32_t len;
    uint64_t cursor;
    uint64_t time_us;
};

struct wire_resize {
    uint16_t cols, rows;
};

/*
 * Looks for a frame at the start of bytes. Its whole length (its payload is at
 * data + sizeof(struct wire_frame)), 0: more bytes are needed, -EPROTO: length or type are none
 * that exist.
 */
long wire_frame_parse(const void *data, size_t len, struct wire_frame *ret);
