#include "contexts/manager/links/boxes.h"

#include <stdio.h>
#include <stdlib.h>

struct boxes {
    struct wire_link *link;
    const struct boxes_ops *ops;
    void *user;
};

static void on_message(void *user, const struct wire_message *m)
{
    struct boxes *b = user;
    const struct wire_gone *g = (const struct wire_gone *)m->head;
    if (m->head->type != WIRE_BOX_GONE && m->head->type != WIRE_BOX_USED)
        b->ops->message(b->user, m);
    else if (m->len >= sizeof *g)
        (g->h.type == WIRE_BOX_GONE ? b->ops->gone : b->ops->used)(b->user, g);
}

static void on_closed(void *user)
{
    struct boxes *b = user;
    b->ops->closed(b->user);
}

static const struct wire_link_ops link_ops = {.message = on_message, .closed = on_closed};

struct boxes *boxes_new(uv_loop_t *loop, int take_fd, const struct boxes_ops *ops, void *user)
{
    struct boxes *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->ops = ops;
    b->user = user;
    b->link = wire_link_new(loop, take_fd, &link_ops, b);
    if (!b->link) {
        free(b);
        return NULL;
    }
    return b;
}

void boxes_free(struct boxes *b)
{
    if (!b)
        return;
    wire_link_free(b->link);
    free(b);
}

void boxes_ready(struct boxes *b)
{
    struct wire_head h = {.type = WIRE_READY};
    wire_link_call(b->link, &h, sizeof h, NULL, 0, NULL, 0, NULL, NULL);
}

void boxes_drain(struct boxes *b)
{
    wire_link_drain(b->link);
}

void boxes_create(struct boxes *b, const char *image, const char *disk,
                  const struct wire_limits *limits, wire_reply_fn *reply, void *user)
{
    struct wire_box_create m = {.h = {.type = WIRE_BOX_CREATE}, .limits = *limits};
    snprintf(m.image, sizeof m.image, "%s", image);
    snprintf(m.disk, sizeof m.disk, "%s", disk);
    wire_link_call(b->link, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

void boxes_destroy(struct boxes *b, uint64_t box, bool keep_disk, wire_reply_fn *reply, void *user)
{
    struct wire_box_destroy m = {.h = {.type = WIRE_BOX_DESTROY, .box = box},
                                 .keep_disk = keep_disk};
    wire_link_call(b->link, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

void boxes_disk_remove(struct boxes *b, const char *disk, wire_reply_fn *reply, void *user)
{
    struct wire_disk m = {.h = {.type = WIRE_DISK_REMOVE}};
    snprintf(m.disk, sizeof m.disk, "%s", disk);
    wire_link_call(b->link, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

void boxes_stat(struct boxes *b, uint64_t box, wire_reply_fn *reply, void *user)
{
    struct wire_head h = {.type = WIRE_BOX_STAT, .box = box};
    wire_link_call(b->link, &h, sizeof h, NULL, 0, NULL, 0, reply, user);
}

static void call_fuse(struct boxes *b, uint64_t box, uint32_t type, const char *name,
                      const char *path, uint32_t flags, wire_reply_fn *reply, void *user)
{
    struct wire_box_fuse m = {.h = {.type = type, .box = box}, .flags = flags};
    snprintf(m.name, sizeof m.name, "%s", name);
    snprintf(m.path, sizeof m.path, "%s", path);
    wire_link_call(b->link, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

void boxes_fuse(struct boxes *b, uint64_t box, const char *name, const char *path, uint32_t flags,
                wire_reply_fn *reply, void *user)
{
    call_fuse(b, box, WIRE_BOX_FUSE, name, path, flags, reply, user);
}

void boxes_unfuse(struct boxes *b, uint64_t box, const char *name, uint32_t flags,
                  wire_reply_fn *reply, void *user)
{
    call_fuse(b, box, WIRE_BOX_UNFUSE, name, "", flags, reply, user);
}

void boxes_measure(struct boxes *b, const char *disk, wire_reply_fn *reply, void *user)
{
    struct wire_disk m = {.h = {.type = WIRE_DISK_USAGE}};
    snprintf(m.disk, sizeof m.disk, "%s", disk);
    wire_link_call(b->link, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

void boxes_limits(struct boxes *b, uint64_t box, const struct wire_limits *limits,
                  wire_reply_fn *reply, void *user)
{
    struct wire_box_limits m = {.h = {.type = WIRE_BOX_LIMITS, .box = box}, .limits = *limits};
    wire_link_call(b->link, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

void boxes_sockets(struct boxes *b, uint64_t box, wire_reply_fn *reply, void *user)
{
    struct wire_head h = {.type = WIRE_BOX_SOCKETS, .box = box};
    wire_link_call(b->link, &h, sizeof h, NULL, 0, NULL, 0, reply, user);
}

void boxes_keep(struct boxes *b, uint64_t box, const void *blob, size_t len)
{
    struct wire_head h = {.type = WIRE_BOX_KEEP, .box = box};
    wire_link_call(b->link, &h, sizeof h, blob, len, NULL, 0, NULL, NULL);
}

void boxes_keep_context(struct boxes *b, uint64_t box, uint32_t context, const void *blob,
                        size_t len, int frame_fd)
{
    struct wire_context m = {.h = {.type = WIRE_CONTEXT_KEEP, .box = box}, .context = context};
    wire_link_call(b->link, &m.h, sizeof m, blob, len, &frame_fd, frame_fd >= 0, NULL, NULL);
}

void boxes_drop_context(struct boxes *b, uint64_t box, uint32_t context)
{
    struct wire_context m = {.h = {.type = WIRE_CONTEXT_DROP, .box = box}, .context = context};
    wire_link_call(b->link, &m.h, sizeof m, NULL, 0, NULL, 0, NULL, NULL);
}

void boxes_forget(struct boxes *b, void *user)
{
    wire_link_forget(b->link, user);
}
