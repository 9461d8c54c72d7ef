/* LINK: cbx_glob */
/* PARSES: sandbox/files/glob.c */
/* Patterns: the bytes up to the first newline against the rest. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/files/glob.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 512)
        return 0;
    char *s = malloc(size + 1);
    if (!s)
        return 0;
    memcpy(s, data, size);
    s[size] = 0;
    char *path = strchr(s, '\n');
    if (path) {
        *path++ = 0;
        if (glob_match(s, path) && !glob_match("**", path))
            __builtin_trap();
        glob_valid(s);
    }
    free(s);
    return 0;
}
