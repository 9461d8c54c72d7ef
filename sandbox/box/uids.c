#include "sandbox/box/uids.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN_DIR "/run/cellbox"
#define FILE_AT RUN_DIR "/uids"

int uids_open(struct err *err)
{
    if (mkdir(RUN_DIR, 0755) < 0 && errno != EEXIST)
        return err_set(err, -errno, "make directory", RUN_DIR ": %s", strerror(errno));
    int fd = open(FILE_AT, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? err_set(err, -errno, "open the host's uids", FILE_AT ": %s", strerror(errno))
                  : fd;
}

/* Locks of the open file, not of the process: children that close their copy keep them. */
static int uids_lock(int fd, short type, uint32_t first, uint32_t count)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = count};
    return fcntl(fd, F_OFD_SETLK, &l) < 0 ? -errno : 0;
}

bool uids_claim(int fd, uint32_t first, uint32_t count)
{
    return uids_lock(fd, F_WRLCK, first, count) == 0;
}

void uids_release(int fd, uint32_t first, uint32_t count)
{
    uids_lock(fd, F_UNLCK, first, count);
}
