/*
 * What libfuse runs to get a mount in a box, where nobody may mount: the mount is there already,
 * and what its server reads from came with it as descriptor 3. Found first in the server's PATH.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { GIVEN = 3 };

int main(int argc, char **argv)
{
    const char *where = getenv("_FUSE_COMMFD");
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "-u"))
            return 0; /* who made it takes it off */
    if (!where)
        return 1;
    char byte = 0, space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    int fd = GIVEN;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    return sendmsg((int)strtol(where, NULL, 10), &m, MSG_NOSIGNAL) == 1 ? 0 : 1;
}
