#include <errno.h>
#include <string.h>

#include "contexts/proto/proto.h"

void proto_decoder_init(struct proto_decoder *d, struct proto_quota *quota)
{
    *d = (struct proto_decoder){.quota = quota};
    buf_init(&d->partial, PROTO_MESSAGE_MAX + MESSAGE_HEAD + 4 * MESSAGE_SECTIONS_MAX);
}

/* Its memory goes with it: a buffer of 64 MiB is nothing to keep. */
static void forget(struct proto_decoder *d)
{
    if (d->quota)
        d->quota->used -= d->charged;
    buf_deinit(&d->partial);
    buf_init(&d->partial, PROTO_MESSAGE_MAX + MESSAGE_HEAD + 4 * MESSAGE_SECTIONS_MAX);
    d->total = d->charged = d->seen.at = d->seen.end = 0;
    d->seen.section = 0;
    d->open = d->clear = false;
}

void proto_decoder_drop(struct proto_decoder *d)
{
    forget(d);
}

void proto_decoder_taken(struct proto_decoder *d)
{
    if (d->clear)
        forget(d);
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

static void read_head(const uint8_t *p, bool init, struct proto_message *ret)
{
    *ret = (struct proto_message){.type = (uint16_t)get_le(p, 2),
                                  .from_init = init,
                                  .nsections = (unsigned)get_le(p + 2, 2),
                                  .arg = (uint32_t)get_le(p + 4, 4),
                                  .req = get_le(p + 8, 8)};
}

static const char *check_head(struct proto_decoder *d, const struct proto_message *m, size_t total)
{
    const char *bad = proto_validate_head(m, total);
    if (bad || m->type != FRAME_HELLO)
        return bad;
    bad = d->greeted ? "HELLO came twice" : NULL;
    d->greeted = true;
    return bad;
}

/* p holds exactly one whole message. */
static void read_sections(const uint8_t *p, struct proto_message *ret)
{
    size_t at = MESSAGE_HEAD + 4 * ret->nsections;
    for (unsigned i = 0; i < ret->nsections; i++) {
        ret->sections[i].data = p + at;
        ret->sections[i].len = get_le(p + MESSAGE_HEAD + 4 * i, 4);
        at += ret->sections[i].len;
    }
}

static int single(struct proto_decoder *d, const uint8_t *p, size_t len, bool init,
                  struct proto_message *ret)
{
    size_t total = message_length(p, len);
    if (total != len || len < MESSAGE_HEAD)
        return broken(d, -EPROTO, "length disagrees");
    read_head(p, init, ret);
    const char *bad = check_head(d, ret, total);
    if (!bad) {
        read_sections(p, ret);
        bad = proto_validate_sections(ret);
    }
    return bad ? broken(d, -EPROTO, bad) : 1;
}

/* ---- a message of several packets ---- */

static const char *check_begin(struct proto_decoder *d)
{
    struct proto_message m;
    read_head(d->partial.data, false, &m);
    d->seen.at = MESSAGE_HEAD + 4 * (size_t)m.nsections;
    d->seen.end = d->seen.at;
    d->seen.section = 0;
    return check_head(d, &m, d->total);
}

/* The bytes of one section that have come since. */
static const char *check_piece(struct proto_decoder *d, char kind, const uint8_t *p, size_t n,
                               bool begins, bool ends)
{
    if (kind == 's')
        return !begins || !ends || n != 1 || (*p != 1 && *p != 2) ? "unknown stream" : NULL;
    if (kind != 'o')
        return NULL;
    if (begins)
        json_checker_init(&d->seen.json);
    if (json_checker_feed(&d->seen.json, p, n) < 0 ||
        (d->seen.json.first && d->seen.json.first != '{') ||
        (ends && json_checker_end(&d->seen.json) < 0))
        return "section is not a JSON object";
    return NULL;
}

/* Everything up to the end of what has come. */
static const char *check_more(struct proto_decoder *d)
{
    const uint8_t *p = d->partial.data;
    uint16_t type = (uint16_t)get_le(p, 2);
    unsigned n = (unsigned)get_le(p + 2, 2);
    const char *bad = NULL;
    while (!bad && d->seen.section < n) {
        size_t len = get_le(p + MESSAGE_HEAD + 4 * d->seen.section, 4);
        bool begins = d->seen.at == d->seen.end;
        if (begins)
            d->seen.end = d->seen.at + len;
        size_t upto = d->seen.end < d->partial.len ? d->seen.end : d->partial.len;
        bool ends = upto == d->seen.end;
        if (upto == d->seen.at && !ends) { /* it begins in the next packet */
            d->seen.end = d->seen.at;
            break;
        }
        bad = check_piece(d, proto_section_kind(type, d->seen.section), p + d->seen.at,
                          upto - d->seen.at, begins, ends);
        d->seen.at = upto;
        if (!ends)
            break;
        d->seen.section++;
    }
    return bad;
}

static int append(struct proto_decoder *d, const uint8_t *p, size_t len)
{
    int r = buf_put(&d->partial, p, len);
    if (r < 0)
        return broken(d, r == -EMSGSIZE ? -EPROTO : r,
                      r == -EMSGSIZE ? "message too long" : "out of memory");
    bool begins = !d->total;
    if (begins)
        d->total = message_length(d->partial.data, d->partial.len);
    if (d->total == SIZE_MAX)
        return broken(d, -EPROTO, "message too long");
    if (!d->total)
        return 0;
    if (d->partial.len > d->total)
        return broken(d, -EPROTO, "length disagrees");
    const char *bad = begins ? check_begin(d) : NULL;
    bad = bad ? bad : check_more(d);
    return bad ? broken(d, -EPROTO, bad) : 0;
}

bool proto_decoder_admit(struct proto_decoder *d)
{
    size_t need = d->open && !d->error ? d->total - d->charged : 0;
    if (!d->quota || !need || !d->total)
        return true;
    if (d->quota->used > d->quota->max || need > d->quota->max - d->quota->used)
        return false;
    d->quota->used += need;
    d->charged += need;
    return true;
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
    read_head(d->partial.data, false, ret);
    read_sections(d->partial.data, ret);
    return 1;
}
