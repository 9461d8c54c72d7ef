#include "contexts/manager/journal/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "contexts/manager/journal/format.h"
#include "sandbox/base/fd.h"

/*
 * The mapped window. A quiet context costs 128 KiB of disk and two touched pages; one that writes
 * much gets wider windows, so that it is not busy mapping. Windows are small against the memory
 * that a gateway may use.
 */
enum { WINDOW_MIN = 128 << 10, WINDOW_MAX = 1 << 20, OLD_MAX = 64, SPARE = 128 << 10 };

struct window {
    uint8_t *base;
    uint64_t at;
    size_t len;
};

struct journal {
    int fd;
    uint8_t packet_kind;
    bool lost;      /* a record could not be kept */
    bool in_memory; /* the current reservation is not in the file */
    uint64_t end, floor, allocated;
    struct window window;
    size_t next_window;
    unsigned held;
    struct window old[OLD_MAX];
    size_t nold;
    uint8_t *spare; /* room when the disk is full */
    size_t spare_len;
    size_t reserved; /* length of the open reservation */
};

/* The compiler must not move stores over this; the processor cannot, as only this thread's death is
 * at stake. */
static inline void in_order(void)
{
    __asm__ volatile("" ::: "memory");
}

static uint64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

int journal_fd(const struct journal *j)
{
    return j->fd;
}

static void window_unmap(struct window *w)
{
    if (w->base)
        munmap(w->base, w->len);
    *w = (struct window){0};
}

struct window_read {
    uint8_t bytes[4096];
    uint64_t at;
    size_t len;
};

/* Many small records share one read; of long ones only the head is read. */
static bool read_head(const struct journal *j, struct window_read *w, uint64_t at,
                      struct record_head *ret)
{
    if (at < w->at || at + sizeof *ret > w->at + w->len) {
        ssize_t n = pread(j->fd, w->bytes, sizeof w->bytes, (off_t)at);
        w->at = at;
        w->len = n > 0 ? (size_t)n : 0;
    }
    if (w->len < at - w->at + sizeof *ret)
        return false;
    memcpy(ret, w->bytes + (at - w->at), sizeof *ret);
    return true;
}

/* Walks to the first record that is not whole. */
static int find_end(struct journal *j)
{
    struct window_read window = {.len = 0};
    struct stat st;
    if (fstat(j->fd, &st) < 0)
        return -errno;
    uint64_t at = 0, size = (uint64_t)st.st_size;
    struct record_head first;
    /* The floor after holes were punched is kept in the first record, which is never released. */
    if (pread(j->fd, &first, sizeof first, 0) == sizeof first && first.kind == 0 &&
        first.len == 8) {
        if (pread(j->fd, &j->floor, 8, sizeof first) != 8)
            return -EIO;
        if (j->floor % 8 || j->floor < record_size(first.len) || j->floor > size)
            return -EIO; /* no record can lie there */
    }
    at = j->floor;
    while (at + sizeof(struct record_head) < size) {
        struct record_head h;
        if (!read_head(j, &window, at, &h))
            return -EIO;
        if (h.state == RECORD_PENDING && h.kind == j->packet_kind && h.len &&
            at + sizeof h + h.len <= size) {
            uint8_t byte = 0, kept = RECORD_KEPT;
            if (pread(j->fd, &byte, 1, (off_t)(at + sizeof h)) != 1 || !byte)
                break;
            if (pwrite(j->fd, &kept, 1, (off_t)(at + offsetof(struct record_head, state))) != 1)
                return -EIO;
        } else if (h.state != RECORD_KEPT) {
            break;
        }
        at += record_size(h.len);
    }
    if (at > size)
        return -EIO;
    j->end = at;
    /* Cut off what was begun; the next window is zero again, which the walk above relies on. */
    if (ftruncate(j->fd, (off_t)at) < 0)
        return -errno;
    j->allocated = at;
    return 0;
}

static int write_floor_record(struct journal *j)
{
    struct {
        struct record_head h;
        uint64_t floor;
    } first = {.h = {.len = 8, .kind = 0, .state = RECORD_KEPT}, .floor = sizeof first};
    if (pwrite(j->fd, &first, sizeof first, 0) != sizeof first)
        return -errno;
    j->floor = j->end = j->allocated = sizeof first;
    return 0;
}

int journal_open(int dirfd, const char *name, uint8_t packet_kind, struct journal **ret,
                 struct err *e)
{
    struct journal *j = calloc(1, sizeof *j);
    if (!j)
        return err_set(e, -ENOMEM, "journal", NULL);
    j->packet_kind = packet_kind;
    j->next_window = WINDOW_MIN;
    j->spare_len = SPARE;
    j->spare = malloc(SPARE);
    j->fd = openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r = j->fd < 0 ? -errno : !j->spare ? -ENOMEM : find_end(j);
    if (r == 0 && j->end == 0)
        r = write_floor_record(j);
    if (r < 0) {
        journal_close(j);
        return err_set(e, r, "open journal", NULL);
    }
    *ret = j;
    return 0;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    window_unmap(&j->window);
    for (size_t i = 0; i < j->nold; i++)
        window_unmap(&j->old[i]);
    fd_close(j->fd);
    free(j->spare);
    free(j);
}

