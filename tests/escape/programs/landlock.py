"""Landlock: files are reachable through the box's own root only; files without a path still work."""

import os
from attack import *

works("memfd", lambda: os.ftruncate(os.memfd_create("x"), 4096) is None)
works(
    "rename across directories",
    lambda: (
        (
            os.makedirs("/tmp/l1/l2", exist_ok=True),
            open("/tmp/l1/f", "w").close(),
            os.rename("/tmp/l1/f", "/tmp/l1/l2/f"),
        )
        and True
    ),
)
works(
    "hard link across directories",
    lambda: (open("/tmp/l1/h", "w").close(), os.link("/tmp/l1/h", f"/tmp/l1/l2/h{os.getpid()}")) and True,
)
refused("hard link to a file of the image", lambda: os.link("/etc/shadow", "/tmp/shadow"), errno.EPERM, errno.EACCES)
works("open /dev/shm", lambda: os.close(os.open("/dev/shm/y", os.O_CREAT | os.O_RDWR, 0o600)) is None)
# A domain of its own can be entered, which only narrows.
abi = call(libc.syscall, 444, None, 0, 1)
check("landlock is there", abi >= 1, abi)
done()
