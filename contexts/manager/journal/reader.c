#include <errno.h>
#include <unistd.h>

#include "contexts/manager/journal/format.h"
#include "contexts/manager/journal/journal.h"

enum { AHEAD = 64 << 10, RECORD_MAX = 128 << 20 };

void journal_reader_init(struct journal_reader *r, struct journal *j, uint64_t at)
{
    *r = (struct journal_reader){.journal = j, .at = at};
    buf_init(&r->ahead, RECORD_MAX);
}

void journal_reader_deinit(struct journal_reader *r)
{
    buf_deinit(&r->ahead);
}

/* Makes [r->at, r->at + need) available in memory. */
static const uint8_t *peek(struct journal_reader *r, uint64_t need, uint64_t end)
{
    if (r->ahead.len && r->at >= r->ahead_at && r->at + need <= r->ahead_at + r->ahead.len)
        return r->ahead.data + (r->at - r->ahead_at);
    uint64_t want = need > AHEAD ? need : AHEAD;
    if (want > end - r->at)
        want = end - r->at;
    if (want < need)
        return NULL;
    buf_reset(&r->ahead);
    if (buf_reserve(&r->ahead, want) < 0)
        return NULL;
    while (r->ahead.len < want) {
        ssize_t n = pread(journal_fd(r->journal), r->ahead.data + r->ahead.len, want - r->ahead.len,
                          (off_t)(r->at + r->ahead.len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return NULL;
        r->ahead.len += (size_t)n;
    }
    r->ahead_at = r->at;
    return r->ahead.data;
}

int journal_read(struct journal_reader *r, struct journal_record *ret)
{
    uint64_t end = journal_end(r->journal);
    if (r->at < journal_floor(r->journal))
        r->at = journal_floor(r->journal);
    if (r->at >= end)
        return 0;
    const struct record_head *h = (const struct record_head *)peek(r, sizeof *h, end);
    if (!h || h->state != RECORD_KEPT)
        return -EIO;
    uint64_t size = record_size(h->len);
    const uint8_t *p = peek(r, size, end);
    if (!p)
        return -EIO;
    h = (const struct record_head *)p;
    *ret = (struct journal_record){.offset = r->at,
                                   .next = r->at + size,
                                   .time_us = h->time_us,
                                   .kind = h->kind,
                                   .data = (const uint8_t *)(h + 1),
                                   .len = h->len};
    r->at += size;
    return 1;
}
