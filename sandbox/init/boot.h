/*
 * What the interpreter host (contexts/python, above) registers with zygote and init (below): how to
 * get warm, and what a context does once its process exists. Everything runs in the process named.
 */
#pragma once

#include "sandbox/init/outring.h"

/* A context's process, set up by init: box user, own session, closed set of descriptors, cwd and
 * environment applied. */
struct context_boot {
    int frame_fd;        /* SEQPACKET, blocking, CLOEXEC: the frame protocol */
    struct outring ring; /* sys.stdout and sys.stderr go here; fd 1 and fd 2 are pipes to init */
    int fresh; /* 0: forked from the warm image: call the after-fork hooks; 1: freshly executed */
};

struct interpreter_ops {
    /* Zygote, once: initialise, import, warm up, seal. Negative errno with a line on stderr. */
    int (*preload)(void);
    /* Zygote, around the clone of a new box; init, around the fork of a context. */
    void (*before_fork)(void);
    void (*after_fork_parent)(void);
    /* The context's process: never returns to the caller's code; its return value is the exit
     * status. */
    int (*context_main)(const struct context_boot *boot);
};

/*
 * Contexts that are executed: init runs `path` with `argv`; the descriptors have these numbers (the
 * ring's memory is a memfd to map).
 */
#define CBX_PYTHON_PATH "/opt/cellbox/bin/cbx-python"
enum { CONTEXT_FD_FRAME = 3, CONTEXT_FD_RING = 4, CONTEXT_FD_DOORBELL = 5 };

struct context_program {
    const char *path;
    const char *const *argv; /* NULL ends */
};
/* number: enum wire_program. NULL: unknown, or not executed but forked. */
const struct context_program *context_program_find(unsigned number);
