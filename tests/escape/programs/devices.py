"""Devices: the harmless six and terminals; no disk, no memory, no way to make another."""

import os, stat
from attack import *

KNOWN = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
for root, dirs, files in os.walk("/dev"):
    for f in files:
        path = os.path.join(root, f)
        st = os.lstat(path)
        check(f"{path} is no block device", not stat.S_ISBLK(st.st_mode))
        if stat.S_ISCHR(st.st_mode) and root == "/dev":
            pair = os.major(st.st_rdev), os.minor(st.st_rdev)
            check(f"{path} is one of the six", KNOWN.get(f) == pair, pair)
for major, minor, kind in (
    (8, 0, stat.S_IFBLK),
    (7, 0, stat.S_IFBLK),
    (254, 0, stat.S_IFBLK),
    (1, 1, stat.S_IFCHR),
    (1, 2, stat.S_IFCHR),
    (1, 3, stat.S_IFCHR),
    (1, 11, stat.S_IFCHR),
    (10, 237, stat.S_IFCHR),
    (0, 0, stat.S_IFCHR),
    (10, 229, stat.S_IFCHR),
    (5, 1, stat.S_IFCHR),
):
    # 0:0 is overlay's mark for a removed file, which is no device: any user may make it where it means nothing
    for where in ("/tmp/node", "/workspace/node", "/dev/shm/node")[: 3 if major else 2]:
        refused(
            f"mknod {major}:{minor} {where}",
            lambda: os.mknod(where, kind | 0o666, os.makedev(major, minor)),
            errno.EPERM,
        )
for d in ("/dev", "/dev/pts"):
    refused(f"create in {d}", lambda: os.open(d + "/x", os.O_CREAT | os.O_WRONLY), errno.EROFS, errno.EACCES)
refused("remove /dev/null", lambda: os.unlink("/dev/null"), errno.EROFS, errno.EACCES)
refused("chmod /dev/null", lambda: os.chmod("/dev/null", 0o600), errno.EROFS, errno.EPERM)
for node in (
    "mem",
    "kmem",
    "kmsg",
    "port",
    "fuse",
    "kvm",
    "loop0",
    "loop-control",
    "sda",
    "vda",
    "net/tun",
    "vsock",
    "vhost-vsock",
    "mapper/control",
    "console",
    "tty0",
    "snapshot",
    "userfaultfd",
):
    refused("open /dev/" + node, lambda: os.open("/dev/" + node, os.O_RDONLY), errno.ENOENT)
os.mknod("/dev/shm/nothing", stat.S_IFCHR | 0o666, 0)
refused("open 0:0", lambda: os.open("/dev/shm/nothing", os.O_RDWR), errno.EACCES, errno.ENXIO)
works("mkfifo", lambda: os.mkfifo(f"/tmp/fifo{os.getpid()}"))
works("write /dev/null", lambda: write("/dev/null", b"x"))
check("/dev/urandom must work", len(read("/dev/urandom", 8)) == 8)
done()
