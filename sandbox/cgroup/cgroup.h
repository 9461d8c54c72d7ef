/*
 * Control groups of boxes: memory, CPU and process limits, freezing, accounting. Two backends
 * behind one interface: v2 where the unified hierarchy has the controllers, else v1, one directory
 * per controller. Runs in B.
 *
 * All paths hang below a root group made by cgroup_root_open next to the group that the server
 * itself runs in.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "sandbox/base/err.h"

struct cgroup_root;
struct cgroup; /* one box */

struct cgroup_limits {
    uint64_t memory; /* bytes; 0 = unlimited */
    uint32_t cpu;    /* thousandths of a CPU; 0 = unlimited */
    uint32_t pids;   /* tasks; 0 = unlimited */
};

struct cgroup_usage {
    uint64_t cpu_ns;
    uint64_t memory;    /* bytes charged now */
    uint64_t oom_kills; /* so far */
    uint32_t pids;
};

/*
 * name: of the root group, e.g. "cellbox-1a2b"; leftovers of an earlier run are removed. sysfs:
 * where the hierarchies are found, "/proc/self/mountinfo" and "/proc/self/cgroup" below it; "" in
 * production, a fake tree in tests.
 */
int cgroup_root_open(const char *sysfs, const char *name, struct cgroup_root **ret,
                     struct err *err);
void cgroup_root_close(struct cgroup_root *r); /* removes the root group; boxes must be gone */
const char *cgroup_root_kind(const struct cgroup_root *r); /* "v1" or "v2" */

int cgroup_new(struct cgroup_root *root, const char *name, struct cgroup **ret, struct err *err);
int cgroup_set_limits(struct cgroup *g, const struct cgroup_limits *l, struct err *err);
int cgroup_attach(struct cgroup *g, pid_t pid, struct err *err);
int cgroup_freeze(struct cgroup *g, int frozen,
                  struct err *err); /* returns when asked for, not when reached */
int cgroup_usage(struct cgroup *g, struct cgroup_usage *ret);
/* A descriptor of the file that counts who was killed for memory: a line "oom_kill N". Negative
 * errno. */
int cgroup_oom_file(const struct cgroup *g);
/* Removes the directories; -EBUSY while a task is left. Frees g only on success. NULL is fine. */
int cgroup_free(struct cgroup *g);
