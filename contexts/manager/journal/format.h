/* Record header, shared by writer and reader. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum record_state { RECORD_PENDING = 1, RECORD_KEPT = 2 };

struct record_head {
    uint32_t len;
    uint8_t kind;
    uint8_t state;
    uint16_t zero;
    uint64_t time_us;
};
_Static_assert(sizeof(struct record_head) == 16, "on-disk layout");

static inline uint64_t record_size(size_t len)
{
    return sizeof(struct record_head) + (((uint64_t)len + 7) & ~(uint64_t)7);
}

struct journal;
int journal_fd(const struct journal *j);
