"""A minimal raw ZeroMQ Jupyter client: what a round trip costs without a client library around it."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import zmq


class Client:
    """Speaks to one kernel. Times in seconds; a kernel that is silent for `timeout` raises zmq.Again."""

    def __init__(self, connection: dict[str, Any], timeout: float | None = None) -> None:
        self.key = connection["key"].encode()
        self.context: zmq.Context[Any] = zmq.Context.instance()
        base = f"tcp://{connection['ip']}:"
        self.shell = self.context.socket(zmq.DEALER)
        self.iopub = self.context.socket(zmq.SUB)
        for sock, port in ((self.shell, "shell_port"), (self.iopub, "iopub_port")):
            sock.setsockopt(zmq.RECONNECT_IVL, 1)
            sock.setsockopt(zmq.RCVHWM, 0)
            sock.linger = 0
            if timeout is not None:
                sock.setsockopt(zmq.RCVTIMEO, int(timeout * 1000))
            if sock is self.iopub:
                sock.subscribe(b"")
            sock.connect(base + str(connection[port]))
        self.count = 0

    def send(self, msg_type: str, content: dict[str, Any]) -> str:
        self.count += 1
        msg_id = f"bench-{self.count}"
        header = {
            "msg_id": msg_id,
            "msg_type": msg_type,
            "session": "bench",
            "username": "bench",
            "date": "2026-01-01T00:00:00Z",
            "version": "5.3",
        }
        parts = [json.dumps(p).encode() for p in (header, {}, {}, content)]
        signature = hmac.new(self.key, b"".join(parts), hashlib.sha256).hexdigest().encode()
        self.shell.send_multipart([b"<IDS|MSG>", signature, *parts])
        return msg_id

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Until the kernel answers and iopub is connected."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            msg_id = self.send("kernel_info_request", {})
            if self.shell.poll(500):
                self.shell.recv_multipart()
                if self._idle_of(msg_id, 0.3):
                    return
        raise TimeoutError("the kernel does not answer")

    def _idle_of(self, msg_id: str, timeout: float) -> bool:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if not self.iopub.poll(int(timeout * 1000)):
                return False
            parts = self.iopub.recv_multipart()
            at = parts.index(b"<IDS|MSG>")
            if b'"idle"' in parts[at + 5] and json.loads(parts[at + 3] or b"{}").get("msg_id") == msg_id:
                return True
        return False

    def execute(self, code: str) -> tuple[float, int]:
        """Runs a cell. Returns (seconds until reply and idle, characters of stream text)."""
        start = time.perf_counter()
        msg_id = self.send(
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
            },
        )
        text, idle = 0, False
        while not idle:
            parts = self.iopub.recv_multipart()
            at = parts.index(b"<IDS|MSG>")
            kind = json.loads(parts[at + 2])["msg_type"]
            if kind == "stream":
                text += len(json.loads(parts[at + 5])["text"])
            elif kind == "status" and b'"idle"' in parts[at + 5]:
                idle = json.loads(parts[at + 3]).get("msg_id") == msg_id
        self._reply_to(msg_id)
        return time.perf_counter() - start, text

    def first_text(self, code: str) -> float:
        """Seconds until the first stream message of a cell; then waits for its end."""
        start = time.perf_counter()
        msg_id = self.send(
            "execute_request",
            {"code": code, "silent": False, "store_history": True, "allow_stdin": False},
        )
        seen = 0.0
        while True:
            parts = self.iopub.recv_multipart()
            at = parts.index(b"<IDS|MSG>")
            kind = json.loads(parts[at + 2])["msg_type"]
            if kind == "stream" and not seen:
                seen = time.perf_counter() - start
            if kind != "status" or b'"idle"' not in parts[at + 5]:
                continue
            if json.loads(parts[at + 3]).get("msg_id") == msg_id:
                self._reply_to(msg_id)
                return seen

    def request(self, msg_type: str, content: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        """One shell request. Returns (seconds until its reply, content of the reply)."""
        start = time.perf_counter()
        parts = self._reply_to(self.send(msg_type, content))
        took = time.perf_counter() - start
        return took, json.loads(parts[parts.index(b"<IDS|MSG>") + 5])

    def _reply_to(self, msg_id: str) -> list[bytes]:
        """The reply to that request; replies to earlier ones that nobody waited for are passed over."""
        while True:
            parts = self.shell.recv_multipart()
            if json.loads(parts[parts.index(b"<IDS|MSG>") + 3]).get("msg_id") == msg_id:
                return parts

    def close(self) -> None:
        self.shell.close()
        self.iopub.close()
