"""The event loop of a context.

Tasks and timers made in a cell go on between cells, and ``asyncio.create_task`` works in a cell without ``await``, as
in Jupyter. The loop runs while the context is idle and during cells with a top-level await. During other cells it is
only *marked* as running; code that wants a loop of its own there (``asyncio.run``, ``loop.run_until_complete``), which
Jupyter refuses, gets the mark lifted for that long.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from asyncio import base_events, events, runners
from collections.abc import Callable, Iterator
from typing import Any

import _cellbox

BROKEN = 4  # of _cellbox.wait
IDLE_MS = 200  # without a request: time for what cells should not wait for


class CellLoop(asyncio.SelectorEventLoop):
    """A selector loop that knows whether it has anything to do."""

    marked = False  # a cell runs outside of the loop: get_running_loop() answers with it

    def is_running(self) -> bool:
        return self.marked or super().is_running()

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Around a synchronous cell."""
        self.marked = True
        events._set_running_loop(self)
        try:
            yield
        finally:
            self.marked = False
            events._set_running_loop(None)

    def wake_fd(self) -> int:
        """Readable when another thread or a signal handler scheduled something."""
        return self._ssock.fileno()  # type: ignore[attr-defined]

    def has_work(self, own_readers: int) -> bool:
        """Whether a callback, a timer or a descriptor (beside our own) waits."""
        if self._ready or self._scheduled:  # type: ignore[attr-defined]
            return True
        readers = self._selector.get_map()  # type: ignore[attr-defined]
        return readers is not None and len(readers) > own_readers


def _marked_here() -> CellLoop | None:
    """The loop in whose name this thread runs a synchronous cell, unless a loop really runs."""
    loop = events._get_running_loop()
    return loop if isinstance(loop, CellLoop) and loop.marked else None


def _lifting(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        loop = _marked_here()
        if loop is None:
            return function(*args, **kwargs)
        loop.marked = False
        events._set_running_loop(None)
        try:
            return function(*args, **kwargs)
        finally:
            loop.marked = True
            events._set_running_loop(loop)

    return wrapper


def install() -> None:
    """Patch the places that refuse to run a loop inside another, once per process image."""
    base: Any = base_events.BaseEventLoop
    base.run_forever = _lifting(base.run_forever)
    base.run_until_complete = _lifting(base.run_until_complete)
    runner: Any = runners.Runner
    runner.run = _lifting(runner.run)
    runners.run = asyncio.run = _lifting(runners.run)


class Loop:
    """Owns the CellLoop of this process; made again when user code has closed or broken it."""

    OWN_READERS = 3  # the loop's self-pipe, the frame socket and the box of messages that others read for us

    def __init__(self, on_frame: Callable[[], None], history: Any) -> None:
        self._on_frame = on_frame
        self._history = history
        self._registered = False
        self.loop = self._new()

    def renew(self) -> None:
        """After a fork: never share an epoll set with the zygote."""
        self.loop = self._new()

    def close(self) -> None:
        asyncio.set_event_loop(None)
        self.loop.close()

    def _new(self) -> CellLoop:
        loop = CellLoop()
        asyncio.set_event_loop(loop)
        self._registered = False
        return loop

    def _healthy(self) -> CellLoop:
        if self.loop.is_closed():
            self.loop = self._new()
        if not self._registered and _cellbox.frame_fd() >= 0:
            self.loop.add_reader(_cellbox.frame_fd(), self._frame_ready)
            self.loop.add_reader(_cellbox.open_box(_cellbox.MAIN, 0), self._frame_ready)
            self._registered = True
        return self.loop

    def _frame_ready(self) -> None:
        self._on_frame()

    def mark(self) -> None:
        """A synchronous cell begins."""
        if self.loop.is_closed():
            self.loop = self._new()
        self.loop.marked = True
        events._set_running_loop(self.loop)

    def unmark(self) -> None:
        self.loop.marked = False
        events._set_running_loop(None)

    def wait_frame(self) -> None:
        """Run what is scheduled until a frame can be received."""
        while True:
            loop = self.loop
            own = self.OWN_READERS if self._registered else 1
            if not loop.is_closed() and loop.has_work(own):
                self._history.write()
                loop = self._healthy()
                self._run(loop.run_forever)  # _on_frame stops it
                if _cellbox.wait(-1, 0) & 1:
                    return
                continue
            unwritten = self._history.pending
            ready = _cellbox.wait(-1 if loop.is_closed() else loop.wake_fd(), IDLE_MS if unwritten else -1)
            if not ready:
                self._history.write()
                continue
            if ready & BROKEN:
                self._replace()
            if ready & 1:
                return
            if ready & BROKEN:
                continue
            loop.call_soon(loop.stop)
            self._run(loop.run_forever)

    def _run(self, run: Callable[[], Any]) -> None:
        try:
            run()
        except (SystemExit, KeyboardInterrupt):
            pass  # raised by a background task, which has ended
        except OSError:
            self._replace()

    def _replace(self) -> None:
        """User code closed the descriptors of the loop."""
        with contextlib.suppress(Exception):
            self.loop.close()
        self.loop = self._new()

    def run_until_complete(self, future: Any) -> Any:
        return self._healthy().run_until_complete(future)

    def create_task(self, coro: Any) -> asyncio.Task[Any]:
        return self._healthy().create_task(coro)
