"""Switches of the host kernel in /proc."""

import glob, os
from attack import *

for path, data in (
    ("kernel/core_pattern", b"|/bin/sh"),
    ("kernel/modprobe", b"/tmp/x"),
    ("kernel/hostname", b"x"),
    ("kernel/sysrq", b"1"),
    ("kernel/panic", b"1"),
    ("vm/overcommit_memory", b"1"),
    ("vm/drop_caches", b"1"),
    ("fs/suid_dumpable", b"2"),
    ("kernel/ns_last_pid", b"1"),
    ("net/ipv4/ip_forward", b"1"),
    ("net/ipv4/ip_unprivileged_port_start", b"0"),
    ("user/max_user_namespaces", b"1"),
    ("kernel/yama/ptrace_scope", b"0"),
    ("kernel/shmmax", b"1"),
    ("kernel/randomize_va_space", b"0"),
    ("kernel/unprivileged_bpf_disabled", b"0"),
):
    full = "/proc/sys/" + path
    if os.path.exists(full):
        refused("write " + full, lambda: write(full, data), errno.EROFS, errno.EACCES, errno.EPERM)
writable = [p for p in glob.glob("/proc/sys/**", recursive=True) if os.path.isfile(p) and os.access(p, os.W_OK)]
check("no writable sysctl", not writable, writable[:5])
mounts = {l.split()[4]: l.split()[5] for l in open("/proc/self/mountinfo")}
check("/proc/sys is read-only by its mount", mounts.get("/proc/sys", "").split(",")[0] == "ro", mounts.get("/proc/sys"))
check("/proc is nosuid,nodev,noexec", all(f in mounts["/proc"] for f in ("nosuid", "nodev", "noexec")), mounts["/proc"])

for entry in (
    "kcore",
    "keys",
    "key-users",
    "sysrq-trigger",
    "cmdline",
    "config.gz",
    "interrupts",
    "swaps",
    "partitions",
    "diskstats",
    "modules",
    "locks",
    "zoneinfo",
    "buddyinfo",
    "vmstat",
    "loadavg",
    "sched_debug",
):
    if os.path.exists("/proc/" + entry):
        check(f"/proc/{entry} is empty", read("/proc/" + entry) == b"", read("/proc/" + entry)[:60])
        check(f"/proc/{entry} is the null device", os.stat("/proc/" + entry).st_rdev == os.makedev(1, 3))
for entry in ("acpi", "bus", "driver", "fs", "irq", "scsi", "pressure"):
    if os.path.isdir("/proc/" + entry):
        check(f"/proc/{entry} is empty", os.listdir("/proc/" + entry) == [], os.listdir("/proc/" + entry))
for entry in ("kmsg", "kpagecount", "kpageflags", "kpagecgroup", "slabinfo", "timer_list", "vmallocinfo", "mtrr"):
    if os.path.exists("/proc/" + entry):
        refused(f"read /proc/{entry}", lambda: read("/proc/" + entry, 64), errno.EACCES, errno.EPERM)
symbols = read("/proc/kallsyms").splitlines() if os.path.exists("/proc/kallsyms") else []
addresses = {int(l.split()[0], 16) for l in symbols}
check("kernel addresses are hidden", addresses <= {0}, sorted(addresses)[:3])
refused("lower oom_score_adj", lambda: write("/proc/self/oom_score_adj", b"-1000"), errno.EACCES, errno.EPERM)
for line in open("/proc/self/uid_map"):
    inside, outside, count = map(int, line.split())
    check("host root is not mapped", outside != 0 and count == 65536, line)
refused("write uid_map", lambda: write("/proc/self/uid_map", b"0 0 1"), errno.EPERM, errno.EACCES)
works("raise oom_score_adj", lambda: write("/proc/self/oom_score_adj", b"500"))
works("read of sysctls", lambda: read("/proc/sys/kernel/pid_max"))
done()
