"""One box takes all that it can get of a counter of the kernel; another box, and the host, must not notice."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from box_calls import eventually, execute, get, post

PROGRAMS = Path(__file__).parent / "programs" / "neighbours"
TAKE = (PROGRAMS / "take.c").read_text()
PROBE = (PROGRAMS / "probe.py").read_text()
COUNTERS = re.findall(r'^    \{"([a-z0-9-]+)",', TAKE, re.MULTILINE)

# What a box may have; the others end by its memory, its processes or its own user.
MOST = {
    "inotify-instances": 512,
    "inotify-watches": 131072,
    "aio-events": 0,
    "timers": 16384,
    "signals": 16384,
    "terminals": 256,
    "queues": 0,
    "keys": 0,
    "namespaces": 0,
    "privileged": 0,
}

# Counters without a bound of their own: enough to see that nobody notices.
ENOUGH = {"epoll-watches": 300_000, "dentries": 200_000}


@pytest.fixture(scope="module")
def bystander(server: Any) -> Iterator[str]:
    name = "b-" + uuid.uuid4().hex[:12]
    server.run(name, PROBE.rsplit("\nif __name__", 1)[0] + "\nsys.modules['__main__'].kept = 1\n")
    yield name
    server.call("DELETE", f"/v1/sandboxes/{name}")


@pytest.fixture(scope="module")
def taker(server: Any) -> Iterator[str]:
    name = "t-" + uuid.uuid4().hex[:12]
    server.run(name, f"open('/workspace/take.c', 'w').write({TAKE!r})")
    build = execute(server, name, "gcc -O1 -w -o take take.c -lpthread -lrt", cwd="/workspace")
    assert build["exitCode"] == 0, build
    yield name
    server.call("DELETE", f"/v1/sandboxes/{name}")


def probe_host(user: int) -> str:
    """The same of the host itself, as this user."""
    out = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, user=user, timeout=60, cwd="/")
    return out.stdout + out.stderr


def host_aio() -> int:
    context = ctypes.c_ulong(0)
    libc = ctypes.CDLL(None)
    if libc.syscall(206, 128, ctypes.byref(context)) != 0:
        return -1
    return libc.syscall(207, context)


@pytest.mark.parametrize("counter", COUNTERS)
def test_nobody_else_notices(server: Any, taker: str, bystander: str, counter: str) -> None:
    name = counter + "-" + uuid.uuid4().hex[:6]
    command = ["/workspace/take", counter, str(ENOUGH.get(counter, 1 << 40))]
    post(server, taker, "processes", 201, command=command, processId=name)
    try:
        held = eventually(
            lambda: re.search(r"HELD (-?\d+)", get(server, taker, f"processes/{name}/logs")["stdout"]), 120
        )
        assert int(held[1]) <= MOST.get(counter, 1 << 60), held
        asked = server.run(bystander, "main()", timeout=60_000)
        assert asked["status"] == "ok", asked
        assert "".join(asked["logs"]["stdout"]).endswith("OK\n"), asked["logs"]
        assert probe_host(0).endswith("OK\n"), probe_host(0)
        assert host_aio() == 0
    finally:
        server.call("DELETE", f"/v1/sandboxes/{taker}/processes/{name}")
        eventually(lambda: "take" not in execute(server, taker, "cat /proc/[0-9]*/comm")["stdout"].split(), 60)
        execute(server, taker, "rm -rf /dev/shm/*; find /dev/shm -delete; ipcrm -a; rm -f /dev/mqueue/*")
