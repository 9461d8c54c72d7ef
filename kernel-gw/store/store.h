/*
 * Registry of sandboxes in SQLite: they survive the server, as "stopped", with their disks. A
 * change that an answer tells of is on disk (fsync) before the answer is sent: the store numbers
 * the changes, and the HTTP server holds the answer back until that number is written (http_server
 * `pending`). All changes of one turn of the loop share a transaction, in a thread of its own.
 * Environments of sandboxes, which often hold credentials, are sealed under a key that is not in
 * the registry (boxd/keys.h).
 */
#pragma once

#include <uv.h>

#include "contexts/manager/manager.h"

struct store;

enum { STORE_KEY = 32 };

/* Opens or creates path. Negative errno and a sentence. */
int store_open(uv_loop_t *loop, const char *path, const uint8_t key[STORE_KEY], struct store **ret,
               struct err *e);
void store_close(struct store *s); /* commits */
/* Defines every sandbox of the registry in m. -EBADMSG: one is sealed under another key. */
int store_load(struct store *s, struct manager *m, struct err *e);
/*
 * Small JSON documents of the doors, by kind and id ("session", UUID), kept the same way. json NULL
 * removes. The owner of a document is the sandbox that its id names up to the first slash.
 * STORE_LATER: nobody is told of it, it may be lost with the last second. -ENOMEM.
 */
enum store_when { STORE_NOW, STORE_LATER };
int store_put_document(struct store *s, const char *kind, const char *id, const char *json,
                       enum store_when when);
/* Number of the newest change of this sandbox (len bytes; NULL: of anything) that is not on disk;
 * 0: all are. */
uint64_t store_pending(const struct store *s, const char *owner, size_t len);
/* status 0: all changes up to this number are on disk; -EIO: they are not, and are tried again. */
typedef void store_written_fn(void *user, uint64_t number, int status);
void store_on_written(struct store *s, store_written_fn *fn, void *user);
/* All of one kind; called before anything is put. */
int store_each_document(struct store *s, const char *kind,
                        void (*each)(void *user, const char *id, const char *json), void *user);
/* Hooks of the manager keep the registry up to date from now on. */
void store_follow(struct store *s, struct manager *m);
