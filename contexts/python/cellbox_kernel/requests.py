"""What the requests of a shell do: cells, completion, inspection, history, comms.

The main shell and every subshell have their own :class:`Requests`; how a cell is run and interrupted is their lane's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import _cellbox

from . import completion, figures, history, protocol
from .shell import Shell, leave_child
from .stdin import Stdin

Handler = Callable[[int, list[bytes]], None]


class Leave(BaseException):
    """The context ends: asked to, or the gateway has gone."""


class Lane(Protocol):
    """A thread that runs the cells of one shell."""

    leaving: bool  # the thread ends after its request

    @property
    def may_answer(self) -> Callable[[], bool] | None:
        """Whether the DONE of the request is still ours to send; None = always."""

    def prepare(self) -> None:
        """A request comes."""

    def begin(self, req: int) -> None:
        """From now on the request may be interrupted."""

    def end(self) -> None:
        """It may not any more. May be called twice."""

    def run_marked(self, function: Callable[..., Any], *args: Any) -> Any:
        """Code without await, in the name of the lane's event loop."""


class Requests:
    """Answers each request with exactly one DONE, on the lane's thread."""

    def __init__(self, lane: Lane, shell: Shell, stdin: Stdin, debugger: Any) -> None:
        self.lane, self.shell, self.stdin, self.debugger = lane, shell, stdin, debugger
        self.handlers: dict[int, Handler] = {
            protocol.EXECUTE: self._execute,
            protocol.COMPLETE: self._complete,
            protocol.INSPECT: self._inspect,
            protocol.IS_COMPLETE: self._is_complete,
            protocol.HISTORY: self._history,
            protocol.COMM_INFO: self._comm_info,
            protocol.COMM: self._comm,
        }

    def dispatch(self, kind: int, req: int, sections: list[bytes]) -> None:
        handler = self.handlers.get(kind)
        _cellbox.request.set(req)
        if handler is None:
            self._done(req, {"status": "error", "ename": "UnknownRequest", "evalue": str(kind), "traceback": []}, 1)
            return
        self.lane.prepare()
        try:
            handler(req, sections)
        except Leave:
            raise
        except BaseException as e:  # also an interrupt of a request that runs no cell
            self.lane.end()
            self._failed(req, e)

    def _send_done(self, req: int, status: int, content: bytes) -> None:
        may_answer = self.lane.may_answer
        if may_answer is None or may_answer():
            protocol.send(protocol.DONE, status, req, (content,))

    def _done(self, req: int, content: dict[str, Any], status: int = protocol.OK) -> None:
        self._send_done(req, status, protocol.dump(content))

    def _failed(self, req: int, e: BaseException) -> None:
        if _cellbox.is_detached():
            leave_child(1)
        if isinstance(e, BrokenPipeError):
            raise Leave
        content = {"status": "error", "ename": type(e).__name__, "evalue": str(e), "traceback": []}
        self._done(req, content, protocol.FAILED)

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
        shell.kernel.set_request(req, options.get("msg_id") or cell or "", "execute_request")
        self.stdin.allowed[req] = bool(options.get("allow_stdin", False))
        content: dict[str, Any] | None = None
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
            self.lane.leaving = True
            raise Leave
        if content is None:
            self._send_done(req, protocol.OK, protocol.DONE_EXECUTED)
        else:
            self._done(req, content, protocol.OK if content["status"] == "ok" else protocol.FAILED)
        if shell.exit_now or self.lane.leaving:
            self.lane.leaving = True
            raise Leave

    def _run_cell(
        self, req: int, code: str, silent: bool, store: bool, cell: str | None, expressions: dict[str, str] | None
    ) -> dict[str, Any] | None:
        """The execute_reply; None stands for the plain ok."""
        shell = self.shell
        result = None
        failed: BaseException | None = None
        values: dict[str, Any] = {}
        try:
            try:
                self.lane.begin(req)
                if self.debugger.loaded:
                    with self.debugger.cell():
                        result = shell.run(code, silent=silent, store_history=store, cell_id=cell)
                else:
                    result = shell.run(code, silent=silent, store_history=store, cell_id=cell)
                if expressions and result is not None and result.success:
                    values = shell.user_expressions(expressions)
            finally:
                self.lane.end()
        except Leave:
            self.lane.leaving = True
        except BaseException as e:
            self.lane.end()
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

    # The other requests

    @contextlib.contextmanager
    def _interruptible(self, req: int) -> Iterator[None]:
        self.lane.begin(req)
        try:
            yield
        finally:
            self.lane.end()

    def _complete(self, req: int, sections: list[bytes]) -> None:
        options, code = protocol.load(sections[0]), sections[1].decode("utf-8", "replace")
        with self._interruptible(req):
            content = completion.complete(self.shell, code, int(options.get("cursor_pos", len(code))))
        self._done(req, content)

    def _inspect(self, req: int, sections: list[bytes]) -> None:
        options, code = protocol.load(sections[0]), sections[1].decode("utf-8", "replace")
        with self._interruptible(req):
            content = completion.inspect(
                self.shell, code, int(options.get("cursor_pos", len(code))), int(options.get("detail_level", 0))
            )
        self._done(req, content)

    def _is_complete(self, req: int, sections: list[bytes]) -> None:
        self._done(req, completion.is_complete(self.shell, sections[1].decode("utf-8", "replace")))

    def _history(self, req: int, sections: list[bytes]) -> None:
        lines = history.answer(self.shell.history_manager, protocol.load(sections[0]))
        self._done(req, {"status": "ok", "history": lines})

    def _comm_info(self, req: int, sections: list[bytes]) -> None:
        self._done(req, self.shell.kernel.comm_info(protocol.load(sections[0]).get("target_name")))

    def _comm(self, req: int, sections: list[bytes]) -> None:
        head, content, metadata = (protocol.load(s) for s in sections[:3])
        self.shell.kernel.set_request(req, head.get("msg_id") or "", head.get("msg_type") or "comm_msg")
        with self._interruptible(req):
            self.lane.run_marked(self.shell.kernel.on_message, head, content, metadata, sections[3:])
        self._send_done(req, protocol.OK, protocol.EMPTY)


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
