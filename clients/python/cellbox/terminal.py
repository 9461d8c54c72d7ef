"""Terminals and their viewers over WebSocket, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import builtins
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import websockets.asyncio.client
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from . import calls
from .calls import Box
from .errors import CellboxError, ConnectionError, error_from_body
from .http import AsyncDriver, Driver, Settings
from .types import TerminalExit, TerminalInfo
from .wire import decode

MESSAGE_MAX = 2 << 20
TRIES_MAX = 8
"""Connections in a row that may fail before a viewer gives up."""


@dataclass
class _Attach:
    """How a viewer is connected, now and later."""

    settings: Settings
    path: str
    cols: int | None
    rows: int | None
    read_only: bool
    reconnect: bool
    on_state_change: Callable[[str], None] | None

    def target(self, cursor: int) -> tuple[str, dict[str, Any]]:
        """Address and options of a connection."""
        query = {
            "cols": self.cols,
            "rows": self.rows,
            "readOnly": 1 if self.read_only else None,
            "cursor": cursor or None,
        }
        text = urlencode({k: v for k, v in query.items() if v is not None})
        address = "ws" + self.settings.url.removeprefix("http") + self.path + "?" + text
        return address, {"additional_headers": self.settings.headers(), "max_size": MESSAGE_MAX, "compression": None}


def _failure(error: Exception) -> CellboxError:
    if isinstance(error, InvalidStatus):
        return error_from_body(error.response.status_code, bytes(error.response.body or b""))
    return ConnectionError(f"the terminal's connection failed: {error}")


class _Viewer:
    """What both viewers know: the messages, and when to connect again. Bytes are output; text is JSON: ready, exit,
    error. No I/O."""

    def __init__(self, attach: _Attach, cursor: int) -> None:
        self.cursor = cursor
        """Bytes of output so far; a later viewer with it is shown only what is new."""
        self.exit: TerminalExit | None = None
        """How the program ended, once it has."""
        self._attach = attach
        self._is_ready = False
        self._kept: list[bytes] = []
        self._replay: list[bytes] | None = None
        self._failures = 0
        self._due: float | None = None  # when to connect again
        self._is_closed = False

    def _tell(self, state: str) -> None:
        if self._attach.on_state_change:
            self._attach.on_state_change(state)

    def _begin(self) -> tuple[str, dict[str, Any]]:
        """Address and options of the next connection. A later one repeats what is behind the cursor: that is shown
        once all of it has come, so a connection that is lost meanwhile shows nothing twice."""
        self._tell("connecting")
        self._replay = [] if self._is_ready else None
        return self._attach.target(self.cursor)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            if self._replay is not None:
                self._replay.append(message)
            elif message:
                self.cursor += len(message) if self._is_ready else 0
                self._kept.append(message)
            return
        control = json.loads(message)
        if control["type"] == "error":
            raise CellboxError(control["message"], "TERMINAL_ERROR")
        if control["type"] not in ("ready", "exit"):
            return
        self._kept += filter(None, self._replay or [])
        self._replay = None
        if control["type"] == "exit":
            self.exit = decode(TerminalExit, control)
            return
        self.cursor = control["cursor"]
        self._is_ready = True
        self._failures = 0
        self._tell("connected")

    def _wait_until(self, error: Exception) -> float:
        """When to connect again (time.monotonic); raises where there is nothing to come back to."""
        if self._due is not None:
            return self._due
        failure = _failure(error)
        if isinstance(error, ConnectionClosed):
            self._tell("disconnected")
        hopeless = not isinstance(failure, ConnectionError) and failure.status not in (429, 502, 503, 504)
        if hopeless or self._is_closed or not self._attach.reconnect or not self._is_ready:
            raise failure from error
        self._failures += 1
        if self._failures > TRIES_MAX:
            raise failure from error
        self._due = time.monotonic() + self._attach.settings.retry.pause(self._failures)
        return self._due

    def _sized(self, cols: int, rows: int) -> str:
        """The message of a new size, which later connections set as well."""
        self._attach.cols, self._attach.rows = cols, rows
        return json.dumps({"type": "resize", "cols": cols, "rows": rows})


def _signal(name: str) -> str:
    return json.dumps({"type": "signal", "signal": name})


class TerminalConnection(_Viewer):
    """One viewer: read output, type, resize, signal. Iterating gives the output until the program ends.

    A connection that is lost is made again by the next read or write, up to eight times in a row; nothing of the output
    is lost or shown twice. One thread may read while another writes.
    """

    def __init__(self, attach: _Attach, cursor: int) -> None:
        super().__init__(attach, cursor)
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._connect()

    def _connect(self) -> None:
        address, options = self._begin()
        self._stack.close()
        self._socket = self._stack.enter_context(websockets.sync.client.connect(address, **options))

    def _connect_again(self, lost: object, error: Exception, deadline: float | None) -> None:
        """Until there is another connection than the lost one; raises builtins.TimeoutError."""
        with self._lock:
            while self._socket is lost:
                due = self._wait_until(error)
                until = due if deadline is None else min(due, deadline)
                self._stop.wait(max(0.0, until - time.monotonic()))
                if until < due and not self._is_closed:
                    raise builtins.TimeoutError("the terminal is not connected yet")
                self._due = None
                try:
                    if not self._is_closed:
                        self._connect()
                except (WebSocketException, OSError) as e:
                    error = e

    def read(self, timeout: float | None = None) -> bytes:
        """Output as it comes; b"" once the program has ended (see ``exit``). Raises builtins.TimeoutError, and
        ConnectionError when the connection is lost for good."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._kept:
            if self.exit:
                return b""
            self._receive(deadline)
        return self._kept.pop(0)

    def wait_ready(self) -> None:
        """Until what was kept has been received; read() gives it."""
        while not self._is_ready and not self.exit:
            self._receive(None)

    def _receive(self, deadline: float | None) -> None:
        socket = self._socket
        try:
            self._take(socket.recv(None if deadline is None else max(0.0, deadline - time.monotonic())))
        except ConnectionClosed as e:
            self._connect_again(socket, e, deadline)

    def write(self, data: str | bytes) -> None:
        """Types. Text is sent as UTF-8."""
        self._send(data.encode() if isinstance(data, str) else bytes(data))

    def resize(self, cols: int, rows: int) -> None:
        """Sets the size for everybody."""
        self._send(self._sized(cols, rows))

    def send_signal(self, name: str) -> None:
        """To what runs in the foreground, e.g. "SIGINT"."""
        self._send(_signal(name))

    def _send(self, message: str | bytes) -> None:
        while True:
            socket = self._socket
            try:
                socket.send(message)
                return
            except ConnectionClosed as e:
                if self.exit:
                    raise _failure(e) from e
                self._connect_again(socket, e, None)

    def close(self) -> None:
        """Ends the viewer; the terminal goes on."""
        self._is_closed = True
        self._stop.set()
        self._stack.close()

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read():
            yield piece

    def __enter__(self) -> TerminalConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncTerminalConnection(_Viewer):
    """As TerminalConnection; methods are awaited."""

    def __init__(self, attach: _Attach, cursor: int) -> None:
        super().__init__(attach, cursor)
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Connects; called once."""
        await self._connect()

    async def _connect(self) -> None:
        address, options = self._begin()
        await self._stack.aclose()
        self._socket = await self._stack.enter_async_context(websockets.asyncio.client.connect(address, **options))

    async def _connect_again(self, lost: object, error: Exception) -> None:
        async with self._lock:
            while self._socket is lost:
                await asyncio.sleep(max(0.0, self._wait_until(error) - time.monotonic()))
                self._due = None
                try:
                    if not self._is_closed:
                        await self._connect()
                except (WebSocketException, OSError) as e:
                    error = e

    async def read(self) -> bytes:
        while not self._kept:
            if self.exit:
                return b""
            await self._receive()
        return self._kept.pop(0)

    async def wait_ready(self) -> None:
        while not self._is_ready and not self.exit:
            await self._receive()

    async def _receive(self) -> None:
        socket = self._socket
        try:
            self._take(await socket.recv())
        except ConnectionClosed as e:
            await self._connect_again(socket, e)

    async def write(self, data: str | bytes) -> None:
        await self._send(data.encode() if isinstance(data, str) else bytes(data))

    async def resize(self, cols: int, rows: int) -> None:
        await self._send(self._sized(cols, rows))

    async def send_signal(self, name: str) -> None:
        await self._send(_signal(name))

    async def _send(self, message: str | bytes) -> None:
        while True:
            socket = self._socket
            try:
                await socket.send(message)
                return
            except ConnectionClosed as e:
                if self.exit:
                    raise _failure(e) from e
                await self._connect_again(socket, e)

    async def close(self) -> None:
        self._is_closed = True
        await self._stack.aclose()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read():
            yield piece

    async def __aenter__(self) -> AsyncTerminalConnection:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class Terminal:
    """A pseudo-terminal of a box; it outlives its viewers. ``info`` is as of when it was got."""

    def __init__(self, driver: Driver, box: Box, info: TerminalInfo) -> None:
        self._driver = driver
        self._box = box
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    def get_info(self) -> TerminalInfo:
        """As it is now."""
        return self._driver.run(calls.known_terminal(self._box, self.id))

    def connect(
        self,
        *,
        cols: int | None = None,
        rows: int | None = None,
        read_only: bool = False,
        cursor: int = 0,
        reconnect: bool = True,
        on_state_change: Callable[[str], None] | None = None,
    ) -> TerminalConnection:
        """A viewer. ``cols`` and ``rows`` set the size, on every connection; ``cursor``: bytes of output that are known
        already. ``reconnect``: a connection that is lost is made again, and only what is new is shown.
        ``on_state_change`` gets "connecting", "connected", "disconnected".
        """
        path = calls.below(self._box, "terminals", self.id) + "/attach"
        attach = _Attach(self._driver.settings, path, cols, rows, read_only, reconnect, on_state_change)
        try:
            viewer = TerminalConnection(attach, cursor)
        except (WebSocketException, OSError) as e:
            raise _failure(e) from e
        viewer.wait_ready()
        return viewer

    def delete(self) -> None:
        """Ends its program and forgets it."""
        self._driver.run(calls.remove(self._box, "terminals", self.id))


class AsyncTerminal:
    """As Terminal; methods are awaited."""

    def __init__(self, driver: AsyncDriver, box: Box, info: TerminalInfo) -> None:
        self._driver = driver
        self._box = box
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    async def get_info(self) -> TerminalInfo:
        return await self._driver.run(calls.known_terminal(self._box, self.id))

    async def connect(
        self,
        *,
        cols: int | None = None,
        rows: int | None = None,
        read_only: bool = False,
        cursor: int = 0,
        reconnect: bool = True,
        on_state_change: Callable[[str], None] | None = None,
    ) -> AsyncTerminalConnection:
        path = calls.below(self._box, "terminals", self.id) + "/attach"
        attach = _Attach(self._driver.settings, path, cols, rows, read_only, reconnect, on_state_change)
        viewer = AsyncTerminalConnection(attach, cursor)
        try:
            await viewer.open()
        except (WebSocketException, OSError) as e:
            raise _failure(e) from e
        await viewer.wait_ready()
        return viewer

    async def delete(self) -> None:
        await self._driver.run(calls.remove(self._box, "terminals", self.id))
