/*
 * Client of the init of one box for programs that are no contexts: sandbox/wire/process.h. Calls go
 * over the init link; output, input and the end of a process travel on a stream of its own, which
 * may be paused: then init keeps what comes, and holds a command back.
 */
#pragma once

#include <stdbool.h>

#include "contexts/manager/links/wire_link.h"
#include "sandbox/base/buf.h"
#include "sandbox/wire/process.h"

/* start: argc, envc, note_len and the flags but SPEC_FD set by the caller, spec as the header says.
 * stream_fd: borrowed, -1: none. Reply: a table of one record. -EMSGSIZE, or a negative errno. */
int process_link_start(struct wire_link *init, struct wire_process_start *start,
                       const struct buf *spec, int stream_fd, wire_reply_fn *reply, void *user);
/* The same with a descriptor that becomes the program's 3; borrowed. */
int process_link_start_given(struct wire_link *init, struct wire_process_start *start,
                             const struct buf *spec, int given_fd, int stream_fd,
                             wire_reply_fn *reply, void *user);
int process_link_session_run(struct wire_link *init, struct wire_session_run *run,
                             const void *script, size_t len, int stream_fd, wire_reply_fn *reply,
                             void *user);
void process_link_attach(struct wire_link *init, const char *id, uint64_t cursor, uint8_t flags,
                         int stream_fd, wire_reply_fn *reply, void *user);
void process_link_signal(struct wire_link *init, const char *id, int signo, bool tree,
                         uint32_t grace_ms, wire_reply_fn *reply, void *user);
void process_link_list(struct wire_link *init, const char *id, uint8_t kind, uint32_t after,
                       wire_reply_fn *reply, void *user);
void process_link_remove(struct wire_link *init, const char *id, uint32_t grace_ms,
                         wire_reply_fn *reply, void *user);
/* Reply: a connected socket. */
void process_link_connect(struct wire_link *init, uint16_t port, uint32_t timeout_ms,
                          wire_reply_fn *reply, void *user);

/*
 * Walks the records of a table; *cursor begins at 0. note: *ret_note is not NUL-terminated. false:
 * no more, or the box made it up.
 */
bool process_table_next(const struct wire_message *m, size_t *cursor, struct wire_process_info *ret,
                        const char **ret_note);

struct process_stream;

struct process_stream_ops {
    void (*frame)(void *user, const struct wire_frame *f, const uint8_t *payload);
    void (*drained)(void *user); /* what was written has left; NULL: not wanted */
    /* The other end has gone, or broke the protocol: the last call. Free it in or after this. */
    void (*closed)(void *user);
};

/* Makes a socket pair; *ret_theirs is for init: close it once it is sent. NULL: no descriptor or
 * memory is left. */
struct process_stream *process_stream_new(uv_loop_t *loop, const struct process_stream_ops *ops,
                                          void *user, int *ret_theirs);
/* No callback any more; NULL is fine. A command whose owner this was is killed. */
void process_stream_free(struct process_stream *s);
void process_stream_pause(struct process_stream *s);
void process_stream_resume(struct process_stream *s); /* frames come from the loop */
/* Queues input (any length). -ENOMEM; it is for the caller to stop while much is queued. */
int process_stream_input(struct process_stream *s, const void *data, size_t len);
int process_stream_input_end(struct process_stream *s);
/* A frame SYNCED comes once the input so far was given to the program, or refused by it. */
int process_stream_sync(struct process_stream *s);
int process_stream_resize(struct process_stream *s, uint16_t cols, uint16_t rows);
size_t process_stream_queued(const struct process_stream *s);
