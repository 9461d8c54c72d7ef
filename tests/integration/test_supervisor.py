"""What the supervisor itself has to survive."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import requests
from conftest import BUILD, TOKEN


def test_the_reader_of_the_log_goes(tmp_path: Path) -> None:
    state = Path(tempfile.mkdtemp(prefix="cellbox-test-"))
    reader = subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert reader.stdin
    command = [BUILD / "bin/kernel-gw", "--listen", "127.0.0.1:0", "--state-dir", state, "--token", TOKEN]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=reader.stdin, text=True)
    reader.stdin.close()
    assert server.stdout
    url = ""
    while not url:
        found = re.match(r"listening on (http://\S+)", server.stdout.readline())
        url = found[1] if found else ""
    server.stdout.close()
    reader.wait(20)
    gateway = next(p for p in psutil.Process(server.pid).children() if p.name() == "cbx-gateway")
    gateway.kill()  # the supervisor has something to say about that
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for _ in range(500):
        assert server.poll() is None
        try:
            if requests.get(url + "/readyz", headers=headers, timeout=2).status_code == 200:
                break
        except requests.ConnectionError:
            pass
        time.sleep(0.02)
    r = requests.post(url + "/v1/sandboxes/a/run", headers=headers, json={"code": "print(1)"}, timeout=60)
    assert r.json()["logs"]["stdout"] == ["1\n"], r.text
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0


def test_many_children_end_at_once(own_server: Any) -> None:
    """A signal stands for any number of them: none is left unnoticed behind another."""
    server = own_server("--pool", "1", "--pool-node", "0")
    for i in range(4):
        server.run(f"b{i}", "1")
    children = psutil.Process(server.process.pid).children()
    inits = [p for p in children if p.name() == "cbx-init"]
    gateway, egress = (next(p for p in children if p.name() == n) for n in ("cbx-gateway", "cbx-egress"))
    os.kill(server.process.pid, signal.SIGSTOP)
    for p in [*inits, gateway, egress]:
        p.kill()
    os.kill(server.process.pid, signal.SIGCONT)
    server.wait_ready()
    for _ in range(200):
        left = [p for p in psutil.Process(server.process.pid).children() if p.status() == psutil.STATUS_ZOMBIE]
        if not left:
            break
        time.sleep(0.05)
    assert not left
    assert server.run("b0", "print(5)")["logs"]["stdout"] == ["5\n"]


def uids(server: Any) -> set[int]:
    """Of all processes of its boxes and its own, as 65536 or 8 of them at a time."""
    own = set()
    for p in psutil.Process(server.process.pid).children(recursive=True):
        uid = p.uids().real
        own.add(uid // 8 if uid < 0x20000000 + 65536 else uid // 65536)
    return own - {0}


def leftovers() -> set[str]:
    places = [*Path("/run/cellbox").glob("*-*"), *Path("/sys/fs/cgroup").glob("**/cellbox-[0-9]*")]
    return {str(p) for p in places}


def test_two_servers_share_no_uid(own_server: Any, tmp_path: Path) -> None:
    first = own_server("--pool", "1", "--pool-node", "0")
    second = own_server("--pool", "1", "--pool-node", "0")
    for server in (first, second):
        server.run("a", "kept = 1")
        assert uids(server)
    assert not uids(first) & uids(second)
    # the state of one that comes back as another user is still its own
    first.run("a", "open('/workspace/f', 'w').write('x')")
    first.stop()
    third = own_server("--pool", "1", "--pool-node", "0", state=first.state)
    assert third.run("a", "print(open('/workspace/f').read())")["logs"]["stdout"] == ["x\n"]
    assert not uids(third) & uids(second)


def test_the_next_start_sweeps(own_server: Any) -> None:
    before = leftovers()
    first = own_server("--pool", "1", "--pool-node", "0")
    first.run("a", "1")
    pid = first.process.pid
    mine = {p for p in leftovers() - before if p.split("-")[-1] == str(pid) or f"cellbox-{pid}" in p}
    assert mine
    children = psutil.Process(pid).children(recursive=True)
    first.process.kill()
    first.process.wait()
    psutil.wait_procs(children, timeout=30)
    own_server("--pool", "1", "--pool-node", "0")
    assert not mine & leftovers()


def test_an_image_that_is_not_what_its_name_says(own_server: Any, tmp_path: Path) -> None:
    name = "12" * 32
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs/default").write_text(name)
    shutil.copy(BUILD / "libexec/cellbox/runtime.erofs", tmp_path / f"{name}.erofs")
    server = own_server("--image-dir", str(tmp_path), "--pool", "0", "--pool-node", "0")
    for _ in range(2):
        r = server.call("POST", "/v1/sandboxes/a/run", json={"code": "1"})
        assert "holds something else" in r.text, r.text
