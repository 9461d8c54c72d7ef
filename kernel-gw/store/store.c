#include "kernel-gw/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel-gw/store/writer.h"
#include "sandbox/base/list.h"
#include "sandbox/base/log.h"
#include "sandbox/base/map.h"
#include "sandbox/seal/seal.h"

enum { LAZY_MS = 1000, RETRY_MS = 1000 };

/*
 * What has changed waits in the loop: names of sandboxes, whose rows are made when a transaction
 * begins, and rows of documents. A change that an answer tells of is written at once, together with
 * all others of this turn of the loop; one that only counts (last use, usage) may wait. Each such
 * change takes a number, and its owner, a sandbox or nobody, waits until that number is written.
 */
struct store {
    sqlite3 *db;
    struct writer *writer;
    struct manager *manager;
    struct map *dirty;     /* names; the value only says that it is there */
    struct map *known;     /* name -> text of what its row last said, without times of use */
    struct map *owners;    /* name -> struct owner: changes that are not written */
    struct list documents; /* struct row, oldest first */
    uint64_t changed, writing, written; /* numbers: given, in the transaction, on disk */
    uv_timer_t timer;
    uint8_t key[STORE_KEY];
    store_written_fn *on_written;
    void *user;
};

struct owner {
    uint64_t number;
};

