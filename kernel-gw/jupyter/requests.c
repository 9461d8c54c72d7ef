/* Requests of clients: shell and control to the manager or answered here, stdin to the running
 * cell. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/private.h"
#include "sandbox/base/json.h"
#include "sandbox/base/log.h"

void parked_free(struct parked *p)
{
    list_remove(&p->link);
    buf_deinit(&p->route);
    buf_deinit(&p->parent);
    buf_deinit(&p->content);
    free(p);
}

struct parked *parked_new(struct kernel *k, enum channel ch, struct slice route,
                          struct slice parent, const char *msg_type, struct slice content)
{
    struct parked *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    list_init(&p->link);
    p->kernel = k;
    p->channel = ch;
    snprintf(p->msg_type, sizeof p->msg_type, "%s", msg_type);
    buf_put(&p->route, route.data, route.len);
    buf_put(&p->parent, parent.data, parent.len);
    buf_put(&p->content, content.data, content.len);
    if (p->route.err || p->parent.err || p->content.err) {
        parked_free(p);
        return NULL;
    }
    return p;
}

void ask_free(struct ask *a)
{
    list_remove(&a->link);
    if (a->request)
        request_unref(a->request);
    free(a);
}

/* A message while it is handled. */
struct incoming {
    struct kernel *k;
    enum channel ch;
    const struct jupyter_message *m;
    struct buf route;
};

static struct slice slice_of(const struct buf *b)
{
    return (struct slice){b->data, b->len};
}

static void answer(struct incoming *in, const char *msg_type, const char *content)
{
    kernel_reply(in->k, in->ch, slice_of(&in->route), in->m->header, msg_type,
                 (struct slice){(const uint8_t *)content, strlen(content)});
}

static void answer_error(struct incoming *in, const char *msg_type, const char *name,
                         const char *text)
{
    CLEANUP_BUF struct buf b = {0};
    buf_printf(&b, "{\"status\":\"error\",\"ename\":\"%s\",\"evalue\":", name);
    json_put_cstring(&b, text);
    buf_puts(&b, ",\"traceback\":[],\"execution_count\":0,\"user_expressions\":{},\"payload\":[]}");
    answer(in, msg_type, buf_str(&b));
}

/* ---- replies of the manager ---- */

/* The request's own record says whom the event is for. */
static void forward(struct kernel *k, const struct context_event *ev)
{
    CLEANUP_BUF struct buf content = {.max = 256u << 20};
    struct request_info info = {0};
    bool input = ev->type == EVENT_STDIN;
    const char *type = event_message_type(ev);

    if (!ev->request || !type || event_put_content(ev, &content) < 0)
        return;
    request_get_info(ev->request, &info);
    if (info.route.len)
        kernel_reply(k, input ? CHANNEL_STDIN : CHANNEL_SHELL,
                     (struct slice){info.route.data, info.route.len},
                     (struct slice){info.parent.data, info.parent.len}, type, slice_of(&content));
}

void kernel_orphan(struct kernel *k, const struct context_event *ev)
{
    forward(k, ev);
}

void kernel_event_reply(void *user, const struct context_event *ev)
{
    struct ask *a = user;
    forward(a->kernel, ev);
    ask_free(a);
}

void kernel_event_stdin(void *user, const struct context_event *ev)
{
    struct ask *a = user;
    forward(a->kernel, ev);
}

/* ---- shell requests that queue ---- */

static void submit(struct incoming *in, struct request_spec *spec, const char *reply_type)
{
    const struct jupyter_message *m = in->m;
    struct ask *a = calloc(1, sizeof *a);
    if (!a) {
        answer_error(in, reply_type, "MemoryError", "the server is out of memory");
        return;
    }
    list_init(&a->link);
    a->kernel = in->k;
    list_append(&in->k->asks, &a->link);
    spec->parent = (struct proto_section){m->header.data, m->header.len};
    spec->route = (struct proto_section){in->route.data, in->route.len};
    spec->session = (struct proto_section){(const uint8_t *)m->session, strlen(m->session)};
    spec->asker = (struct request_asker){kernel_event_stdin, kernel_event_reply, a};
    struct request *r = NULL;
    int e = context_submit(in->k->config.context, spec, &r);
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
    iopub_status(in->k, m->header, "busy");
    if (reply_type)
        answer_error(in, reply_type, e == REQUEST_E_QUEUE_FULL ? "QueueFull" : "KernelError",
                     e == REQUEST_E_QUEUE_FULL ? "too many requests are waiting in this context"
                                               : "the context cannot take the request");
    iopub_status(in->k, m->header, "idle");
}