static void window_retire(struct journal *j)
{
    if (j->held && j->nold < OLD_MAX && j->window.base) {
        j->old[j->nold++] = j->window;
        j->window = (struct window){0};
    }
    window_unmap(&j->window);
}

/* Maps a window that holds need bytes from the end on. The blocks are allocated first: a full disk
 * is an error, not SIGBUS. */
static int window_move(struct journal *j, uint64_t need)
{
    uint64_t at = j->end & ~(uint64_t)4095;
    size_t len = j->next_window;
    while (len < need + (j->end - at))
        len *= 2;
    if (at + len > j->allocated) {
        int r = posix_fallocate(j->fd, (off_t)j->allocated, (off_t)(at + len - j->allocated));
        if (r)
            return -r;
        j->allocated = at + len;
    }
    uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, j->fd, (off_t)at);
    if (p == MAP_FAILED)
        return -errno;
    window_retire(j);
    j->window = (struct window){p, at, len};
    if (j->next_window < WINDOW_MAX)
        j->next_window *= 2;
    return 0;
}

static uint8_t *reserve_memory(struct journal *j, size_t len)
{
    size_t need = record_size(len) + sizeof(struct record_head);
    j->lost = j->in_memory = true;
    if (need > j->spare_len) {
        uint8_t *p = malloc(need);
        if (!p)
            return NULL;
        free(j->spare);
        j->spare = p;
        j->spare_len = need;
    }
    return j->spare;
}

uint8_t *journal_reserve(struct journal *j, uint8_t kind, size_t len)
{
    uint64_t need = record_size(len) + sizeof(struct record_head);
    const struct window *w = &j->window;
    uint8_t *p;

    if (len > UINT32_MAX)
        return NULL;
    j->in_memory = false;
    j->reserved = len;
    if ((!w->base || j->end + need > w->at + w->len) && window_move(j, need) < 0)
        p = reserve_memory(j, len);
    else
        p = w->base + (j->end - w->at);
    if (!p)
        return NULL;
    struct record_head *h = (struct record_head *)p;
    /* What was discarded before may lie here: it must not look like a record behind this one. */
    p[sizeof *h] = 0;
    memset(p + need - sizeof *h, 0, sizeof *h);
    in_order();
    *h = (struct record_head){.len = (uint32_t)len, .kind = kind, .state = RECORD_PENDING};
    in_order();
    return p + sizeof *h;
}

static struct record_head *open_head(struct journal *j)
{
    return (struct record_head *)(j->in_memory ? j->spare
                                               : j->window.base + (j->end - j->window.at));
}

static void fill(struct journal *j, struct record_head *h, struct journal_record *ret)
{
    h->time_us = now_us();
    *ret = (struct journal_record){.offset = j->end,
                                   .next = j->end,
                                   .time_us = h->time_us,
                                   .kind = h->kind,
                                   .data = (const uint8_t *)(h + 1),
                                   .len = h->len};
}

void journal_commit(struct journal *j, struct journal_record *ret)
{
    struct record_head *h = open_head(j);
    fill(j, h, ret);
    if (j->in_memory)
        return;
    in_order();
    h->state = RECORD_KEPT;
    j->end += record_size(h->len);
    ret->next = j->end;
}

void journal_discard(struct journal *j, struct journal_record *ret)
{
    struct record_head *h = open_head(j);
    fill(j, h, ret);
    h->state = 0;
}

int journal_append(struct journal *j, uint8_t kind, const struct iovec *iov, int n,
                   struct journal_record *ret)
{
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    uint8_t *p = journal_reserve(j, kind, len);
    if (!p)
        return -ENOMEM;
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len)
            memcpy(p, iov[i].iov_base, iov[i].iov_len);
        p += iov[i].iov_len;
    }
    journal_commit(j, ret);
    return 0;
}

void journal_hold(struct journal *j)
{
    j->held++;
}

void journal_unhold(struct journal *j)
{
    if (--j->held)
        return;
    for (size_t i = 0; i < j->nold; i++)
        window_unmap(&j->old[i]);
    j->nold = 0;
}

uint64_t journal_end(const struct journal *j)
{
    return j->end;
}

bool journal_lost(const struct journal *j)
{
    return j->lost;
}

void journal_mark(struct journal *j, uint64_t record, size_t offset, uint8_t byte)
{
    if (pwrite(j->fd, &byte, 1, (off_t)(record + sizeof(struct record_head) + offset)) < 0)
        j->lost = true;
}

uint64_t journal_floor(const struct journal *j)
{
    return j->floor;
}

void journal_release(struct journal *j, uint64_t upto)
{
    uint64_t from = (j->floor + 4095) & ~(uint64_t)4095, to = upto & ~(uint64_t)4095;
    if (upto <= j->floor || upto > j->end)
        return;
    /* The new floor is on file before the bytes below it vanish. */
    j->floor = upto;
    if (pwrite(j->fd, &j->floor, 8, sizeof(struct record_head)) != 8)
        return;
    if (to > from)
        (void)fallocate(j->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
                        (off_t)(to - from));
}
