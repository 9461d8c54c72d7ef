"""Disks with a limit, and what sandboxes have used."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from test_sleep import state, wait_for

MIB = 1 << 20


def sh(server: Any, box: str, command: str) -> dict[str, Any]:
    done = server.call("POST", f"/v1/sandboxes/{box}/exec", json={"command": command})
    assert done.status_code == 200, done.text
    return dict(done.json())


def usage(server: Any, box: str) -> dict[str, Any]:
    return dict(server.call("GET", f"/v1/sandboxes/{box}/usage").json())


def write(server: Any, box: str, mib: int, name: str = "f") -> dict[str, Any]:
    return sh(server, box, f"dd if=/dev/zero of=/workspace/{name} bs=1M count={mib} conv=fsync 2>&1")


def limit(server: Any, box: str, mib: int) -> Any:
    return server.call("PATCH", f"/v1/sandboxes/{box}", json={"limits": {"disk": mib * MIB}})


def test_enforced_and_changed_while_it_runs(server: Any, box: str) -> None:
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"limits": {"disk": 64 * MIB}})
    assert (r.status_code, r.json()["limits"]["disk"]) == (201, 64 * MIB)
    full = write(server, box, 100)
    assert "No space left on device" in full["stdout"]
    assert 50 * MIB < usage(server, box)["diskBytes"] <= 64 * MIB
    assert "Errno 28" in str(server.run(box, "open('g', 'wb').write(bytes(20 << 20))")["error"])
    r = server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/h", data=bytes(20 * MIB))
    assert (r.status_code, r.json()["error"]["code"]) == (507, "NO_SPACE"), r.text
    assert limit(server, box, 200).json()["limits"]["disk"] == 200 * MIB
    assert write(server, box, 100)["exitCode"] == 0
    assert limit(server, box, 32).status_code == 200  # less than there is: nothing more fits
    assert "No space left" in write(server, box, 1, "more")["stdout"]
    assert sh(server, box, "rm /workspace/f /workspace/more; sync")["exitCode"] == 0
    assert write(server, box, 20)["exitCode"] == 0
    assert "No space left" in write(server, box, 40)["stdout"]


def test_many_small_files(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}", json={"limits": {"disk": 32 * MIB}})
    many = sh(server, box, "cd /workspace; for i in $(seq 20000); do echo x > f$i || break; done 2>&1; ls | wc -l")
    assert int(many["stdout"].split()[-1]) < 20000


def test_survives_sleep_and_server(own_server: Any) -> None:
    s = own_server()
    s.call("PUT", "/v1/sandboxes/b", json={"limits": {"disk": 64 * MIB}, "sleepAfter": "1s"})
    s.run("b", "open('kept', 'w').write('yes')")
    wait_for(s, "b", "stopped")
    asleep = usage(s, "b")["diskBytes"]
    assert 0 < asleep < 20 * MIB
    assert s.call("GET", "/v1/sandboxes/b/files/workspace/kept").text == "yes"
    assert "No space left" in write(s, "b", 100)["stdout"]
    where = s.state
    s.stop()
    again = own_server(state=where)
    assert again.call("GET", "/v1/sandboxes/b").json()["limits"]["disk"] == 64 * MIB
    assert again.call("GET", "/v1/sandboxes/b/files/workspace/kept").text == "yes"
    assert "No space left" in write(again, "b", 100, "more")["stdout"]
    assert again.call("DELETE", "/v1/sandboxes/b").status_code == 204


def loops(where: str) -> list[str]:
    shown = subprocess.run(["losetup", "-l", "-n", "-O", "BACK-FILE"], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if where in line]


def test_nothing_is_left(own_server: Any) -> None:
    s = own_server()
    for i in range(6):
        s.call("PUT", f"/v1/sandboxes/b{i}", json={"limits": {"disk": 32 * MIB}})
        write(s, f"b{i}", 10)
    assert len(loops(str(s.state))) == 6
    for i in range(3):
        assert s.call("DELETE", f"/v1/sandboxes/b{i}").status_code == 204
    end = time.monotonic() + 20
    while len(loops(str(s.state))) > 3:
        assert time.monotonic() < end
        time.sleep(0.05)
    s.stop()
    while loops(str(s.state)):
        assert time.monotonic() < end, loops(str(s.state))
        time.sleep(0.05)


def test_starts_again_at_once(server: Any, box: str) -> None:
    """The volume of a box that was killed is free before the next one wants it."""
    server.call("PUT", f"/v1/sandboxes/{box}", json={"limits": {"disk": 64 * MIB}})
    children = psutil.Process(server.process.pid).children
    for i in range(8):
        server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/n{i}", data=str(i))
        sh(server, box, "sync")
        before = {p.pid for p in children(recursive=True) if p.name() == "cbx-init"}
        inits = [p for p in before if Path(f"/proc/{p}/root/workspace/n{i}").exists()]
        for pid in inits:
            os.kill(pid, 9)
        assert inits
        while any(psutil.pid_exists(pid) for pid in inits):
            time.sleep(0.005)
        for k in range(i + 1):
            r = server.call("GET", f"/v1/sandboxes/{box}/files/workspace/n{k}")
            assert (r.status_code, r.text) == (200, str(k))


def test_default_for_all(own_server: Any) -> None:
    s = own_server("--disk", "48M")
    s.run("warm", "1")
    assert s.call("GET", "/v1/sandboxes/warm").json()["limits"]["disk"] == 48 * MIB
    assert "No space left" in write(s, "warm", 100)["stdout"]
    s.call("PUT", "/v1/sandboxes/own", json={"limits": {"disk": 200 * MIB}})
    assert write(s, "own", 100)["exitCode"] == 0


def test_a_sandbox_without_a_limit_gets_none_later(server: Any, box: str) -> None:
    server.run(box, "1")
    r = limit(server, box, 64)
    assert (r.status_code, r.json()["error"]["code"]) == (409, "LIMITS_NOT_POSSIBLE")
    r = server.call("PATCH", f"/v1/sandboxes/{box}", json={"instanceType": "standard-1"})
    assert (r.status_code, "disk" in r.json()["limits"]) == (200, False)
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"instanceType": "standard-1"})
    assert r.status_code == 200, r.text


@pytest.mark.parametrize("bytes_", [0, 1, 16 * MIB - 1, (64 << 30) + 1, "1G"])
def test_bad_limits(server: Any, box: str, bytes_: Any) -> None:
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"limits": {"disk": bytes_}})
    assert (r.status_code, r.json()["error"]["code"]) == (400, "INVALID_FIELD")


def test_instance_types_have_disks(server: Any, box: str) -> None:
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"instanceType": "basic"})
    assert r.json()["limits"]["disk"] == 4_000_000_000


def test_usage_counts_memory_and_disk(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}", json={"sleepAfter": "2s"})
    server.run(box, "x = bytearray(300 << 20); open('f', 'wb').write(bytes(30 << 20))")
    time.sleep(4.5 - 2.2)
    server.run(box, "1")
    first = usage(server, box)
    assert 30 * MIB <= first["diskBytes"] < 60 * MIB
    # 300 MiB for at least two seconds, and no more than 1 GiB for the seconds of this test
    assert 0.25 < first["memoryGiBSeconds"] < 30
    wait_for(server, box, "stopped")
    asleep = usage(server, box)
    assert asleep["memoryGiBSeconds"] > first["memoryGiBSeconds"]
    assert asleep["diskBytes"] >= first["diskBytes"] - 4 * MIB
    time.sleep(1)
    assert usage(server, box)["memoryGiBSeconds"] == asleep["memoryGiBSeconds"]


def test_counting_hostile_trees(server: Any, box: str) -> None:
    """Links out, names that are there twice, holes, directories a thousand deep."""
    script = """
