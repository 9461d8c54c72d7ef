/* The programs that init executes as contexts. */
#include <stddef.h>

#include "sandbox/init/boot.h"
#include "sandbox/wire/wire.h"

static const char *const python_argv[] = {"cbx-python", "--context", NULL};

/*
 * No inspector on SIGUSR1: it would listen on a port. The checks of async_hooks abort the process
 * where a terminated callback leaves a stack uneven, which an interrupt does on purpose. V8's
 * loop unrolling drops the checks by which a loop can be stopped from some loops that never end.
 * argv[0] is what programs see as process.argv0; the runner then names itself for ps.
 */
static const char *const node_argv[] = {"node",
                                        "--disable-sigusr1",
                                        "--no-force-async-hooks-checks",
                                        "--no-turboshaft-loop-unrolling",
                                        "--v8-pool-size=2",
                                        "/opt/cellbox/node/lib/main.js",
                                        NULL};

static const struct context_program programs[] = {
    [WIRE_PROGRAM_PYTHON] = {CBX_PYTHON_PATH, python_argv},
    [WIRE_PROGRAM_NODE] = {"/usr/local/bin/node", node_argv},
};

const struct context_program *context_program_find(unsigned number)
{
    if (number >= sizeof programs / sizeof *programs || !programs[number].path)
        return NULL;
    return &programs[number];
}
