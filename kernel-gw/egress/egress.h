/*
 * G's side of egress: the policy of every sandbox, kept in the registry, and the link to E, which
 * decides by it. E forgets when it dies, and boxes come and go: the policy is sent whenever a
 * sandbox gets a box and whenever E comes back. Runs in G.
 */
#pragma once

#include "kernel-gw/gateway.h"

struct egress;

/* Loads what the registry holds; policy_fd: JSON text for sandboxes without one of their own, -1:
 * there is none. What cannot be read is an error, never a policy that lets more through. */
int egress_attach(struct gateway *gw, int policy_fd, struct err *err);
/* E has (again) come up: the link to it. */
void egress_link(struct gateway *gw, int take_fd);

/* err->code 0: r is the answer, data its text (NUL-terminated, good for the call). */
typedef void egress_reply_fn(void *user, const struct err *err, const struct wire_egress_reply *r,
                             const char *data);
/* Rules of the server's own in front of a sandbox's: a JSON array, malloc'ed, NULL: none. They are
 * in no answer of egress_policy. -ENOSPC: there are EGRESS_EXTRAS already. */
enum { EGRESS_EXTRAS = 4 };
typedef char *egress_extra_fn(struct gateway *gw, const char *sandbox);
int egress_add_extra(struct gateway *gw, egress_extra_fn *rules);
/* They have changed; reply: the new ones hold, or why not. */
void egress_refresh(struct gateway *gw, const char *sandbox, egress_reply_fn *reply, void *user);
/* Asks E; data may be NULL. While E is being started again the answer is an error, and comes later.
 */
void egress_call(struct gateway *gw, struct wire_egress_call *call, const void *data, size_t len,
                 egress_reply_fn *reply, void *user);
void egress_forget(struct gateway *gw, void *user); /* its answers are swallowed */

const char *egress_policy(struct gateway *gw, const char *sandbox); /* JSON text in force */
/*
 * Puts a policy in force, if E accepts it; text NULL: back to the default. err: EGRESS_E_INVALID
 * with step "line:column" when it is refused; then the old one stays. The sandbox need not run, nor
 * exist yet.
 */
void egress_set_policy(struct gateway *gw, const char *sandbox, const char *text, size_t len,
                       egress_reply_fn *reply, void *user);
