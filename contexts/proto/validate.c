#include <string.h>

#include "contexts/proto/proto.h"
#include "sandbox/base/json.h"

/*
 * Every type with its sections (o JSON object, s the stream byte, b bytes; a final '*' allows any
 * number of further byte sections) and with the length that a whole message may have: what the
 * gateway reads itself, or has no reason to be long, is short.
 */
static const struct shape {
    uint16_t type;
    const char *kinds;
    size_t max;
} shapes[] = {
    {MESSAGE_STREAM, "sb", PACKET_MAX},          {FRAME_HELLO, "o", PROTO_HELLO_MAX},
    {FRAME_DISPLAY, "ooo*", PROTO_MESSAGE_MAX},  {FRAME_UPDATE_DISPLAY, "ooo*", PROTO_MESSAGE_MAX},
    {FRAME_RESULT, "oo", PROTO_MESSAGE_MAX},     {FRAME_CLEAR_OUTPUT, "", MESSAGE_HEAD},
    {FRAME_ERROR, "o", PROTO_MESSAGE_MAX},       {FRAME_STDIN, "o", PROTO_STDIN_MAX},
    {FRAME_COMM_OUT, "ooo*", PROTO_MESSAGE_MAX}, {FRAME_DONE, "o", PROTO_MESSAGE_MAX},
    {FRAME_DEBUG_EVENT, "o", PROTO_MESSAGE_MAX}, {MESSAGE_EXITED, "", MESSAGE_HEAD},
};

static const struct shape *find_shape(uint16_t type)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (shapes[i].type == type)
            return &shapes[i];
    return NULL;
}

const char *proto_validate_head(const struct proto_message *m, size_t len)
{
    const struct shape *shape = find_shape(m->type);
    if (!shape)
        return "unknown message type";
    if (m->from_init && m->type != MESSAGE_STREAM && m->type != MESSAGE_EXITED)
        return "message type is not init's";
    if (!m->from_init && m->type == MESSAGE_EXITED)
        return "message type is init's";
    size_t n = strlen(shape->kinds);
    bool more = n && shape->kinds[n - 1] == '*';
    n -= more;
    if (m->nsections < n || (m->nsections > n && !more))
        return "wrong number of sections";
    if ((m->type == FRAME_DONE && m->arg > FRAME_ABORTED) ||
        (m->type == FRAME_CLEAR_OUTPUT && m->arg > 1))
        return "argument out of range";
    return len > shape->max ? "message too long for its type" : NULL;
}

char proto_section_kind(uint16_t type, unsigned section)
{
    const struct shape *shape = find_shape(type);
    size_t n = shape ? strlen(shape->kinds) : 0;
    return section < n && shape->kinds[section] != '*' ? shape->kinds[section] : 'b';
}

static const char *check_section(char kind, const struct proto_section *s)
{
    if (kind == 'o' && json_check_object(s->data, s->len) < 0)
        return "section is not a JSON object";
    if (kind == 's' && (s->len != 1 || (s->data[0] != 1 && s->data[0] != 2)))
        return "unknown stream";
    return NULL;
}

const char *proto_validate_sections(const struct proto_message *m)
{
    const char *bad = NULL;
    for (unsigned i = 0; i < m->nsections && !bad; i++)
        bad = check_section(proto_section_kind(m->type, i), &m->sections[i]);
    return bad;
}
