"""/proc of init of the box: what its memory, environment or descriptors hold is not for user code."""

import os, signal
from attack import *

for entry in (
    "mem",
    "environ",
    "maps",
    "smaps",
    "pagemap",
    "auxv",
    "io",
    "stack",
    "syscall",
    "personality",
    "map_files",
    "fd",
    "fdinfo",
    "patch_state",
    "timerslack_ns",
):
    path = f"/proc/1/{entry}"
    if not os.path.lexists(path):
        continue
    look = (lambda: os.listdir(path)) if os.path.isdir(path) else (lambda: read(path))
    refused(path, look, errno.EACCES, errno.EPERM)
for link in ("root", "cwd", "exe", "ns/mnt", "ns/user", "ns/net"):
    refused(f"/proc/1/{link}", lambda: os.readlink(f"/proc/1/{link}"), errno.EACCES, errno.EPERM)
refused("/proc/1/root/etc", lambda: os.listdir("/proc/1/root/etc"), errno.EACCES, errno.EPERM)
refused("/proc/1/mem for writing", lambda: os.open("/proc/1/mem", os.O_RDWR), errno.EACCES, errno.EPERM)
for name_, data in (("oom_score_adj", b"1000"), ("coredump_filter", b"ff"), ("clear_refs", b"1"), ("autogroup", b"1")):
    if os.path.exists(f"/proc/1/{name_}"):
        refused(f"write /proc/1/{name_}", lambda: write(f"/proc/1/{name_}", data), errno.EACCES, errno.EPERM)
for sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGCHLD):
    refused(f"signal {sig} to pid 1", lambda: os.kill(1, sig), errno.EPERM)
check("killing everything leaves init", in_child(lambda: os.kill(1, 0)) != 0)
status = read("/proc/1/status").decode()
check("pid 1 has a status", "Pid:\t1\n" in status)
check("pid 1 is filtered, too", "Seccomp:\t2" in status, status)
works("own environ", lambda: read("/proc/self/environ"))
works("own fd", lambda: os.listdir("/proc/self/fd"))
done()
