"""Subshells (JEP 91): threads that run cells in the namespace of the main shell.

There is one IPython shell. What belongs to a cell that runs (count, value, errors, payloads, history, how output
leaves) is kept per thread from the first subshell on; until then the shell has plain attributes and pays nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ctypes
import queue
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import _cellbox
from IPython.core.payload import PayloadManager

from . import compat, protocol
from .display import Publisher, ResultHook
from .history import SessionHistory
from .loop import CellLoop
from .requests import Leave, Requests
from .shell import Shell

MESSAGE_WAIT = 0.5  # seconds that messages which a deleted subshell had before have to be served
DELETE_WAIT = 1.0  # seconds that a deleted subshell's cell has to end; then it is left behind
PER_LANE = (
    "InteractiveTB",
    "SyntaxTB",
    "display_pub",
    "displayhook",
    "error",
    "execution_count",
    "failed_display",
    "history_manager",
    "last_execution_result",
    "last_execution_succeeded",
    "payload_manager",
    "runner",
)
_here = threading.local()
_main: Any = SimpleNamespace()


class SubshellDeleted(BaseException):
    """Raised in a cell whose subshell is deleted."""


def _state() -> Any:
    return getattr(_here, "state", _main)


def _per_lane(name: str) -> property:
    return property(lambda shell: getattr(_state(), name), lambda shell, value: setattr(_state(), name, value))


LaneShell = type("LaneShell", (Shell,), {name: _per_lane(name) for name in PER_LANE})
compat.name_like_ipykernel(LaneShell)


class LaneHook(ResultHook):
    """Values of a subshell: ``_`` and ``Out`` of the shared namespace stay the main shell's."""

    def __init__(self, shell: Any) -> None:
        super(ResultHook.__mro__[1], self).__init__(shell=shell, parent=shell)
        self._start()
        self._is_active = False
        self.cache_size, self.do_full_cache = 0, 0
        self.shell = shell
        self._ = self.__ = self.___ = ""

    def update_user_ns(self, result: Any) -> None:
        self.___, self.__, self._ = self.__, self._, result


def _display(value: Any) -> None:
    """sys.displayhook while there are subshells: that of the thread."""
    _state().displayhook(value)


