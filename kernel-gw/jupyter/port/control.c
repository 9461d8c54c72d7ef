/* What never waits for a cell: answered here, or on the interpreter's control lane. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/port/private.h"
#include "sandbox/base/json.h"

/* ---- kernel_info ---- */

/* A kernel_info request that waits for the interpreter to say hello. */
struct info_ask {
    struct list link;
    struct port *port;
    enum channel channel;
    struct buf route, parent;
};

static void info_free(struct info_ask *a)
{
    list_remove(&a->link);
    buf_deinit(&a->route);
    buf_deinit(&a->parent);
    free(a);
}

void infos_free(struct port *p)
{
    LIST_FOREACH_SAFE (it, &p->infos) {
        struct info_ask *a = LIST_ENTRY(it, struct info_ask, link);
        context_forget(p->context, a);
        info_free(a);
    }
}

static void put_kernel_info(const struct port *p, struct buf *out)
{
    static const char fallback[] =
        "\"implementation\":\"cellbox\",\"implementation_version\":\"" CELLBOX_VERSION
        "\",\"language_info\":{\"name\":\"%s\",\"version\":\"\",\"mimetype\":\"text/plain\","
        "\"file_extension\":\".txt\"},\"banner\":\"Cellbox\",\"supported_features\":[]}";
    struct context_info info;
    struct proto_section ignored;
    context_get_info(p->context, &info);
    buf_printf(out, "{\"status\":\"ok\",\"protocol_version\":\"5.5\",\"debugger\":%s,",
               info.features & CONTEXT_DEBUGGER ? "true" : "false");
    if (info.hello.len <= 2) {
        buf_printf(out, fallback, info.language);
        return;
    }
    if (!json_pick(info.hello.data, info.hello.len, "supported_features", &ignored))
        buf_puts(out, "\"supported_features\":[],");
    buf_put(out, info.hello.data + 1, info.hello.len - 1);
}

static void info_ready(void *user, bool ok)
{
    struct info_ask *a = user;
    struct slice parent = {a->parent.data, a->parent.len}, route = {a->route.data, a->route.len};
    CLEANUP_BUF struct buf content = {0};
    (void)ok; /* a dead interpreter is still a kernel that can say what it is */
    put_kernel_info(a->port, &content);
    struct jupyter_parts parts = {.msg_type = "kernel_info_reply",
                                  .parent = parent,
                                  .metadata = SLICE_STR("{}"),
                                  .content = {content.data, content.len}};
    a->port->ops->reply(a->port->user, a->channel, route, &parts);
    port_status(a->port, parent, "idle");
    info_free(a);
}

static void on_kernel_info(struct incoming *in)
{
    struct info_ask *a = calloc(1, sizeof *a);
    port_status(in->p, in->m->header, "busy");
    if (!a)
        return;
    list_init(&a->link);
    a->port = in->p;
    a->channel = in->ch;
    buf_put(&a->route, in->route.data, in->route.len);
    buf_put(&a->parent, in->m->header.data, in->m->header.len);
    if (a->route.err || a->parent.err) {
        info_free(a);
        return;
    }
    list_append(&in->p->infos, &a->link);
    if (context_when_ready(in->p->context, info_ready, a) < 0)
        info_ready(a, false);
}

/* ---- answered at once ---- */

static void on_connect(struct incoming *in)
{
    CLEANUP_BUF struct buf content = {0};
    port_status(in->p, in->m->header, "busy");
    if (in->p->ops->put_connect && in->p->ops->put_connect(in->p->user, &content) == 0)
        port_answer(in, "connect_reply", buf_str(&content));
    else
        port_answer_error(in, "connect_reply", "NotSupported", "this connection has no ports");
    port_status(in->p, in->m->header, "idle");
}

static void on_interrupt(struct incoming *in)
{
    port_status(in->p, in->m->header, "busy");
    int r = context_interrupt(in->p->context);
    if (r < 0)
        port_answer_error(in, "interrupt_reply", "KernelError", strerror(-r));
    else
        port_answer(in, "interrupt_reply", "{\"status\":\"ok\"}");
    port_status(in->p, in->m->header, "idle");
}

