"""Boxes that take all they can get. The box stays usable, the neighbours notice nothing."""

from __future__ import annotations

import shlex
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from box_calls import execute


@pytest.fixture
def neighbour(server: Any) -> Iterator[Any]:
    """Asks another box all the while; afterwards its answers were all right."""
    name = "n-" + uuid.uuid4().hex[:12]
    server.run(name, "n = 0")
    stop = threading.Event()
    answers: list[Any] = []

    def ask() -> None:
        while not stop.is_set():
            answers.append(server.run(name, "n += 1; n")["results"][0]["data"]["text/plain"])
            time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    yield answers
    stop.set()
    thread.join()
    server.call("DELETE", f"/v1/sandboxes/{name}")
    assert answers
    assert answers == [str(i + 1) for i in range(len(answers))]


def limited(server: Any, box: str, **limits: int) -> None:
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"limits": limits})
    assert r.status_code == 201, r.text


def out(execution: dict[str, Any]) -> str:
    assert execution["status"] == "ok", execution
    return "".join(execution["logs"]["stdout"])


def test_fork_bomb(server: Any, box: str, neighbour: Any) -> None:
    limited(server, box, pids=64)
    code = """
import os, signal, subprocess, time
bomb = subprocess.Popen(["python3", "-c", '''
import os, time
while True:
    try:
        os.fork()
    except BlockingIOError:
        time.sleep(.05)
'''], stderr=subprocess.DEVNULL)
time.sleep(2)
running = [p for p in os.listdir('/proc') if p.isdigit()]
try:
    os.fork() or os._exit(0)
    print("fork worked", len(running))
except BlockingIOError:
    print("limit", 32 < len(running) <= 64)
"""
    assert out(server.run(box, code, timeout=60_000)) == "limit True\n"
    assert out(server.run(box, "print('still here')")) == "still here\n"
    # kill(-1) reaches all of the user's processes but the caller
    for _ in range(20):
        server.run(box, "for _ in range(50): os.kill(-1, 9)")
        if len(out(server.run(box, "print(*[p for p in os.listdir('/proc') if p.isdigit()])")).split()) < 8:
            break
    assert out(server.run(box, "print(subprocess.run(['echo', 'free'], capture_output=True).stdout)")) == "b'free\\n'\n"


HOGS = {
    "interpreter": "x = bytearray(1 << 30)\nfor i in range(0, len(x), 4096): x[i] = 1",
    "many": "x = []\nwhile True: x.append(b'x' * 1000000)",
}


@pytest.mark.parametrize("name", sorted(HOGS))
def test_memory_hog(server: Any, box: str, neighbour: Any, name: str) -> None:
    limited(server, box, memory=256 << 20)
    e = server.run(box, HOGS[name], timeout=60_000)
    assert e["status"] == "error", e
    assert e["error"]["code"] == "OUT_OF_MEMORY", e["error"]
    assert out(server.run(box, "print(6 * 7)")) == "42\n"


def test_memory_hog_in_a_child(server: Any, box: str, neighbour: Any) -> None:
    limited(server, box, memory=256 << 20)
    hog = "['python3', '-c', 'x = b\"x\" * (1 << 30)']"
    code = f"import subprocess\nkept = 7\nr = subprocess.run({hog})\nprint(r.returncode, kept)"
    e = server.run(box, code, timeout=60_000)
    # the kernel takes the biggest: the child
    assert out(e) == "-9 7\n"


def test_memory_hog_in_shared_memory(server: Any, box: str, neighbour: Any) -> None:
    limited(server, box, memory=256 << 20)
    code = "import os\nf = open('/dev/shm/hog', 'wb', 0)\nfor _ in range(1024): f.write(bytes(1 << 20))"
    e = server.run(box, code, timeout=60_000)
    assert e["status"] == "error", e
    assert out(server.run(box, "import os; os.remove('/dev/shm/hog'); print('removed')")) == "removed\n"
    assert out(server.run(box, "print(len(bytearray(50 << 20)))")) == f"{50 << 20}\n"


# Memory that no process maps, of a process that is small itself.
UNMAPPED = {
    "memfd": "import os\nf = os.memfd_create('hog')\nwhile True: os.write(f, bytes(1 << 20))",
    "unlinked": "import os\nf = os.open('/dev/shm/hog', os.O_CREAT | os.O_RDWR)\nos.unlink('/dev/shm/hog')\n"
    "g = os.memfd_create('hog')\nfor to in (f, g):\n  try:\n    while True: os.write(to, bytes(1 << 20))\n"
    "  except OSError: pass",
    "segments": "import ctypes\nc = ctypes.CDLL(None)\nc.shmat.restype = ctypes.c_void_p\nwhile True:\n"
    "  ctypes.memset(c.shmat(c.shmget(0, 16 << 20, 0o1600), None, 0), 1, 16 << 20)",
}


@pytest.mark.parametrize("name", sorted(UNMAPPED))
def test_a_command_that_takes_all_memory_ends_alone(server: Any, box: str, neighbour: Any, name: str) -> None:
    limited(server, box, memory=256 << 20)
    assert out(server.run(box, "import os\nkept = 7\nprint(os.getppid())")) == "1\n"
    for _ in range(3):
        done = execute(server, box, ["python3", "-c", UNMAPPED[name]], timeout=60_000)
        assert (done["exitCode"], done["signal"], done["outOfMemory"]) == (137, "SIGKILL", True), done
    shell = execute(server, box, f"python3 -c {shlex.quote(UNMAPPED[name])}; exit $?", timeout=60_000)
    assert (shell["exitCode"], shell["outOfMemory"]) == (137, True), shell
    assert "outOfMemory" not in execute(server, box, "kill -9 $$")
    assert out(server.run(box, "print(kept, len(bytearray(50 << 20)))")) == f"7 {50 << 20}\n"


def test_shared_memory_leaves_room_for_the_rest(server: Any, box: str) -> None:
    limited(server, box, memory=256 << 20)
    full = "import os\nkept = 8\nf = open('/dev/shm/hog', 'wb', 0)\ntry:\n  while True: f.write(bytes(1 << 20))\n"
    full += "except OSError as e: print(e.errno, f.tell() >> 20)"
    assert out(server.run(box, full)) == "28 128\n"
    assert execute(server, box, "tail -c 60000000 /dev/zero | head -c 60000000 | tail -c 1 | wc -c")["success"]
    assert out(server.run(box, "print(kept)")) == "8\n"
    r = server.call("PATCH", f"/v1/sandboxes/{box}", json={"limits": {"memory": 512 << 20}})
    assert r.status_code == 200, r.text
    assert out(server.run(box, "print(os.statvfs('/dev/shm').f_blocks * 4096 >> 20)")) == "256\n"


def test_descriptors_run_out(server: Any, box: str, neighbour: Any) -> None:
    code = """
import errno, os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
held = []
try:
    while True:
        held.append(os.open('/dev/null', os.O_RDONLY))
except OSError as e:
    print(errno.errorcode[e.errno], len(held) > 19000)
"""
    assert out(server.run(box, code)) == "EMFILE True\n"
    assert out(server.run(box, "print(len(held) > 0)")) == "True\n"
    assert out(server.run(box, "for fd in held: os.close(fd)\nprint(open('/etc/hostname').read() != '')")) == "True\n"


def test_a_busy_box_leaves_time_for_others(server: Any, box: str, neighbour: Any) -> None:
    spin = "import os, time\nfor _ in range(16):\n  if os.fork() == 0:\n    while True: pass\n"
    code = spin + "time.sleep(2); print('done')"
    assert out(server.run(box, code)) == "done\n"
