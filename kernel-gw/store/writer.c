#include "kernel-gw/store/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/log.h"

struct writer {
    sqlite3 *db;
    sqlite3_stmt *statements[ROW_KINDS];
    uv_loop_t *loop;
    uv_work_t work;
    uv_mutex_t lock;
    uv_cond_t over;
    bool running; /* in the thread; under the lock */
    struct list rows;
    writer_done_fn *done;
    void *user;
    int status;
    bool busy, stopped, freed;
};

struct row *row_new(enum row_kind kind, const char *const texts[ROW_TEXTS])
{
    struct row *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    list_init(&r->item);
    r->kind = kind;
    for (int i = 0; i < ROW_TEXTS; i++) {
        if (texts[i] && !(r->texts[i] = strdup(texts[i]))) {
            row_free(r);
            return NULL;
        }
    }
    return r;
}

void row_free(struct row *r)
{
    if (!r)
        return;
    list_remove(&r->item);
    for (int i = 0; i < ROW_TEXTS; i++)
        free(r->texts[i]);
    buf_deinit(&r->env);
    free(r);
}

void rows_free(struct list *rows)
{
    while (!list_empty(rows))
        row_free(LIST_ENTRY(rows->next, struct row, item));
}

static bool writer_put(struct writer *w, const struct row *r)
{
    sqlite3_stmt *q = w->statements[r->kind];
    int at = 1;
    for (int i = 0; i < ROW_TEXTS; i++)
        if (r->texts[i])
            sqlite3_bind_text(q, at++, r->texts[i], -1, SQLITE_STATIC);
    if (r->kind == ROW_SANDBOX) {
        sqlite3_bind_blob(q, at++, r->env.data, (int)r->env.len, SQLITE_STATIC);
        for (int i = 0; i < ROW_NUMBERS; i++)
            sqlite3_bind_int64(q, at++, r->numbers[i]);
    }
    bool ok = sqlite3_step(q) == SQLITE_DONE;
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    return ok;
}

static int writer_transaction(struct writer *w, struct list *rows)
{
    bool ok = sqlite3_exec(w->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    LIST_FOREACH (it, rows)
        ok = ok && writer_put(w, LIST_ENTRY(it, struct row, item));
    ok = ok && sqlite3_exec(w->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    if (ok)
        return 0;
    log_error("store", "commit", "error=%s", log_quote(sqlite3_errmsg(w->db)));
    sqlite3_exec(w->db, "ROLLBACK", NULL, NULL, NULL);
    return -EIO;
}

static void writer_work(uv_work_t *work)
{
    struct writer *w = work->data;
    w->status = writer_transaction(w, &w->rows);
    uv_mutex_lock(&w->lock);
    w->running = false;
    uv_cond_signal(&w->over);
    uv_mutex_unlock(&w->lock);
}

static void writer_move(struct list *from, struct list *to)
{
    while (!list_empty(from)) {
        struct list *it = from->next;
        list_remove(it);
        list_append(to, it);
    }
}

void writer_free(struct writer *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < ROW_KINDS; i++) {
        sqlite3_finalize(w->statements[i]);
        w->statements[i] = NULL;
    }
    rows_free(&w->rows);
    w->freed = true;
    if (w->busy)
        return; /* the loop still has to say that the work is over */
    uv_cond_destroy(&w->over);
    uv_mutex_destroy(&w->lock);
    free(w);
}

static void writer_after(uv_work_t *work, int cancelled)
{
    struct writer *w = work->data;
    struct list rows;
    (void)cancelled;
    w->busy = false;
    if (w->freed) {
        writer_free(w);
        return;
    }
    if (w->stopped)
        return;
    list_init(&rows);
    writer_move(&w->rows, &rows);
    w->done(w->user, w->status, &rows);
}

int writer_new(uv_loop_t *loop, sqlite3 *db, struct writer **ret, struct err *e)
{
    static const char *const texts[] = {
        [ROW_SANDBOX] = "INSERT OR REPLACE INTO sandboxes (name, disk, image, labels, env, memory, "
                        "cpu, pids, created, last_used, disk_limit) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        [ROW_SANDBOX_REMOVED] = "DELETE FROM sandboxes WHERE name = ?",
        [ROW_DOCUMENT] = "INSERT OR REPLACE INTO documents VALUES (?,?,?)",
        [ROW_DOCUMENT_REMOVED] = "DELETE FROM documents WHERE kind = ? AND id = ?"};
    struct writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, -ENOMEM, "open registry", NULL);
    w->db = db;
    w->loop = loop;
    list_init(&w->rows);
    uv_mutex_init(&w->lock);
    uv_cond_init(&w->over);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (sqlite3_prepare_v2(db, texts[i], -1, &w->statements[i], NULL) != SQLITE_OK) {
            err_set(e, -EIO, "open registry", "%s", sqlite3_errmsg(db));
            writer_free(w);
            return -EIO;
        }
    }
    *ret = w;
    return 0;
}

void writer_stop(struct writer *w, struct list *unwritten)
{
    bool began = w->busy && uv_cancel((uv_req_t *)&w->work) != 0;
    w->stopped = true;
    uv_mutex_lock(&w->lock);
    while (began && w->running)
        uv_cond_wait(&w->over, &w->lock);
    uv_mutex_unlock(&w->lock);
    if (w->busy && (!began || w->status < 0))
        writer_move(&w->rows, unwritten);
}

bool writer_busy(const struct writer *w)
{
    return w->busy;
}

void writer_start(struct writer *w, struct list *take_rows, writer_done_fn *done, void *user)
{
    writer_move(take_rows, &w->rows);
    w->done = done;
    w->user = user;
    w->busy = w->running = true;
    w->work.data = w;
    if (uv_queue_work(w->loop, &w->work, writer_work, writer_after) < 0) {
        writer_work(&w->work);
        writer_after(&w->work, 0);
    }
}

int writer_now(struct writer *w, struct list *rows)
{
    return writer_transaction(w, rows);
}