import os
os.makedirs('/workspace/t')
os.chdir('/workspace/t')
os.symlink('/', 'out')
os.symlink('/workspace', 'loop')
open('real', 'wb').write(bytes(20 << 20))
for i in range(50):
    os.link('real', f'same{i}')
with open('hole', 'wb') as f:
    f.truncate(1 << 40)
for i in range(1000):
    os.mkdir('d' * 200)
    os.chdir('d' * 200)
"""
    assert server.run(box, script)["status"] == "ok"
    shown = usage(server, box)
    assert 20 * MIB <= shown["diskBytes"] < 60 * MIB


def test_many_ask_at_once(server: Any, box: str) -> None:
    server.run(box, "for i in range(3000): open(f'f{i}', 'w').write('x')")
    answers: list[int] = []
    ask = [threading.Thread(target=lambda: answers.append(usage(server, box)["diskBytes"])) for _ in range(12)]
    for t in ask:
        t.start()
    for t in ask:
        t.join()
    assert len(answers) == 12
    assert min(answers) > 3000 * 4096


def test_a_process_that_is_work_keeps_it_awake(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}", json={"sleepAfter": "1s"})
    r = server.call("POST", f"/v1/sandboxes/{box}/processes", json={"command": "sleep 600", "processId": "idle"})
    assert "keepAwake" not in r.json()
    wait_for(server, box, "stopped")
    body = {"command": "sleep 4", "processId": "work", "keepAwake": True}
    assert server.call("POST", f"/v1/sandboxes/{box}/processes", json=body).json()["keepAwake"] is True
    time.sleep(3)
    assert state(server, box) == "running"
    wait_for(server, box, "stopped")
    body = {"command": "sleep 600", "processId": "more", "keepAwake": True}
    server.call("POST", f"/v1/sandboxes/{box}/processes", json=body)
    time.sleep(2.5)
    assert state(server, box) == "running"
    server.call("POST", f"/v1/sandboxes/{box}/processes/more/kill", json={})
    wait_for(server, box, "stopped")


HOSTILE = """
import ctypes, mmap, os
os.chdir('/workspace')
def attempt(f):
    try: f()
    except OSError: pass
