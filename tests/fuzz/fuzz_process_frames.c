/* LINK: cbx_wire */
/* PARSES: sandbox/wire/process.c */
/* Frames on the stream of a process, from arbitrary bytes in arbitrary pieces. */
#include <string.h>

#include "sandbox/wire/process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_frame f;
    size_t at = 0, seen = size ? data[0] : 0;
    while (at < size) {
        size_t len = at + seen < size ? seen : size - at;
        long n = wire_frame_parse(data + at, len, &f);
        if (n < 0)
            return 0;
        if (n > 0 && ((size_t)n > len || (size_t)n != sizeof f + f.len || f.len > WIRE_FRAME_MAX))
            __builtin_trap();
        if (n == 0 && len == size - at)
            return 0;
        at += (size_t)n;
        seen += n == 0 ? 1 + seen : 0;
    }
    return 0;
}
