/*
 * JavaScript handlers: Node workers outside the boxes, which answer requests as the up side of an
 * exchange and make requests of their own (fetch) as the down side of another. One worker process
 * serves all handler modules of the server; it cannot open a socket, start or signal a process,
 * read no file but its own and knows no secret but those that a module's `env` names. A crash or an
 * endless loop fails its requests closed (502 / 504) and the worker is started again. Modules are
 * not kept from each other: they are their owner's code, and no box's code runs there.
 *
 * A module is ES module source: export default { outbound?, outboundByHost?, outboundHandlers? },
 * or a function; each handler is (request, env, ctx) => Response | Promise<Response>.
 */
#pragma once

#include <uv.h>

#include "sandbox/base/buf.h"
#include "sandbox/egress/http/exchange.h"

struct handlers;
struct secrets;

enum {
    HANDLERS_E_INVALID = 1,
    HANDLERS_E_NOT_FOUND,
    HANDLER_SOURCE_MAX = 1 << 20,
    HANDLER_NAME_MAX = 64
};

struct handlers_config {
    const char *node;     /* path of the Node executable on the host */
    const char *worker;   /* path of worker.mjs */
    uint32_t deadline_ms; /* until a handler's response head, and again for its waitUntil */
    int dir_fd;           /* where module sources are kept, borrowed */
    const struct secrets *secrets;
};

int handlers_new(uv_loop_t *loop, const struct handlers_config *c, struct handlers **ret);
/*
 * Adds or replaces a module: it is compiled in the worker before the old one goes; *ret through
 * done: 0, HANDLERS_E_INVALID with the error's text, or -errno. options: JSON {"env": {"NAME":
 * "secret-name"}}.
 */
void handlers_put(struct handlers *h, const char *name, const char *source, size_t len,
                  const char *options, void (*done)(void *arg, int result, const char *text),
                  void *arg);
bool handlers_has(const struct handlers *h, const char *name); /* "module" or "module.handler" */
void handlers_secrets_changed(struct handlers *h);             /* modules get their env anew */
int handlers_remove(struct handlers *h, const char *name);
int handlers_list(const struct handlers *h, struct buf *out); /* JSON array, no source */
int handlers_source(const struct handlers *h, const char *name, struct buf *out);
/*
 * Hands an exchange to the handler `name` ("module" or "module.handler"); params: JSON. Answers
 * come through exchange_up_*. *ret_ops / *ret_up: what the exchange calls. Fails with a reason when
 * there is no such handler or too many requests wait.
 */
int handlers_start(struct handlers *h, struct exchange *x, const char *name, const char *params,
                   const struct exchange_up_ops **ret_ops, void **ret_up, char ret_reason[208]);
