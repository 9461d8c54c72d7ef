/* Shared by the files of a port; nobody else includes this. */
#pragma once

#include <jansson.h>

#include "kernel-gw/jupyter/port/port.h"

/* A message while it is handled. */
struct incoming {
    struct port *p;
    enum channel ch;
    const struct jupyter_message *m;
    struct slice route;
};

enum { ON_SHELL = 1, ON_CONTROL = 2 };

struct port_handler {
    const char *msg_type;
    int channels;
    void (*handle)(struct incoming *in);
};

/* A request in the manager whose reply goes to one client. */
struct ask {
    struct list link;
    struct port *port;
    struct request *request;
};

/* port.c */
void ask_free(struct ask *a);
/* Queues what the interpreter answers. reply_type NULL: such requests have no reply. */
void port_submit(struct incoming *in, struct request_spec *spec, const char *reply_type);
void port_answer(struct incoming *in, const char *msg_type, const char *content);
void port_answer_error(struct incoming *in, const char *msg_type, const char *name,
                       const char *text);
void port_status(struct port *p, struct slice parent, const char *state);
json_t *port_content(const struct incoming *in); /* of the message, as a tree */
bool port_flag(const json_t *content, const char *name, bool otherwise);
bool port_text(const json_t *content, const char *name, struct proto_section *ret);

/* requests.c: the shell's; control.c: what never waits for a cell */
extern const struct port_handler port_shell_handlers[], port_control_handlers[];
extern const size_t port_nshell_handlers, port_ncontrol_handlers;
void infos_free(struct port *p);