static void on_shutdown(struct incoming *in)
{
    json_t *content = port_content(in);
    bool restart = port_flag(content, "restart", false);
    json_decref(content);
    const char *reply =
        restart ? "{\"status\":\"ok\",\"restart\":true}" : "{\"status\":\"ok\",\"restart\":false}";
    struct jupyter_parts parts = {.msg_type = "shutdown_reply",
                                  .parent = in->m->header,
                                  .metadata = SLICE_STR("{}"),
                                  .content = {(const uint8_t *)reply, strlen(reply)}};
    port_status(in->p, in->m->header, "busy");
    port_answer(in, "shutdown_reply", reply);
    in->p->ops->publish(in->p->user, &parts);
    port_status(in->p, in->m->header, "idle");
    in->p->ops->shutdown(in->p->user, restart);
}

static void on_list_subshell(struct incoming *in)
{
    CLEANUP_BUF struct buf b = {0};
    struct context_subshell s = {0};
    bool first = true;
    buf_puts(&b, "{\"status\":\"ok\",\"subshell_id\":[");
    while (context_subshell_next(in->p->context, s.number, &s)) {
        buf_printf(&b, "%s\"%s\"", first ? "" : ",", s.id);
        first = false;
    }
    buf_puts(&b, "]}");
    port_status(in->p, in->m->header, "busy");
    port_answer(in, "list_subshell_reply", buf_str(&b));
    port_status(in->p, in->m->header, "idle");
}

/* ---- answered by the interpreter, beside its cells ---- */

static void submit_control(struct incoming *in, struct request_spec spec, const char *section,
                           const char *reply_type)
{
    struct proto_section s = {(const uint8_t *)section, strlen(section)};
    spec.sections = &s;
    spec.nsections = 1;
    port_submit(in, &spec, reply_type);
}

static void on_create_subshell(struct incoming *in)
{
    struct request_spec spec = {.kind = REQUEST_SUBSHELL};
    submit_control(in, spec, "{\"op\":\"create\"}", "create_subshell_reply");
}

static void on_delete_subshell(struct incoming *in)
{
    json_t *content = port_content(in);
    struct proto_section id = {0};
    struct request_spec spec = {.kind = REQUEST_SUBSHELL};
    if (content && port_text(content, "subshell_id", &id))
        spec.subshell = context_subshell_find(in->p->context, id.data, id.len);
    if (spec.subshell) {
        submit_control(in, spec, "{\"op\":\"delete\"}", "delete_subshell_reply");
    } else {
        port_status(in->p, in->m->header, "busy");
        port_answer_error(in, "delete_subshell_reply", "SubshellError",
                          "there is no such subshell");
        port_status(in->p, in->m->header, "idle");
    }
    json_decref(content);
}

/* The box sees the machine's numbers; its own limits are told. */
static void on_usage(struct incoming *in)
{
    struct request_spec spec = {.kind = REQUEST_USAGE};
    struct context_info info;
    struct sandbox_info box;
    char limits[96];
    context_get_info(in->p->context, &info);
    sandbox_get_info(info.sandbox, &box);
    snprintf(limits, sizeof limits, "{\"memory\":%llu,\"cpus\":%u.%03u}",
             (unsigned long long)box.limits.memory, box.limits.cpu / 1000, box.limits.cpu % 1000);
    submit_control(in, spec, limits, "usage_reply");
}

static void on_debug(struct incoming *in)
{
    struct proto_section s = {in->m->content.data, in->m->content.len};
    struct request_spec spec = {.kind = REQUEST_DEBUG, .sections = &s, .nsections = 1};
    port_submit(in, &spec, "debug_reply");
}

const struct port_handler port_control_handlers[] = {
    {"kernel_info_request", ON_SHELL | ON_CONTROL, on_kernel_info},
    {"connect_request", ON_SHELL | ON_CONTROL, on_connect},
    {"interrupt_request", ON_CONTROL, on_interrupt},
    {"shutdown_request", ON_SHELL | ON_CONTROL, on_shutdown},
    {"debug_request", ON_CONTROL, on_debug},
    {"create_subshell_request", ON_CONTROL, on_create_subshell},
    {"delete_subshell_request", ON_CONTROL, on_delete_subshell},
    {"list_subshell_request", ON_CONTROL, on_list_subshell},
    {"usage_request", ON_CONTROL, on_usage},
};
const size_t port_ncontrol_handlers = sizeof port_control_handlers / sizeof *port_control_handlers;
