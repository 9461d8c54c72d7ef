#include "sandbox/wire/process.h"

#include <errno.h>
#include <string.h>

long wire_frame_parse(const void *data, size_t len, struct wire_frame *ret)
{
    struct wire_frame f;
    if (len < sizeof f)
        return 0;
    memcpy(&f, data, sizeof f);
    bool up = f.type >= WIRE_FRAME_STDOUT && f.type <= WIRE_FRAME_SYNCED;
    bool down = f.type >= WIRE_FRAME_STDIN && f.type <= WIRE_FRAME_SYNC;
    if (f.len > WIRE_FRAME_MAX || f.reserved || !(up || down))
        return -EPROTO;
    if (len - sizeof f < f.len)
        return 0;
    *ret = f;
    return (long)(sizeof f + f.len);
}
