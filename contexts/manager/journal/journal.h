/*
 * Append-only file of everything that made a context's history: packets as they came and what the
 * manager decided. The gateway may be killed at any instruction: whatever left the socket is on
 * file exactly once. So packets are received straight into a mapping of the file (no copy, no write
 * call), behind a header that says "pending, n bytes" until the receive has returned; journal_open
 * finds out from the first byte of a pending packet (never zero) whether the kernel had filled it.
 * A reader needs no lock and no memory: it reads the file at its own pace.
 *
 * Record: u32 length, u8 kind, u8 state, u16 0, u64 time in microseconds since 1970, bytes, zero
 * padding to 8. Offsets stay valid for the life of the file; what nobody needs any more is given
 * back to the disk by punching holes. Power failures are out of scope: the contexts would be gone
 * as well.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "sandbox/base/buf.h"
#include "sandbox/base/err.h"

struct journal_record {
    uint64_t offset, next; /* of this record and the one behind it */
    uint64_t time_us;
    uint8_t kind; /* the owner's number, not 0 */
    const uint8_t *data;
    size_t len;
};

struct journal;

/*
 * Opens or creates the file name in dirfd. packet_kind: the kind whose pending records can be told
 * received by their first byte. A torn end is cut off. Negative errno.
 */
int journal_open(int dirfd, const char *name, uint8_t packet_kind, struct journal **ret,
                 struct err *e);
void journal_close(struct journal *j); /* the file stays; NULL is fine */

/*
 * Room for one record of len bytes. Never NULL for len <= 128 KiB once the journal is open: when
 * the disk is full, the room is memory, the record is not kept (ret->next == ret->offset) and
 * journal_lost() turns true. The room, and every record got from commit, stays valid until the next
 * reserve, or until journal_unhold while held.
 */
uint8_t *journal_reserve(struct journal *j, uint8_t kind, size_t len);
void journal_commit(struct journal *j, struct journal_record *ret);
/* Same record for the caller, but not kept; the room is used again. */
void journal_discard(struct journal *j, struct journal_record *ret);
/* reserve + copy + commit. -ENOMEM. */
int journal_append(struct journal *j, uint8_t kind, const struct iovec *iov, int n,
                   struct journal_record *ret);
void journal_hold(struct journal *j);
void journal_unhold(struct journal *j);

uint64_t journal_end(const struct journal *j);
bool journal_lost(const struct journal *j);
/* Changes one byte of a kept record in place; offset counts from the record's data. */
void journal_mark(struct journal *j, uint64_t record, size_t offset, uint8_t byte);
void journal_release(struct journal *j, uint64_t upto); /* nothing before it will be read again */
uint64_t journal_floor(const struct journal *j);

/* A reader at any record boundary; reads ahead 64 KiB at most (more for a longer record). */
struct journal_reader {
    struct journal *journal; /* borrowed; must outlive the reader */
    uint64_t at;
    struct buf ahead;
    uint64_t ahead_at;
};
void journal_reader_init(struct journal_reader *r, struct journal *j, uint64_t at);
void journal_reader_deinit(struct journal_reader *r);
/* 1: *ret is the next record, valid until the next call; 0: at the end; negative errno (-EIO: the
 * file is damaged). */
int journal_read(struct journal_reader *r, struct journal_record *ret);
