#include <errno.h>
#include <string.h>

#include "contexts/proto/proto.h"

void proto_decoder_init(struct proto_decoder *d, struct proto_quota *quota)
{
    *d = (struct proto_decoder){.quota = quota};
    buf_init(&d->partial, PROTO_MESSAGE_MAX + MESSAGE_HEAD + 4 * MESSAGE_SECTIONS_MAX);
}

static void forget(struct proto_decoder *d)
{
    if (d->quota)
        d->quota->used -= d->partial.len;
    buf_reset(&d->partial);
    d->total = 0;
    d->open = d->clear = false;
}

void proto_decoder_deinit(struct proto_decoder *d)
{
    forget(d);
    buf_deinit(&d->partial);
}

static int broken(struct proto_decoder *d, int code, const char *why)
{
    if (!d->error)
        d->error = why;
    return code;
}

const char *proto_decoder_error(const struct proto_decoder *d)
{
    return d->error;
}

/* Whole length of the message that starts at p: 0 = the table is not there yet, SIZE_MAX = over a
 * cap. */
static size_t message_length(const uint8_t *p, size_t len)
{
    if (len < MESSAGE_HEAD)
        return 0;
    size_t n = get_le(p + 2, 2), total = MESSAGE_HEAD + 4 * n;
    if (n > MESSAGE_SECTIONS_MAX)
        return SIZE_MAX;
    if (len < total)
        return 0;
    for (size_t i = 0; i < n; i++)
        total += get_le(p + MESSAGE_HEAD + 4 * i, 4);
    return total > PROTO_MESSAGE_MAX ? SIZE_MAX : total;
}

/* p holds exactly one whole message. */
static int deliver(struct proto_decoder *d, const uint8_t *p, bool init, struct proto_message *ret)
{
    *ret = (struct proto_message){0};
    ret->type = (uint16_t)get_le(p, 2);
    ret->from_init = init;
    ret->nsections = (unsigned)get_le(p + 2, 2);
    ret->arg = (uint32_t)get_le(p + 4, 4);
    ret->req = get_le(p + 8, 8);
    size_t at = MESSAGE_HEAD + 4 * ret->nsections;
    for (unsigned i = 0; i < ret->nsections; i++) {
        ret->sections[i].data = p + at;
        ret->sections[i].len = get_le(p + MESSAGE_HEAD + 4 * i, 4);
        at += ret->sections[i].len;
    }
    const char *bad = proto_validate(ret);
    return bad ? broken(d, -EPROTO, bad) : 1;
}

static int single(struct proto_decoder *d, const uint8_t *p, size_t len, bool init,
                  struct proto_message *ret)
{
    size_t total = message_length(p, len);
    if (total != len || len < MESSAGE_HEAD)
        return broken(d, -EPROTO, "length disagrees");
    return deliver(d, p, init, ret);
}

static int append(struct proto_decoder *d, const uint8_t *p, size_t len)
{
    if (d->quota && d->quota->max && len > d->quota->max - d->quota->used)
        return broken(d, -ENOMEM, "too much unfinished output in all contexts");
    int r = buf_put(&d->partial, p, len);
    if (r < 0)
        return broken(d, r == -EMSGSIZE ? -EPROTO : r,
                      r == -EMSGSIZE ? "message too long" : "out of memory");
    if (d->quota)
        d->quota->used += len;
    if (!d->total)
        d->total = message_length(d->partial.data, d->partial.len);
    if (d->total == SIZE_MAX)
        return broken(d, -EPROTO, "message too long");
    if (d->total && d->partial.len > d->total)
        return broken(d, -EPROTO, "length disagrees");
    return 0;
}

int proto_decoder_feed(struct proto_decoder *d, const uint8_t *packet, size_t len,
                       struct proto_message *ret)
{
    if (d->error)
        return -EPROTO;
    if (d->clear)
        forget(d);
    if (len < PACKET_HEAD || len > PACKET_MAX || packet[1] || packet[2] || packet[3])
        return broken(d, -EPROTO, "malformed packet");
    uint8_t flags = packet[0];
    const uint8_t *p = packet + PACKET_HEAD;
    len -= PACKET_HEAD;
    if (flags & ~(PACKET_FIRST | PACKET_LAST | PACKET_INIT))
        return broken(d, -EPROTO, "unknown packet flag");
    if (flags & PACKET_INIT) {
        if (flags != (PACKET_FIRST | PACKET_LAST | PACKET_INIT))
            return broken(d, -EPROTO, "cut message of init");
        return single(d, p, len, true, ret);
    }
    if (d->resync && !(flags & PACKET_FIRST))
        return 0;
    d->resync = false;
    if (((flags & PACKET_FIRST) != 0) == d->open)
        return broken(d, -EPROTO,
                      d->open ? "message begins inside another" : "packet without a beginning");
    if (flags == (PACKET_FIRST | PACKET_LAST))
        return single(d, p, len, false, ret);
    d->open = true;
    if (!len)
        return broken(d, -EPROTO, "empty packet");
    int r = append(d, p, len);
    if (r < 0)
        return r;
    if (!(flags & PACKET_LAST))
        return 0;
    if (d->partial.len != d->total)
        return broken(d, -EPROTO, "length disagrees");
    d->open = false;
    d->clear = true;
    return deliver(d, d->partial.data, false, ret);
}
