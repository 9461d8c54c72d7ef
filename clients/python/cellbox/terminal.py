"""Terminals and their viewers over WebSocket, blocking and asynchronous."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
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


class _Viewer:
    """What both viewers know: the messages. Bytes are output; text is JSON: ready, exit, error."""

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        """Bytes of output so far; a later viewer with it is shown only what is new."""
        self.exit: TerminalExit | None = None
        """How the program ended, once it has."""
        self._is_ready = False
        self._kept: list[bytes] = []

    def _take(self, message: str | bytes) -> bytes:
        """Output of a message, b"" if it is none."""
        if isinstance(message, bytes):
            if self._is_ready:
                self.cursor += len(message)
            return message
        control = json.loads(message)
        if control["type"] == "ready":
            self.cursor = control["cursor"]
            self._is_ready = True
        elif control["type"] == "exit":
            self.exit = decode(TerminalExit, control)
        elif control["type"] == "error":
            raise CellboxError(control["message"], "TERMINAL_ERROR")
        return b""


def _resize(cols: int, rows: int) -> str:
    return json.dumps({"type": "resize", "cols": cols, "rows": rows})


def _signal(name: str) -> str:
    return json.dumps({"type": "signal", "signal": name})


def _arguments(settings: Settings, box: Box, terminal: str, query: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Address and options of a viewer's connection."""
    text = urlencode({k: v for k, v in query.items() if v is not None})
    address = "ws" + settings.url.removeprefix("http") + calls.below(box, "terminals", terminal) + "/attach?" + text
    return address, {"additional_headers": settings.headers(), "max_size": MESSAGE_MAX, "compression": None}


def _query(cols: int | None, rows: int | None, read_only: bool, cursor: int) -> dict[str, Any]:
    return {"cols": cols, "rows": rows, "readOnly": 1 if read_only else None, "cursor": cursor or None}


def _failure(error: Exception) -> CellboxError:
    if isinstance(error, InvalidStatus):
        return error_from_body(error.response.status_code, bytes(error.response.body or b""))
    return ConnectionError(f"the terminal's connection failed: {error}")


class TerminalConnection(_Viewer):
    """One viewer: read output, type, resize, signal. Iterating gives the output until the program ends."""

    def __init__(self, address: str, options: dict[str, Any], cursor: int) -> None:
        super().__init__(cursor)
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(websockets.sync.client.connect(address, **options))

    def read(self, timeout: float | None = None) -> bytes:
        """Output as it comes; b"" once the program has ended (see ``exit``). Raises builtins.TimeoutError."""
        while not self._kept:
            if self.exit:
                return b""
            self._kept += filter(None, [self._receive(timeout)])
        return self._kept.pop(0)

    def wait_ready(self) -> None:
        """Until what was kept has been received; read() gives it."""
        while not self._is_ready and not self.exit:
            self._kept += filter(None, [self._receive(None)])

    def _receive(self, timeout: float | None) -> bytes:
        try:
            return self._take(self._socket.recv(timeout))
        except ConnectionClosed as e:
            raise _failure(e) from e

    def write(self, data: str | bytes) -> None:
        """Types. Text is sent as UTF-8."""
        self._send(data.encode() if isinstance(data, str) else bytes(data))

    def resize(self, cols: int, rows: int) -> None:
        """Sets the size for everybody."""
        self._send(_resize(cols, rows))

    def send_signal(self, name: str) -> None:
        """To what runs in the foreground, e.g. "SIGINT"."""
        self._send(_signal(name))

    def _send(self, message: str | bytes) -> None:
        try:
            self._socket.send(message)
        except ConnectionClosed as e:
            raise _failure(e) from e

    def close(self) -> None:
        """Ends the viewer; the terminal goes on."""
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

    def __init__(self, address: str, options: dict[str, Any], cursor: int) -> None:
        super().__init__(cursor)
        self._stack = AsyncExitStack()
        self._connecting = websockets.asyncio.client.connect(address, **options)

    async def open(self) -> None:
        """Connects; called once."""
        self._socket = await self._stack.enter_async_context(self._connecting)

    async def read(self) -> bytes:
        while not self._kept:
            if self.exit:
                return b""
            self._kept += filter(None, [await self._receive()])
        return self._kept.pop(0)

    async def wait_ready(self) -> None:
        while not self._is_ready and not self.exit:
            self._kept += filter(None, [await self._receive()])

    async def _receive(self) -> bytes:
        try:
            return self._take(await self._socket.recv())
        except ConnectionClosed as e:
            raise _failure(e) from e

    async def write(self, data: str | bytes) -> None:
        await self._send(data.encode() if isinstance(data, str) else bytes(data))

    async def resize(self, cols: int, rows: int) -> None:
        await self._send(_resize(cols, rows))

    async def send_signal(self, name: str) -> None:
        await self._send(_signal(name))

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as e:
            raise _failure(e) from e

    async def close(self) -> None:
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
        self, *, cols: int | None = None, rows: int | None = None, read_only: bool = False, cursor: int = 0
    ) -> TerminalConnection:
        """A viewer. ``cols`` and ``rows`` set the size; ``cursor``: bytes of output that are known already."""
        address, options = _arguments(self._driver.settings, self._box, self.id, _query(cols, rows, read_only, cursor))
        try:
            viewer = TerminalConnection(address, options, cursor)
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
        self, *, cols: int | None = None, rows: int | None = None, read_only: bool = False, cursor: int = 0
    ) -> AsyncTerminalConnection:
        address, options = _arguments(self._driver.settings, self._box, self.id, _query(cols, rows, read_only, cursor))
        viewer = AsyncTerminalConnection(address, options, cursor)
        try:
            await viewer.open()
        except (WebSocketException, OSError) as e:
            raise _failure(e) from e
        await viewer.wait_ready()
        return viewer

    async def delete(self) -> None:
        await self._driver.run(calls.remove(self._box, "terminals", self.id))
