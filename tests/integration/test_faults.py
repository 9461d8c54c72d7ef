"""Processes that are killed, boxes that cheat, disks that fill up: what breaks stays small and has a name."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from sse import events, run_events


def text(execution: dict[str, Any]) -> str:
    return "".join(execution["logs"]["stdout"])


def value(execution: dict[str, Any]) -> str:
    assert execution["status"] == "ok", execution
    return execution["results"][0]["data"]["text/plain"]


def wait_until(what: Callable[[], Any], seconds: float = 30, why: str = "it did not happen") -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.05)


def named(server: Any, name: str) -> list[psutil.Process]:
    found = []
    for p in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if p.name() == name:
                found.append(p)
        except psutil.NoSuchProcess:
            pass
    return found


def init_of(server: Any, sandbox: str) -> psutil.Process:
    """The init whose box runs a marked process."""
    mark = uuid.uuid4().hex
    server.run(sandbox, f"import subprocess; marked = subprocess.Popen(['bash', '-c', 'sleep 300; : {mark}'])")
    end = time.monotonic() + 10
    while time.monotonic() < end:  # execve tells who waits for it before the new arguments can be read
        for p in psutil.process_iter(["cmdline"]):
            if mark in " ".join(p.info["cmdline"] or []):
                for parent in p.parents():
                    if parent.ppid() == server.process.pid:
                        return parent
        time.sleep(0.05)
    raise AssertionError("no init found")


def groups_of(pid: int) -> list[Path]:
    # os.walk passes over what goes while it looks; glob does not
    return [Path(top, name) for top, dirs, _ in os.walk("/sys/fs/cgroup") for name in dirs if name == f"cellbox-{pid}"]


def descendants(server: Any) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive, alive


@pytest.fixture
def small_disk() -> Iterator[Path]:
    where = Path(tempfile.mkdtemp(prefix="cellbox-small-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", where], check=True)
    yield where / "state"
    wait_until(lambda: subprocess.run(["umount", where], capture_output=True).returncode == 0, 20, "cannot unmount")
    where.rmdir()


# ---- boxes that cheat with what they share with init and the gateway ----

RING = """
import ctypes, mmap, os, random, time
def ring():
    for line in open('/proc/self/maps'):
        if 'cellbox-output' in line:
            lo, hi = (int(x, 16) for x in line.split()[0].split('-'))
            return lo, hi - lo
address, size = ring()
memory = (ctypes.c_uint8 * size).from_address(address)
def word(at, v): ctypes.c_uint32.from_address(address + at).value = v & 0xffffffff
"""
SCRIBBLES = {
    "random": "for _ in range(200): ctypes.memmove(address, os.urandom(size), size); time.sleep(.002)",
    "ones": "ctypes.memset(address, 255, size)",
    "zeros": "ctypes.memset(address, 0, size)",
    "head far ahead": "word(0, 0x7fffffff)",
    "head behind": "word(0, -1)",
    "tail": "[word(4, random.getrandbits(32)) for _ in range(1000)]",
    "head runs": "for i in range(2000): word(0, i * 4097); time.sleep(.0005)",
    "huge record": "word(64, 0xffffffff); word(0, 16)",
    "all flags": "for at in range(8, 64, 4): word(at, 0xffffffff)",
    "race": "import threading\ndef f():\n  end = time.time() + 1\n  while time.time() < end:\n"
    "    word(random.randrange(16) * 4, random.getrandbits(32))\nts = [threading.Thread(target=f) for _ in range(3)]\n"
    "[t.start() for t in ts]\nos.write(1, b'x' * 100000)\n[t.join() for t in ts]",
}


@pytest.mark.parametrize("name", sorted(SCRIBBLES))
def test_scribbling_over_the_output_ring(server: Any, box: str, name: str) -> None:
    neighbour = box + "-n"
    try:
        server.run(neighbour, "x = 7")
        # a second interpreter of the same box shares init with the one that cheats
        server.run(box, "1")
        ctx = server.call("POST", f"/v1/sandboxes/{box}/contexts", json={"language": "python"}).json()["id"]
        e = server.run(box, RING + SCRIBBLES[name] + "\nos.write(1, b'by pipe\\n')\nprint('by ring')", timeout=8000)
        assert e["status"] in ("ok", "error")
        if e["status"] == "error":
            assert e["error"]["code"] in ("PROTOCOL_ERROR", "CONTEXT_DIED", "TIMEOUT", "EXCEPTION"), e["error"]
        other = server.call("POST", f"/v1/sandboxes/{box}/contexts/{ctx}/run", json={"code": "print('fine')\n5"}).json()
        assert (text(other), value(other)) == ("fine\n", "5")
        assert value(server.run(neighbour, "x")) == "7"
        default = server.call("GET", f"/v1/sandboxes/{box}/contexts").json()["contexts"][0]["id"]
        server.call("POST", f"/v1/sandboxes/{box}/contexts/{default}/restart")
        again = server.run(box, "print('back')\n8", timeout=20_000)
        assert (text(again), value(again)) == ("back\n", "8")
    finally:
        server.call("DELETE", f"/v1/sandboxes/{neighbour}")


def test_descriptors_sent_to_the_gateway_are_dropped(server: Any, box: str) -> None:
    code = """
