"""Watches, blocking and asynchronous."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

from .calls import Box, absolute_path
from .events import Event, WatchSource
from .http import AsyncDriver, Driver
from .types import WatchEvent
from .wire import camel, decode


def watch_source(
    box: Box,
    path: str,
    recursive: bool | None,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
    coalesce: float | None,
    user: str | None,
    since: str | None,
) -> WatchSource:
    """Events of a watch."""
    query: dict[str, Any] = {
        "path": absolute_path(path),
        "recursive": recursive,
        "include": list(include or []),
        "exclude": None if exclude is None else list(exclude),
        "coalesce": None if coalesce is None else round(coalesce * 1000),
        "user": user,
    }
    return WatchSource(box, {camel(k): v for k, v in query.items()}, since)


class Watcher:
    """Changes of files. Iterate; closing (or leaving the ``with``) ends the watch."""

    def __init__(self, driver: Driver, source: WatchSource) -> None:
        self._source = source
        self._events = driver.events(source)
        next(self._events)  # the first event says that changes are seen

    @property
    def cursor(self) -> str:
        """Where another watch would go on; see ``since``."""
        return self._source.last_id

    def close(self) -> None:
        """Ends it."""
        self._events.close()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Generator[WatchEvent, None, None]:
        for event in self._events:
            yield decode(WatchEvent, event)


class AsyncWatcher:
    """As Watcher."""

    def __init__(self, driver: AsyncDriver, source: WatchSource) -> None:
        self._source = source
        self._events: AsyncGenerator[Event, None] = driver.events(source)

    async def established(self) -> AsyncWatcher:
        """Once changes are seen."""
        await anext(self._events)
        return self

    @property
    def cursor(self) -> str:
        return self._source.last_id

    async def close(self) -> None:
        await self._events.aclose()

    async def __aenter__(self) -> AsyncWatcher:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncGenerator[WatchEvent, None]:
        async for event in self._events:
            yield decode(WatchEvent, event)
