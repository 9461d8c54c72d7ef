/* Client of B: boxes made, measured, kept and destroyed. Asynchronous; replies as in wire_link.h.
 */
#pragma once

#include "contexts/manager/links/wire_link.h"

struct boxes_ops {
    void (*gone)(void *user, const struct wire_gone *m); /* init of that box has ended */
    /* HELLO, ADOPT_BOX, ADOPT_CONTEXT, ADOPT_END: see wire.h */
    void (*message)(void *user, const struct wire_message *m);
    void (*used)(void *user, const struct wire_gone *m); /* the server stops */
    void (*closed)(void *user);                          /* B has gone: nothing is left to do */
};

struct boxes;
struct boxes *boxes_new(uv_loop_t *loop, int take_fd, const struct boxes_ops *ops, void *user);
void boxes_free(struct boxes *b);
void boxes_ready(struct boxes *b);
void boxes_drain(struct boxes *b); /* calls back for all that B has sent already */
/* Reply: struct wire_box_created + the init link. */
void boxes_create(struct boxes *b, const char *image, const char *disk,
                  const struct wire_limits *limits, wire_reply_fn *reply, void *user);
void boxes_destroy(struct boxes *b, uint64_t box, bool keep_disk, wire_reply_fn *reply, void *user);
void boxes_disk_remove(struct boxes *b, const char *disk, wire_reply_fn *reply, void *user);
void boxes_stat(struct boxes *b, uint64_t box, wire_reply_fn *reply,
                void *user); /* struct wire_box_stat */
/* Reply: what the mount's server reads from. name: of the mount; flags: WIRE_FUSE_*. */
void boxes_fuse(struct boxes *b, uint64_t box, const char *name, const char *path, uint32_t flags,
                wire_reply_fn *reply, void *user);
void boxes_unfuse(struct boxes *b, uint64_t box, const char *name, uint32_t flags,
                  wire_reply_fn *reply, void *user);
/* Reply: struct wire_disk_usage. */
void boxes_measure(struct boxes *b, const char *disk, wire_reply_fn *reply, void *user);
void boxes_limits(struct boxes *b, uint64_t box, const struct wire_limits *limits,
                  wire_reply_fn *reply, void *user);
/* Reply: an IPv4 and perhaps an IPv6 socket of the box's network. */
void boxes_sockets(struct boxes *b, uint64_t box, wire_reply_fn *reply, void *user);
void boxes_keep(struct boxes *b, uint64_t box, const void *blob, size_t len);
/* frame_fd -1: only the blob is replaced. */
void boxes_keep_context(struct boxes *b, uint64_t box, uint32_t context, const void *blob,
                        size_t len, int frame_fd);
void boxes_drop_context(struct boxes *b, uint64_t box, uint32_t context);
void boxes_forget(struct boxes *b, void *user);
