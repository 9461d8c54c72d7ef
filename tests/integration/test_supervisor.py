"""What the supervisor itself has to survive."""

from __future__ import annotations

import os
import re
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
