/*
 * The kernels that this gateway serves over ZeroMQ: who asked for them, what they own, and their
 * records on disk, from which a restarted gateway binds the same ports again. Private to
 * kernel-gw/jupyter, used by routes.c and the door.
 */
#pragma once

#include <jansson.h>

#include "kernel-gw/jupyter/door.h"
#include "kernel-gw/jupyter/raw/kernel.h"
#include "sandbox/base/list.h"

struct served {
    struct list link;
    struct door *door;
    char id[37];
    char context[37], sandbox[64];
    struct kernel *kernel;      /* NULL while parked for a restart, or until adopted */
    struct zmq_address address; /* as asked for */
    char key[128];
    bool owns_sandbox; /* its box goes with it */
    bool attended; /* a client process stands for it (`cellbox kernel`): gone, so is the kernel */
    struct exchange *waiter;         /* that client's GET .../wait */
    uv_timer_t absence;              /* no waiter for too long, or parked for too long */
    struct zmq_errand *registration; /* under way, or over */
    bool closing;
};

/* From a connection file. -EINVAL with a sentence. */
int kernels_read_connection(const json_t *connection, struct zmq_address *ret, char *key,
                            size_t cap, struct err *err);
/*
 * Whether a connection that a client brings may be served: on loopback, or encrypted (-EPERM), its
 * ipc path in our folder, its registration on loopback (-EINVAL). The path becomes ours.
 */
int kernels_check_connection(const struct door *d, const json_t *connection, struct zmq_address *a,
                             struct err *err);
bool kernels_is_loopback(const char *ip);
/* Serves the context on that address. `attended`: see above. */
int kernels_serve(struct door *d, struct context *c, const struct zmq_address *address,
                  const char *key, bool attended, bool owns_sandbox, struct served **ret,
                  struct err *err);
/*
 * JEP 66: tells whoever listens at registration_ip and _port of the connection which ports were
 * bound, and ends the kernel when nobody acknowledges that. 0 without such a member. registration.c
 */
int kernels_register(struct served *s, const json_t *connection, struct err *err);
struct served *kernels_find(struct door *d, const char *id);
struct served *kernels_of_context(struct door *d, const char *context); /* unattended one */
/*
 * One whose client process is gone and whose connection file comes again: it was shut down to be
 * restarted, or its client was killed. kernels_return restarts its context in place.
 */
struct served *kernels_returning(struct door *d, const struct zmq_address *address,
                                 const char *key);
int kernels_return(struct served *s, struct err *err);
/* Ends it: sockets, and its context or sandbox when it owns them. The waiter is answered. */
void kernels_end(struct served *s, const char *reason);
void kernels_set_waiter(struct served *s, struct exchange *x); /* NULL: it went away */

int kernels_init(struct door *d);
extern const struct route raw_routes[];
extern const size_t raw_nroutes;
/* Hooks of the door. */
void kernels_settle(struct door *d);
void kernels_context_opened(struct door *d, struct context *c);
void kernels_context_removed(struct door *d, struct context *c);
void kernels_orphan(struct door *d, const struct context_event *ev);