class Lanes:
    """The subshells of a context, by the gateway's numbers. Called by the control thread."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._lanes: dict[int, Subshell] = {}

    def create(self, number: int) -> None:
        if number <= 0 or number in self._lanes:
            raise ValueError(f"no subshell can be numbered {number}")
        self._split(self._runner.shell)
        self._lanes[number] = Subshell(self._runner, number)

    def delete(self, number: int) -> None:
        lane = self._lanes.pop(number, None)
        if lane is None:
            raise KeyError(f"no subshell {number}")
        lane.delete()

    def _split(self, shell: Any) -> None:
        """Move what belongs to a lane out of the shell, once."""
        if type(shell) is LaneShell:
            return
        for name in PER_LANE:
            setattr(_main, name, getattr(shell, name))
        shell.__class__ = LaneShell
        # The traps switch a hook and builtins on and off around each cell: cells of two threads would undo each other.
        display, builtins = shell.display_trap, shell.builtin_trap
        display.__enter__()
        builtins.__enter__()
        display.hook = sys.displayhook = _display


class Subshell:
    """One thread with an event loop of its own. Interrupts are for the main shell; deleting ends a cell of this one."""

    def __init__(self, runner: Any, number: int) -> None:
        self.number = number
        self.leaving = False
        self._shell, self._debugger = runner.shell, runner.debugger
        self._requests = Requests(self, runner.shell, runner.stdin, runner.debugger)
        self._last_request = 0
        self._loop: CellLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._lock = threading.Lock()
        self._interruptible = False
        self._running = 0  # the request that owes its DONE
        self._cell = False
        self._abandoned = False
        self._ready = _cellbox.open_box(_cellbox.LANE, number)
        self._thread = threading.Thread(target=self._live, name=f"cellbox-subshell-{number}", daemon=True)
        self._begun: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._thread.start()
        failed = self._begun.get()
        if failed is not None:
            _cellbox.close_box(_cellbox.LANE, number)
            raise failed

    # The subshell's thread

    def _live(self) -> None:
        _cellbox.request.set(0)
        try:
            loop = self._loop = CellLoop()
            asyncio.set_event_loop(loop)
            self._enter()
        except BaseException as e:
            self._begun.put(e)
            return
        self._begun.put(None)
        try:
            while True:
                message = _cellbox.take(_cellbox.LANE, self.number)
                if message is None:
                    if self.leaving:
                        break
                    self._idle(loop)
                elif message[2] > self._last_request:
                    self._last_request = message[2]
                    self._serve(*message)
        except (Leave, SubshellDeleted, OSError):
            pass
        finally:
            _cellbox.close_box(_cellbox.LANE, self.number)
            self._close(loop)

    def _enter(self) -> None:
        """This thread gets its own part of the shell."""
        shell = self._shell
        state: Any = SimpleNamespace()
        _here.state = state
        state.runner = self
        state.execution_count = 1
        state.error = state.failed_display = state.last_execution_result = None
        state.last_execution_succeeded = True
        state.payload_manager = PayloadManager(parent=shell)
        state.displayhook = LaneHook(shell)
        state.display_pub = Publisher(parent=shell, shell=shell)
        state.history_manager = SessionHistory(shell=shell, parent=shell, lane=True)
        state.InteractiveTB, state.SyntaxTB = copy.copy(_main.InteractiveTB), copy.copy(_main.SyntaxTB)

    def _idle(self, loop: CellLoop) -> None:
        """Tasks and timers go on until a request comes."""
        loop.add_reader(self._ready, loop.stop)
        try:
            loop.run_forever()
        finally:
            loop.remove_reader(self._ready)

    def _serve(self, kind: int, arg: int, req: int, sections: list[bytes]) -> None:
        self._running = req
        self._cell = kind == protocol.EXECUTE
        try:
            self._requests.dispatch(kind, req, sections)
        finally:
            self._running = 0
            self._cell = False

    def _close(self, loop: CellLoop) -> None:
        with contextlib.suppress(BaseException):
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        with contextlib.suppress(BaseException):
            loop.close()

    # What Requests and the shell ask of a lane

    def prepare(self) -> None:
        pass

    def begin(self, req: int) -> None:
        with self._lock:
            self._interruptible = True
        if self.leaving and self._cell:
            raise SubshellDeleted

    def end(self) -> None:
        with self._lock:
            self._interruptible = False
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)

    def may_answer(self) -> bool:
        """Asked before the DONE of a request, which somebody else has sent if the subshell was given up."""
        with self._lock:
            self._running = 0
            return not self._abandoned

    def run_marked(self, function: Callable[..., Any], *args: Any) -> Any:
        assert self._loop is not None
        with self._loop.named():
            return function(*args)

    def run_task(self, coro: Any) -> Any:
        assert self._loop is not None
        self._task = self._loop.create_task(coro)
        try:
            return self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            if self.leaving:
                raise SubshellDeleted from None
            raise
        finally:
            self._task = None

    def cancelled_by(self) -> type[BaseException] | None:
        """What the cancellation of the cell's task is shown as."""
        return SubshellDeleted if self.leaving else None

    # The control thread

    def delete(self) -> None:
        """End the thread; a cell that cannot be ended goes on, but nobody hears of it any more.

        JupyterLab closes a comm and deletes its subshell in one breath, over two channels: what came before is served.
        """
        self.leaving = True
        if not self._cell:
            self._wake()
            self._thread.join(MESSAGE_WAIT)
        if self._thread.is_alive():
            self._break()
            self._thread.join(DELETE_WAIT)
        if not self._thread.is_alive():
            return
        _cellbox.close_box(_cellbox.LANE, self.number)
        with self._lock:
            self._abandoned, owed = True, self._running
        if owed:
            content = {"status": "error", "ename": "SubshellDeleted", "evalue": "", "traceback": []}
            protocol.post(protocol.DONE, protocol.ABORTED, owed, (protocol.dump(content),))

    def _wake(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed already
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _break(self) -> None:
        loop, task = self._loop, self._task
        with self._lock:
            if self._interruptible and task is None:
                ident = ctypes.c_ulong(self._thread.ident or 0)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SubshellDeleted))
        if self._running:
            _cellbox.wake(_cellbox.INPUT, self._running)
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed already
                loop.call_soon_threadsafe(task.cancel if task is not None else loop.stop)
