"""A crash leaves nothing outside: the host's core pattern gets no helper started and no file written by a box."""

import os, resource, signal
from attack import *

os.chdir("/tmp")


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


status = in_child(crash)
check("it died of SIGSEGV", os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV, status)
check("no core was dumped", not os.WCOREDUMP(status), status)


def limit(new, old=None):
    return call(libc.prlimit, 0, resource.RLIMIT_CORE, new, old)


# Exactly 1: the value at which the kernel starts no helper for `core_pattern = |program` either.
for soft, hard in ((1 << 20, 1 << 20), (0, 0), (1, 1 << 40), (resource.RLIM_INFINITY,) * 2):
    try:
        limit((ctypes.c_ulong * 2)(soft, hard))
    except OSError:
        pass
    call(
        libc.syscall, 160, resource.RLIMIT_CORE, (ctypes.c_ulong * 2)(soft, hard)
    ) if os.uname().machine == "x86_64" else None
    check(
        f"the core limit stays 1 after {soft} {hard}",
        resource.getrlimit(resource.RLIMIT_CORE) == (1, 1),
        resource.getrlimit(resource.RLIMIT_CORE),
    )
works(
    "another limit",
    lambda: resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1])) is None,
)
check("no core file", not [f for f in os.listdir("/tmp") if f.startswith("core")], os.listdir("/tmp"))
done()
