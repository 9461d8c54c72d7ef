"""sysfs: devices and switches of the host."""

import os
from attack import *

types = {l.split(" - ")[1].split()[0] for l in open("/proc/self/mountinfo")}
check("the mounts are the known kinds", types <= {"overlay", "proc", "tmpfs", "devpts", "erofs"}, types)
entries = os.listdir("/sys") if os.path.isdir("/sys") else []
check("/sys is empty", entries == [], entries)
for path in (
    "/sys/power/state",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/debug",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/firmware",
):
    refused("open " + path, lambda: os.open(path, os.O_RDONLY), errno.ENOENT)
works("read /proc/self/stat", lambda: read("/proc/self/stat"))
done()
