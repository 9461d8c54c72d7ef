"""Viewers of terminals whose connection is lost, against a server whose every message the test says."""

from __future__ import annotations

import asyncio
import builtins
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlparse

import cellbox
import pytest
import websockets.sync.server
from cellbox.http import Settings
from cellbox.terminal import AsyncTerminalConnection, TerminalConnection, _Attach
from websockets.sync.server import ServerConnection

Script = Callable[[ServerConnection], None]


class Server:
    """Runs one script for each connection, and keeps what they were asked and sent."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.queries: list[dict[str, list[str]]] = []
        self.states: list[str] = []
        self._server = websockets.sync.server.serve(self._connected, "127.0.0.1", 0)
        self._port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _connected(self, socket: ServerConnection) -> None:
        assert socket.request
        self.queries.append(parse_qs(urlparse(socket.request.path).query))
        (self._scripts.pop(0) if self._scripts else lost())(socket)

    def attach(self, reconnect: bool = True) -> _Attach:
        settings = Settings(f"http://127.0.0.1:{self._port}", "t", cellbox.Retry(delay=0.01, max_delay=0.02))
        return _Attach(settings, "/attach", 90, 20, False, reconnect, self.states.append)

    def stop(self) -> None:
        self._server.shutdown()


@contextmanager
def serving(*scripts: Script) -> Iterator[Server]:
    server = Server(*scripts)
    yield server
    server.stop()


def lost(*messages: bytes | dict[str, object], hears: list[str | bytes] | None = None) -> Script:
    """Sends these and breaks off, after as many messages as it hears into the list."""

    def script(socket: ServerConnection) -> None:
        for message in messages:
            socket.send(message if isinstance(message, bytes) else json.dumps(message))
        if hears is not None:
            hears.append(socket.recv())
        socket.socket.close()

    return script


def ready(cursor: int) -> dict[str, object]:
    return {"type": "ready", "cursor": cursor, "readOnly": False}


EXIT = {"type": "exit", "code": 3}
STORY = (
    lost(b"replay", ready(1006), b" live"),
    lost(b" half"),  # of a replay that is never whole
    lost(b" half", b" of it", ready(1022), b" and"),
    lost(b" the end", EXIT),
)
TOLD = b"replay live half of it and the end"


def test_only_what_is_new_is_shown() -> None:
    with serving(*STORY) as server:
        viewer = TerminalConnection(server.attach(), 0)
        assert b"".join(viewer) == TOLD
        assert (viewer.exit, viewer.cursor) == (cellbox.TerminalExit(3), 1026)
        assert [q.get("cursor") for q in server.queries] == [None, ["1011"], ["1011"], ["1026"]]
        assert server.states == [
            *("connecting", "connected", "disconnected"),
            *("connecting", "disconnected"),
            *("connecting", "connected", "disconnected"),
            "connecting",
        ]


def test_only_what_is_new_is_shown_to_tasks() -> None:
    async def read(server: Server) -> bytes:
        viewer = AsyncTerminalConnection(server.attach(), 0)
        await viewer.open()
        return b"".join([piece async for piece in viewer])

    with serving(*STORY) as server:
        assert asyncio.run(read(server)) == TOLD


def test_what_is_typed_goes_to_the_next_connection_with_the_last_size() -> None:
    heard: list[str | bytes] = []
    with serving(lost(ready(0), hears=heard), lost(ready(0), hears=heard)) as server:
        viewer = TerminalConnection(server.attach(), 0)
        viewer.wait_ready()
        viewer.resize(100, 30)
        with pytest.raises(builtins.TimeoutError):
            viewer.read(0.3)  # connects again, and nothing comes
        viewer.write("x")
        deadline = time.monotonic() + 10
        while len(heard) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert heard == [json.dumps({"type": "resize", "cols": 100, "rows": 30}), b"x"]
        assert (server.queries[1]["cols"], server.queries[1]["rows"]) == (["100"], ["30"])
        viewer.close()


@pytest.mark.parametrize(("scripts", "reconnect"), [([lost()], True), ([lost(ready(0))], False)])
def test_no_other_connection_is_made(scripts: list[Script], reconnect: bool) -> None:
    """Before the first one was ready, or where the caller wants none."""
    with serving(*scripts) as server:
        viewer = TerminalConnection(server.attach(reconnect), 0)
        with pytest.raises(cellbox.ConnectionError):
            viewer.read()
        assert len(server.queries) == 1


def test_it_gives_up() -> None:
    with serving(lost(ready(0))) as server:
        viewer = TerminalConnection(server.attach(), 0)
        with pytest.raises(cellbox.ConnectionError):
            viewer.read()
        assert len(server.queries) == 9


def test_a_viewer_that_was_closed_stays_closed() -> None:
    with serving(lost(ready(0), hears=[])) as server:
        viewer = TerminalConnection(server.attach(), 0)
        viewer.wait_ready()
        viewer.close()
        with pytest.raises(cellbox.ConnectionError):
            viewer.read()
        with pytest.raises(cellbox.ConnectionError):
            viewer.write("x")
        assert len(server.queries) == 1
