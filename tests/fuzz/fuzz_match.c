/* LINK: cbx_api */
/* PARSES: kernel-gw/api/box/match.c */
/* A pattern of a client against lines of a box: both are arbitrary. pattern NUL lines. */
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/api/box/match.h"
#include "kernel-gw/api/box/terminal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[160];
    size_t len;
    struct terminal_control c;
    (void)terminal_control_read(data, size, &c);
    const uint8_t *nul = memchr(data, 0, size);
    if (!nul || (size_t)(nul - data) > MATCH_PATTERN_MAX)
        return 0;
    struct match *m = match_pattern((const char *)data, why, sizeof why);
    size_t rest = size - (size_t)(nul + 1 - data);
    if (m && match_feed(m, 0, nul + 1, rest)) {
        (void)match_line(m, &len);
        for (unsigned g = 0; g < MATCH_GROUPS; g++)
            if (match_group(m, g, &len) && len > MATCH_LINE_MAX)
                __builtin_trap();
    }
    match_free(m);
    return 0;
}
