"""A client of the kernel WebSocket, both protocols, with nothing between the test and the bytes."""

from __future__ import annotations

import itertools
import json
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import websocket

V1 = "v1.kernel.websocket.jupyter.org"
Message = dict[str, Any]


def message(kind: str, content: dict[str, Any], channel: str = "shell", **header: Any) -> Message:
    return {
        "channel": channel,
        "header": {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": "test",
            "username": "test",
            "date": "2026-01-01T00:00:00Z",
            "version": "5.3",
            **header,
        },
        "parent_header": {},
        "metadata": {},
        "content": content,
        "buffers": [],
    }


def encode_v1(m: Message) -> bytes:
    parts = [m["channel"].encode()]
    parts += [json.dumps(m[k]).encode() for k in ("header", "parent_header", "metadata", "content")]
    parts += m["buffers"]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)


def decode_v1(data: bytes) -> Message:
    (n,) = struct.unpack_from("<Q", data)
    offsets = struct.unpack_from(f"<{n}Q", data, 8)
    parts = [data[a:b] for a, b in itertools.pairwise(offsets)]
    keys = ("header", "parent_header", "metadata", "content")
    decoded = {k: json.loads(p) for k, p in zip(keys, parts[1:5], strict=True)}
    return {"channel": parts[0].decode(), **decoded, "buffers": parts[5:]}


def encode_json(m: Message) -> str | bytes:
    buffers = m["buffers"]
    text = json.dumps({**m, "buffers": []}).encode()
    if not buffers:
        return text.decode()
    parts = [text, *buffers]
    offsets = [4 * (len(parts) + 1)]
    for part in parts[:-1]:
        offsets.append(offsets[-1] + len(part))
    return struct.pack(f">{len(offsets) + 1}I", len(parts), *offsets) + b"".join(parts)


def decode_json(data: str | bytes) -> Message:
    if isinstance(data, str):
        return json.loads(data)
    (n,) = struct.unpack_from(">I", data)
    offsets = [*struct.unpack_from(f">{n}I", data, 4), len(data)]
    parts = [data[a:b] for a, b in itertools.pairwise(offsets)]
    return {**json.loads(parts[0]), "buffers": parts[1:]}


class Kernel:
    """One WebSocket of one kernel."""

    def __init__(
        self, url: str, token: str, kernel: str, v1: bool = True, session: str | None = None, **kw: Any
    ) -> None:
        self.v1 = v1
        self.seen: list[Message] = []
        self.session = session or uuid.uuid4().hex
        where = f"{url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?session_id={self.session}"
        kw.setdefault("header", {"Authorization": f"token {token}"})
        self.ws = websocket.create_connection(where, subprotocols=[V1] if v1 else None, timeout=60, **kw)

    def send(self, m: Message) -> Message:
        data = encode_v1(m) if self.v1 else encode_json(m)
        if isinstance(data, bytes):
            self.ws.send_binary(data)
        else:
            self.ws.send(data)
        return m

    def recv(self) -> Message:
        data = self.ws.recv()
        if not data:
            raise ConnectionError("closed")
        if self.v1:
            assert isinstance(data, bytes)
            self.seen.append(decode_v1(data))
        else:
            self.seen.append(decode_json(data))
        return self.seen[-1]

    def request(self, kind: str, content: dict[str, Any], channel: str = "shell", **header: Any) -> Message:
        return self.send(message(kind, content, channel, **header))

    def until(self, done: Callable[[Message], bool], seconds: float = 60) -> list[Message]:
        """Messages up to and including the first for which done() holds."""
        deadline = time.monotonic() + seconds
        got: list[Message] = []
        while time.monotonic() < deadline:
            got.append(self.recv())
            if done(got[-1]):
                return got
        raise TimeoutError([m["header"]["msg_type"] for m in got])

    def finish(self, request: Message) -> list[Message]:
        """What belongs to a request, up to its reply and idle; also what came while another one was waited for."""
        want = {"reply", "idle"}
        mine: list[Message] = []
        mark = 0
        while want:
            if mark == len(self.seen):
                self.recv()
            m = self.seen[mark]
            mark += 1
            if m["parent_header"].get("msg_id") != request["header"]["msg_id"]:
                continue
            mine.append(m)
            if m["channel"] in ("shell", "control"):
                want.discard("reply")
            if m["content"].get("execution_state") == "idle":
                want.discard("idle")
        return mine

    def run(self, code: str, **content: Any) -> list[Message]:
        return self.finish(self.request("execute_request", {"code": code, "allow_stdin": False, **content}))

    def ask(self, kind: str, content: dict[str, Any], channel: str = "shell", **header: Any) -> dict[str, Any]:
        """The content of the reply."""
        got = self.finish(self.request(kind, content, channel, **header))
        return next(m["content"] for m in got if m["channel"] == channel)

    def close(self) -> None:
        self.ws.close()

    def vanish(self) -> None:
        """Without a close frame, as a laptop that is shut."""
        assert self.ws.sock
        self.ws.sock.close()

    def __iter__(self) -> Iterator[Message]:
        while True:
            yield self.recv()


def types(messages: list[Message]) -> list[str]:
    """Their types; text may come in any number of pieces, which count once."""
    got: list[str] = []
    for m in messages:
        kind = m["header"]["msg_type"]
        if kind != "stream" or got[-1:] != ["stream"]:
            got.append(kind)
    return got


def text(messages: list[Message], name: str = "stdout") -> str:
    return "".join(m["content"]["text"] for m in messages if m["content"].get("name") == name)
