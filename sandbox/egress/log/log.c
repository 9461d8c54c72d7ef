/*
 * Two files, NAME.0 and NAME.1; each begins with the position of its first byte, 20 digits and a
 * newline. The one that begins later is written to; when it is full the other is begun anew.
 */
#include "sandbox/egress/log/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/json.h"

enum { HEAD = 21, PENDING_MAX = 1 << 20, FLUSH_AT = 256 << 10 };

struct segment {
    int fd;
    uint64_t begin, len; /* of records, without the head */
};

struct egress_log {
    int dir_fd;
    char name[64];
    struct segment segments[2];
    int current;
    struct buf pending;
};

static int write_head(struct segment *s, uint64_t begin)
{
    char head[HEAD + 1];
    snprintf(head, sizeof head, "%020llu\n", (unsigned long long)begin);
    if (ftruncate(s->fd, 0) < 0 || pwrite(s->fd, head, HEAD, 0) != HEAD)
        return -errno;
    s->begin = begin;
    s->len = 0;
    return 0;
}

/* A last line that was cut off by a crash goes. */
static void cut_torn_line(struct segment *s)
{
    char last;
    while (s->len) {
        if (pread(s->fd, &last, 1, (off_t)(HEAD + s->len - 1)) != 1 || last == '\n')
            break;
        s->len--;
    }
    (void)!ftruncate(s->fd, (off_t)(HEAD + s->len));
}

static int open_segment(struct egress_log *l, int i)
{
    struct segment *s = &l->segments[i];
    char file[80], head[HEAD + 1] = "";
    struct stat st;
    snprintf(file, sizeof file, "%s.%d", l->name, i);
    s->fd = openat(l->dir_fd, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0 || fstat(s->fd, &st) < 0)
        return -errno;
    if (st.st_size < HEAD || pread(s->fd, head, HEAD, 0) != HEAD || head[HEAD - 1] != '\n')
        return write_head(s, 0);
    s->begin = strtoull(head, NULL, 10);
    s->len = (uint64_t)st.st_size - HEAD;
    cut_torn_line(s);
    return 0;
}

int egress_log_open(int dir_fd, const char *name, struct egress_log **ret)
{
    struct egress_log *l = calloc(1, sizeof *l);
    int r = l ? 0 : -ENOMEM;
    if (l) {
        l->dir_fd = dir_fd;
        l->segments[0].fd = l->segments[1].fd = -1;
        snprintf(l->name, sizeof l->name, "%s", name);
        buf_init(&l->pending, PENDING_MAX);
        r = open_segment(l, 0);
    }
    if (r == 0)
        r = open_segment(l, 1);
    if (r < 0) {
        egress_log_close(l);
        return r;
    }
    l->current = l->segments[1].begin > l->segments[0].begin;
    *ret = l;
    return 0;
}

void egress_log_close(struct egress_log *l)
{
    if (!l)
        return;
    egress_log_flush(l);
    fd_close(l->segments[0].fd);
    fd_close(l->segments[1].fd);
    buf_deinit(&l->pending);
    free(l);
}

void egress_log_remove(int dir_fd, const char *name)
{
    char file[80];
    for (int i = 0; i < 2; i++) {
        snprintf(file, sizeof file, "%.60s.%d", name, i);
        unlinkat(dir_fd, file, 0);
    }
}

/* ---- writing ---- */

static int turn_over(struct egress_log *l)
{
    const struct segment *full = &l->segments[l->current];
    int other = !l->current;
    int r = write_head(&l->segments[other], full->begin + full->len);
    if (r == 0)
        l->current = other;
    return r;
}

int egress_log_flush(struct egress_log *l)
{
    struct segment *s = &l->segments[l->current];
    if (!l->pending.len)
        return 0;
    ssize_t n = pwrite(s->fd, l->pending.data, l->pending.len, (off_t)(HEAD + s->len));
    int r = n == (ssize_t)l->pending.len ? 0 : n < 0 ? -errno : -ENOSPC;
    if (r == 0)
        s->len += l->pending.len;
    else
        (void)!ftruncate(s->fd, (off_t)(HEAD + s->len));
    buf_reset(&l->pending);
    return r == 0 && s->len >= EGRESS_LOG_SEGMENT ? turn_over(l) : r;
}

