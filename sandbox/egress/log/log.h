/*
 * One record per request, connection or look-up of a box: JSON lines in two alternating segment
 * files per box, bounded, with a cursor (byte position since the log began) that stays good when
 * segments turn over. Records are gathered in memory and written by egress_log_flush, once a turn
 * of the loop. Runs in E.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "sandbox/base/buf.h"

enum { EGRESS_LOG_SEGMENT = 8 << 20 };

struct egress_record {
    const char *kind; /* "http", "tls", "tcp", "dns" */
    const char *box;  /* name, "" while unnamed */
    uint64_t id;
    const char *method, *scheme, *host,
        *path; /* path without its query's values (names are kept) */
    uint16_t port;
    const char *protocol; /* "HTTP/1.1", "HTTP/2", "websocket", "tcp"... */
    const char *decision; /* allow, deny, handler, respond, splice, tcp, error */
    const char *rule, *reason;
    uint16_t status;
    uint64_t bytes_in, bytes_out;      /* as the box sees them: in = to the box */
    uint64_t start_us;                 /* Unix time, microseconds */
    uint32_t duration_us, upstream_us; /* whole; until the response head */
    const char *secrets;               /* names, comma-separated, NULL = none */
    const char *upstream;              /* "203.0.113.7:443", NULL = none */
};

struct egress_log;

/* name: file-name-safe identity (the disk's id). -errno. */
int egress_log_open(int dir_fd, const char *name, struct egress_log **ret);
void egress_log_close(struct egress_log *l); /* flushes */
int egress_log_add(struct egress_log *l, const struct egress_record *r);
int egress_log_flush(struct egress_log *l);
/*
 * Appends whole lines from cursor on, at most max bytes, to out. *ret_cursor: where to go on.
 * A cursor older than what is kept starts at the oldest (ret_lost = bytes skipped); one beyond the
 * end gives nothing.
 */
int egress_log_read(struct egress_log *l, uint64_t cursor, size_t max, struct buf *out,
                    uint64_t *ret_cursor, uint64_t *ret_lost);
uint64_t egress_log_end(const struct egress_log *l);
void egress_log_remove(int dir_fd, const char *name);
