/* Ways into a running box: file helpers (processes of the box with a socket of their own to G,
 * sandbox/wire/files.h) and sockets of its network. */
#include <errno.h>

#include "contexts/manager/private.h"
#include "sandbox/base/fd.h"

int sandbox_helper(struct sandbox *sb, bool root, int *ret_fd)
{
    int fds[2];
    if (sb->state != SANDBOX_RUNNING)
        return -ENOTCONN;
    int r = fd_seqpacket_pair(fds);
    if (r < 0)
        return r;
    CLEANUP_FD int theirs = fds[1];
    struct wire_files_open m = {.h = {.type = WIRE_FILES_OPEN}, .root = root};
    /* Whatever goes wrong over there closes their end, which is answer enough. */
    wire_link_call(sb->init, &m.h, sizeof m, NULL, 0, &theirs, 1, NULL, NULL);
    sandbox_touch(sb);
    *ret_fd = fds[0];
    return 0;
}

uint64_t sandbox_box(const struct sandbox *sb)
{
    return sb->box;
}

int sandbox_sockets(struct sandbox *sb, wire_reply_fn *reply, void *user)
{
    if (sb->state != SANDBOX_RUNNING)
        return -ENOTCONN;
    sandbox_touch(sb);
    boxes_sockets(sb->manager->config.boxes, sb->box, reply, user);
    return 0;
}