static void put_text(struct buf *b, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    buf_printf(b, ",\"%s\":", name);
    json_put_cstring(b, value);
}

static void put_time(struct buf *b, uint64_t us)
{
    time_t t = (time_t)(us / 1000000);
    struct tm tm;
    char text[32];
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "{\"time\":\"%s.%06uZ\"", text, (unsigned)(us % 1000000));
}

static void put_secrets(struct buf *b, const char *names)
{
    if (!names || !*names)
        return;
    buf_puts(b, ",\"secrets\":[");
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, ",");
        if (p != names)
            buf_putc(b, ',');
        json_put_string(b, p, n);
        p += n + (p[n] == ',');
    }
    buf_putc(b, ']');
}

int egress_log_add(struct egress_log *l, const struct egress_record *r)
{
    struct buf *b = &l->pending;
    size_t before = b->len;
    put_time(b, r->start_us);
    buf_printf(b, ",\"id\":%llu", (unsigned long long)r->id);
    put_text(b, "kind", r->kind);
    put_text(b, "sandbox", r->box);
    put_text(b, "method", r->method);
    put_text(b, "scheme", r->scheme);
    put_text(b, "host", r->host);
    if (r->port)
        buf_printf(b, ",\"port\":%u", r->port);
    put_text(b, "path", r->path);
    put_text(b, "protocol", r->protocol);
    put_text(b, "decision", r->decision);
    put_text(b, "rule", r->rule);
    put_text(b, "reason", r->reason);
    if (r->status)
        buf_printf(b, ",\"status\":%u", r->status);
    if (strcmp(r->kind, "dns")) {
        buf_printf(b, ",\"bytesIn\":%llu,\"bytesOut\":%llu,\"durationMs\":%u.%03u",
                   (unsigned long long)r->bytes_in, (unsigned long long)r->bytes_out,
                   r->duration_us / 1000, r->duration_us % 1000);
        if (r->upstream_us)
            buf_printf(b, ",\"upstreamMs\":%u.%03u", r->upstream_us / 1000, r->upstream_us % 1000);
    }
    put_secrets(b, r->secrets);
    put_text(b, "upstream", r->upstream);
    buf_puts(b, "}\n");
    if (b->err) {
        b->len = before;
        b->err = 0;
        return -ENOSPC;
    }
    return b->len >= FLUSH_AT ? egress_log_flush(l) : 0;
}

/* ---- reading ---- */

uint64_t egress_log_end(const struct egress_log *l)
{
    return l->segments[l->current].begin + l->segments[l->current].len;
}

/* Whole lines of one segment from a place on. */
static int read_segment(const struct segment *s, uint64_t at, size_t max, struct buf *out,
                        uint64_t *ret_next)
{
    size_t want = s->len - at < max ? (size_t)(s->len - at) : max;
    int r = buf_reserve(out, want + 1);
    if (r < 0)
        return r;
    ssize_t n = pread(s->fd, out->data + out->len, want, (off_t)(HEAD + at));
    if (n < 0)
        return -errno;
    const uint8_t *last = n ? memrchr(out->data + out->len, '\n', (size_t)n) : NULL;
    size_t whole = last ? (size_t)(last + 1 - (out->data + out->len)) : 0;
    out->len += whole;
    *ret_next = s->begin + at + whole;
    return 0;
}

int egress_log_read(struct egress_log *l, uint64_t cursor, size_t max, struct buf *out,
                    uint64_t *ret_cursor, uint64_t *ret_lost)
{
    int r = egress_log_flush(l);
    const struct segment *now = &l->segments[l->current], *old = &l->segments[!l->current];
    uint64_t oldest = old->begin + old->len == now->begin ? old->begin : now->begin;
    *ret_lost = 0;
    if (cursor < oldest) {
        *ret_lost = oldest - cursor;
        cursor = oldest;
    }
    *ret_cursor = cursor;
    if (r < 0 || cursor >= now->begin + now->len)
        return r;
    size_t before = out->len;
    if (cursor < now->begin) {
        r = read_segment(old, cursor - old->begin, max, out, ret_cursor);
        if (r < 0 || out->len - before >= max / 2)
            return r;
    }
    if (*ret_cursor < now->begin)
        return 0;
    return read_segment(now, *ret_cursor - now->begin, max - (out->len - before), out, ret_cursor);
}
