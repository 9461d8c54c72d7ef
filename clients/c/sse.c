#include "clients/c/sse.h"

#include <errno.h>
#include <string.h>

static void give_up(struct sse *s, int error)
{
    s->broken = true;
    s->error = error;
}

static void put(struct sse *s, struct str *to, const char *value, size_t len)
{
    if (text_add(to, value, len) < 0)
        give_up(s, -ENOMEM);
}

static void set(struct sse *s, struct str *to, const char *value, size_t len)
{
    str_clear(to);
    put(s, to, value, len);
}

/* An event's id counts from here on: one that was cut off has not been seen and must come again. */
static void dispatch(struct sse *s)
{
    if (s->next_id.len || s->id.len)
        set(s, &s->id, str_text(&s->next_id), s->next_id.len);
    if (s->has_data && !s->broken) {
        struct sse_event e = {s->type.len ? s->type.data : "message", str_text(&s->id),
                              str_text(&s->data), s->data.len};
        s->events++;
        s->on_event(s->user, &e);
    }
    str_clear(&s->data);
    str_clear(&s->type);
    s->has_data = false;
}

static void take_line(struct sse *s)
{
    const char *line = s->line.len ? s->line.data : "";
    size_t len = s->line.len;
    if (len == 0) {
        dispatch(s);
        return;
    }
    const char *colon = memchr(line, ':', len);
    size_t name = colon ? (size_t)(colon - line) : len;
    const char *value = colon ? colon + 1 : line + len;
    if (colon && value < line + len && *value == ' ')
        value++;
    size_t rest = (size_t)(line + len - value);
    if (name == 4 && !memcmp(line, "data", 4)) {
        if (s->has_data)
            put(s, &s->data, "\n", 1);
        put(s, &s->data, value, rest);
        s->has_data = true;
    } else if (name == 5 && !memcmp(line, "event", 5)) {
        set(s, &s->type, value, rest);
    } else if (name == 2 && !memcmp(line, "id", 2)) {
        set(s, &s->next_id, value, rest);
    }
    str_clear(&s->line);
}

int sse_feed(struct sse *s, const char *bytes, size_t len)
{
    const char *end = bytes + len;
    while (bytes < end && !s->broken) {
        if (s->after_cr && *bytes == '\n') { /* second half of \r\n */
            s->after_cr = false;
            bytes++;
            continue;
        }
        s->after_cr = false;
        const char *stop = bytes;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        put(s, &s->line, bytes, (size_t)(stop - bytes));
        if (s->line.len + s->data.len > SSE_MAX)
            give_up(s, -EMSGSIZE);
        if (stop == end || s->broken)
            break;
        s->after_cr = *stop == '\r';
        take_line(s);
        bytes = stop + 1;
    }
    return s->error;
}

void sse_restart(struct sse *s)
{
    str_clear(&s->line);
    str_clear(&s->data);
    str_clear(&s->type);
    set(s, &s->next_id, str_text(&s->id), s->id.len);
    s->has_data = s->after_cr = false;
}

void sse_deinit(struct sse *s)
{
    str_deinit(&s->line);
    str_deinit(&s->data);
    str_deinit(&s->type);
    str_deinit(&s->id);
    str_deinit(&s->next_id);
}
