/* LINK: cbx_boxd_requests */
/* PARSES: sandbox/boxd/requests.c */
/*
 * The supervisor's table of requests against whatever a gateway in other hands may send: messages
 * of {u16 length, u8 descriptors, bytes}. What the table calls is replaced here, and checks what it
 * is given: texts that end, boxes that exist, descriptors that are borrowed, one answer at most.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/boxd/server.h"

enum { BOXES = 3, CONTEXTS_AT_MOST = 256, BLOB_AT_MOST = 32768, REPLIES_AT_MOST = 1 };

static unsigned answers;

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void must_end(const char *text, size_t cap)
{
    must(memchr(text, 0, cap) != NULL);
}

struct kept_context *box_find_context(struct box *b, uint32_t number)
{
    LIST_FOREACH (it, &b->contexts) {
        struct kept_context *c = LIST_ENTRY(it, struct kept_context, link);
        if (c->number == number)
            return c;
    }
    return NULL;
}

void box_drop_context(struct kept_context *c)
{
    list_remove(&c->link);
    fd_close(c->frame);
    free(c->blob);
    free(c);
}

void box_kill(struct box *b, int remove_disk)
{
    must(remove_disk == 0 || remove_disk == 1);
    b->state = BOX_DYING;
}

int box_limit_disk(struct box *b, uint64_t bytes, struct err *err)
{
    return b->parts.limited || !bytes ? 0 : err_set(err, -EOPNOTSUPP, "limit disk", NULL);
}

int box_set_limits(struct box *b, const struct cgroup_limits *limits, struct err *err)
{
    must(limits->memory > 0);
    if (limits->memory < 4096)
        return err_set(err, -EBUSY, "limit memory", NULL);
    b->limits = *limits;
    return 0;
}

int box_usage(struct box *b, struct cgroup_usage *ret)
{
    memset(ret, 0, sizeof *ret);
    return b->number % 2 ? 0 : -EIO;
}

int disk_is_limited(const struct disks *d, const char *id)
{
    (void)d;
    must_end(id, WIRE_DISK);
    return 0;
}

int disk_remove(struct disks *d, const char *id, struct err *err)
{
    (void)d;
    must_end(id, WIRE_DISK);
    return err_set(err, -ENOENT, "remove disk", NULL);
}

int disk_touched(struct disks *d, const char *id, int mount, const char *path)
{
    (void)d;
    (void)mount;
    must_end(id, WIRE_DISK);
    must_end(path, 256);
    return 0;
}

int netns_sockets(int netns, int ret_fds[2], struct err *err)
{
    (void)netns;
    ret_fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ret_fds[1] = -1;
    return ret_fds[0] < 0 ? err_set(err, -EMFILE, "make sockets", NULL) : 0;
}

void egress_close(struct server *s, uint64_t box)
{
    (void)s;
    (void)box;
}

static bool is_running(struct server *s, const struct box *b)
{
    return server_find_box(s, b->number) == b && b->state == BOX_RUNNING;
}

void fuse_begin_mount(struct server *s, const struct box *b, const struct wire_box_fuse *m)
{
    must(is_running(s, b));
    must_end(m->name, sizeof m->name);
    must_end(m->path, sizeof m->path);
}

void fuse_begin_unmount(struct server *s, const struct box *b, const struct wire_box_fuse *m)
{
    fuse_begin_mount(s, b, m);
}

void gateway_reply(struct server *s, const struct wire_head *to, const struct err *err,
                   int64_t value)
{
    (void)s;
    (void)to;
    (void)value;
    if (err)
        must_end(err->text, sizeof err->text);
    answers++;
}

int gateway_send(struct server *s, const void *msg, size_t len, const int *fds, size_t nfds)
{
    (void)s;
    must(len >= sizeof(struct wire_head) && len <= WIRE_MSG_MAX && msg);
    for (size_t i = 0; i < nfds; i++)
        must(fcntl(fds[i], F_GETFD) >= 0);
    answers++;
    return 0;
}

struct box *server_find_box(struct server *s, uint64_t number)
{
    LIST_FOREACH (it, &s->boxes) {
        struct box *b = LIST_ENTRY(it, struct box, link);
        if (b->number == number)
            return b;
    }
    return NULL;
}

void server_gateway_ready(struct server *s)
{
    s->announced = true;
}

void usage_measure(struct server *s, const struct wire_head *to, const char *disk)
{
    (void)s;
    (void)to;
    must_end(disk, WIRE_DISK);
}

int zygotes_create_box(struct server *s, const char *image, const struct box_request *req,
                       struct err *err)
{
    (void)s;
    must_end(image, WIRE_NAME);
    must_end(req->disk, sizeof req->disk);
    must(req->limits.memory > 0);
    return err_set(err, -ENOENT, "find image", "there is none");
}

void zygotes_forget_requests(struct server *s)
{
    (void)s;
}

static void one_message(struct server *s, const uint8_t *bytes, size_t len, size_t nfds)
{
    static uint8_t message[WIRE_MSG_MAX] __attribute__((aligned(16)));
    int fds[FD_MSG_MAX_FDS];
    memcpy(message, bytes, len);
    for (size_t i = 0; i < nfds; i++)
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    answers = 0;
    request_dispatch(s, message, len, fds, nfds);
    must(answers <= REPLIES_AT_MOST);
    for (size_t i = 0; i < nfds; i++)
        fd_close(fds[i]);
}

static void check_boxes(struct server *s)
{
    LIST_FOREACH (it, &s->boxes) {
        struct box *b = LIST_ENTRY(it, struct box, link);
        must(list_count(&b->contexts) <= CONTEXTS_AT_MOST && b->blob_len <= BLOB_AT_MOST);
        LIST_FOREACH_SAFE (jt, &b->contexts) {
            struct kept_context *c = LIST_ENTRY(jt, struct kept_context, link);
            must(c->frame >= 0 && c->blob_len <= BLOB_AT_MOST);
            box_drop_context(c);
        }
        free(b->blob);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct server s;
    static struct box boxes[BOXES];
    memset(&s, 0, sizeof s);
    memset(boxes, 0, sizeof boxes);
    s.config.memory = 1 << 30;
    list_init(&s.boxes);
    for (size_t i = 0; i < BOXES; i++) {
        boxes[i].number = i + 1;
        boxes[i].state = i == 2 ? BOX_BUILDING : BOX_RUNNING;
        boxes[i].init_link = -1;
        boxes[i].limits.memory = 1 << 30;
        snprintf(boxes[i].parts.disk, sizeof boxes[i].parts.disk, "%032zx", i);
        list_init(&boxes[i].contexts);
        list_append(&s.boxes, &boxes[i].link);
    }
    while (size >= 3) {
        size_t len = (size_t)data[0] | (size_t)data[1] << 8, nfds = data[2] % (FD_MSG_MAX_FDS + 1);
        data += 3;
        size -= 3;
        len = len < size ? len : size;
        one_message(&s, data, len, nfds);
        data += len;
        size -= len;
    }
    check_boxes(&s);
    return 0;
}
