/* Contents of Jupyter messages, put together from raw JSON without a tree. */
#include <string.h>

#include "contexts/manager/private.h"
#include "sandbox/base/json.h"

static void put_member(struct buf *out, const char *name, const struct proto_section *json)
{
    buf_printf(out, "\"%s\":", name);
    buf_put(out, json->data, json->len);
}

static void put_display(const struct context_event *ev, struct buf *out)
{
    buf_putc(out, '{');
    put_member(out, "data", &ev->sections[0]);
    buf_putc(out, ',');
    put_member(out, "metadata", &ev->sections[1]);
    if (ev->type == EVENT_RESULT) {
        buf_printf(out, ",\"execution_count\":%u}", ev->execution_count);
        return;
    }
    buf_putc(out, ',');
    put_member(out, "transient", &ev->sections[2]);
    buf_putc(out, '}');
}

static void put_input(const struct context_event *ev, struct buf *out)
{
    CLEANUP_BUF struct buf code = {0};
    request_get_code(ev->request, &code);
    buf_puts(out, "{\"code\":");
    json_put_string(out, code.data, code.len);
    buf_printf(out, ",\"execution_count\":%u}", ev->execution_count);
}

/* Whether a SUBSHELL request asked for a new one: one to be deleted is known until its reply is
 * out. */
static bool subshell_made(const struct context_event *ev)
{
    return !lane_subshell(ev->context, ev->request->subshell);
}

static void put_reply(const struct context_event *ev, struct buf *out)
{
    const struct proto_section *s = &ev->sections[0];
    size_t at = 0;
    if (ev->request && ev->request->kind == REQUEST_SUBSHELL && ev->status == FRAME_OK &&
        subshell_made(ev)) {
        buf_printf(out, "{\"status\":\"ok\",\"subshell_id\":\"%s\"}", ev->request->id);
        return;
    }
    if (!ev->request || ev->request->kind != REQUEST_EXECUTE) {
        buf_put(out, s->data, s->len);
        return;
    }
    while (at < s->len && s->data[at] != '{')
        at++;
    for (at++; at < s->len && strchr(" \t\r\n", s->data[at]); at++)
        ;
    bool empty = at >= s->len || s->data[at] == '}';
    buf_printf(out, "{\"execution_count\":%u%s", ev->execution_count, empty ? "}" : ",");
    if (!empty)
        buf_put(out, s->data + at, s->len - at);
}

static void put_notice(const struct context_event *ev, struct buf *out)
{
    CLEANUP_BUF struct buf line = {0};
    buf_put(&line, ev->text.data, ev->text.len);
    buf_putc(&line, '\n');
    buf_puts(out, "{\"name\":\"stderr\",\"text\":");
    json_put_string(out, line.data, line.len);
    buf_putc(out, '}');
}

int event_put_content(const struct context_event *ev, struct buf *out)
{
    switch (ev->type) {
    case EVENT_STATUS:
        buf_printf(out, "{\"execution_state\":\"%s\"}", context_state_name(ev->state));
        break;
    case EVENT_INPUT:
        put_input(ev, out);
        break;
    case EVENT_STREAM:
        buf_printf(out, "{\"name\":\"%s\",\"text\":", ev->stream == 1 ? "stdout" : "stderr");
        json_put_string(out, ev->text.data, ev->text.len);
        buf_putc(out, '}');
        break;
    case EVENT_DISPLAY:
    case EVENT_UPDATE_DISPLAY:
    case EVENT_RESULT:
        put_display(ev, out);
        break;
    case EVENT_CLEAR_OUTPUT:
        buf_printf(out, "{\"wait\":%s}", ev->arg ? "true" : "false");
        break;
    case EVENT_COMM:
        buf_put(out, ev->sections[1].data, ev->sections[1].len);
        break;
    case EVENT_NOTICE:
        put_notice(ev, out);
        break;
    case EVENT_REPLY:
        put_reply(ev, out);
        break;
    case EVENT_DEBUG:
    case EVENT_ERROR:
    case EVENT_STDIN:
        buf_put(out, ev->sections[0].data, ev->sections[0].len);
        break;
    }
    return out->err;
}

static const char *reply_type(const struct context_event *ev)
{
    switch (ev->request ? ev->request->kind : REQUEST_EXECUTE) {
    case REQUEST_COMPLETE:
        return "complete_reply";
    case REQUEST_INSPECT:
        return "inspect_reply";
    case REQUEST_IS_COMPLETE:
        return "is_complete_reply";
    case REQUEST_HISTORY:
        return "history_reply";
    case REQUEST_COMM_INFO:
        return "comm_info_reply";
    case REQUEST_DEBUG:
        return "debug_reply";
    case REQUEST_SUBSHELL:
        return subshell_made(ev) ? "create_subshell_reply" : "delete_subshell_reply";
    case REQUEST_USAGE:
        return "usage_reply";
    case REQUEST_COMM:
        return NULL; /* comm messages have no reply */
    default:
        return "execute_reply";
    }
}

static const char *comm_type(const struct proto_section *head)
{
    static const char *const types[] = {"comm_open", "comm_msg", "comm_close"};
    struct proto_section v;
    for (int i = 0; json_pick(head->data, head->len, "msg_type", &v) && i < 3; i++) {
        if (v.len == strlen(types[i]) + 2 && !memcmp(v.data + 1, types[i], v.len - 2))
            return types[i];
    }
    return "comm_msg";
}

const char *event_message_type(const struct context_event *ev)
{
    switch (ev->type) {
    case EVENT_STATUS:
        return "status";
    case EVENT_INPUT:
        return "execute_input";
    case EVENT_STREAM:
    case EVENT_NOTICE:
        return "stream";
    case EVENT_DISPLAY:
        return "display_data";
    case EVENT_UPDATE_DISPLAY:
        return "update_display_data";
    case EVENT_RESULT:
        return "execute_result";
    case EVENT_CLEAR_OUTPUT:
        return "clear_output";
    case EVENT_DEBUG:
        return "debug_event";
    case EVENT_ERROR:
        return "error";
    case EVENT_COMM:
        return comm_type(&ev->sections[0]);
    case EVENT_STDIN:
        return "input_request";
    case EVENT_REPLY:
        return reply_type(ev);
    }
    return NULL;
}
