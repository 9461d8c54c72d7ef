#include "kernel-gw/jupyter/channels/frames.h"

#include <errno.h>
#include <string.h>

#include "contexts/proto/proto.h"
#include "sandbox/base/json.h"
#include "sandbox/wire/packet.h"

static const char *const names[CHANNELS] = {"shell", "control", "stdin", "iopub", "hb"};

static bool find_channel(struct slice name, enum channel *ret)
{
    for (int i = 0; i < CHANNELS; i++) {
        if (name.len == strlen(names[i]) && !memcmp(name.data, names[i], name.len)) {
            *ret = (enum channel)i;
            return i == CHANNEL_SHELL || i == CHANNEL_CONTROL || i == CHANNEL_STDIN;
        }
    }
    return false;
}

static const char *check(struct jupyter_message *m)
{
    switch (jupyter_check(m)) {
    case JUPYTER_OK:
        return NULL;
    case JUPYTER_E_JSON:
        return "header, parent_header, metadata and content must be JSON objects in UTF-8";
    default:
        return "the header needs msg_id and msg_type, strings of a sane length";
    }
}

/* ---- v1: u64 count, that many u64 offsets, the parts between them ---- */

enum { V1_PARTS_MAX = 5 + JUPYTER_BUFFERS_MAX };

static const char *decode_v1(const uint8_t *data, size_t len, enum channel *ch,
                             struct jupyter_message *m)
{
    struct slice part[V1_PARTS_MAX];
    uint64_t count = len >= 8 ? get_le(data, 8) : 0;
    if (count < 6 || count > V1_PARTS_MAX + 1 || 8 * (count + 1) > len)
        return "the number of offsets is wrong";
    unsigned n = (unsigned)count - 1;
    uint64_t from = get_le(data + 8, 8);
    if (from != 8 * (count + 1))
        return "the first offset must point behind the table";
    for (unsigned i = 0; i < n; i++) {
        uint64_t to = get_le(data + 16 + 8 * i, 8);
        if (to < from || to > len)
            return "an offset is out of order or out of range";
        part[i] = (struct slice){data + from, (size_t)(to - from)};
        from = to;
    }
    if (from != len)
        return "the last offset must be the end of the message";
    if (!find_channel(part[0], ch))
        return "unknown channel";
    m->header = part[1];
    m->parent = part[2];
    m->metadata = part[3];
    m->content = part[4];
    for (unsigned i = 5; i < n; i++)
        m->buffers[m->nbuffers++] = part[i];
    return check(m);
}

/* ---- the older form ---- */

static struct slice member(struct slice json, const char *key)
{
    struct proto_section s;
    if (!json_pick(json.data, json.len, key, &s) || (s.len == 4 && !memcmp(s.data, "null", 4)))
        return SLICE_STR("{}");
    return (struct slice){s.data, s.len};
}

static const char *decode_json(struct slice json, enum channel *ch, struct jupyter_message *m)
{
    struct proto_section name;
    if (json_check_object(json.data, json.len) < 0)
        return "the message is not a JSON object in UTF-8";
    if (!json_pick(json.data, json.len, "channel", &name) || name.len < 2)
        *ch = CHANNEL_SHELL; /* so do the servers that this form comes from */
    else if (!find_channel((struct slice){name.data + 1, name.len - 2}, ch))
        return "unknown channel";
    m->header = member(json, "header");
    m->parent = member(json, "parent_header");
    m->metadata = member(json, "metadata");
    m->content = member(json, "content");
    return check(m);
}

static uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(struct buf *b, uint32_t v)
{
    uint8_t bytes[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    buf_put(b, bytes, 4);
}

/* u32 count, that many u32 offsets (big endian); the first part is the JSON, the others buffers. */
static const char *decode_json_binary(const uint8_t *data, size_t len, enum channel *ch,
                                      struct jupyter_message *m)
{
    uint32_t n = len >= 4 ? get_be32(data) : 0;
    if (!n || n > 1 + JUPYTER_BUFFERS_MAX || 4 * ((size_t)n + 1) > len)
        return "the number of parts is wrong";
    uint32_t from = get_be32(data + 4);
    if (from != 4 * (n + 1))
        return "the first offset must point behind the table";
    struct slice json = {0};
    for (uint32_t i = 0; i < n; i++) {
        uint64_t to = i + 1 < n ? get_be32(data + 8 + 4 * (size_t)i) : len;
        if (to < from || to > len)
            return "an offset is out of order or out of range";
        struct slice part = {data + from, (size_t)(to - from)};
        if (i)
            m->buffers[m->nbuffers++] = part;
        else
            json = part;
        from = (uint32_t)to;
    }
    return decode_json(json, ch, m);
}

const char *channels_decode(enum channels_form form, bool binary, const uint8_t *data, size_t len,
                            enum channel *ret_channel, struct jupyter_message *ret)
{
    *ret = (struct jupyter_message){0};
    if (form == CHANNELS_V1)
        return binary ? decode_v1(data, len, ret_channel, ret)
                      : "this protocol has binary messages only";
    if (binary)
        return decode_json_binary(data, len, ret_channel, ret);
    return decode_json((struct slice){data, len}, ret_channel, ret);
}

/* ---- out ---- */

static void add(struct channels_out *o, const void *data, size_t len)
{
    o->parts[o->n++] = (struct ws_part){data, len};
}

static void add_text(struct channels_out *o, const char *s)
{
    add(o, s, strlen(s));
}

static void encode_v1(enum channel ch, struct slice header, const struct jupyter_parts *p,
                      struct channels_out *o)
{
    struct slice all[V1_PARTS_MAX] = {{(const uint8_t *)names[ch], strlen(names[ch])},
                                      header,
                                      p->parent,
                                      p->metadata,
                                      p->content};
    unsigned n = 5;
    uint8_t word[8];
    o->binary = true;
    for (unsigned i = 0; i < p->nbuffers && n < V1_PARTS_MAX; i++)
        all[n++] = p->buffers[i];
    uint64_t at = 8 * ((uint64_t)n + 2);
    put_le(word, n + 1, 8);
    buf_put(&o->head, word, 8);
    for (unsigned i = 0; i <= n; i++) {
        put_le(word, at, 8);
        buf_put(&o->head, word, 8);
        at += i < n ? all[i].len : 0;
    }
    add(o, o->head.data, o->head.len);
    for (unsigned i = 0; i < n; i++)
        add(o, all[i].data, all[i].len);
}

static int encode_json(enum channel ch, struct slice header, const char *msg_id,
                       const struct jupyter_parts *p, struct channels_out *o)
{
    static const char labels[4][24] = {
        ",\"header\":", ",\"parent_header\":", ",\"metadata\":", ",\"content\":"};
    const struct slice members[4] = {header, p->parent, p->metadata, p->content};
    struct buf intro = {0};
    uint64_t total = 0;
    buf_printf(&intro, "{\"channel\":\"%s\",\"msg_type\":", names[ch]);
    json_put_cstring(&intro, p->msg_type); /* a client may have called its message anything */
    buf_puts(&intro, ",\"msg_id\":");
    json_put_cstring(&intro, msg_id);
    total = intro.len + 14; /* ,"buffers":[]} */
    for (int i = 0; i < 4; i++)
        total += strlen(labels[i]) + members[i].len;
    o->binary = p->nbuffers > 0;
    if (o->binary) {
        uint64_t at = 4 * ((uint64_t)p->nbuffers + 2);
        put_be32(&o->head, p->nbuffers + 1);
        put_be32(&o->head, (uint32_t)at);
        at += total;
        for (unsigned i = 0; i < p->nbuffers; i++) {
            put_be32(&o->head, (uint32_t)at);
            at += p->buffers[i].len;
        }
        total = at;
    }
    buf_put(&o->head, intro.data, intro.len);
    int e = intro.err;
    buf_deinit(&intro);
    if (total > UINT32_MAX)
        return -EMSGSIZE;
    add(o, o->head.data, o->head.len);
    for (int i = 0; i < 4; i++) {
        add_text(o, labels[i]);
        add(o, members[i].data, members[i].len);
    }
    add_text(o, ",\"buffers\":[]}");
    for (unsigned i = 0; i < p->nbuffers; i++)
        add(o, p->buffers[i].data, p->buffers[i].len);
    return e;
}

int channels_encode(enum channels_form form, enum channel ch, struct slice header,
                    const char *msg_id, const struct jupyter_parts *parts, struct channels_out *ret)
{
    ret->n = 0;
    ret->head = (struct buf){0};
    if (parts->nbuffers > JUPYTER_BUFFERS_MAX)
        return -EMSGSIZE;
    int e = 0;
    if (form == CHANNELS_V1)
        encode_v1(ch, header, parts, ret);
    else
        e = encode_json(ch, header, msg_id, parts, ret);
    return ret->head.err ? ret->head.err : e;
}

void channels_out_deinit(struct channels_out *o)
{
    buf_deinit(&o->head);
}
