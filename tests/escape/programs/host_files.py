"""Files of the host, by path, by magic link and by climbing."""

import glob, os
from attack import *

marker = FACTS["marker"]
secret = FACTS["secret"].encode()
os.symlink(marker, "/tmp/link")
os.makedirs("/tmp/a/b", exist_ok=True)
climb = "/".join([".."] * 64)
roots = [
    "",
    "/proc/self/root",
    "/proc/self/cwd/" + climb,
    "/tmp/a/b/" + climb,
    "/proc/1/root",
    "/proc/self/task/%d/root" % os.getpid(),
]
roots += [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")] + ["/dev/fd/0/" + climb]
for root in roots:
    refused(
        f"marker below {root!r}", lambda: read(root + marker), errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR
    )
refused("marker by a link", lambda: read("/tmp/link"), errno.ENOENT)
for path in FACTS["host_dirs"]:
    refused(f"list {path}", lambda: os.listdir(path), errno.ENOENT, errno.EACCES)
top = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
for _ in range(100):
    top = os.open("..", os.O_RDONLY | os.O_DIRECTORY, dir_fd=top)
check("climbing ends at the root of the box", os.fstat(top).st_ino == os.stat("/").st_ino)
refused("marker from the top", lambda: os.open(marker.lstrip("/"), os.O_RDONLY, dir_fd=top), errno.ENOENT)
found = [p for p in glob.glob("/tmp/*") + glob.glob("/var/tmp/*") if os.path.isfile(p) and secret in read(p)]
check("the marker is nowhere in /tmp", not found, found)
done()
