"""RUN: cell. The interpreter's own descriptors are a closed set; none leads to a file of the host."""

import os, re, stat, subprocess, sys
from attack import *

here = os.getpid()
me = os.readlink("/proc/self")
seen = {}
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        seen[fd] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        pass  # the directory itself
works("frame socket", lambda: any(t.startswith("socket:") for t in seen.values()))
check("0 is null, 1 and 2 are pipes", seen[0] == "/dev/null" and seen[1][:5] == seen[2][:5] == "pipe:", seen)
KNOWN = (
    r"/dev/null",
    r"pipe:\[\d+\]",
    r"socket:\[\d+\]",
    r"anon_inode:\[(eventfd|eventpoll|signalfd)\]",
    r"/memfd:cellbox-output \(deleted\)",
    r"/(usr|opt|home|workspace|tmp|root)/.*",
    r"/dev/urandom",
    r"/proc/\d+/fd",
)
for fd, target in seen.items():
    check(f"fd {fd} is known", any(re.fullmatch(k, target) for k in KNOWN), target)
    st = os.fstat(fd)
    if stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode):
        refused(
            f"marker through fd {fd}",
            lambda: os.open(".." + FACTS["marker"], os.O_RDONLY, dir_fd=fd),
            errno.ENOTDIR,
            errno.ENOENT,
            errno.EACCES,
        )
        if not target.startswith(("/memfd:", "/proc")):
            same = os.stat(target)
            check(f"fd {fd} is the box's file", (same.st_dev, same.st_ino) == (st.st_dev, st.st_ino), target)
import collections, socket

kinds = collections.Counter()
for fd, target in seen.items():
    kind = target.split(":")[0] if not target.startswith("anon_inode") else target
    if kind == "socket":
        s = socket.socket(fileno=os.dup(fd))
        kind = f"{s.family.name} {s.type.name}"
        s.close()
    kinds[kind] += 1
# one frame socket; eventfds: the output's doorbell, what stops the listener, what wakes the inbox; a pair, an epoll and
# at most a pair of pipes for the event loop; init's own (its link to the gateway, its signalfd, its ends of the pipes,
# other interpreters' sockets) would show as one too many
MOST = {
    "/dev/null": 1,
    "pipe": 4,
    "AF_UNIX SOCK_SEQPACKET": 1,
    "AF_UNIX SOCK_STREAM": 2,
    "anon_inode:[eventfd]": 3,
    "anon_inode:[eventpoll]": 1,
    "/memfd": 1,
}
for kind, most in MOST.items():
    check(f"no more {kind} than known", kinds[kind] <= most, kinds)
check("no kind of its own for init", kinds["anon_inode:[signalfd]"] == 0, kinds)
sockets = [fd for fd, t in seen.items() if t.startswith("socket:")]
for fd in sockets:
    s = socket.socket(fileno=os.dup(fd))
    if s.family == socket.AF_UNIX and s.type == socket.SOCK_SEQPACKET:
        cred = s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        check("peer's pid is not told", int.from_bytes(cred[:4], "little") == 0, cred)
        check("the socket has no name", s.getpeername() in ("", b"", None), s.getpeername())
    s.close()
listing = "import os; print(sorted(int(f) for f in os.listdir('/proc/self/fd')))"
out = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True).stdout.strip()
check("an executed program has 0, 1, 2 (and the listing)", out in ("[0, 1, 2, 3]", "[0, 1, 2]"), out)
os.system("ls /proc/self/fd > /tmp/fds")  # nothing is closed on the way: what is not close-on-exec shows
out = open("/tmp/fds").read().split()
check("an executed shell has 0, 1, 2 (and the listing)", set(out) <= {"0", "1", "2", "3"}, out)
out = os.popen("ls /proc/self/fd").read().split()
check("so has a shell's", set(out) <= {"0", "1", "2", "3"}, out)
done()
