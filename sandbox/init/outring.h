/*
 * Output ring: text that an interpreter writes to sys.stdout/sys.stderr travels through shared memory to init, which
 * sends it as STREAM packets. So a print costs no system call, is seen promptly although the GIL is held, is batched
 * when there is much of it, and is not lost when the interpreter calls os._exit or crashes.
 *
 * One producer (the interpreter; callers serialise, e.g. by the GIL), one consumer (init), which trusts nothing here:
 * it works on its own copies of the indices and caps every length.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { OUTRING_SIZE = 1 << 18, OUTRING_RECORD_MAX = 1 << 15 };

struct outring_shared {
    _Atomic uint32_t head;  /* bytes ever written, modulo 2^32; producer */
    _Atomic uint32_t tail;  /* bytes ever consumed; consumer */
    _Atomic uint32_t idle;  /* consumer sleeps: the producer must ring the doorbell */
    _Atomic uint32_t busy;  /* consumer holds bytes of ring or pipes that it has not yet sent */
    _Atomic uint32_t ticks; /* futex: grows each time the consumer has sent what it held */
    uint32_t pad[11];
    uint8_t data[OUTRING_SIZE];
};

/* A record in data: u32 length, u32 stream (1|2), u64 req, bytes, padded to 8. It may wrap round the end. */

struct outring {
    struct outring_shared *shared;
    int doorbell; /* eventfd */
};

/*
 * Producer. Appends what fits without blocking; returns the bytes taken (0 = full). req: the cell they belong to.
 * Rings the doorbell if the consumer sleeps.
 */
size_t outring_try_write(struct outring *r, uint64_t req, int stream, const void *data, size_t len);
/* Producer. Appends all, waiting for room (without the GIL, please). -EPIPE when the consumer has gone. */
int outring_write(struct outring *r, uint64_t req, int stream, const void *data, size_t len);
/*
 * Producer. Returns once init has sent everything written before: ring and the pipes behind fd 1 and fd 2 are empty.
 * Costs one ioctl per pipe and no switch when there is nothing to wait for. -ETIMEDOUT after timeout_ms.
 */
int outring_sync(struct outring *r, int out_fd, int err_fd, int timeout_ms);
/* Whether everything has been sent, without waiting. */
int outring_is_drained(const struct outring *r, int out_fd, int err_fd);

/*
 * Consumer. Copies the next run of records of one stream and req, up to cap bytes, and advances. Returns the bytes
 * (0 = empty), -EPROTO when the producer broke the ring: stop using it. *tail is the consumer's own index.
 */
ssize_t outring_read(struct outring *r, uint32_t *tail, uint64_t *ret_req, int *ret_stream, void *out, size_t cap);
