"""Input of a command that goes beside its events, in a request of its own. What goes wrong with it ends the command."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import httpx

from .calls import Call
from .content import async_pieces, pieces
from .errors import ConflictError


def _cut(response: httpx.Response) -> None:
    """Ends an answer that somebody else is reading: they see its connection end."""
    stream = response.extensions.get("network_stream")
    raw = stream.get_extra_info("socket") if stream else None
    if raw is not None:
        with suppress(OSError):
            raw.shutdown(socket.SHUT_RDWR)


class Feeding:
    """In a thread. ``fetch`` sends a call; ``response`` has the events of the command."""

    def __init__(self, fetch: Callable[[Call], bytes], call: Call, response: httpx.Response) -> None:
        self.failure: BaseException | None = None
        self._over = False
        self._response = response
        self._thread = threading.Thread(target=self._run, args=(fetch, call), daemon=True)
        self._thread.start()

    def _pieces(self, call: Call) -> Iterator[bytes]:
        for piece in pieces(call.content):
            if self._over:
                return
            yield piece

    def _run(self, fetch: Callable[[Call], bytes], call: Call) -> None:
        try:
            fetch(replace(call, content=self._pieces(call)))
        except ConflictError:
            pass  # the command has ended, or does not want all of it
        except BaseException as e:
            if not self._over:
                self.failure = e
                _cut(self._response)

    def stop(self) -> None:
        """The command is over. An iterable that is being waited for is left alone."""
        self._over = True


class AsyncFeeding:
    """In a task."""

    def __init__(self, fetch: Callable[[Call], Awaitable[bytes]], call: Call, response: httpx.Response) -> None:
        self.failure: BaseException | None = None
        self._response = response
        self._task = asyncio.ensure_future(self._run(fetch, call))

    async def _run(self, fetch: Callable[[Call], Awaitable[bytes]], call: Call) -> None:
        content: AsyncIterator[bytes] = async_pieces(call.content)
        try:
            await fetch(replace(call, content=content))
        except (ConflictError, asyncio.CancelledError):
            pass
        except BaseException as e:
            self.failure = e
            _cut(self._response)

    async def stop(self) -> None:
        """The command is over."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
