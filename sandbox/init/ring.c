#include "sandbox/init/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Neighbours of one stream within this time are one piece. */
enum { SAME_PIECE_US = 1000, FIRST_CAP = 4096, FIRST_MARKS = 32, MARKS_MAX = 32768 };

void ring_init(struct ring *r, size_t max)
{
    *r = (struct ring){.max = max < FIRST_CAP ? FIRST_CAP : max};
}

void ring_deinit(struct ring *r)
{
    free(r->data);
    free(r->marks);
    *r = (struct ring){0};
}

static struct ring_mark *mark(const struct ring *r, size_t i)
{
    return &r->marks[(r->marks_at + i) % r->marks_cap];
}

static void copy_out(const struct ring *r, uint64_t from, void *out, size_t n)
{
    size_t at = from % r->cap, head = n < r->cap - at ? n : r->cap - at;
    memcpy(out, r->data + at, head);
    memcpy((uint8_t *)out + head, r->data, n - head);
}

/* Positions are cursors modulo the size: a new size is a new place for every byte. */
static int grow(struct ring *r, size_t want)
{
    size_t cap = r->cap ? r->cap : FIRST_CAP, kept = (size_t)(r->next - r->first);
    while (cap < want && cap < r->max)
        cap = cap * 2 < r->max ? cap * 2 : r->max;
    if (cap == r->cap)
        return 0;
    struct ring bigger = {.data = malloc(cap), .cap = cap};
    if (!bigger.data)
        return r->cap ? 0 : -ENOMEM; /* full already: go on with what there is */
    size_t at = r->first % cap, head = kept < cap - at ? kept : cap - at;
    if (kept && r->cap) {
        copy_out(r, r->first, bigger.data + at, head);
        copy_out(r, r->first + head, bigger.data, kept - head);
    }
    free(r->data);
    r->data = bigger.data;
    r->cap = cap;
    return 0;
}

/* Drops marks whose bytes are gone; the first one left begins with the oldest byte. */
static void settle(struct ring *r)
{
    while (r->nmarks > 1 && mark(r, 1)->at <= r->first) {
        r->marks_at = (r->marks_at + 1) % r->marks_cap;
        r->nmarks--;
    }
    if (r->nmarks && mark(r, 0)->at < r->first)
        mark(r, 0)->at = r->first;
}

static int more_marks(struct ring *r)
{
    size_t cap = r->marks_cap ? r->marks_cap * 2 : FIRST_MARKS;
    struct ring_mark *bigger = cap <= MARKS_MAX ? malloc(cap * sizeof *bigger) : NULL;
    if (!bigger && !r->nmarks)
        return -ENOMEM;
    if (!bigger) { /* the oldest piece goes, though there is room for its bytes */
        r->first = r->nmarks > 1 ? mark(r, 1)->at : r->next;
        if (r->nmarks == 1)
            r->nmarks = 0;
        settle(r);
        return 0;
    }
    for (size_t i = 0; i < r->nmarks; i++)
        bigger[i] = *mark(r, i);
    free(r->marks);
    r->marks = bigger;
    r->marks_cap = cap;
    r->marks_at = 0;
    return 0;
}

static int add_mark(struct ring *r, uint32_t stream, uint64_t time_us)
{
    if (r->nmarks) {
        const struct ring_mark *last = mark(r, r->nmarks - 1);
        if (last->stream == stream && time_us - last->time_us < SAME_PIECE_US)
            return 0;
    }
    if (r->nmarks == r->marks_cap && more_marks(r) < 0)
        return -ENOMEM;
    *mark(r, r->nmarks++) = (struct ring_mark){r->next, time_us, stream};
    return 0;
}

int ring_put(struct ring *r, uint32_t stream, uint64_t time_us, const void *data, size_t len)
{
    const uint8_t *p = data;
    if (!len)
        return 0;
    if (grow(r, (size_t)(r->next - r->first) + len) < 0 || add_mark(r, stream, time_us) < 0)
        return -ENOMEM;
    if (len > r->cap) { /* only its end fits */
        r->next += len - r->cap;
        p += len - r->cap;
        len = r->cap;
    }
    size_t at = r->next % r->cap, head = len < r->cap - at ? len : r->cap - at;
    memcpy(r->data + at, p, head);
    memcpy(r->data, p + head, len - head);
    r->next += len;
    if (r->next - r->first > r->cap)
        r->first = r->next - r->cap;
    settle(r);
    return 0;
}

/* Index of the piece that holds the byte. */
static size_t find(const struct ring *r, uint64_t cursor)
{
    size_t lo = 0, hi = r->nmarks;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (mark(r, mid)->at <= cursor)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

size_t ring_get(const struct ring *r, uint64_t *cursor, void *out, size_t cap,
                struct ring_mark *ret)
{
    if (*cursor < r->first)
        *cursor = r->first;
    if (*cursor >= r->next || !r->nmarks)
        return 0;
    size_t i = find(r, *cursor);
    uint64_t end = i + 1 < r->nmarks ? mark(r, i + 1)->at : r->next;
    size_t n = end - *cursor < cap ? (size_t)(end - *cursor) : cap;
    copy_out(r, *cursor, out, n);
    *ret = *mark(r, i);
    return n;
}
