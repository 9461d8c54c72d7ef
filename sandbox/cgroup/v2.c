#include <stdio.h>

#include "sandbox/base/fd.h"
#include "sandbox/cgroup/backend.h"

static int v2_set_limits(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    int d = g->dirs[0], r = 0;
    if (l->memory) {
        r = cgroup_write_u64(d, "memory.max", l->memory);
        if (r == 0)
            (void)cgroup_write_u64(d, "memory.swap.max", 0); /* absent without swap */
    }
    if (r < 0)
        return err_set(err, r, "limit memory", NULL);
    if (l->cpu) {
        char max[48];
        snprintf(max, sizeof max, "%u 100000", l->cpu * 100);
        r = fd_write_file_at(d, "cpu.max", max);
    }
    if (r < 0)
        return err_set(err, r, "limit cpu", NULL);
    if (l->pids)
        r = cgroup_write_u64(d, "pids.max", l->pids);
    return r < 0 ? err_set(err, r, "limit processes", NULL) : 0;
}

static int v2_freeze(struct cgroup *g, int frozen, struct err *err)
{
    int r = fd_write_file_at(g->dirs[0], "cgroup.freeze", frozen ? "1" : "0");
    return r < 0 ? err_set(err, r, frozen ? "freeze" : "thaw", NULL) : 0;
}

static int v2_usage(struct cgroup *g, struct cgroup_usage *ret)
{
    uint64_t usec = 0, pids = 0;
    int r = cgroup_read_key(g->dirs[0], "cpu.stat", "usage_usec", &usec);
    if (r == 0)
        r = cgroup_read_u64(g->dirs[0], "memory.current", &ret->memory);
    if (r == 0)
        r = cgroup_read_key(g->dirs[0], "memory.events", "oom_kill", &ret->oom_kills);
    if (r == 0)
        r = cgroup_read_u64(g->dirs[0], "pids.current", &pids);
    ret->cpu_ns = usec * 1000;
    ret->pids = (uint32_t)pids;
    return r;
}

const struct cgroup_backend cgroup_v2 = {"v2",          "memory.events", NULL,
                                         v2_set_limits, v2_freeze,       v2_usage};
