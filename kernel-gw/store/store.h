/*
 * Registry of sandboxes in SQLite: they survive the server, as "stopped", with their disks. Writes
 * are collected and committed a moment later in one transaction, so no request waits for a disk.
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
 * removes. -ENOMEM.
 */
int store_put_document(struct store *s, const char *kind, const char *id, const char *json);
/* All of one kind; called before anything is put. */
int store_each_document(struct store *s, const char *kind,
                        void (*each)(void *user, const char *id, const char *json), void *user);
/* Hooks of the manager keep the registry up to date from now on. */
void store_follow(struct store *s, struct manager *m);
