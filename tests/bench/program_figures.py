"""Programs in a box: commands beside bubblewrap, keys in a terminal beside a local one."""

from __future__ import annotations

import os
import pty
import subprocess
import time
import tty
from typing import Any

import websocket
from figures import Row, ms, p50, p95
from peers import TOKEN, Cellbox

BOX = "/v1/sandboxes/bench"
BUBBLEWRAP = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "true"]


def timed(call: Any, count: int) -> list[float]:
    for _ in range(5):
        call()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def figure(times: list[float]) -> str:
    return f"{ms(p50(times))} (p95 {ms(p95(times))})"


def commands(server: Cellbox, count: int) -> list[Row]:
    def execute(command: Any) -> list[float]:
        return timed(lambda: server.call("POST", f"{BOX}/exec", {"command": command}), count)

    alone = timed(lambda: subprocess.run(BUBBLEWRAP, check=True), count // 2)
    server.call("POST", f"{BOX}/sessions", {"id": "bench"})
    shell = timed(lambda: server.call("POST", f"{BOX}/sessions/bench/exec", {"command": "true"}), count)
    return [
        ("exec `true`, program and arguments, over HTTP", "2 ms", figure(execute(["true"])), figure(alone)),
        ("exec `true` through `bash -c`", "-", figure(execute("true")), "-"),
        ("`true` in a persistent shell", "-", figure(shell), "-"),
    ]


def local_echo(count: int) -> list[float]:
    pid, fd = pty.fork()
    if pid == 0:
        tty.setraw(0)
        os.write(1, b"go")
        os.execvp("cat", ["cat"])
    while not os.read(fd, 100).endswith(b"go"):
        pass

    def key() -> None:
        os.write(fd, b"k")
        os.read(fd, 100)

    times = timed(key, count)
    os.close(fd)
    os.waitpid(pid, 0)
    return times


def remote_echo(server: Cellbox, count: int) -> list[float]:
    command = ["sh", "-c", "stty raw -echo; printf go; exec cat"]
    terminal = server.call("POST", f"{BOX}/terminals", {"command": command})["id"]
    url = f"ws://{server.address}{BOX}/terminals/{terminal}/attach"
    ws = websocket.create_connection(url, header=[f"Authorization: Bearer {TOKEN}"], timeout=30)
    seen = b""
    while not seen.endswith(b"go"):
        opcode, data = ws.recv_data()
        seen += data if opcode == websocket.ABNF.OPCODE_BINARY else b""

    def key() -> None:
        ws.send_binary(b"k")
        while ws.recv_data()[0] != websocket.ABNF.OPCODE_BINARY:
            pass

    times = timed(key, count)
    ws.close()
    return times


def measure(quick: bool) -> list[Row]:
    count = 100 if quick else 400
    with Cellbox(pool=1) as server:
        server.call("POST", f"{BOX}/exec", {"command": "true"})
        rows = commands(server, count)
        far, near = remote_echo(server, count), local_echo(count)
        rows.append(("a key in a terminal, until its echo is back", "1 ms", figure(far), figure(near)))
        server.call("DELETE", BOX)
    return rows
