"""Files, watches, previews and sleep."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from figures import Row, ms, p50, p95
from peers import Cellbox

SITE = """
const http = require('http')
http.createServer((q, s) => { s.setHeader('Content-Length', '2'); s.end('ok') }).listen(5000, '127.0.0.1')
"""
# The same requests from inside the box: what the preview adds is the difference.
INSIDE = """
import http.client, statistics, subprocess, time
site = subprocess.Popen(['node', '/workspace/site.js'])
while True:
    try:
        c = http.client.HTTPConnection('127.0.0.1', 5000)
        c.connect()
        break
    except OSError:
        time.sleep(0.02)
times = []
for _ in range(COUNT):
    began = time.perf_counter()
    c.request('GET', '/')
    c.getresponse().read()
    times.append(time.perf_counter() - began)
print(statistics.median(times))
"""


def timed(count: int, work: Callable[[], Any]) -> list[float]:
    values = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        values.append(time.perf_counter() - began)
    return values


class Client:
    """Raw requests on one connection."""

    def __init__(self, server: Cellbox, host: str | None = None) -> None:
        self.connection: http.client.HTTPConnection = server.connect()
        self.headers = {"Authorization": f"Bearer {server.token}"} | ({"Host": host} if host else {})

    def __call__(self, method: str, path: str, body: Any = None) -> bytes:
        self.connection.request(method, path, body, self.headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:200]!r}")
        return data


def files(server: Cellbox, quick: bool) -> list[Row]:
    client = Client(server)
    block = os.urandom(1 << 20)
    at = "/v1/sandboxes/bench-files/files/workspace"

    def both() -> None:
        client("PUT", f"{at}/one", block)
        client("GET", f"{at}/one")

    both()
    times = timed(20 if quick else 200, both)
    size = (128 if quick else 1024) << 20
    client("PUT", f"{at}/large", bytes(size))
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        client.connection.request("GET", f"{at}/large", headers=client.headers)
        answer = client.connection.getresponse()
        room = bytearray(1 << 20)
        while answer.readinto(room):
            pass
        rates.append(size / (time.perf_counter() - began))
    return [
        ("file of 1 MB, write and read", "8 ms", f"{ms(p50(times))} (p95 {ms(p95(times))})"),
        (f"download of {size >> 20} MiB", "500 MB/s", f"{p50(rates) / 1e6:.0f} MB/s"),
    ]


def watch(server: Cellbox, quick: bool) -> list[Row]:
    """From before the request that changes a file to the event: the change itself is part of it."""
    stream, client = server.connect(), Client(server)
    client("PUT", "/v1/sandboxes/bench-files/files/workspace/w/0?parents=true", b"")
    headers = client.headers | {"Accept": "text/event-stream"}
    stream.request("GET", "/v1/sandboxes/bench-files/watch?path=/workspace/w", headers=headers)
    lines = stream.getresponse()

    def until(word: bytes) -> None:
        while word not in lines.readline():
            pass

    until(b"event: watching")

    def change() -> None:
        client("POST", "/v1/sandboxes/bench-files/files:mkdir", json.dumps({"path": f"w/{time.monotonic_ns()}"}))
        until(b"event: create")

    times = timed(20 if quick else 100, change)
    stream.close()
    return [("directory made by a request, and its event seen", "5 ms", f"{ms(p50(times))} (p95 {ms(p95(times))})")]


def preview(server: Cellbox, quick: bool) -> list[Row]:
    client = Client(server)
    count = 300 if quick else 2000
    client("PUT", "/v1/sandboxes/bench-site/files/workspace/site.js", SITE.encode())
    code = INSIDE.replace("COUNT", str(count))
    done = json.loads(client("POST", "/v1/sandboxes/bench-site/run", json.dumps({"code": code})))
    inside = float("".join(done["logs"]["stdout"]))
    port = json.loads(client("PUT", "/v1/sandboxes/bench-site/ports/5000", "{}"))
    outside = Client(server, port["url"].split("/")[2])
    outside("GET", "/")
    through = p50(timed(count, lambda: outside("GET", "/")))
    (gateway,) = server.pids("cbx-gateway")
    wrk = ["wrk", "-t1", "-c32", f"-d{2 if quick else 5}s", "-H", f"Host: {port['url'].split('/')[2]}"]
    before = sum(psutil.Process(gateway).cpu_times()[:2])
    out = subprocess.run([*wrk, f"http://{server.address}/"], capture_output=True, text=True, check=True).stdout
    used = sum(psutil.Process(gateway).cpu_times()[:2]) - before
    done = int(re.search(r"(\d+) requests in", out)[1])  # type: ignore[index]
    if "Non-2xx" in out:
        raise RuntimeError(out)
    shown = f"{(through - inside) * 1000:.3f} ms ({ms(through)}, inside {ms(inside)})"
    busy = f"{used / done * 1e6:.1f} us, {done / used / 1000:.0f}k"
    return [
        ("what a preview adds to a request of a Node server", "0.2 ms", shown),
        ("the same: CPU of the gateway per request, so many a second on one core", "20k", busy),
    ]


def wake(server: Cellbox, quick: bool) -> list[Row]:
    client = Client(server)
    client("PUT", "/v1/sandboxes/bench-sleep", json.dumps({"sleepAfter": 1}))
    times = []
    for _ in range(5 if quick else 20):
        while json.loads(client("GET", "/v1/sandboxes/bench-sleep"))["state"] != "stopped":
            time.sleep(0.05)
        time.sleep(0.3)  # its old box is gone as well
        times += timed(1, lambda: client("POST", "/v1/sandboxes/bench-sleep/exec", json.dumps({"command": "true"})))
    return [("sleeping sandbox to the end of its first command", "50 ms", f"{ms(p50(times))} (p95 {ms(p95(times))})")]


def resident(server: Cellbox) -> int:
    """KiB of all processes of the server."""
    pids = [server.process.pid]
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += [int(child) for child in children.read_text().split()]
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += int(re.findall(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[0])
    return total


def sleeping(server: Cellbox, quick: bool) -> list[Row]:
    client = Client(server)
    count = 50 if quick else 1000

    def states() -> list[str]:
        listed = json.loads(client("GET", "/v1/sandboxes"))["sandboxes"]
        return [s["state"] for s in listed if s["name"].startswith("bench-many-")]

    def settled() -> int:
        while set(states()) - {"stopped"}:
            time.sleep(0.2)
        time.sleep(3)
        return resident(server)

    before = settled()
    for i in range(count):
        client("PUT", f"/v1/sandboxes/bench-many-{i}", json.dumps({"sleepAfter": 1}))
    each = (settled() - before) / count
    return [(f"memory of the whole server for each of {count} sleeping sandboxes", "1024 KiB", f"{each:.1f} KiB")]


def measure(quick: bool) -> list[Row]:
    with Cellbox(pool=4) as server:
        rows = [*files(server, quick), *watch(server, quick), *preview(server, quick), *wake(server, quick)]
        return [*rows, *sleeping(server, quick)]