static const char schema[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 2000;"
    "CREATE TABLE IF NOT EXISTS sandboxes ("
    " name TEXT PRIMARY KEY, disk TEXT NOT NULL, image TEXT NOT NULL, env TEXT NOT NULL, labels "
    "TEXT NOT NULL,"
    " memory INTEGER NOT NULL, cpu INTEGER NOT NULL, pids INTEGER NOT NULL,"
    " created INTEGER NOT NULL, last_used INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS documents ("
    " kind TEXT NOT NULL, id TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (kind, id)) WITHOUT "
    "ROWID;";

/* Steps from one version of the schema to the next; the first version is the schema above. */
static const char *const migrations[] = {
    "ALTER TABLE sandboxes ADD COLUMN disk_limit INTEGER NOT NULL DEFAULT 0",
};

enum { MIGRATIONS = sizeof migrations / sizeof *migrations };

static int schema_version(sqlite3 *db)
{
    sqlite3_stmt *q = NULL;
    int version = -1;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        version = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    return version;
}

static bool migrate(sqlite3 *db, int version)
{
    size_t n = MIGRATIONS;
    for (size_t i = version > 1 ? (size_t)version - 1 : 0; i < n; i++) {
        char text[200];
        snprintf(text, sizeof text, "BEGIN; %s; PRAGMA user_version = %zu; COMMIT;", migrations[i],
                 i + 2);
        if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
            return false;
    }
    return true;
}

static int fail(struct store *s, struct err *e, const char *step)
{
    err_set(e, -EIO, step, "%s", s->db ? sqlite3_errmsg(s->db) : "out of memory");
    return -EIO;
}

static void map_free_values(struct map *m)
{
    size_t cursor = 0;
    if (!m)
        return;
    for (void *v; (v = map_next(m, &cursor, NULL));)
        free(v);
    map_free(m);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct store *s = h->data;
    map_free(s->dirty);
    map_free_values(s->known);
    map_free_values(s->owners);
    free(s);
}

int store_open(uv_loop_t *loop, const char *path, const uint8_t key[STORE_KEY], struct store **ret,
               struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, -ENOMEM, "registry", NULL);
    memcpy(s->key, key, sizeof s->key);
    s->dirty = map_new();
    s->known = map_new();
    s->owners = map_new();
    list_init(&s->documents);
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    bool ok = s->dirty && s->known && s->owners && sqlite3_open(path, &s->db) == SQLITE_OK;
    int version = ok ? schema_version(s->db) : -1;
    if (version > MIGRATIONS + 1) { /* before anything is written */
        store_close(s);
        return err_set(e, -EPROTO, "open registry",
                       "%s was written by a newer version of the server; start that one", path);
    }
    ok = version >= 0 && sqlite3_exec(s->db, schema, NULL, NULL, NULL) == SQLITE_OK &&
         migrate(s->db, version);
    int r = ok ? writer_new(loop, s->db, &s->writer, e) : fail(s, e, "open registry");
    if (r < 0) {
        store_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

/* What the sandbox is now, not what it was when it changed. NULL: it cannot be made. */
static struct row *row_of(struct store *s, struct sandbox *sb)
{
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    const char *texts[ROW_TEXTS] = {i.name, i.disk, i.image, i.labels};
    struct row *r = row_new(ROW_SANDBOX, texts);
    if (!r)
        return NULL;
    const int64_t numbers[ROW_NUMBERS] = {
        (int64_t)i.limits.memory, i.limits.cpu,          i.limits.pids, (int64_t)i.created_us,
        (int64_t)i.last_used_us,  (int64_t)i.limits.disk};
    memcpy(r->numbers, numbers, sizeof numbers);
    if (seal(s->key, i.name, i.env, strlen(i.env), &r->env) < 0) {
        row_free(r);
        return NULL;
    }
    return r;
}

/* Moves all that has changed into rows. -ENOMEM: some of it stays where it was. */
static int collect(struct store *s, struct list *rows)
{
    size_t cursor = 0;
    const char *name;
    int r = 0;
    while (s->manager && map_next(s->dirty, &cursor, &name)) {
        struct sandbox *sb = sandbox_get(s->manager, name);
        const char *texts[ROW_TEXTS] = {name};
        struct row *row = sb ? row_of(s, sb) : row_new(ROW_SANDBOX_REMOVED, texts);
        if (!row) {
            r = -ENOMEM;
            continue;
        }
        list_append(rows, &row->item);
        map_remove(s->dirty, name);
    }
    while (!list_empty(&s->documents)) {
        struct list *it = s->documents.next;
        list_remove(it);
        list_append(rows, it);
    }
    return r;
}

/* A failed transaction: sandboxes are dirty again, documents stand before newer ones. */
static void put_back(struct store *s, struct list *rows)
{
    while (!list_empty(rows)) {
        struct row *r = LIST_ENTRY(rows->prev, struct row, item);
        list_remove(&r->item);
        if (r->kind == ROW_SANDBOX || r->kind == ROW_SANDBOX_REMOVED) {
            map_add(s->dirty, r->texts[0], s);
            row_free(r);
        } else {
            list_append(s->documents.next, &r->item); /* before the first one */
        }
    }
}

static void forget_written(struct store *s)
{
    size_t cursor = 0;
    const char *name;
    for (struct owner *o; (o = map_next(s->owners, &cursor, &name));)
        if (o->number <= s->written)
            free(map_remove(s->owners, name));
}

static void commit(uv_timer_t *t);

static void on_transaction(void *user, int status, struct list *rows)
{
    struct store *s = user;
    if (status < 0) {
        put_back(s, rows);
        uv_timer_start(&s->timer, commit, RETRY_MS, 0);
    } else {
        rows_free(rows);
        s->written = s->writing;
        forget_written(s);
        if (!list_empty(&s->documents) || map_count(s->dirty))
            uv_timer_start(&s->timer, commit, s->changed > s->written ? 0 : LAZY_MS, 0);
    }
    if (s->on_written)
        s->on_written(s->user, s->writing, status);
}

static void commit(uv_timer_t *t)
{
    struct store *s = t->data;
    struct list rows;
    if (writer_busy(s->writer))
        return; /* its end begins the next one */
    list_init(&rows);
    if (collect(s, &rows) < 0) {
        put_back(s, &rows);
        uv_timer_start(t, commit, RETRY_MS, 0);
        return;
    }
    s->writing = s->changed;
    writer_start(s->writer, &rows, on_transaction, s);
}

void store_close(struct store *s)
{
    struct list rows;
    list_init(&rows);
    if (s->writer) {
        writer_stop(s->writer, &rows);
        put_back(s, &rows);
        collect(s, &rows);
        if (!list_empty(&rows))
            writer_now(s->writer, &rows);
        rows_free(&rows);
        writer_free(s->writer);
    }
    rows_free(&s->documents);
    sqlite3_close(s->db);
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
}

/* The environment in column 3, in clear. */
static int open_env(struct store *s, sqlite3_stmt *q, struct buf *ret, struct err *e)
{
    const char *name = (const char *)sqlite3_column_text(q, 0);
    if (sqlite3_column_type(q, 3) == SQLITE_TEXT) { /* of a registry that did not seal yet */
        map_add(s->dirty, name, s);
        return buf_puts(ret, (const char *)sqlite3_column_text(q, 3));
    }
    const uint8_t *sealed = sqlite3_column_blob(q, 3);
    int r = unseal(s->key, name, sealed, (size_t)sqlite3_column_bytes(q, 3), ret);
    return r < 0 ? err_set(e, r, "read registry",
                           "the environment of sandbox %s does not open: registry.key is not the "
                           "key it was sealed with; put the right file back",
                           name)
                 : 0;
}

int store_load(struct store *s, struct manager *m, struct err *e)
{
    sqlite3_stmt *q = NULL;
    int r;
    if (sqlite3_prepare_v2(
            s->db,
            "SELECT name, disk, image, env, labels, memory, cpu, pids, created, last_used,"
            " disk_limit"
            " FROM sandboxes ORDER BY created",
            -1, &q, NULL) != SQLITE_OK)
        return fail(s, e, "read registry");
    while ((r = sqlite3_step(q)) == SQLITE_ROW) {
        CLEANUP_BUF struct buf env = {0};
        int opened = open_env(s, q, &env, e);
        if (opened < 0) {
            sqlite3_finalize(q);
            return opened;
        }
        struct sandbox_spec spec = {
            .name = (const char *)sqlite3_column_text(q, 0),
            .disk = (const char *)sqlite3_column_text(q, 1),
            .image = (const char *)sqlite3_column_text(q, 2),
            .env = buf_str(&env),
            .labels = (const char *)sqlite3_column_text(q, 4),
            .limits = {.memory = (uint64_t)sqlite3_column_int64(q, 5),
                       .cpu = (uint32_t)sqlite3_column_int64(q, 6),
                       .pids = (uint32_t)sqlite3_column_int64(q, 7),
                       .disk = (uint64_t)sqlite3_column_int64(q, 10)},
            .created_us = (uint64_t)sqlite3_column_int64(q, 8),
            .last_used_us = (uint64_t)sqlite3_column_int64(q, 9),
        };
        struct sandbox *sb;
        if (spec.name && sandbox_define(m, &spec, &sb) != 0)
            log_warn("store", "sandbox not loaded", "name=%s", log_quote(spec.name));
    }
    sqlite3_finalize(q);
    return r == SQLITE_DONE ? 0 : fail(s, e, "read registry");
}

static void commit_soon(struct store *s, bool lazy)
{
    if (writer_busy(s->writer))
        return;
    if (!lazy || !uv_is_active((uv_handle_t *)&s->timer))
        uv_timer_start(&s->timer, commit, lazy ? LAZY_MS : 0, 0);
}

/* An answer will tell of a change of this owner ("" = nobody's). */
static void number_change(struct store *s, const char *name, size_t len)
{
    char owner[64];
    s->changed++;
    commit_soon(s, false);
    if (!len || len >= sizeof owner)
        return;
    snprintf(owner, sizeof owner, "%.*s", (int)len, name);
    struct owner *o = map_get(s->owners, owner);
    if (!o && (o = calloc(1, sizeof *o)) && map_add(s->owners, owner, o) < 0) {
        free(o);
        return;
    }
    if (o)
        o->number = s->changed;
}

uint64_t store_pending(const struct store *s, const char *owner, size_t len)
{
    char name[64];
    if (!owner)
        return s->changed > s->written ? s->changed : 0;
    if (len >= sizeof name)
        return 0;
    snprintf(name, sizeof name, "%.*s", (int)len, owner);
    const struct owner *o = map_get(s->owners, name);
    return o ? o->number : 0;
}

void store_on_written(struct store *s, store_written_fn *fn, void *user)
{
    s->on_written = fn;
    s->user = user;
}

int store_put_document(struct store *s, const char *kind, const char *id, const char *json,
                       enum store_when when)
{
    const char *texts[ROW_TEXTS] = {kind, id, json};
    struct row *r = row_new(json ? ROW_DOCUMENT : ROW_DOCUMENT_REMOVED, texts);
    if (!r)
        return -ENOMEM;
    list_append(&s->documents, &r->item);
    if (when == STORE_NOW)
        number_change(s, id, strcspn(id, "/"));
    else
        commit_soon(s, true);
    return 0;
}

int store_each_document(struct store *s, const char *kind,
                        void (*each)(void *user, const char *id, const char *json), void *user)
{
    sqlite3_stmt *q = NULL;
    int r;
    if (sqlite3_prepare_v2(s->db, "SELECT id, json FROM documents WHERE kind = ? ORDER BY id", -1,
                           &q, NULL) != SQLITE_OK)
        return -EIO;
    sqlite3_bind_text(q, 1, kind, -1, SQLITE_STATIC);
    while ((r = sqlite3_step(q)) == SQLITE_ROW)
        each(user, (const char *)sqlite3_column_text(q, 0),
             (const char *)sqlite3_column_text(q, 1));
    sqlite3_finalize(q);
    return r == SQLITE_DONE ? 0 : -EIO;
}

/* What of a sandbox an answer may have told. */
static void put_said(struct buf *out, const struct sandbox_info *i)
{
    buf_printf(out, "%s\n%s\n%s\n%s\n%llu %u %u %llu %llu %d", i->disk, i->image, i->env, i->labels,
               (unsigned long long)i->limits.memory, i->limits.cpu, i->limits.pids,
               (unsigned long long)i->limits.disk, (unsigned long long)i->sleep_after_ms,
               i->keep_alive);
}

static void on_changed(void *user, struct sandbox *sb)
{
    struct store *s = user;
    struct sandbox_info i;
    CLEANUP_BUF struct buf said = {0};
    sandbox_get_info(sb, &i);
    put_said(&said, &i);
    map_add(s->dirty, i.name, s);
    const char *known = map_get(s->known, i.name);
    if (known && !said.err && !strcmp(known, buf_str(&said))) {
        commit_soon(s, true);
        return;
    }
    free(map_remove(s->known, i.name));
    char *copy = said.err ? NULL : strdup(buf_str(&said));
    if (copy && map_add(s->known, i.name, copy) < 0)
        free(copy);
    number_change(s, i.name, strlen(i.name));
}

static void on_removed(void *user, const char *name)
{
    struct store *s = user;
    free(map_remove(s->known, name));
    map_add(s->dirty, name, s);
    number_change(s, name, strlen(name));
}

void store_follow(struct store *s, struct manager *m)
{
    s->manager = m;
    struct manager_hooks hooks = {
        .sandbox_changed = on_changed, .sandbox_removed = on_removed, .user = s};
    manager_set_hooks(m, &hooks);
    if (map_count(s->dirty)) /* read in clear, and sealed from now on */
        commit_soon(s, true);
}
