/* What the two backends provide; private to the module. */
#pragma once

#include "sandbox/cgroup/cgroup.h"

enum { CGROUP_DIRS = 5 };

/* Held directories: v1 one per controller (in the order of v1.c), v2 only the first. -1 = none. */
struct cgroup {
    struct cgroup_root *root;
    char name[64];
    int dirs[CGROUP_DIRS];
};

struct cgroup_backend {
    const char *kind;
    const char *oom_file;           /* in the first directory */
    const char *const *controllers; /* v1: mount options to look for; NULL ends */
    int (*set_limits)(struct cgroup *g, const struct cgroup_limits *l, struct err *err);
    int (*freeze)(struct cgroup *g, int frozen, struct err *err);
    int (*usage)(struct cgroup *g, struct cgroup_usage *ret);
};

struct cgroup_root {
    const struct cgroup_backend *backend;
    int dirs[CGROUP_DIRS];    /* our root group in each hierarchy */
    int parents[CGROUP_DIRS]; /* its parent */
    int same[CGROUP_DIRS];    /* first controller of the same hierarchy (cpu,cpuacct are often one),
                                 else itself */
    char mounts[CGROUP_DIRS][512];
    int ndirs;
    char name[64];
    char
        speedup[256]; /* mount point of the private hierarchy that speeds up attaching, "" = none */
};

extern const struct cgroup_backend cgroup_v1, cgroup_v2;

int cgroup_write_u64(int dirfd, const char *file, uint64_t v);
int cgroup_read_u64(int dirfd, const char *file, uint64_t *ret);
/* Value after `key ` in a flat keyed file. */
int cgroup_read_key(int dirfd, const char *file, const char *key, uint64_t *ret);
