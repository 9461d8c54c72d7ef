#include "contexts/manager/links/process_link.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sandbox/base/fd.h"

/* Beside the fixed part of a message. */
enum { TAIL_MAX = WIRE_MSG_MAX - 1024 };

static int spec_memfd(const void *data, size_t len)
{
    if (len > WIRE_PROCESS_SPEC_MAX)
        return -EMSGSIZE;
    CLEANUP_FD int fd = memfd_create("spec", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, data, len);
    return r < 0 ? r : STEAL_FD(fd);
}

/* Sends a message whose bulk goes in its tail or, if there is much, beside it. */
static int send_bulk(struct wire_link *init, struct wire_head *head, size_t head_len, bool beside,
                     const void *data, size_t len, int given_fd, int stream_fd,
                     wire_reply_fn *reply, void *user)
{
    CLEANUP_FD int memfd = beside ? spec_memfd(data, len) : -1;
    int fds[3];
    size_t n = 0;
    if (beside && memfd < 0)
        return memfd;
    if (beside)
        fds[n++] = memfd;
    if (given_fd >= 0)
        fds[n++] = given_fd;
    if (stream_fd >= 0)
        fds[n++] = stream_fd;
    wire_link_call(init, head, head_len, beside ? NULL : data, beside ? 0 : len, fds, n, reply,
                   user);
    return 0;
}

int process_link_start(struct wire_link *init, struct wire_process_start *start,
                       const struct buf *spec, int stream_fd, wire_reply_fn *reply, void *user)
{
    return process_link_start_given(init, start, spec, -1, stream_fd, reply, user);
}

int process_link_start_given(struct wire_link *init, struct wire_process_start *start,
                             const struct buf *spec, int given_fd, int stream_fd,
                             wire_reply_fn *reply, void *user)
{
    bool beside = spec->len > TAIL_MAX;
    start->h = (struct wire_head){.type = WIRE_PROCESS_START};
    start->spec_len = (uint32_t)spec->len;
    if (beside)
        start->flags |= WIRE_PROCESS_SPEC_FD;
    if (given_fd >= 0)
        start->flags |= WIRE_PROCESS_GIVE;
    return send_bulk(init, &start->h, sizeof *start, beside, spec->data, spec->len, given_fd,
                     stream_fd, reply, user);
}

int process_link_session_run(struct wire_link *init, struct wire_session_run *run,
                             const void *script, size_t len, int stream_fd, wire_reply_fn *reply,
                             void *user)
{
    run->h = (struct wire_head){.type = WIRE_SESSION_RUN};
    run->script_len = (uint32_t)len;
    run->in_fd = len > TAIL_MAX;
    return send_bulk(init, &run->h, sizeof *run, run->in_fd, script, len, -1, stream_fd, reply,
                     user);
}

static void set_id(char to[WIRE_PROCESS_ID], const char *id)
{
    strncpy(to, id, WIRE_PROCESS_ID - 1);
}

void process_link_attach(struct wire_link *init, const char *id, uint64_t cursor, uint8_t flags,
                         int stream_fd, wire_reply_fn *reply, void *user)
{
    struct wire_process_attach m = {
        .h = {.type = WIRE_PROCESS_ATTACH}, .cursor = cursor, .flags = flags};
    set_id(m.id, id);
    wire_link_call(init, &m.h, sizeof m, NULL, 0, &stream_fd, 1, reply, user);
}

void process_link_signal(struct wire_link *init, const char *id, int signo, bool tree,
                         uint32_t grace_ms, wire_reply_fn *reply, void *user)
{
    struct wire_process_signal m = {
        .h = {.type = WIRE_PROCESS_SIGNAL}, .signo = signo, .tree = tree, .grace_ms = grace_ms};
    set_id(m.id, id);
    wire_link_call(init, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

void process_link_list(struct wire_link *init, const char *id, uint8_t kind, uint32_t after,
                       wire_reply_fn *reply, void *user)
{
    struct wire_process_list m = {.h = {.type = WIRE_PROCESS_LIST}, .kind = kind, .after = after};
    set_id(m.id, id);
    wire_link_call(init, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

void process_link_remove(struct wire_link *init, const char *id, uint32_t grace_ms,
                         wire_reply_fn *reply, void *user)
{
    struct wire_process_name m = {.h = {.type = WIRE_PROCESS_REMOVE}, .grace_ms = grace_ms};
    set_id(m.id, id);
    wire_link_call(init, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

void process_link_connect(struct wire_link *init, uint16_t port, uint32_t timeout_ms,
                          wire_reply_fn *reply, void *user)
{
    struct wire_port m = {.h = {.type = WIRE_PORT_CONNECT}, .port = port, .timeout_ms = timeout_ms};
    wire_link_call(init, &m.h, sizeof m, NULL, 0, NULL, 0, reply, user);
}

bool process_table_next(const struct wire_message *m, size_t *cursor, struct wire_process_info *ret,
                        const char **ret_note)
{
    size_t at = *cursor ? *cursor : sizeof(struct wire_process_table);
    if (m->head->type != WIRE_PROCESS_TABLE || m->len < at || m->len - at < sizeof *ret)
        return false;
    memcpy(ret, (const uint8_t *)m->head + at, sizeof *ret);
    at += sizeof *ret;
    if (!memchr(ret->id, 0, sizeof ret->id) || ret->note_len > m->len - at)
        return false;
    *ret_note = (const char *)m->head + at;
    *cursor = at + ret->note_len;
    return true;
}
