#include "sandbox/egress/handlers/codec.h"

#include <errno.h>

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

int handler_frame_put(struct buf *out, enum handler_frame_type type, uint32_t stream,
                      const void *data, size_t len)
{
    uint8_t head[HANDLER_FRAME_HEAD] = {0};
    if (len > HANDLER_PAYLOAD_MAX)
        return -EMSGSIZE;
    put32(head, (uint32_t)len);
    head[4] = (uint8_t)type;
    put32(head + 8, stream);
    int r = buf_put(out, head, sizeof head);
    return r < 0 ? r : buf_put(out, data, len);
}

int handler_frame_take(const uint8_t *in, size_t len, struct handler_frame *ret, size_t *ret_size)
{
    if (len < HANDLER_FRAME_HEAD)
        return 0;
    uint32_t size = get32(in);
    if (size > HANDLER_PAYLOAD_MAX || in[4] < HANDLER_LOAD || in[4] > HANDLER_DONE || in[5] ||
        in[6] || in[7])
        return -EPROTO;
    if (len - HANDLER_FRAME_HEAD < size)
        return 0;
    *ret = (struct handler_frame){(enum handler_frame_type)in[4], get32(in + 8), size,
                                  in + HANDLER_FRAME_HEAD};
    *ret_size = HANDLER_FRAME_HEAD + size;
    return 1;
}