import array, os, socket
def frame_socket():
    for fd in range(3, 1024):
        try:
            s = socket.socket(fileno=os.dup(fd))
            if s.type == socket.SOCK_SEQPACKET:
                return s
            s.close()
        except OSError:
            pass
s = frame_socket()
fds = array.array('i', [os.open('/dev/null', os.O_RDONLY)] * 200)
for _ in range(50):
    try:
        s.sendmsg([b'\\3\\0\\0\\0' + bytes(16)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    except OSError:
        break
"""
    server.run(box, "1")
    before = server.gateway().num_fds()
    server.run(box, code, timeout=20_000)
    wait_until(lambda: server.gateway().num_fds() < before + 20, 10, "the gateway keeps descriptors of a box")
    assert value(server.run(box, "2")) == "2"


# ---- cells that do not end well ----


def test_a_stopped_interpreter_runs_into_its_timeout(server: Any, box: str) -> None:
    e = server.run(box, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", timeout=500)
    assert e["error"]["code"] == "TIMEOUT", e["error"]
    assert value(server.run(box, "3")) == "3"


@pytest.mark.parametrize("code", ["exit()", "quit()"])
def test_exit(server: Any, box: str, code: str) -> None:
    e = server.run(box, code)
    assert e["error"]["code"] == "CONTEXT_DIED" and e["error"]["details"]["cause"] == "exit", e["error"]
    assert value(server.run(box, "6")) == "6"


def test_sys_exit_is_an_exception(server: Any, box: str) -> None:
    server.run(box, "kept = 6")
    assert server.run(box, "import sys; sys.exit(4)")["error"]["name"] == "SystemExit"
    assert value(server.run(box, "kept")) == "6"


def test_blocked_signals_do_not_stop_a_timeout(server: Any, box: str) -> None:
    code = "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: time.sleep(1)"
    e = server.run(box, code, timeout=300)
    assert e["error"]["code"] == "TIMEOUT" and e["timing"]["durationMs"] < 15000, e
    assert value(server.run(box, "4")) == "4"


def test_a_client_that_goes_away_loses_nothing(server: Any, box: str) -> None:
    code = "import time\nfor i in range(100):\n  print(i, flush=True)\n  time.sleep(.02)\n'end'"
    stream = run_events(server, box, code)
    execution = next(stream)["executionId"]
    next(stream)
    stream.close()
    path = f"/v1/sandboxes/{box}/executions/{execution}"
    wait_until(lambda: server.call("GET", path).json()["status"] not in ("running", "queued"))
    e = server.call("GET", path).json()
    assert text(e) == "".join(f"{i}\n" for i in range(100))
    assert value(e) == "'end'"


# ---- killed processes ----


def test_kill_the_gateway_five_times_while_a_cell_prints(own_server: Any) -> None:
    server = own_server()
    server.run("k", "import time; kept = [1, 2]")
    code = "for i in range(400):\n  print(f'line {i}')\n  time.sleep(.01)\nkept.append(3)"
    execution = next(run_events(server, "k", code))["executionId"]
    pids = set()
    for _ in range(5):
        time.sleep(0.2)
        gateway = server.gateway()
        pids.add(gateway.pid)
        gateway.kill()
        wait_until(lambda: server_gateway_pid(server) not in {None, *pids})
        server.wait_ready()
    path = f"/v1/sandboxes/k/executions/{execution}"
    wait_until(lambda: server.call("GET", path).json()["status"] not in ("running", "queued"), 60)
    e = server.call("GET", path).json()
    assert e["status"] == "ok"
    assert text(e) == "".join(f"line {i}\n" for i in range(400))
    assert value(server.run("k", "kept")) == "[1, 2, 3]"
    assert len(pids) == 5


def server_gateway_pid(server: Any) -> int | None:
    found = named(server, "cbx-gateway")
    return found[0].pid if found else None


def test_kill_the_zygote(own_server: Any) -> None:
    server = own_server("--pool", "1")
    server.run("before", "x = 1")
    for round_ in range(2):
        for z in named(server, "cbx-zygote"):
            if z.ppid() == server.process.pid:
                z.kill()
        # a clone that was asked of the dead one may fail with "try again"; that is all
        server.call("POST", f"/v1/sandboxes/after-{round_}-0/run", json={"code": "5"})
        for i in range(4):
            assert value(server.run(f"after-{round_}-{i}", "import pandas; 5")) == "5"
    assert value(server.run("before", "x")) == "1"


def test_kill_init_of_a_box(own_server: Any) -> None:
    server = own_server()
    server.run("b", "x = 1; open('/workspace/f', 'w').write('kept')")
    init = init_of(server, "b")
    result: dict[str, Any] = {}

    def long_cell() -> None:
        result.update(server.run("b", "import time; time.sleep(60)"))

    thread = threading.Thread(target=long_cell)
    thread.start()
    time.sleep(0.5)
    init.kill()
    thread.join(20)
    assert result["error"]["code"] == "BOX_GONE", result
    e = server.run("b", "print(open('/workspace/f').read(), 'x' in globals())")
    assert text(e) == "kept False\n"
    assert e.get("contextRestarted") is True, e


def test_sigterm_leaves_nothing(own_server: Any) -> None:
    server = own_server()
    for i in range(3):
        server.run(f"s-{i}", "import subprocess; p = subprocess.Popen(['setsid', 'sleep', '300'])")
    processes = descendants(server)
    assert len(processes) > 8 and groups_of(server.process.pid)
    before = Path("/proc/self/mountinfo").read_text()
    server.stop()
    all_gone(processes)
    assert server.process.returncode == 0
    assert not groups_of(server.process.pid)
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(server.state) not in mounts and len(mounts.splitlines()) <= len(before.splitlines())
    assert not list(Path("/tmp").glob(f"cellbox-cgroup-*{server.process.pid}*"))


def registered(server: Any) -> list[str]:
    db = sqlite3.connect(f"file:{server.state}/gateway/registry.db?mode=ro", uri=True)
    try:
        return [name for (name,) in db.execute("SELECT name FROM sandboxes WHERE disk != ''")]
    finally:
        db.close()


def test_sigkill_leaves_no_process(own_server: Any) -> None:
    server = own_server()
    server.run("s", "import subprocess; p = subprocess.Popen(['setsid', 'sleep', '300'])")
    server.run("s", "open('/workspace/f', 'w').write('kept')")
    processes = descendants(server)
    assert len(processes) > 4
    wait_until(lambda: "s" in registered(server), why="the registry, written a moment later, does not name the sandbox")
    server.process.kill()
    server.process.wait()
    all_gone(processes)
    again = own_server(state=server.state)
    assert text(again.run("s", "print(open('/workspace/f').read())")) == "kept\n"


def test_restart_keeps_files(own_server: Any) -> None:
    first = own_server()
    first.run("keep", "import os; os.makedirs('/workspace/a/b'); open('/workspace/a/b/f', 'w').write('data')")
    first.stop()
    second = own_server(state=first.state)
    assert text(second.run("keep", "print(open('/workspace/a/b/f').read())")) == "data\n"


# ---- creations that fail half-way ----


def parts(server: Any) -> tuple[int, int, int]:
    """What boxes cost: disks, cgroups, processes."""
    disks = len(list((server.state / "disks").iterdir()))
    groups = sum(len([d for d in g.iterdir() if d.is_dir()]) for g in groups_of(server.process.pid))
    return disks, groups, len(named(server, "cbx-init"))


def settled(server: Any) -> tuple[int, int, int]:
    last, same = parts(server), 0
    for _ in range(80):
        time.sleep(0.25)
        now = parts(server)
        same = same + 1 if now == last else 0
        if same == 4:  # the pool fills up slowly when the build is a slow one
            return now
        last = now
    return last


def test_an_unknown_image_is_named(server: Any, box: str) -> None:
    before = settled(server)
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"image": "no-such-image"})
    assert r.status_code in (400, 404), r.text
    assert r.json()["error"]["code"] == "IMAGE_NOT_FOUND" and "no-such-image" in r.json()["error"]["message"]
    assert settled(server) == before
    assert server.call("GET", f"/v1/sandboxes/{box}").status_code == 404


ABSURD = [{"memory": 4096}, {"memory": 1}, {"pids": 1}, {"pids": 2}, {"memory": 2**62}, {"cpu": 2**31}]


@pytest.mark.parametrize("limits", ABSURD)
def test_absurd_limits_end_in_an_answer(server: Any, box: str, limits: dict[str, int]) -> None:
    before = settled(server)
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"limits": limits})
    if r.status_code < 300:
        r = server.call("POST", f"/v1/sandboxes/{box}/run", json={"code": "1", "timeout": 20_000})
        assert r.status_code == 200 or r.json()["error"]["message"], r.text
    else:
        assert r.json()["error"]["code"] and r.json()["error"]["message"], r.text
    server.call("DELETE", f"/v1/sandboxes/{box}")
    assert settled(server) == before
    assert value(server.run(box, "9")) == "9"


def test_an_unwritable_disk_directory_is_named(own_server: Any) -> None:
    server = own_server("--pool", "0")
    server.run("one", "1")
    disks = server.state / "disks"
    subprocess.run(["chattr", "+i", disks], check=True)
    try:
        failed = None
        for i in range(12):  # parts made in advance serve the first ones
            r = server.call("POST", f"/v1/sandboxes/w-{i}/run", json={"code": "1"})
            if r.status_code != 200:
                failed = r.json()["error"]
                break
        assert failed and "disk" in failed["message"], failed
        before = settled(server)
        server.call("POST", "/v1/sandboxes/again/run", json={"code": "1"})
        assert settled(server) == before
        assert value(server.run("one", "2")) == "2"
    finally:
        subprocess.run(["chattr", "-i", disks], check=True)
    assert value(server.run("again", "3")) == "3"


def test_a_missing_image_store_is_named() -> None:
    empty = Path(tempfile.mkdtemp(prefix="cellbox-empty-"))
    state = Path(tempfile.mkdtemp(prefix="cellbox-test-"))
    build = Path(os.environ.get("CELLBOX_BUILD_DIR", Path(__file__).resolve().parents[2] / "build"))
    r = subprocess.run(
        [build / "bin/kernel-gw", "--listen", "127.0.0.1:0", "--state-dir", state, "--image-dir", empty],
        capture_output=True,
        text=True,
        timeout=60,
    )
    shutil.rmtree(empty)
    shutil.rmtree(state)
    assert r.returncode == 1
    assert "image" in r.stderr and "cannot start" in r.stderr, r.stderr


@pytest.mark.slow
@pytest.mark.release
def test_two_hundred_boxes_leave_nothing(own_server: Any) -> None:
    server = own_server()
    boxd = psutil.Process(server.process.pid)

    def cycle(n: int) -> None:
        for i in range(n):
            assert value(server.run(f"c-{i}", "1")) == "1"
            assert server.call("DELETE", f"/v1/sandboxes/c-{i}").status_code == 204

    cycle(20)
    before, fds, gateway_fds = settled(server), boxd.num_fds(), server.gateway().num_fds()
    cycle(200)
    after = settled(server)
    # the pool may be fuller or emptier than it was
    assert all(abs(a - b) <= 6 for a, b in zip(after, before, strict=True)), (before, after)
    assert boxd.num_fds() <= fds + 60, (fds, boxd.num_fds())
    assert server.gateway().num_fds() <= gateway_fds + 30
    wait_until(lambda: not list((server.state / "trash").iterdir()))


def test_a_full_state_disk(own_server: Any, small_disk: Path) -> None:
    server = own_server("--pool", "1", state=small_disk)
    assert value(server.run("full", "kept = 1; kept")) == "1"
    gateway = server.gateway().pid
    fill = """
import os
fd = os.open('/workspace/fill', os.O_CREAT | os.O_WRONLY)
try:
    while True: os.write(fd, bytes(1 << 16))
except OSError as e:
    print(e.strerror)
"""
    filled = server.call("POST", "/v1/sandboxes/full/run", json={"code": fill})
    assert filled.status_code in (200, 500, 503, 507), filled.text
    answers = []
    for i in range(4):
        r = server.call("POST", f"/v1/sandboxes/more-{i}/run", json={"code": "print('x' * 100000)"})
        answers.append(r.status_code)
        assert r.status_code == 200 or r.json()["error"]["code"], r.text
    assert server.call("GET", "/healthz").status_code == 200
    assert server.gateway().pid == gateway, "the gateway died"
    server.call("DELETE", "/v1/sandboxes/full")
    wait_until(lambda: server.call("POST", "/v1/sandboxes/later/run", json={"code": "5"}).json().get("status") == "ok")
    assert value(server.run("later", "6")) == "6"
    server.stop()


def test_an_execution_is_streamed_again_from_its_begin(server: Any, box: str) -> None:
    stream = run_events(server, box, "print('a')\n1")
    execution = next(stream)["executionId"]
    list(stream)
    r = server.call(
        "GET", f"/v1/sandboxes/{box}/executions/{execution}", headers={"Accept": "text/event-stream"}, stream=True
    )
    assert [e["type"] for e in events(r)] == ["started", "stdout", "result", "done"]


def test_a_request_that_is_cut_off(server: Any) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    import socket

    for body in (b"", b"{", b'{"code": "1"'):
        with socket.create_connection((host, int(port)), 5) as s:
            head = f"Host: x\r\nAuthorization: Bearer {server.token}\r\nContent-Length: 500\r\n\r\n"
            s.send(b"POST /v1/sandboxes/cut/run HTTP/1.1\r\n" + head.encode() + body)
    assert requests.get(server.url + "/healthz", timeout=5).status_code == 200


def test_signals_of_a_background_start_are_reset(own_server: Any) -> None:
    """A server that a script put in the background has SIGINT ignored; interrupts must work all the same."""
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server = own_server()
    finally:
        signal.signal(signal.SIGINT, old)
    e = server.run("i", "import time\nwhile True: time.sleep(.1)", timeout=500)
    assert e["error"]["code"] == "TIMEOUT" and e["timing"]["durationMs"] < 4000, e


def test_stop_while_boxes_are_being_made(own_server: Any) -> None:
    """What is asked of the warm interpreter just then comes to life without anybody to want it: it goes, too."""
    for n in range(8):
        server = own_server()
        server.run("a", "1")

        def make(i: int, server: Any = server) -> None:
            with suppress(requests.RequestException):
                server.call("PUT", f"/v1/sandboxes/x{i}", json={}, timeout=10)

        makers = [threading.Thread(target=make, args=(i,)) for i in range(12)]
        for maker in makers:
            maker.start()
        time.sleep(0.01 + 0.005 * n)
        server.stop()
        for maker in makers:
            maker.join()
