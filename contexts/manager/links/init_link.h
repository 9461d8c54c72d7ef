/* Client of the init of one box: starts, signals and kills contexts. Asynchronous; see wire_link.h.
 */
#pragma once

#include "contexts/manager/links/wire_link.h"

/* The link itself is a struct wire_link; these are its calls. */
void init_setup(struct wire_link *init, const char *hostname);
/* created: WIRE_BOX_CREATED; what it says to trust is trusted before anything starts in the box. */
void init_trust(struct wire_link *init, const struct wire_message *created);
/* In place of what was to be trusted until now. */
void init_trust_pem(struct wire_link *init, const void *pem, size_t len);
/* Reply value: how many processes there are for whose sake it must not sleep. */
void init_work(struct wire_link *init, wire_reply_fn *reply, void *user);
/*
 * program: enum wire_program. environ: cwd NUL, then K=V NUL...; runner_fd (borrowed) becomes the
 * runner's end of the frame socket. Reply: struct wire_reply with the pid.
 */
void init_context_start(struct wire_link *init, uint32_t context, uint32_t program,
                        const void *environ, size_t len, int runner_fd, wire_reply_fn *reply,
                        void *user);
/* SIGINT meant for one request; the children of the context get it, too. */
void init_context_interrupt(struct wire_link *init, uint32_t context, uint64_t req);
void init_context_kill(struct wire_link *init, uint32_t context);
