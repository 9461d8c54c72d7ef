/*
 * What a box is made of before its first process exists. Making these takes as long as the rest of
 * a box (network namespaces above all), and none of it depends on who will use it, so B keeps a few
 * sets ready for the default image.
 */
#pragma once

#include "sandbox/box/disk.h"
#include "sandbox/cgroup/cgroup.h"
#include "sandbox/netns/netns.h"

struct parts_source {
    struct disks *disks;
    struct cgroup_root *cgroups;
    const char *image_path, *runtime_path; /* mounted trees in B's own mount namespace */
    const char *image;                     /* sha256 */
};

struct box_parts {
    char disk[DISK_ID];
    uint32_t slot;
    int new_disk; /* ours to remove when the box is not made after all */
    int limited;  /* the disk can have a limit; disk_mount stays open while the box lives */
    int disk_mount, image_mount, runtime_mount, netns;
    int listeners[NETNS_LISTENERS]; /* kept for a successor of the egress process */
    uint64_t number;                /* the owner's: what will be the box's number */
    char *ca;                       /* the owner's: PEM certificate of its egress, malloc'ed */
    struct cgroup *cgroup;
};

/* disk: "" for a new one, limited or not. netns: a fresh namespace, taken even on failure. On
 * failure nothing is left behind. */
int parts_make(const struct parts_source *src, const char *disk, int limited, int take_netns,
               struct box_parts *ret, struct err *err);
/* Undoes, newest first. Removes the disk when remove_disk. Safe on zeroed (parts_init) parts. */
void parts_free(struct disks *disks, struct box_parts *p, int remove_disk);
void parts_init(struct box_parts *p);
