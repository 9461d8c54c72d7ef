/*
 * G's end of the frame socket of one context: packets in and out, non-blocking. It does not look
 * into them: the owner gives the room that a packet is received into (the journal's), so that a
 * byte is on file the moment that it leaves the socket. Descriptors that a runner sends along are
 * dropped by the kernel.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "contexts/proto/proto.h"

struct runner_link;

struct runner_link_ops {
    /* Room for len bytes (at most PACKET_MAX), NULL: give up on the link. */
    uint8_t *(*reserve)(void *user, size_t len);
    /* The packet was received into that room. */
    void (*packet)(void *user, const uint8_t *packet, size_t len);
    /* Whether to go on in this turn of the loop. NULL: yes. */
    bool (*more)(void *user);
    void (*closed)(
        void *user,
        int error); /* 0 = end of file, else a negative errno; free the link in or after it */
};

/* Takes fd, also on failure (NULL). */
struct runner_link *runner_link_new(uv_loop_t *loop, int take_fd, const struct runner_link_ops *ops,
                                    void *user);
void runner_link_free(struct runner_link *l); /* no callback any more; NULL is fine */
/* ops NULL: nobody's; what comes waits in the socket until somebody sets ops. */
void runner_link_set_ops(struct runner_link *l, const struct runner_link_ops *ops, void *user);
/* Paused: nothing is read, so that the runner's writes wait; sending goes on. */
void runner_link_pause(struct runner_link *l, bool on);
int runner_link_fd(const struct runner_link *l);
/*
 * Sends or queues one message. -EMSGSIZE, -ENOMEM, -ENOBUFS (64 MiB are queued); a broken socket
 * shows as `closed`. 1: all of it is in the socket.
 */
int runner_link_send(struct runner_link *l, uint16_t type, uint32_t arg, uint64_t req,
                     const struct proto_section *sections, unsigned nsections);
