/* LINK: cbx_handler_codec */
/* PARSES: sandbox/egress/handlers/codec.c */
/* Frames of a handler worker: what is taken out and put back is the same bytes. */
#include <string.h>

#include "sandbox/egress/handlers/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct handler_frame f;
    size_t n;
    while (handler_frame_take(data, size, &f, &n) == 1) {
        CLEANUP_BUF struct buf again = {0};
        if (n > size || handler_frame_put(&again, f.type, f.stream, f.data, f.len) < 0 ||
            again.len != n || memcmp(again.data, data, n) != 0)
            __builtin_trap();
        data += n;
        size -= n;
    }
    return 0;
}
