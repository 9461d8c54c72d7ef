/* One context's process as init sees it. Private to sandbox/init. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sandbox/base/list.h"
#include "sandbox/init/boot.h"
#include "sandbox/wire/packet.h"
#include "sandbox/wire/wire.h"

enum context_source { SOURCE_DOORBELL, SOURCE_OUT, SOURCE_ERR, SOURCE_FRAME, SOURCES };

struct init_context;

/* What epoll hands back: which descriptor of which context. */
struct context_watch {
    struct init_context *context;
    enum context_source source;
};

struct init_context {
    struct list link;
    uint32_t number;
    pid_t pid; /* also its session; -1 once reaped */
    int status;
    bool exited;      /* reaped; output may still be on its way */
    bool exit_queued; /* EXITED has been handed to the socket or is the pending packet */

    int epoll;
    int frame;   /* copy of the runner's end, non-blocking through MSG_DONTWAIT only: the file is
                    shared */
    int pipe[2]; /* read ends of fd 1 and fd 2; -1 after end of file */
    struct outring ring;
    struct outring_shared *mapped; /* ring.shared becomes NULL when the producer broke it */
    uint32_t tail;

    uint8_t *pending; /* packet that the frame socket had no room for */
    size_t pending_len;
    uint8_t *held[2]; /* packets with text of the pipes that is to follow the ring's */
    size_t held_len[2];
    int64_t due_us; /* 0: rests; else when to look again without being told */
    bool frame_armed, pipes_armed;
    struct context_watch watch[SOURCES];
};

/* context.c: start and end of the process */
int context_start(struct list *contexts, int epoll, const struct interpreter_ops *ops,
                  const struct wire_context_start *req, const char *tail, size_t tail_len,
                  int frame_fd, struct err *err);
struct init_context *context_find(struct list *contexts, uint32_t number);
void context_signal(struct init_context *c, const struct wire_context_signal *req);
void context_kill(struct init_context *c);
void context_reaped(struct init_context *c, int status);
void context_free(struct init_context *c);

/* output.c: ring and pipes to packets. Both return true when the context has ended and everything
 * has been sent. */
bool output_pump(struct init_context *c);
bool output_event(struct init_context *c, enum context_source source);
int64_t output_now_us(void);
int output_watch(struct init_context *c);
void output_unwatch(struct init_context *c);
