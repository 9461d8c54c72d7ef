#include "kernel-gw/store/store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/list.h"
#include "sandbox/base/log.h"
#include "sandbox/base/map.h"
#include "sandbox/seal/seal.h"

enum { COMMIT_AFTER_MS = 50 };

/* Of a document, not written yet. */
struct change {
    struct list link;
    char *kind, *id, *json; /* json NULL: removed */
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *put, *del;
    struct manager *manager;
    sqlite3_stmt *put_document, *del_document;
    struct map *dirty;     /* names; the value only says that it is there */
    struct list documents; /* struct change, oldest first */
    uv_timer_t timer;
    uint8_t key[STORE_KEY];
};

static const char schema[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000;"
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

static bool migrate(sqlite3 *db)
{
    sqlite3_stmt *q = NULL;
    int version = 0;
    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        version = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    size_t n = sizeof migrations / sizeof *migrations;
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

static void on_timer_closed(uv_handle_t *h)
{
    struct store *s = h->data;
    map_free(s->dirty);
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
    list_init(&s->documents);
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
    bool ok =
        s->dirty && sqlite3_open(path, &s->db) == SQLITE_OK &&
        sqlite3_exec(s->db, schema, NULL, NULL, NULL) == SQLITE_OK && migrate(s->db) &&
        sqlite3_prepare_v2(s->db, "INSERT OR REPLACE INTO sandboxes VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                           -1, &s->put, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(s->db, "DELETE FROM sandboxes WHERE name = ?", -1, &s->del, NULL) ==
            SQLITE_OK &&
        sqlite3_prepare_v2(s->db, "INSERT OR REPLACE INTO documents VALUES (?,?,?)", -1,
                           &s->put_document, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(s->db, "DELETE FROM documents WHERE kind = ? AND id = ?", -1,
                           &s->del_document, NULL) == SQLITE_OK;
    if (!ok) {
        int r = fail(s, e, "open registry");
        store_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

static void put(struct store *s, struct sandbox *sb)
{
    struct sandbox_info i;
    CLEANUP_BUF struct buf env = {0};
    sandbox_get_info(sb, &i);
    if (seal(s->key, i.name, i.env, strlen(i.env), &env) < 0) {
        log_error("store", "seal", "sandbox=%s", i.name);
        return; /* what is on file stays */
    }
    const char *texts[] = {i.name, i.disk, i.image, NULL, i.labels};
    for (int k = 0; k < 5; k++)
        sqlite3_bind_text(s->put, k + 1, texts[k], -1, SQLITE_TRANSIENT);
    sqlite3_bind_blob(s->put, 4, env.data, (int)env.len, SQLITE_TRANSIENT);
    sqlite3_bind_int64(s->put, 6, (sqlite3_int64)i.limits.memory);
    sqlite3_bind_int64(s->put, 7, i.limits.cpu);
    sqlite3_bind_int64(s->put, 8, i.limits.pids);
    sqlite3_bind_int64(s->put, 9, (sqlite3_int64)i.created_us);
    sqlite3_bind_int64(s->put, 10, (sqlite3_int64)i.last_used_us);
    sqlite3_bind_int64(s->put, 11, (sqlite3_int64)i.limits.disk);
    if (sqlite3_step(s->put) != SQLITE_DONE)
        log_error("store", "write", "sandbox=%s error=%s", i.name,
                  log_quote(sqlite3_errmsg(s->db)));
    sqlite3_reset(s->put);
}

static void del(struct store *s, const char *name)
{
    sqlite3_bind_text(s->del, 1, name, -1, SQLITE_TRANSIENT);
    if (sqlite3_step(s->del) != SQLITE_DONE)
        log_error("store", "delete", "sandbox=%s error=%s", name, log_quote(sqlite3_errmsg(s->db)));
    sqlite3_reset(s->del);
}

static void change_free(struct change *c)
{
    list_remove(&c->link);
    free(c->kind);
    free(c->id);
    free(c->json);
    free(c);
}

static void write_documents(struct store *s)
{
    LIST_FOREACH (it, &s->documents) {
        const struct change *c = LIST_ENTRY(it, struct change, link);
        sqlite3_stmt *q = c->json ? s->put_document : s->del_document;
        sqlite3_bind_text(q, 1, c->kind, -1, SQLITE_STATIC);
        sqlite3_bind_text(q, 2, c->id, -1, SQLITE_STATIC);
        if (c->json)
            sqlite3_bind_text(q, 3, c->json, -1, SQLITE_STATIC);
        if (sqlite3_step(q) != SQLITE_DONE)
            log_error("store", "write", "kind=%s error=%s", c->kind,
                      log_quote(sqlite3_errmsg(s->db)));
        sqlite3_reset(q);
    }
}

/* Writes what the sandboxes are now, not what they were when they changed. */
static void commit(uv_timer_t *t)
{
    struct store *s = t->data;
    size_t cursor = 0;
    const char *name;
    if (sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK) {
        uv_timer_start(t, commit, 1000, 0);
        return;
    }
    while (map_next(s->dirty, &cursor, &name)) {
        struct sandbox *sb = s->manager ? sandbox_get(s->manager, name) : NULL;
        if (sb)
            put(s, sb);
        else
            del(s, name);
    }
    write_documents(s);
    if (sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        log_error("store", "commit", "error=%s", log_quote(sqlite3_errmsg(s->db)));
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
        uv_timer_start(t, commit, 1000, 0);
        return;
    }
    cursor = 0;
    while (map_next(s->dirty, &cursor, &name))
        map_remove(s->dirty, name);
    while (!list_empty(&s->documents))
        change_free(LIST_ENTRY(s->documents.next, struct change, link));
}

void store_close(struct store *s)
{
    if (s->manager && (map_count(s->dirty) || !list_empty(&s->documents)))
        commit(&s->timer);
    while (!list_empty(&s->documents))
        change_free(LIST_ENTRY(s->documents.next, struct change, link));
    sqlite3_finalize(s->put_document);
    sqlite3_finalize(s->del_document);
    sqlite3_finalize(s->put);
    sqlite3_finalize(s->del);
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

static void commit_soon(struct store *s)
{
    if (!uv_is_active((uv_handle_t *)&s->timer))
        uv_timer_start(&s->timer, commit, COMMIT_AFTER_MS, 0);
}

static void mark(struct store *s, const char *name)
{
    map_add(s->dirty, name, s);
    commit_soon(s);
}

int store_put_document(struct store *s, const char *kind, const char *id, const char *json)
{
    struct change *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    list_init(&c->link);
    c->kind = strdup(kind);
    c->id = strdup(id);
    c->json = json ? strdup(json) : NULL;
    if (!c->kind || !c->id || (json && !c->json)) {
        change_free(c);
        return -ENOMEM;
    }
    list_append(&s->documents, &c->link);
    commit_soon(s);
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

static void on_changed(void *user, struct sandbox *sb)
{
    struct sandbox_info i;
    sandbox_get_info(sb, &i);
    mark(user, i.name);
}

static void on_removed(void *user, const char *name)
{
    mark(user, name);
}

void store_follow(struct store *s, struct manager *m)
{
    s->manager = m;
    struct manager_hooks hooks = {
        .sandbox_changed = on_changed, .sandbox_removed = on_removed, .user = s};
    manager_set_hooks(m, &hooks);
}
