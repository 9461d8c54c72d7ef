"""No text that the box can read names a path, a host name or an option of the host's."""

import glob, os, socket
from attack import *


def files():
    for who in ("self", "1", "thread-self"):
        for entry in (
            "mountinfo",
            "mounts",
            "mountstats",
            "maps",
            "smaps",
            "environ",
            "cmdline",
            "cgroup",
            "stat",
            "status",
            "limits",
            "comm",
            "numa_maps",
        ):
            yield f"/proc/{who}/{entry}"
    yield from ("/proc/version", "/proc/cmdline", "/proc/mounts", "/proc/swaps", "/proc/filesystems", "/proc/net/unix")
    yield from (
        "/etc/hostname",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/etc/fstab",
        "/etc/mtab",
        "/etc/apt/sources.list",
        "/etc/pip.conf",
        "/etc/npmrc",
        "/root/.npmrc",
        "/root/.bash_history",
    )
    yield from glob.glob("/etc/apt/**", recursive=True)


seen = 0
for path in files():
    try:
        text = read(path, 1 << 20)
    except OSError:
        continue
    seen += 1
    for word in FACTS["host_words"]:
        check(
            f"{path} does not hold {word}",
            word.encode() not in text,
            [l for l in text.split(b"\n") if word.encode() in l][:1],
        )
check("files were read", seen > 12, seen)
for link in glob.glob("/proc/self/fd/*") + glob.glob("/proc/self/map_files/*") + ["/proc/self/exe", "/proc/self/cwd"]:
    try:
        target = os.readlink(link)
    except OSError:
        continue
    for word in FACTS["host_words"]:
        check(f"{link} does not hold {word}", word not in target, target)
check("own host name", socket.gethostname() != FACTS["hostname"], socket.gethostname())
check(
    "cgroup paths begin at the box",
    all(l.split(":")[2].strip() == "/" for l in open("/proc/self/cgroup")),
    read("/proc/self/cgroup"),
)
done()
