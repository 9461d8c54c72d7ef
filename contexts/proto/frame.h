/*
 * Frame protocol between G and a runner: message types. The envelope is in sandbox/wire/packet.h,
 * every type with its sections in docs/protocol.md. JSON sections are well-formed UTF-8 JSON
 * objects; text sections are bytes.
 */
#pragma once

#include "sandbox/wire/packet.h"

enum frame_type {
    /* G -> runner. req = number of the request, unique in the life of the context, never 0. */
    FRAME_SETUP = 1,       /* {cwd?, env{}, session} -> DONE. Before the first EXECUTE */
    FRAME_WARMUP = 2,      /* {} run warm-up cells, forget them -> DONE */
    FRAME_EXECUTE = 3,     /* options JSON, code -> ... DONE */
    FRAME_COMPLETE = 4,    /* {cursor_pos}, code -> DONE */
    FRAME_INSPECT = 5,     /* {cursor_pos, detail_level}, code -> DONE */
    FRAME_IS_COMPLETE = 6, /* {}, code -> DONE */
    FRAME_HISTORY = 7,     /* history_request content -> DONE */
    FRAME_COMM_INFO = 8,   /* comm_info_request content -> DONE */
    FRAME_COMM = 9,        /* {"msg_type"}, content, metadata, buffers... -> DONE */
    FRAME_INPUT =
        10, /* value bytes: answers STDIN; no DONE of its own. arg 1 = no client can answer */
    FRAME_SHUTDOWN = 11, /* {restart} run atexit hooks, exit 0; no DONE */
    /* Control: sent while other requests run, one of them at a time. */
    FRAME_DEBUG = 12,    /* debug_request content (DAP) -> DONE */
    FRAME_SUBSHELL = 13, /* {"op": "create" or "delete"}; arg = its number -> DONE */
    FRAME_USAGE = 14,    /* {memory?, cpus?} limits of the box -> DONE: usage_reply content */

    /* runner -> G. req = the request it belongs to; 0 = none. */
    FRAME_HELLO = 33,          /* info JSON: ready for the first request */
    FRAME_DISPLAY = 34,        /* data, metadata, transient, buffers... */
    FRAME_UPDATE_DISPLAY = 35, /* data, metadata, transient, buffers... */
    FRAME_RESULT = 36,         /* data, metadata */
    FRAME_CLEAR_OUTPUT = 37,   /* arg: 1 = wait */
    FRAME_ERROR = 38,          /* {ename, evalue, traceback[]} */
    FRAME_STDIN = 39,          /* {prompt, password} then waits for INPUT */
    FRAME_COMM_OUT = 40,       /* {"msg_type"}, content, metadata, buffers... */
    FRAME_DONE = 41, /* reply content JSON; arg: enum frame_status. Exactly one per request */
    FRAME_DEBUG_EVENT = 42, /* DAP event */
};

enum frame_status { FRAME_OK = 0, FRAME_FAILED = 1, FRAME_ABORTED = 2 };
