"""IPython's shell, speaking frames."""

from __future__ import annotations

import asyncio
import importlib.util
import linecache
import os
import subprocess
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

import _cellbox
from IPython.core import page
from IPython.core.async_helpers import _pseudo_sync_runner
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell, InteractiveShellABC
from IPython.core.profiledir import ProfileDir
from IPython.paths import get_ipython_dir
from traitlets import Any as AnyTrait
from traitlets import CBool, Instance, Type, default

from . import compat, protocol
from .display import Formatter, Publisher, ResultHook
from .history import SessionHistory
from .magics import NotebookMagics
from .transform import Guard

SOURCES_MAX = 5000
NO_DISPLAY = "no display for the event loop {!r} here; try %matplotlib inline"
TOOLKITS = frozenset({"qt", "qt5", "qt6", "qtagg", "tk", "tkagg", "gtk3", "gtk4", "wx", "osx", "macosx"})
TYPES_MS = 40  # of a completion: types and signatures of the first matches; all of a DataFrame's take 100 ms and more


def _safe_str(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return "<exception str() failed>"


class Shell(InteractiveShell):
    """One per process. ``run`` executes a cell; what it shows leaves as frames of the current request."""

    displayhook_class = Type(ResultHook)
    display_pub_class = Type(Publisher)
    kernel = AnyTrait()
    exiter = Instance(ZMQExitAutocall)
    readline_use = CBool(False)
    autoindent = CBool(False)
    # Plain attributes instead of traits: they change with every cell.
    execution_count: Any = 1
    last_execution_succeeded: Any = True
    last_execution_result: Any = None

    @default("exiter")
    def _exiter_default(self) -> ZMQExitAutocall:  # type: ignore[override]
        return ZMQExitAutocall(self)

    @default("ipython_dir")
    def _ipython_dir_default(self) -> str:
        return get_ipython_dir()

    @default("profile_dir")
    def _profile_dir_default(self) -> ProfileDir:
        return ProfileDir.create_profile_dir_by_name(self.ipython_dir, "default")

    def __init__(self, **kwargs: Any) -> None:
        self.keepkernel_on_exit = None
        self.runner: Any = None
        self.error: dict[str, Any] | None = None  # content of the cell's last ERROR
        self.failed_display: dict[str, Any] | None = None  # the same, when the value of the cell could not be shown
        super().__init__(**kwargs)
        # tqdm.auto looks for this to know that it draws into a notebook.
        self.config.IPKernelApp.tqdm = "cellbox"
        self._guard = Guard(self)

    # The zygote has no home directory: both are made when something asks for them.
    def init_ipython_dir(self, ipython_dir: Any) -> None:
        pass

    def init_profile_dir(self, profile_dir: Any) -> None:
        pass

    def init_history(self) -> None:
        self.history_manager = SessionHistory(shell=self, parent=self)
        self.configurables.append(self.history_manager)

    def init_completer(self) -> None:
        super().init_completer()
        self.Completer.jedi_compute_type_timeout = TYPES_MS

    def init_display_formatter(self) -> None:
        self.display_formatter = Formatter(parent=self)
        self.configurables.append(self.display_formatter)

    def init_hooks(self) -> None:
        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(self._page), 99)

    def _page(self, text: Any, start: int = 0, screen_lines: int = 0, pager_cmd: Any = None) -> None:
        data = text if isinstance(text, dict) else {"text/plain": text}
        self.payload_manager.write_payload({"source": "page", "data": data, "start": max(0, start)})

    def ask_exit(self) -> None:
        keep = bool(self.keepkernel_on_exit)
        if threading.current_thread() is threading.main_thread():  # a subshell asks its client, like a notebook does
            self.exit_now = not keep
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": keep})

    def set_next_input(self, s: str, replace: bool = False) -> None:
        self.payload_manager.write_payload({"source": "set_next_input", "text": s, "replace": replace})

    def init_magics(self) -> None:
        super().init_magics()
        self.register_magics(NotebookMagics)
        self.magics_manager.register_alias("ed", "edit")

    def enable_gui(self, gui: Any = None) -> None:
        if gui not in (None, "none", "inline", "agg", "asyncio", "ipympl", "widget", "nbagg", "notebook"):
            raise UsageError(NO_DISPLAY.format(gui))

    def enable_matplotlib(self, gui: Any = None) -> Any:
        name = str(gui or "").lower()
        if name in ("widget", "ipympl") and importlib.util.find_spec("ipympl") is None:
            raise UsageError("interactive figures need ipympl: %pip install ipympl, or use %matplotlib inline")
        if name in TOOLKITS:
            raise UsageError(NO_DISPLAY.format(gui))
        return super().enable_matplotlib(gui)

    def system(self, cmd: str) -> None:
        """``!cmd``: a shell whose fd 1 and 2 are ours, so its output flows as it comes."""
        cmd = self.var_expand(cmd, depth=1)
        status = -2
        try:
            status = subprocess.call(cmd, shell=True, executable=os.environ.get("SHELL"))
        finally:
            self.user_ns["_exit_code"] = status if status <= 128 else 128 - status
        if self.system_raise_on_error and status != 0:
            raise subprocess.CalledProcessError(status, cmd)

    system_raw = system_piped = system

    def get_parent(self) -> dict[str, Any]:
        return self.kernel.get_parent()

    def set_parent(self, parent: dict[str, Any]) -> None:
        """What this thread or task shows from now on belongs to the request with that message."""
        self.kernel.set_parent(None, parent)

    @property
    def parent_header(self) -> dict[str, Any]:
        return self.kernel.get_parent()

    # Cells

    def transform_cell(self, raw_cell: str) -> str:
        if self._guard.is_noop(raw_cell):
            return raw_cell if raw_cell.endswith("\n") else raw_cell + "\n"
        return super().transform_cell(raw_cell)

    def should_run_async(self, raw_cell: str, **kwargs: Any) -> bool:
        cell = kwargs.get("transformed_cell") or ""
        if "await" not in cell and "async" not in cell:
            return False
        return super().should_run_async(raw_cell, **kwargs)

    def run(self, code: str, *, silent: bool, store_history: bool, cell_id: str | None) -> Any:
        """Run one cell to its end; the ExecutionResult, or None when even that could not be made."""
        self.error = self.failed_display = None
        result = None
        failed = None
        try:
            transformed = self.transform_cell(code)
        except Exception:
            transformed, failed = code, sys.exc_info()
        try:
            coro = self.run_cell_async(
                code,
                store_history=store_history,
                silent=silent,
                transformed_cell=transformed,
                preprocessing_exc_tuple=failed,
                cell_id=cell_id,
            )
            if self.should_run_async(code, transformed_cell=transformed, preprocessing_exc_tuple=failed):
                result = self.runner.run_task(coro)
            else:
                result = self.runner.run_marked(_pseudo_sync_runner, coro)
        finally:
            self.events.trigger("post_execute")
            if not silent:
                self.events.trigger("post_run_cell", result)
        if len(linecache.cache) > SOURCES_MAX:
            self._prune_sources()
        return result

    def _prune_sources(self) -> None:
        """Forget the sources of the oldest cells: linecache keeps every cell's text."""
        names = [n for n in linecache.cache if n.startswith("<ipython-input-")]
        for name in names[: SOURCES_MAX // 5]:
            linecache.cache.pop(name, None)
            self.compile._filename_map.pop(name, None)

    # Errors

    def showtraceback(  # type: ignore[override]
        self,
        exc_tuple: Any = None,
        filename: str | None = None,
        tb_offset: int | None = None,
        exception_only: bool = False,
        running_compiled_code: bool = False,
    ) -> None:
        """Send the exception as ERROR. Formatting runs the user's code: it may raise, hang and be interrupted."""
        if _cellbox.is_detached():
            self._leave_child()
        try:
            etype, value, tb = self._get_exc_info(exc_tuple)
        except ValueError:
            print("No traceback available to show.", file=sys.stderr)
            return
        if issubclass(etype, asyncio.CancelledError) and (reason := self.runner.cancelled_by()):
            etype, value = reason, reason()
        try:
            if issubclass(etype, SyntaxError):
                self.showsyntaxerror(filename, running_compiled_code)
            elif etype is UsageError:
                self.show_usage_error(value)
            else:
                self._showtraceback(etype, value, self._lines(etype, value, tb, tb_offset, exception_only))
                if self.call_pdb:
                    self.debugger(force=True)
        except KeyboardInterrupt:
            name = _name_of(etype)
            self._send_error(name, "<interrupted>", [f"{name}: <interrupted while its traceback was formatted>"])
        except Exception:
            self.show_plain(value)

    def _lines(self, etype: Any, value: Any, tb: Any, tb_offset: int | None, exception_only: bool) -> list[str]:
        if exception_only:
            lines = ["An exception has occurred, use %tb to see the full traceback.\n"]
            return lines + self.InteractiveTB.get_exception_only(etype, value)
        if _has_group(value):  # which IPython's formatter does not know
            return traceback.format_exception(etype, value, _below_shell(tb))
        if hasattr(value, "_render_traceback_"):
            return value._render_traceback_()
        return self.InteractiveTB.structured_traceback(etype, value, _shorten(tb), tb_offset=tb_offset)

    def show_plain(self, value: BaseException | None) -> None:
        """An ERROR without frames of the stack, for when the formatter could not make one."""
        name, text = _name_of(type(value)), _safe_str(value)
        self._send_error(name, text, [f"{name}: {text}"])

    def show_usage_error(self, exc: Any) -> None:
        self._showtraceback(UsageError, exc, [f"UsageError: {_safe_str(exc)}"])

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        lines = [str(line) for line in stb] if isinstance(stb, (list, tuple)) else [str(stb)]
        self._send_error(_name_of(etype), _safe_str(evalue), lines)

    def _send_error(self, name: str, text: str, lines: list[str]) -> None:
        self.error = {"ename": name, "evalue": text, "traceback": lines}
        if self.displayhook.is_active:
            self.failed_display = self.error
        protocol.send_json(protocol.ERROR, _cellbox.current_request(), self.error)

    def _format_exception_for_storage(
        self, exception: Any, filename: Any = None, running_compiled_code: Any = False
    ) -> Any:
        return None  # IPython would format every traceback a second time, for %notebook

    def _leave_child(self) -> None:
        """A process that user code forked ended with an exception: as a plain interpreter would."""
        etype, value, _ = sys.exc_info()
        if etype is not None and issubclass(etype, SystemExit):
            leave_child(value.code if isinstance(value, SystemExit) else 0)
        traceback.print_exc()
        leave_child(1)


def _name_of(etype: type) -> str:
    return str(type.__getattribute__(etype, "__name__"))


def leave_child(code: Any) -> None:
    """End a forked child of user code: atexit hooks, flush, exit status like sys.exit(code)."""
    import atexit

    if code is None:
        status = 0
    elif isinstance(code, int):
        status = code
    else:
        print(code, file=sys.stderr)
        status = 1
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)


FRAMES_KEPT = 60


def _shorten(tb: Any) -> Any:
    """A deep traceback without its middle: IPython would take seconds to format a thousand frames."""
    frames = []
    while tb is not None:
        frames.append(tb)
        tb = tb.tb_next
    if len(frames) <= 2 * FRAMES_KEPT:
        return frames[0] if frames else None
    rest = None
    for entry in reversed(frames[:FRAMES_KEPT] + frames[-FRAMES_KEPT:]):
        rest = TracebackType(rest, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return rest


def _has_group(value: BaseException | None) -> bool:
    seen: set[int] = set()
    while value is not None and id(value) not in seen:
        if isinstance(value, BaseExceptionGroup):
            return True
        seen.add(id(value))
        value = value.__context__
    return False


def _below_shell(tb: Any) -> Any:
    """The part of a traceback that is the user's."""
    while tb is not None and "IPython/core" in tb.tb_frame.f_code.co_filename:
        tb = tb.tb_next
    return tb


compat.name_like_ipykernel(Shell)
InteractiveShellABC.register(Shell)
