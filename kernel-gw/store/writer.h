/*
 * Writes rows of the registry in a thread of its own, one transaction after the other, each on disk
 * (fsync) before it is told: a slow disk holds up who waits for its answer and not the loop.
 * Private to the module.
 */
#pragma once

#include <sqlite3.h>
#include <uv.h>

#include "sandbox/base/buf.h"
#include "sandbox/base/err.h"
#include "sandbox/base/list.h"

enum row_kind { ROW_SANDBOX, ROW_SANDBOX_REMOVED, ROW_DOCUMENT, ROW_DOCUMENT_REMOVED, ROW_KINDS };
enum { ROW_TEXTS = 4, ROW_NUMBERS = 6 };

struct row {
    struct list item;
    enum row_kind kind;
    char *texts[ROW_TEXTS];       /* sandbox: name, disk, image, labels; document: kind, id, json */
    struct buf env;               /* sandbox: sealed */
    int64_t numbers[ROW_NUMBERS]; /* sandbox: memory, cpu, pids, created, last used, disk limit */
};

struct row *row_new(enum row_kind kind, const char *const texts[ROW_TEXTS]); /* NULL: no memory */
void row_free(struct row *r);
void rows_free(struct list *rows);

struct writer;
/* db is used by the writer alone from here on. */
int writer_new(uv_loop_t *loop, sqlite3 *db, struct writer **ret, struct err *e);
/* Waits for the transaction under way, tells nobody, and appends the rows that are not written. */
void writer_stop(struct writer *w, struct list *unwritten);
void writer_free(struct writer *w); /* stopped, or never started */
bool writer_busy(const struct writer *w);
/*
 * Takes the rows and writes them; done is called by the loop with 0 or -EIO and the rows, which are
 * the callee's again. Not while it is busy.
 */
typedef void writer_done_fn(void *user, int status, struct list *rows);
void writer_start(struct writer *w, struct list *take_rows, writer_done_fn *done, void *user);
/* The same at once, when there is no loop any more. */
int writer_now(struct writer *w, struct list *rows);
