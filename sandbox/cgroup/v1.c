#include <errno.h>

#include "sandbox/base/fd.h"
#include "sandbox/cgroup/backend.h"

enum { MEMORY, CPU, CPUACCT, PIDS, FREEZER };
static const char *const controllers[] = {"memory", "cpu", "cpuacct", "pids", "freezer", NULL};

static int v1_set_limits(struct cgroup *g, const struct cgroup_limits *l, struct err *err)
{
    int r = 0;
    if (l->memory) {
        /* Swap limit: absent without swap accounting. memsw >= memory holds at every moment: when
         * memory goes up it comes first, else last. */
        r = cgroup_write_u64(g->dirs[MEMORY], "memory.limit_in_bytes", l->memory);
        int s = cgroup_write_u64(g->dirs[MEMORY], "memory.memsw.limit_in_bytes", l->memory);
        if (r == -EINVAL && s == 0)
            r = cgroup_write_u64(g->dirs[MEMORY], "memory.limit_in_bytes", l->memory);
        if (r == 0 && s < 0 && s != -ENOENT && s != -EINVAL)
            r = s;
    }
    /* Bytes in sockets are counted beside the other memory, and only once there is a limit; the
     * kernel's own bound of them is one for all. */
    if (r == 0 && l->memory) {
        r = cgroup_write_u64(g->dirs[MEMORY], "memory.kmem.tcp.limit_in_bytes", l->memory / 4);
        r = r == -ENOENT || r == -EOPNOTSUPP ? 0 : r;
    }
    if (r < 0)
        return err_set(err, r, "limit memory", NULL);
    if (l->cpu) {
        r = cgroup_write_u64(g->dirs[CPU], "cpu.cfs_period_us", 100000);
        if (r == 0)
            r = cgroup_write_u64(g->dirs[CPU], "cpu.cfs_quota_us", (uint64_t)l->cpu * 100);
    }
    if (r < 0)
        return err_set(err, r, "limit cpu", NULL);
    if (l->pids)
        r = cgroup_write_u64(g->dirs[PIDS], "pids.max", l->pids);
    return r < 0 ? err_set(err, r, "limit processes", NULL) : 0;
}

static int v1_freeze(struct cgroup *g, int frozen, struct err *err)
{
    int r = fd_write_file_at(g->dirs[FREEZER], "freezer.state", frozen ? "FROZEN" : "THAWED");
    return r < 0 ? err_set(err, r, frozen ? "freeze" : "thaw", NULL) : 0;
}

static int v1_usage(struct cgroup *g, struct cgroup_usage *ret)
{
    uint64_t pids = 0;
    int r = cgroup_read_u64(g->dirs[CPUACCT], "cpuacct.usage", &ret->cpu_ns);
    if (r == 0)
        r = cgroup_read_u64(g->dirs[MEMORY], "memory.usage_in_bytes", &ret->memory);
    if (r == 0)
        r = cgroup_read_key(g->dirs[MEMORY], "memory.oom_control", "oom_kill", &ret->oom_kills);
    if (r == 0)
        r = cgroup_read_u64(g->dirs[PIDS], "pids.current", &pids);
    ret->pids = (uint32_t)pids;
    return r;
}

const struct cgroup_backend cgroup_v1 = {
    "v1", "memory.oom_control", controllers, v1_set_limits, v1_freeze, v1_usage};
