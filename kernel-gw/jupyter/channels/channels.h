/*
 * Kernels over WebSocket: GET /api/kernels/{id}/channels?session_id=S. A *client* is one session of
 * one kernel. It outlives its connection: what happens while it is away stays in the context's
 * journal and is sent when the same session comes back. Private to kernel-gw/jupyter.
 */
#pragma once

#include "kernel-gw/jupyter/door.h"

void channels_init(struct door *d);
/* Answers the handshake, or refuses it. */
void channels_connect(struct door *d, struct exchange *x, struct context *c);
/* Open connections of a kernel. */
unsigned channels_connections(const struct door *d, const char *context);
/* Hooks of the manager. */
void channels_context_adopted(struct door *d, struct context *c);
void channels_context_removed(struct door *d, struct context *c);
/* false: not a WebSocket client's. */
bool channels_orphan(struct door *d, const struct context_event *ev);
