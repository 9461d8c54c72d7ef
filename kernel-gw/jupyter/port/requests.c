/* Requests on shell: they wait for the interpreter in the order they came, per shell. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/jupyter/port/private.h"

/* The shell that the header names (JEP 91). false: there is none, and the client has been told. */
static bool pick_subshell(struct incoming *in, struct request_spec *spec, const char *reply_type)
{
    const struct jupyter_message *m = in->m;
    if (!m->names_subshell)
        return true;
    spec->subshell = context_subshell_find(in->p->context, m->subshell, strlen(m->subshell));
    if (spec->subshell)
        return true;
    port_status(in->p, m->header, "busy");
    if (reply_type)
        port_answer_error(in, reply_type, "SubshellError", "there is no such subshell");
    port_status(in->p, m->header, "idle");
    return false;
}

static void on_execute(struct incoming *in)
{
    struct proto_section sections[2] = {{0}};
    struct request_spec spec = {.kind = REQUEST_EXECUTE, .sections = sections, .nsections = 2};
    if (!pick_subshell(in, &spec, "execute_reply"))
        return;
    json_t *content = port_content(in);

    if (!content || !port_text(content, "code", &sections[1])) {
        port_status(in->p, in->m->header, "busy");
        port_answer_error(in, "execute_reply", "ValueError", "execute_request without code");
        port_status(in->p, in->m->header, "idle");
        json_decref(content);
        return;
    }
    json_t *expressions = json_object_get(content, "user_expressions");
    spec.silent = port_flag(content, "silent", false);
    spec.no_history = spec.silent || !port_flag(content, "store_history", true);
    spec.allow_stdin = port_flag(content, "allow_stdin", true);
    spec.stop_on_error = port_flag(content, "stop_on_error", true);
    json_t *options =
        json_pack("{s:s, s:b, s:b, s:b, s:O}", "msg_id", in->m->msg_id, "silent", spec.silent,
                  "store_history", !spec.no_history, "allow_stdin", spec.allow_stdin,
                  "user_expressions", json_is_object(expressions) ? expressions : content);
    if (options && !json_is_object(expressions))
        json_object_set_new(options, "user_expressions", json_object());
    char *text = options ? json_dumps(options, JSON_COMPACT) : NULL;
    if (text) {
        sections[0] = (struct proto_section){(uint8_t *)text, strlen(text)};
        port_submit(in, &spec, "execute_reply");
    }
    free(text);
    json_decref(options);
    json_decref(content);
}

/* complete, inspect, is_complete: some integers and the code. */
static void on_code(struct incoming *in, enum request_kind kind, const char *reply_type)
{
    char options[96];
    struct proto_section sections[2] = {{0}};
    struct request_spec spec = {.kind = kind, .sections = sections, .nsections = 2};
    if (!pick_subshell(in, &spec, reply_type))
        return;
    json_t *content = port_content(in);

    if (!content || !port_text(content, "code", &sections[1])) {
        port_status(in->p, in->m->header, "busy");
        port_answer_error(in, reply_type, "ValueError", "the request has no code");
        port_status(in->p, in->m->header, "idle");
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
        port_submit(in, &spec, reply_type);
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
    if (pick_subshell(in, &spec, reply_type))
        port_submit(in, &spec, reply_type);
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
    json_t *head = json_pack("{s:s, s:s}", "msg_type", m->msg_type, "msg_id", m->msg_id);
    char *type = head ? json_dumps(head, JSON_COMPACT) : NULL;
    json_decref(head);
    if (!type)
        return;
    sections[0] = (struct proto_section){(uint8_t *)type, strlen(type)};
    sections[1] = (struct proto_section){m->content.data, m->content.len};
    sections[2] = (struct proto_section){m->metadata.data, m->metadata.len};
    for (unsigned i = 0; i < m->nbuffers; i++)
        sections[3 + i] = (struct proto_section){m->buffers[i].data, m->buffers[i].len};
    struct request_spec spec = {
        .kind = REQUEST_COMM, .sections = sections, .nsections = 3 + m->nbuffers};
    if (pick_subshell(in, &spec, NULL))
        port_submit(in, &spec, NULL);
    free(type);
}

const struct port_handler port_shell_handlers[] = {
    {"execute_request", ON_SHELL, on_execute}, {"complete_request", ON_SHELL, on_complete},
    {"inspect_request", ON_SHELL, on_inspect}, {"is_complete_request", ON_SHELL, on_is_complete},
    {"history_request", ON_SHELL, on_history}, {"comm_info_request", ON_SHELL, on_comm_info},
    {"comm_open", ON_SHELL, on_comm},          {"comm_msg", ON_SHELL, on_comm},
    {"comm_close", ON_SHELL, on_comm},
};
const size_t port_nshell_handlers = sizeof port_shell_handlers / sizeof *port_shell_handlers;
