#include "sandbox/wire/packet.h"

#include <string.h>

size_t packet_build(uint8_t *out, uint8_t flags, uint16_t type, uint32_t arg, uint64_t req,
                    unsigned nsections, const void *const *sections, const uint32_t *lengths)
{
    size_t at = PACKET_HEAD + MESSAGE_HEAD + 4u * nsections;

    if (nsections > MESSAGE_SECTIONS_MAX)
        return 0;
    put_le(out, flags, 4);
    put_le(out + 4, type, 2);
    put_le(out + 6, nsections, 2);
    put_le(out + 8, arg, 4);
    put_le(out + 12, req, 8);
    for (unsigned i = 0; i < nsections; i++) {
        put_le(out + PACKET_HEAD + MESSAGE_HEAD + 4u * i, lengths[i], 4);
        if (lengths[i] > PACKET_MAX - at)
            return 0;
        if (lengths[i])
            memcpy(out + at, sections[i], lengths[i]);
        at += lengths[i];
    }
    return at;
}