static bool flag(const json_t *content, const char *name, bool otherwise)
{
    const json_t *v = json_object_get(content, name);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static json_t *parse(struct incoming *in)
{
    return json_loadb((const char *)in->m->content.data, in->m->content.len, JSON_ALLOW_NUL, NULL);
}

static bool text_member(const json_t *content, const char *name, struct proto_section *ret)
{
    const json_t *v = json_object_get(content, name);
    if (!json_is_string(v))
        return false;
    *ret = (struct proto_section){(const uint8_t *)json_string_value(v), json_string_length(v)};
    return true;
}

static void on_execute(struct incoming *in)
{
    json_t *content = parse(in);
    struct proto_section sections[2] = {{0}};
    struct request_spec spec = {.kind = REQUEST_EXECUTE, .sections = sections, .nsections = 2};

    if (!content || !text_member(content, "code", &sections[1])) {
        iopub_status(in->k, in->m->header, "busy");
        answer_error(in, "execute_reply", "ValueError", "execute_request without code");
        iopub_status(in->k, in->m->header, "idle");
        json_decref(content);
        return;
    }
    json_t *expressions = json_object_get(content, "user_expressions");
    spec.silent = flag(content, "silent", false);
    spec.no_history = spec.silent || !flag(content, "store_history", true);
    spec.allow_stdin = flag(content, "allow_stdin", true);
    spec.stop_on_error = flag(content, "stop_on_error", true);
    json_t *options =
        json_pack("{s:s, s:b, s:b, s:b, s:O}", "msg_id", in->m->msg_id, "silent", spec.silent,
                  "store_history", !spec.no_history, "allow_stdin", spec.allow_stdin,
                  "user_expressions", json_is_object(expressions) ? expressions : content);
    if (options && !json_is_object(expressions))
        json_object_set_new(options, "user_expressions", json_object());
    char *text = options ? json_dumps(options, JSON_COMPACT) : NULL;
    if (text) {
        sections[0] = (struct proto_section){(uint8_t *)text, strlen(text)};
        submit(in, &spec, "execute_reply");
    }
    free(text);
    json_decref(options);
    json_decref(content);
}

/* complete, inspect, is_complete: some integers and the code. */
static void on_code(struct incoming *in, enum request_kind kind, const char *reply_type)
{
    json_t *content = parse(in);
    char options[96];
    struct proto_section sections[2] = {{0}};
    struct request_spec spec = {.kind = kind, .sections = sections, .nsections = 2};

    if (!content || !text_member(content, "code", &sections[1])) {
        iopub_status(in->k, in->m->header, "busy");
        answer_error(in, reply_type, "ValueError", "the request has no code");
        iopub_status(in->k, in->m->header, "idle");
    } else {
        json_int_t pos = json_integer_value(json_object_get(content, "cursor_pos"));
        json_int_t level = json_integer_value(json_object_get(content, "detail_level"));
        if (!json_object_get(content, "cursor_pos") || pos < 0)
            pos = (json_int_t)sections[1].len;
        if (kind == REQUEST_IS_COMPLETE)
            snprintf(options, sizeof options, "{}");
        else if (kind == REQUEST_INSPECT)
            snprintf(options, sizeof options, "{\"cursor_pos\":%lld,\"detail_level\":%d}",
                     (long long)pos, level == 1);
        else
            snprintf(options, sizeof options, "{\"cursor_pos\":%lld}", (long long)pos);
        sections[0] = (struct proto_section){(uint8_t *)options, strlen(options)};
        submit(in, &spec, reply_type);
    }
    json_decref(content);
}

static void on_complete(struct incoming *in)
{
    on_code(in, REQUEST_COMPLETE, "complete_reply");
}

static void on_inspect(struct incoming *in)
{
    on_code(in, REQUEST_INSPECT, "inspect_reply");
}

static void on_is_complete(struct incoming *in)
{
    on_code(in, REQUEST_IS_COMPLETE, "is_complete_reply");
}

/* The content itself is the section. */
static void on_raw(struct incoming *in, enum request_kind kind, const char *reply_type)
{
    struct proto_section section = {in->m->content.data, in->m->content.len};
    struct request_spec spec = {.kind = kind, .sections = &section, .nsections = 1};
    submit(in, &spec, reply_type);
}

static void on_history(struct incoming *in)
{
    on_raw(in, REQUEST_HISTORY, "history_reply");
}

static void on_comm_info(struct incoming *in)
{
    on_raw(in, REQUEST_COMM_INFO, "comm_info_reply");
}

static void on_comm(struct incoming *in)
{
    const struct jupyter_message *m = in->m;
    struct proto_section sections[3 + JUPYTER_BUFFERS_MAX];
    char type[96];
    snprintf(type, sizeof type, "{\"msg_type\":\"%s\"}", m->msg_type);
    sections[0] = (struct proto_section){(uint8_t *)type, strlen(type)};
    sections[1] = (struct proto_section){m->content.data, m->content.len};
    sections[2] = (struct proto_section){m->metadata.data, m->metadata.len};
    for (unsigned i = 0; i < m->nbuffers; i++)
        sections[3 + i] = (struct proto_section){m->buffers[i].data, m->buffers[i].len};
    struct request_spec spec = {
        .kind = REQUEST_COMM, .sections = sections, .nsections = 3 + m->nbuffers};
    submit(in, &spec, NULL);
}

/* ---- answered at once ---- */

static void put_kernel_info(struct kernel *k, struct buf *out)
{
    static const char fallback[] =
        "\"implementation\":\"cellbox\",\"implementation_version\":\"" CELLBOX_VERSION
        "\",\"language_info\":{\"name\":\"python\",\"version\":\"3\",\"mimetype\":"
        "\"text/x-python\",\"file_extension\":\".py\"},\"banner\":\"Cellbox\"}";
    struct context_info info;
    context_get_info(k->config.context, &info);
    buf_puts(out, "{\"status\":\"ok\",\"protocol_version\":\"5.5\",\"debugger\":false,\"supported_"
                  "features\":[],");
    if (info.hello.len > 2)
        buf_put(out, info.hello.data + 1, info.hello.len - 1);
    else
        buf_puts(out, fallback);
}

static void info_ready(void *user, bool ok)
{
    struct parked *p = user;
    CLEANUP_BUF struct buf content = {0};
    (void)ok; /* a dead interpreter is still a kernel that can say what it is */
    put_kernel_info(p->kernel, &content);
    kernel_reply(p->kernel, p->channel, slice_of(&p->route), slice_of(&p->parent),
                 "kernel_info_reply", slice_of(&content));
    iopub_status(p->kernel, slice_of(&p->parent), "idle");
    parked_free(p);
}

static void on_kernel_info(struct incoming *in)
{
    struct parked *p =
        parked_new(in->k, in->ch, slice_of(&in->route), in->m->header, "", SLICE_STR(""));
    iopub_status(in->k, in->m->header, "busy");
    if (!p)
        return;
    list_append(&in->k->infos, &p->link);
    if (context_when_ready(in->k->config.context, info_ready, p) < 0)
        info_ready(p, false);
}

static void on_connect(struct incoming *in)
{
    const int *port = kernel_address(in->k)->port;
    char content[200];
    snprintf(content, sizeof content,
             "{\"status\":\"ok\",\"shell_port\":%d,\"control_port\":%d,\"stdin_port\":%d,\"iopub_"
             "port\":%d,\"hb_port\":%d}",
             port[CHANNEL_SHELL], port[CHANNEL_CONTROL], port[CHANNEL_STDIN], port[CHANNEL_IOPUB],
             port[CHANNEL_HB]);
    iopub_status(in->k, in->m->header, "busy");
    answer(in, "connect_reply", content);
    iopub_status(in->k, in->m->header, "idle");
}

static void on_interrupt(struct incoming *in)
{
    iopub_status(in->k, in->m->header, "busy");
    int r = context_interrupt(in->k->config.context);
    if (r < 0)
        answer_error(in, "interrupt_reply", "KernelError", strerror(-r));
    else
        answer(in, "interrupt_reply", "{\"status\":\"ok\"}");
    iopub_status(in->k, in->m->header, "idle");
}

static void on_shutdown(struct incoming *in)
{
    json_t *content = parse(in);
    bool restart = flag(content, "restart", false);
    json_decref(content);
    const char *reply =
        restart ? "{\"status\":\"ok\",\"restart\":true}" : "{\"status\":\"ok\",\"restart\":false}";
    iopub_status(in->k, in->m->header, "busy");
    answer(in, "shutdown_reply", reply);
    struct outgoing_parts p = {.msg_type = "shutdown_reply",
                               .parent = in->m->header,
                               .metadata = SLICE_STR("{}"),
                               .content = {(const uint8_t *)reply, strlen(reply)}};
    iopub_publish(in->k, &p);
    iopub_status(in->k, in->m->header, "idle");
    kernel_ask_shutdown(in->k, restart);
}

/* ---- dispatch ---- */

enum { ON_SHELL = 1, ON_CONTROL = 2 };

static const struct handler {
    const char *msg_type;
    int channels;
    void (*handle)(struct incoming *in);
} handlers[] = {
    {"execute_request", ON_SHELL, on_execute},
    {"complete_request", ON_SHELL, on_complete},
    {"inspect_request", ON_SHELL, on_inspect},
    {"is_complete_request", ON_SHELL, on_is_complete},
    {"history_request", ON_SHELL, on_history},
    {"comm_info_request", ON_SHELL, on_comm_info},
    {"comm_open", ON_SHELL, on_comm},
    {"comm_msg", ON_SHELL, on_comm},
    {"comm_close", ON_SHELL, on_comm},
    {"kernel_info_request", ON_SHELL | ON_CONTROL, on_kernel_info},
    {"connect_request", ON_SHELL, on_connect},
    {"interrupt_request", ON_CONTROL, on_interrupt},
    {"shutdown_request", ON_SHELL | ON_CONTROL, on_shutdown},
};

static void on_stdin(struct kernel *k, const struct jupyter_message *m)
{
    json_t *content =
        json_loadb((const char *)m->content.data, m->content.len, JSON_ALLOW_NUL, NULL);
    struct proto_section value;
    if (!strcmp(m->msg_type, "input_reply") && content && text_member(content, "value", &value))
        context_input(k->config.context, NULL, value.data, value.len);
    else
        k->config.counters->unknown++;
    json_decref(content);
}

static void dispatch(struct incoming *in)
{
    int channel = in->ch == CHANNEL_SHELL ? ON_SHELL : ON_CONTROL;
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (!strcmp(handlers[i].msg_type, in->m->msg_type) && (handlers[i].channels & channel)) {
            handlers[i].handle(in);
            return;
        }
    }
    in->k->config.counters->unknown++;
    log_info("jupyter", "unknown_message", "type=%s", log_quote(in->m->msg_type));
    iopub_status(in->k, in->m->header, "busy");
    iopub_status(in->k, in->m->header, "idle");
}

void kernel_on_message(void *user, enum channel ch, const struct slice *frames, size_t n)
{
    static const char *const reasons[] = {"", "frames", "signature", "json", "header"};
    struct kernel *k = user;
    struct jupyter_message m;
    enum jupyter_parse r = jupyter_parse(frames, n, k->key, &m);

    k->config.counters->messages++;
    if (r != JUPYTER_OK) {
        if (r == JUPYTER_E_SIGNATURE)
            k->config.counters->bad_signature++;
        else
            k->config.counters->bad_frames++;
        log_info("jupyter", "message_dropped", "reason=%s frames=%zu", reasons[r], n);
        return;
    }
    if (ch == CHANNEL_STDIN) {
        on_stdin(k, &m);
        return;
    }
    struct incoming in = {.k = k, .ch = ch, .m = &m};
    if (jupyter_put_route(&in.route, m.idents, m.nidents) == 0)
        dispatch(&in);
    buf_deinit(&in.route);
}
