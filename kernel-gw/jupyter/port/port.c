#include "kernel-gw/jupyter/port/port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/port/private.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

void port_init(struct port *p, const struct port_ops *ops, void *user, struct context *c,
               struct port_counters *counters)
{
    *p = (struct port){.ops = ops, .user = user, .context = c, .counters = counters};
    list_init(&p->asks);
    list_init(&p->infos);
}

void port_deinit(struct port *p)
{
    LIST_FOREACH_SAFE (it, &p->asks) {
        struct ask *a = LIST_ENTRY(it, struct ask, link);
        if (a->request)
            request_detach(a->request);
        ask_free(a);
    }
    infos_free(p);
}

void ask_free(struct ask *a)
{
    list_remove(&a->link);
    request_unref(a->request);
    free(a);
}

/* ---- answers from here ---- */

static struct slice slice_of(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

static struct slice text_slice(const char *s)
{
    return (struct slice){(const uint8_t *)s, strlen(s)};
}

void port_answer(struct incoming *in, const char *msg_type, const char *content)
{
    struct jupyter_parts parts = {.msg_type = msg_type,
                                  .parent = in->m->header,
                                  .metadata = SLICE_STR("{}"),
                                  .content = text_slice(content)};
    in->p->ops->reply(in->p->user, in->ch, in->route, &parts);
}

void port_answer_error(struct incoming *in, const char *msg_type, const char *name,
                       const char *text)
{
    CLEANUP_BUF struct buf b = {0};
    buf_printf(&b, "{\"status\":\"error\",\"ename\":\"%s\",\"evalue\":", name);
    json_put_cstring(&b, text);
    buf_puts(&b, ",\"traceback\":[],\"execution_count\":0,\"user_expressions\":{},\"payload\":[]}");
    port_answer(in, msg_type, buf_str(&b));
}

void port_status(struct port *p, struct slice parent, const char *state)
{
    char content[64];
    snprintf(content, sizeof content, "{\"execution_state\":\"%s\"}", state);
    struct jupyter_parts parts = {.msg_type = "status",
                                  .parent = parent,
                                  .metadata = SLICE_STR("{}"),
                                  .content = text_slice(content)};
    p->ops->publish(p->user, &parts);
}

json_t *port_content(const struct incoming *in)
{
    return json_loadb((const char *)in->m->content.data, in->m->content.len, JSON_ALLOW_NUL, NULL);
}

bool port_flag(const json_t *content, const char *name, bool otherwise)
{
    const json_t *v = json_object_get(content, name);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

bool port_text(const json_t *content, const char *name, struct proto_section *ret)
{
    const json_t *v = json_object_get(content, name);
    if (!json_is_string(v))
        return false;
    *ret = (struct proto_section){(const uint8_t *)json_string_value(v), json_string_length(v)};
    return true;
}

/* ---- answers of the manager ---- */

/* The request's own record says whom the event is for. */
static void forward(struct port *p, const struct context_event *ev)
{
    CLEANUP_BUF struct buf content = {.max = 256u << 20};
    struct request_info info = {0};
    const char *type = event_message_type(ev);

    if (!ev->request || !type || event_put_content(ev, &content) < 0)
        return;
    request_get_info(ev->request, &info);
    bool control =
        info.kind == REQUEST_DEBUG || info.kind == REQUEST_SUBSHELL || info.kind == REQUEST_USAGE;
    struct jupyter_parts parts = {.msg_type = type,
                                  .parent = {info.parent.data, info.parent.len},
                                  .metadata = SLICE_STR("{}"),
                                  .content = slice_of(&content),
                                  .request = ev->type == EVENT_STDIN ? info.number : 0};
    if (info.route.len)
        p->ops->reply(p->user,
                      ev->type == EVENT_STDIN ? CHANNEL_STDIN
                      : control               ? CHANNEL_CONTROL
                                              : CHANNEL_SHELL,
                      (struct slice){info.route.data, info.route.len}, &parts);
}

void port_orphan(struct port *p, const struct context_event *ev)
{
    forward(p, ev);
}

static void on_reply(void *user, const struct context_event *ev)
{
    struct ask *a = user;
    forward(a->port, ev);
    ask_free(a);
}

static void on_stdin_wanted(void *user, const struct context_event *ev)
{
    const struct ask *a = user;
    forward(a->port, ev);
}

static void refuse(struct incoming *in, const char *reply_type, const char *name, const char *text)
{
    port_status(in->p, in->m->header, "busy");
    if (reply_type)
        port_answer_error(in, reply_type, name, text);
    port_status(in->p, in->m->header, "idle");
}

void port_submit(struct incoming *in, struct request_spec *spec, const char *reply_type)
{
    static const char *const reasons[][2] = {
        {"KernelError", "the context cannot take the request"},
        [REQUEST_E_QUEUE_FULL] = {"QueueFull", "too many requests are waiting in this context"},
        [REQUEST_E_GONE] = {"KernelError", "the context is gone"},
        [REQUEST_E_SUBSHELL] = {"SubshellError",
                                "there is no such subshell, or there are too many"},
    };
    const struct jupyter_message *m = in->m;
    struct ask *a = calloc(1, sizeof *a);
    if (!a) {
        refuse(in, reply_type, "MemoryError", "the server is out of memory");
        return;
    }
    list_init(&a->link);
    a->port = in->p;
    list_append(&in->p->asks, &a->link);
    spec->parent = (struct proto_section){m->header.data, m->header.len};
    spec->route = (struct proto_section){in->route.data, in->route.len};
    spec->session = (struct proto_section){(const uint8_t *)m->session, strlen(m->session)};
    spec->asker = (struct request_asker){on_stdin_wanted, on_reply, a};
    struct request *r = NULL;
    int e = context_submit(in->p->context, spec, &r);
    if (e == 0) {
        /* The reply may have come, and freed the ask, before submit returned. */
        struct request_info info;
        request_get_info(r, &info);
        if (info.state == REQUEST_DONE)
            request_unref(r);
        else
            a->request = r;
        return;
    }
    ask_free(a);
    const char *const *why = reasons[e > 0 ? e : 0];
    refuse(in, reply_type, why[0], why[1]);
}

/* ---- events to iopub ---- */

bool port_event_init(struct port_event *pe, const struct context_event *ev)
{
    const char *type = event_message_type(ev);
    struct request_info info = {0};
    pe->content = (struct buf){.max = 256u << 20};
    if (!type || event_put_content(ev, &pe->content) < 0)
        return false;
    if (ev->request)
        request_get_info(ev->request, &info);
    pe->parts = (struct jupyter_parts){
        .msg_type = type,
        .parent =
            info.parent.len ? (struct slice){info.parent.data, info.parent.len} : SLICE_STR("{}"),
        .metadata = SLICE_STR("{}"),
        .content = slice_of(&pe->content),
        .buffers = pe->buffers};
    if (ev->type == EVENT_COMM && ev->nsections > 2)
        pe->parts.metadata = (struct slice){ev->sections[2].data, ev->sections[2].len};
    bool has_buffers =
        ev->type == EVENT_COMM || ev->type == EVENT_DISPLAY || ev->type == EVENT_UPDATE_DISPLAY;
    for (unsigned i = 3; has_buffers && i < ev->nsections && i - 3 < PORT_BUFFERS_MAX; i++)
        pe->buffers[pe->parts.nbuffers++] =
            (struct slice){ev->sections[i].data, ev->sections[i].len};
    return true;
}

void port_event_deinit(struct port_event *pe)
{
    buf_deinit(&pe->content);
}

/* ---- messages ---- */

static void on_stdin(struct port *p, const struct jupyter_message *m)
{
    struct incoming in = {.p = p, .ch = CHANNEL_STDIN, .m = m};
    json_t *content = port_content(&in);
    json_t *parent = json_loadb((const char *)m->parent.data, m->parent.len, 0, NULL);
    const char *asked_by = json_string_value(json_object_get(parent, "msg_id"));
    uint64_t number = asked_by ? jupyter_request_of(asked_by) : 0;
    struct proto_section value;
    if (!strcmp(m->msg_type, "input_reply") && content && port_text(content, "value", &value))
        context_input(p->context, number ? context_request(p->context, number) : NULL, value.data,
                      value.len);
    else
        p->counters->unknown++;
    json_decref(parent);
    json_decref(content);
}

static bool handled(struct incoming *in, const struct port_handler *handlers, size_t n)
{
    int channel = in->ch == CHANNEL_SHELL ? ON_SHELL : ON_CONTROL;
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(handlers[i].msg_type, in->m->msg_type) && (handlers[i].channels & channel)) {
            handlers[i].handle(in);
            return true;
        }
    }
    return false;
}

void port_message(struct port *p, enum channel ch, const struct jupyter_message *m,
                  struct slice route)
{
    struct incoming in = {.p = p, .ch = ch, .m = m, .route = route};
    p->counters->messages++;
    if (ch == CHANNEL_STDIN) {
        on_stdin(p, m);
        return;
    }
    if (handled(&in, port_shell_handlers, port_nshell_handlers) ||
        handled(&in, port_control_handlers, port_ncontrol_handlers))
        return;
    p->counters->unknown++;
    log_info("jupyter", "unknown_message", "type=%s", log_quote(m->msg_type));
    port_status(p, m->header, "busy");
    port_status(p, m->header, "idle");
}
