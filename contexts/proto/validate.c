#include <string.h>

#include "contexts/proto/proto.h"
#include "sandbox/base/json.h"

/* kinds: o JSON object, s the stream byte, b bytes; a final '*' allows any number of further byte
 * sections. */
static const struct shape {
    uint16_t type;
    const char *kinds;
} shapes[] = {
    {MESSAGE_STREAM, "sb"},   {FRAME_HELLO, "o"},
    {FRAME_DISPLAY, "ooo*"},  {FRAME_UPDATE_DISPLAY, "ooo*"},
    {FRAME_RESULT, "oo"},     {FRAME_CLEAR_OUTPUT, ""},
    {FRAME_ERROR, "o"},       {FRAME_STDIN, "o"},
    {FRAME_COMM_OUT, "ooo*"}, {FRAME_DONE, "o"},
    {FRAME_DEBUG_EVENT, "o"}, {MESSAGE_EXITED, ""},
};

static const char *check_section(char kind, const struct proto_section *s)
{
    if (kind == 'o' && json_check_object(s->data, s->len) < 0)
        return "section is not a JSON object";
    if (kind == 's' && (s->len != 1 || (s->data[0] != 1 && s->data[0] != 2)))
        return "unknown stream";
    return NULL;
}

const char *proto_validate(const struct proto_message *m)
{
    const struct shape *shape = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (shapes[i].type == m->type)
            shape = &shapes[i];
    }
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
    for (size_t i = 0; i < n; i++) {
        const char *bad = check_section(shape->kinds[i], &m->sections[i]);
        if (bad)
            return bad;
    }
    return NULL;
}
