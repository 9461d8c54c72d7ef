#include "sandbox/box/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/base/fd.h"
#include "sandbox/base/log.h"
#include "sandbox/fs/mount.h"
#include "sandbox/netns/netns.h"
#include "sandbox/ns/userns.h"

void parts_init(struct box_parts *p)
{
    *p = (struct box_parts){.disk_mount = -1, .image_mount = -1, .runtime_mount = -1, .netns = -1};
    for (int i = 0; i < NETNS_LISTENERS; i++)
        p->listeners[i] = -1;
}

static int clone_idmapped(const char *path, int userns, int *ret, struct err *err)
{
    CLEANUP_FD int m = -1;
    int r = mount_clone(AT_FDCWD, path, 1, &m, err);
    if (r == 0)
        r = mount_idmap(m, userns, err);
    if (r == 0)
        *ret = STEAL_FD(m);
    return r;
}

static int mounts_make(const struct parts_source *src, struct box_parts *p, struct err *err)
{
    CLEANUP_FD int userns = -1;
    struct userns_range range = {0, disks_uid(src->disks, p->slot), UID_RANGE};
    int r = userns_new_fd(&range, 1, 0, &userns, err);
    if (r == 0)
        r = clone_idmapped(src->image_path, userns, &p->image_mount, err);
    if (r == 0)
        r = clone_idmapped(src->runtime_path, userns, &p->runtime_mount, err);
    if (r == 0)
        r = disk_mount(src->disks, p->disk, &p->disk_mount, err);
    return r;
}

int parts_make(const struct parts_source *src, const char *disk, int limited, int take_netns,
               struct box_parts *ret, struct err *err)
{
    struct box_parts p;
    int r;

    parts_init(&p);
    p.netns = take_netns;
    if (*disk) {
        snprintf(p.disk, sizeof p.disk, "%s", disk);
        uint32_t slot;
        r = disk_find(src->disks, disk, &slot, err);
        p.slot = r == 0 ? slot : 0; /* what is not claimed is not released */
    } else {
        r = disk_new(src->disks, limited, p.disk, &p.slot, err);
        p.new_disk = r == 0;
    }
    p.limited = r == 0 && disk_is_limited(src->disks, p.disk);
    if (r == 0)
        r = netns_configure(p.netns, p.listeners, err);
    if (r == 0)
        r = mounts_make(src, &p, err);
    if (r == 0)
        r = cgroup_new(src->cgroups, p.disk, &p.cgroup, err);
    if (r < 0) {
        parts_free(src->disks, &p, 1);
        return r;
    }
    *ret = p;
    return 0;
}

void parts_free(struct disks *disks, struct box_parts *p, int remove_disk)
{
    struct err err = {0};
    if (p->cgroup && cgroup_free(p->cgroup) < 0)
        log_warn("box", "cgroup_busy", "disk=%s", p->disk);
    p->disk_mount = fd_close(p->disk_mount);
    p->runtime_mount = fd_close(p->runtime_mount);
    p->image_mount = fd_close(p->image_mount);
    p->netns = fd_close(p->netns);
    for (int i = 0; i < NETNS_LISTENERS; i++)
        p->listeners[i] = fd_close(p->listeners[i]);
    free(p->ca);
    if (remove_disk && (p->new_disk || remove_disk > 1) && *p->disk &&
        disk_remove(disks, p->disk, &err) < 0)
        log_warn("box", "disk_remove_failed", "disk=%s reason=%s", p->disk, log_quote(err.text));
    disk_release(disks, p->slot);
    parts_init(p);
}
