/* What this machine gives to a server: one probe per mechanism. None changes anything that outlives
 * it. */
#pragma once

#include <stdbool.h>

enum probe_state {
    PROBE_OK,
    PROBE_DEGRADED, /* a server works without; lost says what is missing then */
    PROBE_MISSING   /* a server cannot work */
};

struct probe {
    const char *name;
    enum probe_state state;
    char found[200];  /* what there is */
    const char *lost; /* unless ok: what it means, and the remedy */
};

#define PROBE_MACHINE_COUNT 13
/* Fills PROBE_MACHINE_COUNT entries. */
void probe_machine(struct probe *probes);
