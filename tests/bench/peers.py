"""The servers under test: Cellbox as users start it, stock ipykernel by itself and behind a stock jupyter_server."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CELLBOX_BUILD_DIR", ROOT / "build"))
TOKEN = "bench"


def peak(pid: int) -> float:
    """MiB: high-water mark of a process's resident memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(x.split()[1]) for x in text.splitlines() if x.startswith("VmHWM:")) / 1024


class Cellbox:
    """A server of its own on a free port; `with` stops it."""

    token = TOKEN
    kernel = "python"

    def __init__(self, pool: int, *options: str) -> None:
        self.state = tempfile.TemporaryDirectory(prefix="cellbox-bench-")
        self.log = (Path(self.state.name) / "log").open("w+b")
        self.process = subprocess.Popen(
            [
                BUILD / "bin" / "kernel-gw",
                "--listen=127.0.0.1:0",
                f"--token={TOKEN}",
                f"--state-dir={self.state.name}/state",
                f"--pool={pool}",
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "listening on http://" not in line:
            raise RuntimeError(f"the server did not start: {line!r}")
        self.address = line.split("http://")[1].strip()
        self.connection = self.connect()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=120)

    def call(self, method: str, path: str, body: Any = None, connection: Any = None) -> Any:
        c = connection or self.connection
        data = None if body is None else json.dumps(body)
        c.request(
            method,
            path,
            body=data,
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        r = c.getresponse()
        text = r.read()
        if r.status >= 300:
            raise RuntimeError(f"{method} {path}: {r.status} {text[:300]!r}")
        return json.loads(text) if text else None

    def run(self, name: str, code: str) -> Any:
        return self.call("POST", f"/v1/sandboxes/{name}/run", {"code": code})

    def zmq(self, name: str, language: str = "python") -> dict[str, Any]:
        """Connection file of a new context in that sandbox."""
        self.call("PUT", f"/v1/sandboxes/{name}", {})
        context = self.call("POST", f"/v1/sandboxes/{name}/contexts", {"language": language})
        found = self.call("GET", f"/v1/sandboxes/{name}/contexts/{context['id']}/connection?encryption=none")
        assert isinstance(found, dict)
        return found

    def pids(self, name: str) -> list[int]:
        """Processes of this server with that name."""
        mine, found = {self.process.pid}, []
        for _ in range(4):  # boxd, its children, init's children
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    stat = (entry / "stat").read_text()
                except OSError:
                    continue
                if int(stat.rpartition(")")[2].split()[1]) in mine:
                    mine.add(int(entry.name))
        for pid in mine:
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    found.append(pid)
            except OSError:
                continue
        return found

    def memory(self, name: str, field: str = "Pss") -> float:
        """MiB of all its processes of that name."""
        total = 0
        for pid in self.pids(name):
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += next(int(x.split()[1]) for x in text.splitlines() if x.startswith(field + ":"))
        return total / 1024

    def gateway_peak(self) -> float:
        """MiB: high-water mark of the gateway's resident memory."""
        (pid,) = self.pids("cbx-gateway")
        return peak(pid)

    def __enter__(self) -> Cellbox:
        end = time.monotonic() + 60
        while time.monotonic() < end:  # the first run waits for the warm interpreter
            try:
                self.run("warm-up", "1")
                break
            except RuntimeError:
                time.sleep(0.2)
        self.call("DELETE", "/v1/sandboxes/warm-up")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.state.cleanup()


class Stock:
    """One stock ipykernel process."""

    def __init__(self) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel()
        info: dict[str, Any] = dict(self.manager.get_connection_info())
        self.connection: dict[str, Any] = dict(info, key=info["key"].decode())
        self.pid = self.manager.provisioner.pid  # type: ignore[union-attr]

    def __enter__(self) -> Stock:
        return self

    def __exit__(self, *_: object) -> None:
        self.manager.shutdown_kernel(now=True)


class StockServer:
    """A stock jupyter_server with its ipykernels. `limits=False` switches its output limits off."""

    token = TOKEN
    kernel = "python3"

    def __init__(self, limits: bool = True) -> None:
        self.home = tempfile.TemporaryDirectory(prefix="cellbox-bench-stock-")
        env = dict(os.environ)
        env |= {f"JUPYTER_{name}_DIR": f"{self.home.name}/{name}" for name in ("CONFIG", "DATA", "RUNTIME")}
        env["IPYTHONDIR"] = f"{self.home.name}/ipython"
        off = [f"--ZMQChannelsWebsocketConnection.iopub_{kind}_rate_limit=0" for kind in ("msg", "data")]
        self.process = subprocess.Popen(
            [
                Path(sys.executable).with_name("jupyter"), "server", "--allow-root", "--no-browser", "--ip=127.0.0.1",
                "--port=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={self.home.name}",
                *([] if limits else off),
            ],
            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        line = next((x for x in self.process.stderr if "token=" in x), "")
        if not line:
            raise RuntimeError("the stock server did not start")
        self.address = line.split("http://")[1].split("/")[0]
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        c = http.client.HTTPConnection(self.address, timeout=120)
        data = None if body is None else json.dumps(body)
        c.request(method, path, body=data, headers={"Authorization": f"token {TOKEN}"})
        r = c.getresponse()
        text = r.read()
        c.close()
        if r.status >= 300:
            raise RuntimeError(f"{method} {path}: {r.status} {text[:300]!r}")
        return json.loads(text) if text else None

    def peak(self) -> float:
        return peak(self.process.pid)

    def __enter__(self) -> StockServer:
        end = time.monotonic() + 60
        while True:  # the address is printed before it listens
            try:
                self.call("GET", "/api")
                return self
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.home.cleanup()
