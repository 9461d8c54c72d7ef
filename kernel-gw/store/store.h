/*
 * Registry of sandboxes in SQLite: they survive the server, as "stopped", with their disks. Writes
 * are collected and committed a moment later in one transaction, so no request waits for a disk.
 */
#pragma once

#include <uv.h>

#include "contexts/manager/manager.h"

struct store;

/* Opens or creates path. Negative errno and a sentence. */
int store_open(uv_loop_t *loop, const char *path, struct store **ret, struct err *e);
void store_close(struct store *s); /* commits */
/* Defines every sandbox of the registry in m. */
int store_load(struct store *s, struct manager *m, struct err *e);
/* Hooks of the manager keep the registry up to date from now on. */
void store_follow(struct store *s, struct manager *m);
