/*
 * Output ring: text that an interpreter writes to sys.stdout/sys.stderr travels through shared
 * memory to init, which sends it as STREAM packets. So a print costs no system call, is seen
 * promptly although the GIL is held, is batched when there is much of it, and is not lost when the
 * interpreter calls os._exit or crashes.
 *
 * One producer (the interpreter; callers serialise, e.g. by the GIL), one consumer (init), which
 * trusts nothing here: it works on its own copies of the indices and caps every length. Lengths in
 * bytes, times in milliseconds.
 *
 * Order of ring and pipes. Text also arrives through the pipes behind fd 1 and 2 (subprocesses, C
 * code). It leaves in the order of the program if the consumer's round is:
 *
 *   1. outring_begin(PIPE); read what the pipes hold into its own buffer      (only when a pipe is
 * readable)
 *   2. outring_read until it returns 0, queue that text first                 (all of it was
 * written before the pipes' text, for the producer does not write behind text that still sits in a
 * pipe: outring_settle)
 *   3. queue the text of the pipes; when all is on the socket: outring_sent()
 *
 * The consumer may collect for a few milliseconds before it sends, unless outring_wanted(): someone
 * waits.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { OUTRING_SIZE = 1 << 18, OUTRING_RECORD_MAX = 1 << 15 };

/* Values of `idle` and bits of `busy`. */
enum { OUTRING_AWAKE = 0, OUTRING_ASLEEP = 1, OUTRING_GONE = 2 };
enum { OUTRING_BUSY_RING = 1, OUTRING_BUSY_PIPE = 2 };

struct outring_shared {
    _Atomic uint32_t head;  /* bytes ever written, modulo 2^32; producer */
    _Atomic uint32_t tail;  /* bytes ever consumed; consumer */
    _Atomic uint32_t idle;  /* consumer sleeps: the producer must ring the doorbell */
    _Atomic uint32_t busy;  /* consumer holds bytes of ring or pipes that it has not yet sent */
    _Atomic uint32_t ticks; /* futex: grows each time the consumer has sent what it held */
    _Atomic uint32_t want;  /* producers that wait for `ticks`: do not collect, send now */
    uint32_t pad[10];
    uint8_t data[OUTRING_SIZE];
};

/* A record in data: u32 length, u32 stream (1|2), u64 req, bytes, padded to 8. It may wrap round
 * the end. */

struct outring {
    struct outring_shared *shared;
    int doorbell; /* eventfd */
};

/*
 * Producer. Appends what fits without blocking; returns the bytes taken (0 = full). req: the cell
 * they belong to. Rings the doorbell if the consumer sleeps, and when a quarter of the ring has
 * filled.
 */
size_t outring_try_write(struct outring *r, uint64_t req, int stream, const void *data, size_t len);
/* Producer. Appends all, waiting for room (without the GIL, please). -EPIPE when the consumer has
 * gone. */
int outring_write(struct outring *r, uint64_t req, int stream, const void *data, size_t len);
/*
 * Producer. Waits until there is room for a record. 0, -ETIMEDOUT, -EINTR (a signal came), -EPIPE
 * (consumer gone).
 */
int outring_wait_room(struct outring *r, int timeout_ms);
/*
 * Producer. Returns once init has sent everything written before: ring and the pipes behind fd 1
 * and fd 2 are empty, or (a chatty subprocess) were emptied twice since. Costs one ioctl per pipe
 * and no switch when there is nothing to wait for. -ETIMEDOUT after timeout_ms; -EPIPE. An fd of -1
 * is not looked at.
 */
int outring_sync(struct outring *r, int out_fd, int err_fd, int timeout_ms);
/* Producer. The same for the pipes alone, ring left as it is: call it before writing behind text of
 * fd 1 and 2. */
int outring_settle(struct outring *r, int out_fd, int err_fd, int timeout_ms);
/* Whether everything has been sent, without waiting. */
int outring_is_drained(const struct outring *r, int out_fd, int err_fd);

/*
 * Consumer. Copies the next run of records of one stream and req, up to cap bytes (at least
 * OUTRING_RECORD_MAX), and advances. Returns the bytes (0 = empty), -EPROTO when the producer broke
 * the ring: stop using it. *tail is the consumer's own index. Marks the consumer busy before the
 * bytes leave the ring.
 */
ssize_t outring_read(struct outring *r, uint32_t *tail, uint64_t *ret_req, int *ret_stream,
                     void *out, size_t cap);
/* Consumer. Before reading bytes from a pipe: OUTRING_BUSY_PIPE. */
void outring_begin(struct outring *r, uint32_t what);
/* Consumer. Everything that it held is on the socket: wakes the producer. */
void outring_sent(struct outring *r);
/* Consumer. The producer waits: send without collecting. */
int outring_wanted(const struct outring *r);
/* Consumer. Before sleeping: 0 = sleep (the doorbell will ring), 1 = there is something in the
 * ring. */
int outring_sleep(struct outring *r, uint32_t tail);
/* Consumer. It goes away and nobody will read on: writers get -EPIPE. */
void outring_close(struct outring *r);
