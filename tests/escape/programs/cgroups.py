"""Limits cannot be lifted from inside: no cgroup file system, no way to mount one."""

import os, resource
from attack import *

fs = [l for l in open("/proc/self/mountinfo") if " - cgroup" in l]
check("no cgroup mount", not fs, fs)
for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cgroup.procs", "/run/cgroup"):
    refused(f"open {path}", lambda: os.open(path, os.O_RDONLY), errno.ENOENT)
for kind in (b"cgroup", b"cgroup2"):
    refused("mount " + kind.decode(), lambda: call(libc.mount, kind, b"/tmp", kind, 0, b"memory"), errno.EPERM)
groups = [l.strip().split(":")[2] for l in open("/proc/self/cgroup")]
check("only the box's own group is seen", groups and set(groups) == {"/"}, groups)
refused("leave the cgroup namespace", lambda: call(libc.unshare, 0x02000000), errno.EPERM)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
refused(
    "raise a hard limit",
    lambda: call(libc.prlimit, 0, resource.RLIMIT_NOFILE, (ctypes.c_ulong * 2)(hard, hard + 1), None),
    errno.EPERM,
)
refused("real-time scheduling", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)), errno.EPERM)
refused("negative nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5), errno.EACCES, errno.EPERM)
works("positive nice", lambda: os.nice(1))
done()