def reserve():
    with open('reserved', 'wb') as f: os.posix_fallocate(f.fileno(), 0, 400 << 20)
def mapped():
    with open('mapped', 'w+b') as f:
        f.truncate(1 << 40)
        for i in range(300): os.pwrite(f.fileno(), bytes(1 << 20), i << 30)
def direct():
    fd = os.open('direct', os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
    page = mmap.mmap(-1, 1 << 20)
    for _ in range(300): os.write(fd, page)
def attributes():
    for i in range(20000):
        open(f'a{i}', 'w').close()
        os.setxattr(f'a{i}', 'user.x', bytes(3000))
def names():
    os.mkdir('names')
    for i in range(200000): os.symlink('x' * 4000, f'names/{i:0>200}')
def spread():
    for where in ('/tmp', '/var/tmp', '/home/user', '/dev/shm', '/run'):
        attempt(lambda: [open(f'{where}/{i}', 'wb').write(bytes(1 << 20)) for i in range(100)])
for f in (reserve, mapped, direct, attributes, names, spread): attempt(f)
os.sync()
"""


def test_hostile_writers_stay_below_it(own_server: Any) -> None:
    s = own_server()
    s.call("PUT", "/v1/sandboxes/b", json={"limits": {"disk": 64 * MIB}})
    assert s.run("b", HOSTILE)["status"] == "ok"
    [volume] = Path(s.state).glob("disks/*/volume")
    assert volume.stat().st_blocks * 512 < (64 + 16) * MIB, "what ext4 itself takes comes on top"
    assert s.run("b", "1 + 1")["results"][0]["data"]["text/plain"] == "2"
