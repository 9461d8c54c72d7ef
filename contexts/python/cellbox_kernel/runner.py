"""The life of a context: HELLO, then one request after another, between them the event loop."""

from __future__ import annotations

import asyncio
import atexit
import collections
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import _cellbox

from . import protocol, refork, warm
from .control import Control
from .debugger import Debugger
from .lanes import Lanes
from .loop import Loop
from .requests import Leave, Requests
from .shell import Shell
from .stdin import Stdin

FRAMES_MAX = 1000  # requests come one at a time: a gateway that sends more while one runs is broken


class Runner:
    """Receives frames, runs requests, answers each with exactly one DONE."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.stdin = Stdin(self._receive_blocking)
        self.loop = Loop(self._on_frame, shell.history_manager)
        self._last_request = 0
        self._queue: collections.deque[tuple[int, int, int, list[bytes]]] = collections.deque()
        self._task: asyncio.Task[Any] | None = None
        self._interrupted = False
        self.leaving = False
        self.control = Control(self)
        _cellbox.on_control(self.control.start)
        self.debugger = Debugger(shell)
        self.lanes = Lanes(self)
        shell.runner = self
        self.requests = Requests(self, shell, self.stdin, self.debugger)
        self.requests.handlers.update({protocol.SETUP: self._setup, protocol.WARMUP: self._warmup})

    # Frames

    def serve(self) -> None:
        """Until Leave."""
        recv, wait = _cellbox.recv, self.loop.wait_frame
        while not self.leaving:
            if self._queue:
                kind, _, req, sections = self._queue.popleft()
                self.requests.dispatch(kind, req, sections)
                continue
            wait()
            message = recv()
            if message is not None:
                self._take(message)

    def _take(self, message: tuple[int, int, int, list[bytes]]) -> None:
        kind, arg, req, _ = message
        if kind == protocol.SHUTDOWN:
            self.leaving = True
            raise Leave
        elif arg and protocol.EXECUTE <= kind <= protocol.COMM:
            content = {"status": "error", "ename": "NoSuchSubshell", "evalue": str(arg), "traceback": []}
            protocol.done(req, content, protocol.FAILED)
        elif req <= self._last_request:
            pass  # a restarted gateway sends again what its predecessor may not have sent
        elif len(self._queue) < FRAMES_MAX:
            self._last_request = req
            self._queue.append(message)
        else:
            raise Leave

    def _receive_blocking(self, ready: int) -> None:
        """One round of waiting for input(), inside a cell: until its answer is in the box behind ``ready``."""
        if not _cellbox.wait(ready, -1) & 1:
            return
        message = _cellbox.recv()
        if message is not None:
            self._take(message)

    def _on_frame(self) -> None:
        """The event loop saw a frame: between cells the loop stops for it, in an async cell it is put aside."""
        if self._task is None:
            self.loop.loop.stop()
            return
        try:
            message = _cellbox.recv()
            if message is not None:
                self._take(message)
        except (Leave, EOFError):
            self.leaving = True
            self._task.cancel()

    # Cells

    def prepare(self) -> None:
        """A request comes."""
        self._interrupted = False
        _cellbox.install_sigint()

    may_answer: Callable[[], bool] | None = None

    begin, end = staticmethod(_cellbox.begin), staticmethod(_cellbox.end)

    def rehearse_cell(self, count: int, code: str) -> None:
        """A cell for its side effects on caches; what it sends is muted."""
        options = {"execution_count": count, "store_history": True}
        self.requests.dispatch(protocol.EXECUTE, count, [json.dumps(options).encode(), code.encode()])

    def run_marked(self, function: Callable[..., Any], *args: Any) -> Any:
        """A cell without await: in the loop's name, not in the loop."""
        self.loop.mark()
        try:
            return function(*args)
        finally:
            self.loop.unmark()

    def run_task(self, coro: Any) -> Any:
        """A cell with a top-level await: a task of the loop. Interrupting it cancels it and nothing else."""
        self._interrupted = False
        handler = signal.getsignal(signal.SIGINT)
        own = handler in (signal.default_int_handler, self.debugger._on_sigint)
        task: asyncio.Task[Any] | None = None
        if own:
            signal.signal(signal.SIGINT, self._on_sigint)
            _cellbox.install_sigint()
        try:
            task = self._task = self.loop.create_task(coro)
            return self._finish(task)
        finally:
            self._task = None
            if own and signal.getsignal(signal.SIGINT) == self._on_sigint:
                signal.signal(signal.SIGINT, handler)
                _cellbox.install_sigint()

    def _finish(self, task: asyncio.Task[Any]) -> Any:
        while True:
            try:
                return self.loop.run_until_complete(task)
            except asyncio.CancelledError:
                if self.leaving:
                    raise Leave from None
                raise KeyboardInterrupt from None
            except (KeyboardInterrupt, SystemExit):
                if task.done():
                    raise
                # Another task's code was interrupted, and has ended by it: the cell ends too.
                self._cancel(task)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        self._interrupted = True
        task.cancel("interrupted")

    def cancelled_by(self) -> type[BaseException] | None:
        """What the cancellation of the cell's task is shown as."""
        return KeyboardInterrupt if self._interrupted else None

    def _on_sigint(self, signum: int, frame: Any) -> None:
        """SIGINT while an async cell runs (main thread, between bytecodes)."""
        if self.debugger.holds(frame):
            return
        task = self._task
        if task is None or task.done() or self._interrupted or asyncio.current_task(self.loop.loop) is task:
            raise KeyboardInterrupt
        self._cancel(task)
        self.loop.loop.call_soon_threadsafe(lambda: None)  # it may be asleep in its selector

    def _setup(self, req: int, sections: list[bytes]) -> None:
        options = protocol.load(sections[0])
        for name, value in (options.get("env") or {}).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self.shell.kernel.session.session = options.get("session") or ""
        if "TZ" in (options.get("env") or {}):
            import time

            time.tzset()
        if options.get("cwd"):
            os.chdir(options["cwd"])
            refork.here()
        protocol.send(protocol.DONE, protocol.OK, req, (b'{"status":"ok"}',))

    def _warmup(self, req: int, sections: list[bytes]) -> None:
        _cellbox.mute(True)
        self.shell.history_manager.persists = False
        try:
            warm.run_cells(self)
        finally:
            warm.forget()
            self.shell.history_manager.persists = True
            _cellbox.mute(False)
            refork.reseed()
        _cellbox.request.set(req)
        protocol.send(protocol.DONE, protocol.OK, req, (b'{"status":"ok"}',))

    # The end

    def close(self) -> None:
        """Cancel what still runs in the loop, so that ``finally`` blocks are executed; then atexit."""
        loop = self.loop.loop
        with contextlib.suppress(BaseException):
            self.shell.history_manager.write()
        with contextlib.suppress(BaseException):
            if not loop.is_closed():
                tasks = asyncio.all_tasks(loop)
                for task in tasks:
                    task.cancel()
                if tasks:
                    loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()


prepared: Runner | None = None  # made in the zygote


def main(fresh: bool) -> int:
    """From a process to a served context; returns the exit status."""
    if fresh or prepared is None:
        warm.build()
        runner = Runner(warm.shell())
        runner.shell.history_manager.persists = True
    else:
        refork.after_fork()
        runner = prepared
        runner.loop.renew()
    warm.enter_context()
    runner.stdin.install()
    _cellbox.install_sigint()
    os.register_at_fork(after_in_child=_cellbox.detach)
    status = 0
    try:
        protocol.send(protocol.HELLO, 0, 0, (warm.hello(),))
        runner.serve()
    except (Leave, EOFError, BrokenPipeError, ConnectionError):
        pass
    except KeyboardInterrupt:  # by Debugger.let_go, when the cell had just ended
        pass
    _cellbox.begin(0)
    try:
        runner.close()
    except BaseException:
        status = 1
    return status
