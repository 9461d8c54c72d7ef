/* LINK: cbx_egress_pair */
/* PARSES: sandbox/egress/http/h1_server.c sandbox/egress/http/h2_server.c */
/* What goes into one end of egress and what an origin reads at the other: see tests/pair/pair.h. */
#include "tests/pair/pair.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *wrong = size < 65536 ? pair_run(data, size) : NULL;
    if (wrong) {
        fprintf(stderr, "%s\n", wrong);
        __builtin_trap();
    }
    return 0;
}
