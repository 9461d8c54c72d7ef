"""One server from the real binaries for all tests of a session."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from kernelspec import installed as installed
from targets import target as target

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CELLBOX_BUILD_DIR", ROOT / "build"))
START_SECONDS = 120
TOKEN = "integration-token"


class Server:
    """A running kernel-gw and its interface."""

    def __init__(self, state: Path, *args: str) -> None:
        self.state = state
        self.args = args
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [BUILD / "bin" / "kernel-gw", "--listen", "127.0.0.1:0", "--state-dir", state, "--token", TOKEN, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = self._wait_for_url()
        threading.Thread(target=self._drain, args=(self.process.stdout,), daemon=True).start()
        self.token = TOKEN
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {TOKEN}"

    def _drain(self, stream: Any) -> None:
        for line in stream:
            self.log.append(line)

    def _wait_for_url(self) -> str:
        assert self.process.stdout
        threading.Thread(target=self._drain, args=(self.process.stderr,), daemon=True).start()
        killer = threading.Timer(START_SECONDS, self.process.kill)
        killer.start()
        for line in self.process.stdout:
            found = re.match(r"listening on (http://\S+)", line)
            if found:
                killer.cancel()
                return found[1]
        raise RuntimeError("the server did not start:\n" + "".join(self.log))

    def call(self, method: str, path: str, **kw: Any) -> requests.Response:
        kw.setdefault("timeout", 60)
        return self.http.request(method, self.url + path, **kw)

    def run(self, sandbox: str, code: str, **body: Any) -> dict[str, Any]:
        r = self.call("POST", f"/v1/sandboxes/{sandbox}/run", json={"code": code, **body})
        assert r.status_code == 200, r.text
        return r.json()

    def gateway(self) -> psutil.Process:
        """Process G."""
        for child in psutil.Process(self.process.pid).children():
            if child.name() == "cbx-gateway":
                return child
        raise RuntimeError("no gateway process")

    def wait_ready(self) -> None:
        for _ in range(500):
            try:
                if self.call("GET", "/readyz", timeout=2).status_code == 200:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.02)
        raise RuntimeError("the server is not ready")

    def check(self) -> None:
        """A process that a sanitizer ended is started again: only the log knows of it."""
        for i, line in enumerate(self.log):
            if "ERROR: AddressSanitizer" in line or "ERROR: LeakSanitizer" in line or ": runtime error: " in line:
                raise AssertionError("".join(self.log[i : i + 60]))

    def stop(self) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    state = Path(tempfile.mkdtemp(prefix="cellbox-test-"))
    s = Server(state)
    yield s
    s.stop()
    shutil.rmtree(state, ignore_errors=True)
    s.check()


@pytest.fixture
def own_server() -> Iterator[Any]:
    """Starts servers that a test may break: own_server(*arguments, state=...)."""
    made: list[Server] = []
    dirs: list[Path] = []

    def start(*args: str, state: Path | None = None) -> Server:
        if state is None:
            state = Path(tempfile.mkdtemp(prefix="cellbox-test-"))
            dirs.append(state)
        made.append(Server(state, *args))
        return made[-1]

    yield start
    for s in made:
        print("".join(s.log[-40:]))  # shown when the test failed
        if s.process.poll() is None:
            s.stop()
    for d in dirs:
        shutil.rmtree(d, ignore_errors=True)
    for s in made:
        s.check()


@pytest.fixture
def box(server: Server) -> Iterator[str]:
    """Name of a sandbox that is removed after the test."""
    name = "t-" + uuid.uuid4().hex[:12]
    yield name
    server.call("DELETE", f"/v1/sandboxes/{name}")
