/*
 * The one growable byte buffer. It has a cap: growing past `max` fails with -EMSGSIZE, so hostile
 * lengths end here. A buffer that failed once stays failed (`err`), so that a sequence of puts
 * needs one check at its end.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; /* always NUL-terminated one past len when cap > 0 */
    size_t len;
    size_t cap;
    size_t max; /* bytes; 0 = BUF_MAX_DEFAULT */
    int err;    /* 0, -ENOMEM or -EMSGSIZE */
};

#define BUF_MAX_DEFAULT (64u << 20)
#define CLEANUP_BUF     __attribute__((cleanup(buf_deinit)))

void buf_init(struct buf *b, size_t max);
void buf_deinit(struct buf *b); /* frees and zeroes; NULL-safe members */
void buf_reset(struct buf *b);  /* len = 0, err = 0; memory kept unless it grew past 1 MiB */
int buf_reserve(struct buf *b, size_t more);
int buf_put(struct buf *b, const void *p, size_t n);
int buf_puts(struct buf *b, const char *s);
int buf_putc(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t n); /* drops n bytes at the front */
/* Moves the bytes out; the caller frees them with free(). ret_len may be NULL. */
uint8_t *buf_steal(struct buf *b, size_t *ret_len);
static inline const char *buf_str(const struct buf *b)
{
    return b->data ? (const char *)b->data : "";
}
