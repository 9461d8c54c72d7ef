/*
 * File descriptors: -1 = none, O_CLOEXEC at birth, closed by scope. Messages with descriptors over
 * SEQPACKET sockets.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#define CLEANUP_FD   __attribute__((cleanup(fd_cleanup)))
#define CLEANUP_FREE __attribute__((cleanup(ptr_cleanup)))
#define STEAL_FD(fd) fd_steal(&(fd))
#define STEAL_PTR(p)            \
    ({                          \
        __typeof__(p) p_ = (p); \
        (p) = NULL;             \
        p_;                     \
    })

void fd_cleanup(int *fd);
int fd_steal(int *fd);
int fd_close(int fd); /* always returns -1, keeps errno; -1 is fine: fd = fd_close(fd) */
static inline void ptr_cleanup(void *pp)
{
    free(*(void **)pp);
}

/* Both ends CLOEXEC and non-blocking. Negative errno. */
int fd_seqpacket_pair(int ret_fds[2]);
int fd_set_nonblock(int fd, int on);
int fd_set_cloexec(int fd, int on);

enum { FD_MSG_MAX_FDS = 16 };

/*
 * One datagram with up to FD_MSG_MAX_FDS descriptors. Returns bytes sent/received or a negative
 * errno (-EAGAIN when it would block). fd_recv: received descriptors are CLOEXEC; *nfds is in: room
 * in fds, out: received; surplus descriptors are closed; a truncated datagram is -EMSGSIZE; 0 = the
 * peer closed.
 */
ssize_t fd_send(int sock, const void *data, size_t len, const int *fds, size_t nfds);
ssize_t fd_recv(int sock, void *data, size_t cap, int *fds, size_t *nfds);
/* Same, but waits (poll) up to timeout_ms when it would block; -ETIMEDOUT. For set-up code only,
 * never on a loop. */
ssize_t fd_send_wait(int sock, const void *data, size_t len, const int *fds, size_t nfds,
                     int timeout_ms);
ssize_t fd_recv_wait(int sock, void *data, size_t cap, int *fds, size_t *nfds, int timeout_ms);

int fd_write_all(int fd, const void *data, size_t len); /* regular files, pipes: negative errno */
int fd_write_file_at(int dirfd, const char *path, const char *text); /* open, one write, close */
/* Reads a small file whole into out (NUL-terminated); -EFBIG when it does not fit. Returns length.
 */
ssize_t fd_read_file_at(int dirfd, const char *path, char *out, size_t cap);
