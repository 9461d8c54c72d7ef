"""Drives real runners through fake_init: this side plays the gateway."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("CELLBOX_BUILD_DIR", ROOT / "build"))
LIMIT = 60.0  # seconds until a silent runner is called hanging

SETUP, WARMUP, EXECUTE, COMPLETE, INSPECT, IS_COMPLETE, HISTORY = 1, 2, 3, 4, 5, 6, 7
COMM_INFO, COMM, INPUT, SHUTDOWN, DEBUG, SUBSHELL, USAGE = 8, 9, 10, 11, 12, 13, 14
STREAM, HELLO, DISPLAY, UPDATE_DISPLAY, RESULT, CLEAR_OUTPUT, ERROR, STDIN = 32, 33, 34, 35, 36, 37, 38, 39
COMM_OUT, DONE, DEBUG_EVENT, EXITED = 40, 41, 42, 63
JSON_SECTIONS = {
    DEBUG_EVENT: 1,
    HELLO: 1,
    DISPLAY: 3,
    UPDATE_DISPLAY: 3,
    RESULT: 2,
    ERROR: 1,
    STDIN: 1,
    COMM_OUT: 3,
    DONE: 1,
}


def _strict(value: str) -> float:
    raise AssertionError(f"{value} is not JSON")


class Message:
    def __init__(self, data: bytes, from_init: bool) -> None:
        self.type, n, self.arg, self.req = struct.unpack_from("<HHIQ", data)
        lengths = struct.unpack_from(f"<{n}I", data, 16)
        at = 16 + 4 * n
        self.raw = []
        for length in lengths:
            self.raw.append(data[at : at + length])
            at += length
        assert at == len(data)
        self.from_init = from_init
        count = JSON_SECTIONS.get(self.type, 0)
        self.json = [json.loads(s.decode(), parse_constant=_strict) for s in self.raw[:count]]
        self.buffers = self.raw[count:]

    def __repr__(self) -> str:
        return f"<{self.type} req={self.req} arg={self.arg} {[r[:200] for r in self.raw]}>"


class Run:
    """Everything one request brought."""

    def __init__(self, req: int) -> None:
        self.req = req
        self.messages: list[Message] = []

    def of(self, *kinds: int) -> list[Message]:
        return [m for m in self.messages if m.type in kinds]

    def text(self, stream: int = 1) -> str:
        return self.stream(stream).decode("utf-8", "replace")

    def stream(self, stream: int = 1) -> bytes:
        return b"".join(m.raw[1] for m in self.of(STREAM) if m.raw[0][0] == stream)

    @property
    def done(self) -> Message:
        return self.of(DONE)[0]

    @property
    def reply(self) -> dict[str, Any]:
        return self.done.json[0]

    @property
    def error(self) -> dict[str, Any] | None:
        found = self.of(ERROR)
        return found[-1].json[0] if found else None

    @property
    def result(self) -> dict[str, Any]:
        return self.of(RESULT)[0].json[0]

    @property
    def plain(self) -> str:
        return self.result["text/plain"]


class Context:
    def __init__(self, sock: socket.socket, pid: int, fork_us: int) -> None:
        self.sock, self.pid, self.fork_us = sock, pid, fork_us
        self.numbers = itertools.count(1)
        self.counts = itertools.count(1)
        self.partial = b""
        self.exited: Message | None = None
        self.hello: Message | None = None

    def recv(self, timeout: float = LIMIT) -> Message:
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            assert left > 0, "the runner is silent"
            self.sock.settimeout(left)
            packet = self.sock.recv(65536)
            assert packet, "the runner closed its socket"
            flags = packet[0]
            if flags & 4:
                assert flags == 7
                return self._seen(Message(packet[4:], True))
            if flags & 1:
                assert not self.partial
            self.partial += packet[4:]
            if flags & 2:
                data, self.partial = self.partial, b""
                return self._seen(Message(data, False))

    def _seen(self, message: Message) -> Message:
        if message.type == EXITED:
            self.exited = message
        return message

    def send(self, kind: int, sections: list[bytes] | None = None, req: int | None = None, arg: int = 0) -> int:
        sections = sections or []
        req = next(self.numbers) if req is None else req
        data = struct.pack(f"<HHIQ{len(sections)}I", kind, len(sections), arg, req, *map(len, sections))
        data += b"".join(sections)
        chunks = [data[i : i + 65532] for i in range(0, len(data), 65532)]
        for i, chunk in enumerate(chunks):
            flags = (1 if i == 0 else 0) | (2 if i == len(chunks) - 1 else 0)
            self.sock.send(bytes([flags, 0, 0, 0]) + chunk)
        return req

    def collect(self, req: int, until: int = DONE, timeout: float = LIMIT, run: Run | None = None) -> Run:
        run = run or Run(req)
        deadline = time.monotonic() + timeout
        while True:
            message = self.recv(max(0.01, deadline - time.monotonic()))
            run.messages.append(message)
            if message.type == until and (message.req == req or until == EXITED):
                return run
            assert message.type != EXITED or until == EXITED, f"the runner has gone: {run.text(2)}"

    def start(self, code: str, **options: Any) -> int:
        options.setdefault("execution_count", next(self.counts))
        options.setdefault("store_history", True)
        return self.send(EXECUTE, [json.dumps(options).encode(), code.encode("utf-8", "surrogatepass")])

    def run(self, code: str, timeout: float = LIMIT, **options: Any) -> Run:
        return self.collect(self.start(code, **options), timeout=timeout)

    def ask(self, kind: int, options: dict[str, Any] | None = None, *sections: bytes) -> dict[str, Any]:
        req = self.send(kind, [json.dumps(options or {}).encode(), *sections])
        return self.collect(req).reply

    def interrupt(self, req: int) -> None:
        """As init does it: a queued SIGINT with the request as its value."""
        libc = ctypes.CDLL(None, use_errno=True)
        value = ctypes.c_void_p(req & 0xFFFFFFFF)
        assert libc.sigqueue(self.pid, signal.SIGINT, value) == 0

    def wait_text(self, run: Run, text: str, timeout: float = LIMIT) -> None:
        deadline = time.monotonic() + timeout
        while text not in run.text() + run.text(2):
            run.messages.append(self.recv(max(0.01, deadline - time.monotonic())))

    def close(self) -> None:
        self.sock.close()


class Init:
    """fake_init in one of its modes."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        runtime = BUILD / "libexec/cellbox/runtime"
        self.base = {
            "PATH": os.environ["PATH"],
            "CELLBOX_RUNTIME_LIB": str(runtime / "lib"),
            "CELLBOX_PYTHON_PREFIX": os.environ.get("CELLBOX_PYTHON_PREFIX", str(BUILD / "venv")),
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_PRELOAD"):
            if name in os.environ:
                self.base[name] = os.environ[name]
        self.process = subprocess.Popen(
            [BUILD / "tests/fake_init", mode, str(theirs.fileno()), runtime / "bin/cbx-python"],
            pass_fds=[theirs.fileno()],
            env=self.base,
        )
        theirs.close()
        self.control.settimeout(LIMIT)
        ready = self.control.recv(100)
        assert ready.startswith(b"ready"), "fake_init did not start"
        self.preload_us = int(ready.split()[1])

    def context(self, cwd: Path | str = "/", env: dict[str, str] | None = None, hello: bool = True) -> Context:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        full = {"HOME": str(cwd), **self.base, **(env or {})}
        request = b"\0".join([str(cwd).encode(), *(f"{k}={v}".encode() for k, v in full.items())]) + b"\0"
        socket.send_fds(self.control, [request], [theirs.fileno()])
        theirs.close()
        pid, fork_us = map(int, self.control.recv(100).split())
        context = Context(ours, pid, fork_us)
        if hello:
            message = context.recv()
            early: list[Message] = []
            while message.type == STREAM:
                early.append(message)
                message = context.recv()
            assert message.type == HELLO, (message, b"".join(m.raw[1] for m in early).decode())
            context.hello = message
        return context

    def close(self) -> None:
        self.control.close()
        self.process.wait(10)


def readable(context: Context, seconds: float) -> bool:
    return bool(select.select([context.sock], [], [], seconds)[0])


def eventually(check: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def modes() -> Iterator[str]:
    yield from ("warm", "fresh")
