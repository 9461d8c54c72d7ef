"""Short ways to the routes that run programs in a box."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import websocket
from sse import events

EVENTS = {"Accept": "text/event-stream"}


def post(server: Any, box: str, where: str, status: int = 200, **body: Any) -> dict[str, Any]:
    r = server.call("POST", f"/v1/sandboxes/{box}/{where}", json=body)
    assert r.status_code == status, r.text[:2000]
    return r.json()


def refused(server: Any, box: str, where: str, status: int, **body: Any) -> str:
    """The error's code."""
    return post(server, box, where, status, **body)["error"]["code"]


def get(server: Any, box: str, path: str, status: int = 200) -> dict[str, Any]:
    r = server.call("GET", f"/v1/sandboxes/{box}/{path}")
    assert r.status_code == status, r.text[:2000]
    return r.json()


def execute(server: Any, box: str, command: Any, **body: Any) -> dict[str, Any]:
    return post(server, box, "exec", command=command, **body)


def stream(server: Any, box: str, path: str, **body: Any) -> Iterator[dict[str, Any]]:
    url = f"/v1/sandboxes/{box}/{path}"
    return events(server.call("POST", url, json=body, headers=EVENTS, stream=True))


def follow(server: Any, box: str, path: str, **headers: str) -> Iterator[dict[str, Any]]:
    url = f"/v1/sandboxes/{box}/{path}"
    return events(server.call("GET", url, headers=EVENTS | headers, stream=True))


def eventually(check: Callable[[], Any], seconds: float = 20) -> Any:
    """Polls until check gives something true, which is returned."""
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def processes_of(server: Any, box: str) -> str:
    """Command lines of everything in the box."""
    return execute(server, box, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")["stdout"]


class Viewer:
    """A terminal's WebSocket."""

    def __init__(self, server: Any, box: str, terminal: str, query: str = "") -> None:
        url = server.url.replace("http", "ws") + f"/v1/sandboxes/{box}/terminals/{terminal}/attach?{query}"
        self.ws = websocket.create_connection(url, header=[f"Authorization: Bearer {server.token}"], timeout=30)
        self.shown = b""
        self.messages: list[Any] = []

    def read(self) -> bool:
        """One message. False: the connection has ended."""
        opcode, data = self.ws.recv_data()
        if opcode == websocket.ABNF.OPCODE_BINARY:
            self.shown += data
        elif opcode == websocket.ABNF.OPCODE_TEXT:
            self.messages.append(json.loads(data))
        return opcode != websocket.ABNF.OPCODE_CLOSE

    def until(self, text: bytes) -> bytes:
        """Reads until the terminal has shown text; what came up to its end."""
        while text not in self.shown:
            assert self.read(), self.shown[-500:]
        at = self.shown.index(text) + len(text)
        seen, self.shown = self.shown[:at], self.shown[at:]
        return seen

    def message(self, kind: str) -> dict[str, Any]:
        while not any(m["type"] == kind for m in self.messages):
            assert self.read(), self.messages
        found = next(m for m in self.messages if m["type"] == kind)
        self.messages.remove(found)
        return found

    def type(self, text: bytes) -> None:
        self.ws.send_binary(text)

    def control(self, text: str) -> None:
        self.ws.send(text)

    def close(self) -> None:
        self.ws.close()
