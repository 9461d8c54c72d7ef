"""A minimal WebSocket client of a kernel: what a round trip costs without a client library around it."""

from __future__ import annotations

import json
import struct
import time
import uuid
from itertools import pairwise
from typing import Any

import websocket

SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"
SECONDS = 120


def pack(channel: str, msg_type: str, content: dict[str, Any], session: str) -> tuple[str, bytes]:
    """Returns (id of the message, its frame)."""
    msg_id = uuid.uuid4().hex
    header = {
        "msg_id": msg_id, "msg_type": msg_type, "session": session, "username": "bench",
        "date": "2026-01-01T00:00:00Z", "version": "5.4",
    }  # fmt: skip
    parts = [channel.encode(), *(json.dumps(p).encode() for p in (header, {}, {}, content))]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return msg_id, struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)


def unpack(frame: bytes) -> list[bytes]:
    """channel, header, parent header, metadata, content, buffers."""
    (count,) = struct.unpack_from("<Q", frame)
    offsets = struct.unpack_from(f"<{count}Q", frame, 8)
    return [frame[a:b] for a, b in pairwise(offsets)]


def execute_request(code: str, session: str) -> tuple[str, bytes]:
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    return pack("shell", "execute_request", content, session)


class Socket:
    def __init__(self, address: str, token: str, kernel: str) -> None:
        self.session = uuid.uuid4().hex
        self.socket = websocket.create_connection(
            f"ws://{address}/api/kernels/{kernel}/channels?session_id={self.session}&token={token}",
            subprotocols=[SUBPROTOCOL], timeout=SECONDS, skip_utf8_validation=True,
        )  # fmt: skip
        assert self.socket.getsubprotocol() == SUBPROTOCOL

    def execute(self, code: str) -> tuple[float, int]:
        """Runs a cell. Returns (seconds until reply and idle, characters of stream text)."""
        texts = []
        start = time.perf_counter()
        msg_id, frame = execute_request(code, self.session)
        self.socket.send_binary(frame)
        mine = msg_id.encode()
        replied = idle = False
        while not (replied and idle):
            channel, header, parent, _, content, *_ = unpack(self._receive())
            if mine not in parent:
                continue
            if channel == b"shell":
                replied = True
            elif b'"stream"' in header:
                texts.append(content)
            elif b'"status"' in header and b'"idle"' in content:
                idle = True
        took = time.perf_counter() - start
        return took, sum(len(json.loads(t)["text"]) for t in texts if json.loads(t)["name"] == "stdout")

    def _receive(self) -> bytes:
        frame = self.socket.recv()
        assert isinstance(frame, bytes), "binary frames only"
        return frame

    def close(self) -> None:
        self.socket.close()
