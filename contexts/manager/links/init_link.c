#include "contexts/manager/links/init_link.h"

#include <signal.h>
#include <string.h>

void init_setup(struct wire_link *init, const char *hostname)
{
    struct wire_head h = {.type = WIRE_INIT_SETUP};
    wire_link_call(init, &h, sizeof h, hostname, strlen(hostname) + 1, NULL, 0, NULL, NULL);
}

void init_trust_pem(struct wire_link *init, const void *pem, size_t len)
{
    struct wire_head h = {.type = WIRE_INIT_TRUST};
    wire_link_call(init, &h, sizeof h, pem, len, NULL, 0, NULL, NULL);
}

void init_trust(struct wire_link *init, const struct wire_message *created)
{
    size_t head = sizeof(struct wire_box_created);
    if (created->len > head)
        init_trust_pem(init, (const uint8_t *)created->head + head, created->len - head);
}

void init_work(struct wire_link *init, wire_reply_fn *reply, void *user)
{
    struct wire_head h = {.type = WIRE_PROCESS_WORK};
    wire_link_call(init, &h, sizeof h, NULL, 0, NULL, 0, reply, user);
}

void init_context_start(struct wire_link *init, uint32_t context, uint32_t program,
                        const void *environ, size_t len, int runner_fd, wire_reply_fn *reply,
                        void *user)
{
    struct wire_context_start m = {
        .h = {.type = WIRE_CONTEXT_START}, .context = context, .program = program};
    wire_link_call(init, &m.h, sizeof m, environ, len, &runner_fd, 1, reply, user);
}

void init_context_interrupt(struct wire_link *init, uint32_t context, uint64_t req)
{
    struct wire_context_signal m = {.h = {.type = WIRE_CONTEXT_SIGNAL},
                                    .context = context,
                                    .signo = SIGINT,
                                    .value = (uint32_t)req,
                                    .group = 1};
    wire_link_call(init, &m.h, sizeof m, NULL, 0, NULL, 0, NULL, NULL);
}

void init_context_kill(struct wire_link *init, uint32_t context)
{
    struct wire_context m = {.h = {.type = WIRE_CONTEXT_KILL}, .context = context};
    wire_link_call(init, &m.h, sizeof m, NULL, 0, NULL, 0, NULL, NULL);
}
