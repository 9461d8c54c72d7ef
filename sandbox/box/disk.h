/*
 * Disks of boxes: STATE/disks/<id>/{upper,work}, owned by the first uid of the box's range. A disk
 * with a limit has the two in a file system of its own, STATE/disks/<id>/volume. The owner on disk
 * is the record of which uid range the disk belongs to, so a range is never given to
 * two disks. Removal is by rename into STATE/trash and a separate process, because the tree is
 * hostile and may be huge. Runs in B.
 */
#pragma once

#include <stdint.h>

#include "sandbox/base/err.h"

enum { DISK_ID = 33, UID_RANGE = 65536, UID_SLOTS = 16000 };

struct disks;

/* uid_base: first host uid of slot 0, which is the servers' own; boxes have slots from 1 on. uids:
 * of uids_open, borrowed. Scans what is there. */
int disks_open(const char *state_dir, uint32_t uid_base, int uids, struct disks **ret,
               struct err *err);
void disks_close(struct disks *d);

/* A new disk with a free uid slot, which is claimed; limited: one that can have a limit. */
int disk_new(struct disks *d, int limited, char ret_id[DISK_ID], uint32_t *ret_slot,
             struct err *err);
/* The slot of an existing disk, claimed. -ENOENT; -EBUSY: another server uses its uids. */
int disk_find(struct disks *d, const char *id, uint32_t *ret_slot, struct err *err);
/* Its box is dead: other servers may have the uids. */
void disk_release(struct disks *d, uint32_t slot);
int disk_is_limited(const struct disks *d, const char *id);
/* Its directory: upper, work, volume. -ENOENT. */
int disk_open(const struct disks *d, const char *id, struct err *err);
/* Detached mount of what holds upper and work. */
int disk_mount(struct disks *d, const char *id, int *ret_mount, struct err *err);
/* Takes the disk out of the way and frees its slot; the bytes go in the background. The box must be
 * dead. */
int disk_remove(struct disks *d, const char *id, struct err *err);
/* Whether the box wrote anything under that path (relative to its root). Follows no links out of
 * the disk. mount: of a limited disk, else -1. */
int disk_touched(struct disks *d, const char *id, int mount, const char *path);
uint32_t disks_uid(const struct disks *d, uint32_t slot);
