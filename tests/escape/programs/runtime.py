"""The program that runs user code, and the image below the box, cannot be rewritten from inside."""

import os, sys
from attack import *

exe = os.path.realpath("/opt/cellbox/bin/cbx-python")
works("read the runtime", lambda: read(exe, 16))
for how in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
    refused("open the runtime for writing", lambda: os.open(exe, how), errno.EROFS, errno.EACCES, errno.ETXTBSY)
    refused(
        "open /proc/self/exe for writing",
        lambda: os.open("/proc/self/exe", how),
        errno.EROFS,
        errno.EACCES,
        errno.ETXTBSY,
    )
    refused("open init's program for writing", lambda: os.open("/proc/1/exe", how), errno.EACCES, errno.EPERM)
refused("remove the runtime", lambda: os.unlink(exe), errno.EROFS, errno.EACCES)
refused("rename the runtime", lambda: os.rename("/opt/cellbox", "/opt/mine"), errno.EBUSY, errno.EACCES, errno.EROFS)
refused(
    "new file in the runtime", lambda: os.open("/opt/cellbox/x", os.O_CREAT | os.O_WRONLY), errno.EROFS, errno.EACCES
)
refused("chmod of the runtime", lambda: os.chmod(exe, 0o777), errno.EROFS, errno.EPERM)
mounts = {l.split()[4]: l.split()[5].split(",") for l in open("/proc/self/mountinfo")}
check("the runtime is a read-only mount", "ro" in mounts["/opt/cellbox"], mounts["/opt/cellbox"])
for path in (
    "/etc/passwd",
    "/etc/shadow",
    "/etc/ld.so.preload",
    "/etc/ld.so.cache",
    "/usr/bin/env",
    "/bin/sh",
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/bin/python3",
    "/root/x",
    "/etc/x",
    "/usr/x",
    "/x",
    "/boot/x",
):
    refused(f"write {path}", lambda: os.open(path, os.O_WRONLY | os.O_CREAT), errno.EACCES, errno.EROFS, errno.ETXTBSY)
refused("remove /etc/passwd", lambda: os.unlink("/etc/passwd"), errno.EACCES)
refused("chmod /etc/shadow", lambda: os.chmod("/etc/shadow", 0o666), errno.EPERM)
mem = open("/proc/self/mem", "r+b", buffering=0)
buf = ctypes.create_string_buffer(b"before")
mem.seek(ctypes.addressof(buf))
mem.write(b"after!")
check("own memory must be writable", buf.value == b"after!", buf.value)
works(
    "own files", lambda: write(os.open("/workspace/mine", os.O_CREAT | os.O_WRONLY, 0o600) and "/workspace/mine", b"x")
)
done()
