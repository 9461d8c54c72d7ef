#include <errno.h>
#include <string.h>

#include "contexts/proto/proto.h"

int proto_encoder_init(struct proto_encoder *e, uint16_t type, uint32_t arg, uint64_t req,
                       const struct proto_section *sections, unsigned nsections)
{
    uint8_t head[MESSAGE_HEAD + 4 * MESSAGE_SECTIONS_MAX];
    size_t total = MESSAGE_HEAD + 4u * nsections;

    *e = (struct proto_encoder){0};
    if (nsections > MESSAGE_SECTIONS_MAX)
        return -EMSGSIZE;
    buf_init(&e->message, PROTO_MESSAGE_MAX);
    put_le(head, type, 2);
    put_le(head + 2, nsections, 2);
    put_le(head + 4, arg, 4);
    put_le(head + 8, req, 8);
    for (unsigned i = 0; i < nsections; i++) {
        if (sections[i].len > PROTO_MESSAGE_MAX)
            return -EMSGSIZE;
        put_le(head + MESSAGE_HEAD + 4 * i, sections[i].len, 4);
        total += sections[i].len;
    }
    buf_reserve(&e->message, total);
    buf_put(&e->message, head, MESSAGE_HEAD + 4 * nsections);
    for (unsigned i = 0; i < nsections; i++)
        buf_put(&e->message, sections[i].data, sections[i].len);
    int r = e->message.err;
    if (r < 0)
        proto_encoder_deinit(e);
    return r;
}

void proto_encoder_deinit(struct proto_encoder *e)
{
    buf_deinit(&e->message);
    e->at = e->prev = 0;
}

size_t proto_encoder_next(struct proto_encoder *e, uint8_t *out)
{
    size_t left = e->message.len - e->at, n = left;
    if (!left)
        return 0;
    if (n > PACKET_MAX - PACKET_HEAD)
        n = PACKET_MAX - PACKET_HEAD;
    unsigned flags = (e->at == 0 ? PACKET_FIRST : 0u) | (n == left ? PACKET_LAST : 0u);
    put_le(out, flags, 4);
    memcpy(out + PACKET_HEAD, e->message.data + e->at, n);
    e->prev = e->at;
    e->at += n;
    return PACKET_HEAD + n;
}

void proto_encoder_back(struct proto_encoder *e)
{
    e->at = e->prev;
}
