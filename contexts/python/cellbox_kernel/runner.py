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
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import _cellbox

from . import completion, figures, history, protocol, refork, warm
from .control import Control
from .debugger import Debugger
from .loop import Loop
from .shell import Shell, leave_child
from .stdin import Stdin

FRAMES_MAX = 1000  # requests come one at a time: a gateway that sends more while one runs is broken


_PLAINLY = contextlib.nullcontext()


class Leave(BaseException):
    """The context ends: asked to, or the gateway has gone."""


class Runner:
    """Receives frames, runs requests, answers each with exactly one DONE."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.stdin = Stdin(self._receive_blocking)
        self.loop = Loop(self._on_frame)
        self._last_request = 0
        self._queue: collections.deque[tuple[int, int, int, list[bytes]]] = collections.deque()
        self._task: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._leaving = False
        self.control = Control(self)
        self.debugger = Debugger(shell)
        shell.runner = self
        self._handlers: dict[int, Callable[[int, list[bytes]], None]] = {
            protocol.EXECUTE: self._execute,
            protocol.COMPLETE: self._complete,
            protocol.INSPECT: self._inspect,
            protocol.IS_COMPLETE: self._is_complete,
            protocol.HISTORY: self._history,
            protocol.COMM_INFO: self._comm_info,
            protocol.COMM: self._comm,
            protocol.SETUP: self._setup,
            protocol.WARMUP: self._warmup,
        }

    # Frames

    def serve(self) -> None:
        """Until Leave."""
        recv, wait = _cellbox.recv, self.loop.wait_frame
        while not self._leaving:
            if self._queue:
                self._dispatch(*self._queue.popleft())
                continue
            wait()
            message = recv()
            if message is not None:
                self._take(message)

    def _take(self, message: tuple[int, int, int, list[bytes]]) -> None:
        kind, arg, req, _ = message
        if kind == protocol.SHUTDOWN:
            self._leaving = True
            raise Leave
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
            self._leaving = True
            self._task.cancel()

    def _dispatch(self, kind: int, arg: int, req: int, sections: list[bytes]) -> None:
        handler = self._handlers.get(kind)
        _cellbox.request.set(req)
        if handler is None:
            protocol.done(req, {"status": "error", "ename": "UnknownRequest", "evalue": str(kind), "traceback": []}, 1)
            return
        _cellbox.install_sigint()
        try:
            handler(req, sections)
        except KeyboardInterrupt as e:  # in a request that runs no cell
            _cellbox.end()
            self._failed(req, e)
        except Exception as e:
            _cellbox.end()
            self._failed(req, e)

    def _failed(self, req: int, e: BaseException) -> None:
        if _cellbox.is_detached():
            leave_child(1)
        if isinstance(e, BrokenPipeError):
            raise Leave
        content = {"status": "error", "ename": type(e).__name__, "evalue": str(e), "traceback": []}
        protocol.done(req, content, protocol.FAILED)

    # Cells

    def _execute(self, req: int, sections: list[bytes]) -> None:
        options = protocol.load(sections[0])
        code = sections[1].decode("utf-8", "replace")
        shell = self.shell
        silent = bool(options.get("silent", False))
        store = bool(options.get("store_history", not silent)) and not silent
        cell = options.get("cell")
        if "execution_count" in options:
            shell.execution_count = options["execution_count"]
        shell.kernel.set_request(options.get("msg_id") or cell or "", "execute_request")
        self.stdin.allowed[req] = bool(options.get("allow_stdin", False))
        content: dict[str, Any] | None = None
        self._interrupted = False
        run = partial(self._run_cell, req, code, silent, store, cell, options.get("user_expressions"))
        try:
            if options.get("env") or options.get("formats"):
                with _environment(options.get("env") or {}), figures.formats(shell, options.get("formats") or []):
                    content = run()
            else:
                content = run()
        finally:
            del self.stdin.allowed[req]
        if _cellbox.is_detached():
            leave_child(0)
        if shell.exit_now and not options.get("msg_id"):
            # Nobody but a Jupyter client understands ask_exit: for the others the end of the process is the answer.
            self._leaving = True
            raise Leave
        if content is None:
            protocol.send(protocol.DONE, protocol.OK, req, (protocol.DONE_EXECUTED,))
        else:
            protocol.done(req, content, protocol.OK if content["status"] == "ok" else protocol.FAILED)
        if shell.exit_now or self._leaving:
            self._leaving = True
            raise Leave

    def rehearse_cell(self, count: int, code: str) -> None:
        """A cell for its side effects on caches; what it sends is muted."""
        options = {"execution_count": count, "store_history": True}
        self._dispatch(protocol.EXECUTE, 0, count, [json.dumps(options).encode(), code.encode()])

    def _run_cell(
        self, req: int, code: str, silent: bool, store: bool, cell: str | None, expressions: dict[str, str] | None
    ) -> dict[str, Any] | None:
        """The execute_reply; None stands for the plain ok."""
        shell = self.shell
        result = None
        failed: BaseException | None = None
        values: dict[str, Any] = {}
        debugged = self.debugger.is_loaded
        _cellbox.begin(req)
        try:
            try:
                with self.debugger.cell() if debugged else _PLAINLY:
                    result = shell.run(code, silent=silent, store_history=store, cell_id=cell)
                if expressions and result is not None and result.success:
                    values = shell.user_expressions(expressions)
            finally:
                _cellbox.end()
        except Leave:
            self._leaving = True
        except BaseException as e:
            _cellbox.end()
            failed = e
        if failed is None and result is not None:
            failed = result.error_before_exec or result.error_in_exec
        payload = shell.payload_manager.read_payload()
        if failed is None and shell.failed_display is None:
            if not payload and not values:
                return None
            shell.payload_manager.clear_payload()
            return {"status": "ok", "user_expressions": values, "payload": payload}
        shell.payload_manager.clear_payload()
        if _cellbox.is_detached():
            leave_child(failed.code if isinstance(failed, SystemExit) else 1)
        if shell.error is None:
            shell.show_plain(failed)
        error = shell.failed_display or shell.error or {}
        return {"status": "error", **error, "user_expressions": {}, "payload": payload}

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
                if self._leaving:
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

    def was_interrupted(self) -> bool:
        """Whether the running cell's task was cancelled by an interrupt."""
        return self._interrupted

    def _on_sigint(self, signum: int, frame: Any) -> None:
        """SIGINT while an async cell runs (main thread, between bytecodes)."""
        if self.debugger.holds(frame):
            return
        task = self._task
        if task is None or task.done() or self._interrupted or asyncio.current_task(self.loop.loop) is task:
            raise KeyboardInterrupt
        self._cancel(task)
        self.loop.loop.call_soon_threadsafe(lambda: None)  # it may be asleep in its selector

    # The other requests

    @contextlib.contextmanager
    def _interruptible(self, req: int) -> Iterator[None]:
        _cellbox.begin(req)
        try:
            yield
        finally:
            _cellbox.end()

    def _complete(self, req: int, sections: list[bytes]) -> None:
        options, code = protocol.load(sections[0]), sections[1].decode("utf-8", "replace")
        with self._interruptible(req):
            content = completion.complete(self.shell, code, int(options.get("cursor_pos", len(code))))
        protocol.done(req, content)

    def _inspect(self, req: int, sections: list[bytes]) -> None:
        options, code = protocol.load(sections[0]), sections[1].decode("utf-8", "replace")
        with self._interruptible(req):
            content = completion.inspect(
                self.shell, code, int(options.get("cursor_pos", len(code))), int(options.get("detail_level", 0))
            )
        protocol.done(req, content)

    def _is_complete(self, req: int, sections: list[bytes]) -> None:
        protocol.done(req, completion.is_complete(self.shell, sections[1].decode("utf-8", "replace")))

    def _history(self, req: int, sections: list[bytes]) -> None:
        lines = history.answer(self.shell.history_manager, protocol.load(sections[0]))
        protocol.done(req, {"status": "ok", "history": lines})

    def _comm_info(self, req: int, sections: list[bytes]) -> None:
        protocol.done(req, self.shell.kernel.comm_info(protocol.load(sections[0]).get("target_name")))

    def _comm(self, req: int, sections: list[bytes]) -> None:
        head, content, metadata = (protocol.load(s) for s in sections[:3])
        self.shell.kernel.set_request(head.get("msg_id") or "", head.get("msg_type") or "comm_msg")
        with self._interruptible(req):
            self.run_marked(self.shell.kernel.on_message, head, content, metadata, sections[3:])
        protocol.send(protocol.DONE, protocol.OK, req, (protocol.EMPTY,))

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
        try:
            warm.run_cells(self)
        finally:
            warm.forget()
            _cellbox.mute(False)
            refork.reseed()
        _cellbox.request.set(req)
        protocol.send(protocol.DONE, protocol.OK, req, (b'{"status":"ok"}',))

    # The end

    def close(self) -> None:
        """Cancel what still runs in the loop, so that ``finally`` blocks are executed; then atexit."""
        loop = self.loop.loop
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


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update({k: str(v) for k, v in changes.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


prepared: Runner | None = None  # made in the zygote


def main(fresh: bool) -> int:
    """From a process to a served context; returns the exit status."""
    if fresh or prepared is None:
        warm.build()
        runner = Runner(warm.shell())
    else:
        refork.after_fork()
        runner = prepared
        runner.loop.renew()
    warm.enter_context()
    runner.stdin.install()
    _cellbox.install_sigint()
    _cellbox.on_control(runner.control.start)
    os.register_at_fork(after_in_child=_cellbox.detach)
    status = 0
    try:
        protocol.send(protocol.HELLO, 0, 0, (warm.hello(),))
        runner.serve()
    except (Leave, EOFError, BrokenPipeError, ConnectionError):
        pass
    _cellbox.begin(0)
    try:
        runner.close()
    except BaseException:
        status = 1
    return status
