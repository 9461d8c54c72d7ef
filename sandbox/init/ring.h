/*
 * Log of a process: the last bytes of its output with cursors. A cursor is the number of bytes
 * written before; pieces remember their stream and time. Memory grows with use up to the limit;
 * then the oldest bytes go. Plain data: no pointers into it are handed out.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ring_mark {
    uint64_t at; /* cursor of the first byte of the piece */
    uint64_t time_us;
    uint32_t stream;
};

struct ring {
    uint8_t *data;
    size_t cap, max;
    uint64_t first, next; /* bytes first..next are kept */
    struct ring_mark *marks;
    size_t marks_cap, marks_at, nmarks; /* a circle as well */
};

void ring_init(struct ring *r, size_t max);
void ring_deinit(struct ring *r);
/* Appends; what came before makes room. -ENOMEM: nothing was appended. */
int ring_put(struct ring *r, uint32_t stream, uint64_t time_us, const void *data, size_t len);
/*
 * Copies bytes of one piece from *cursor on (moved up to the oldest byte kept), at most cap.
 * Returns how many, 0: there are none yet.
 */
size_t ring_get(const struct ring *r, uint64_t *cursor, void *out, size_t cap,
                struct ring_mark *ret);
