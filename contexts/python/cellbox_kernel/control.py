"""The control lane: a thread that answers while the main thread runs a cell, blocks or stands at a breakpoint."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

import _cellbox

from . import protocol

Answer = Callable[[int, int, list[bytes]], dict[str, Any]]


def hide_from_debugger(thread: threading.Thread) -> None:
    """Neither traced nor shown nor stopped."""
    hidden: Any = thread
    hidden.pydev_do_not_trace = hidden.is_pydev_daemon_thread = True


class Control:
    """Takes control requests one after another; started by the first of them."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        self._last_request = 0
        self._started = False
        self._answers: dict[int, Answer] = {
            protocol.DEBUG: self._debug,
            protocol.SUBSHELL: self._subshell,
            protocol.USAGE: self._usage,
        }

    def start(self) -> None:
        """Called by whichever thread read the first control message, maybe more than once."""
        if self._started:
            return
        self._started = True
        ready = _cellbox.open_box(_cellbox.CONTROL, 0)
        thread = threading.Thread(target=self._serve, args=(ready,), name="cellbox-control", daemon=True)
        hide_from_debugger(thread)
        thread.start()

    def _serve(self, ready: int) -> None:
        with contextlib.suppress(OSError):  # the gateway has gone: the main thread ends the process
            while True:
                message = _cellbox.take(_cellbox.CONTROL, 0)
                if message is None:
                    _cellbox.sleep(ready)
                else:
                    self._answer(*message)

    def _answer(self, kind: int, arg: int, req: int, sections: list[bytes]) -> None:
        if kind == protocol.SHUTDOWN:  # a copy of what the main thread got
            self.runner.debugger.let_go()
            return
        if req <= self._last_request:
            return  # a restarted gateway sends again what its predecessor may not have sent
        self._last_request = req
        _cellbox.request.set(req)
        status = protocol.OK
        try:
            content = self._answers[kind](req, arg, sections)
        except BaseException as e:
            content = {"status": "error", "ename": type(e).__name__, "evalue": str(e), "traceback": []}
        if content.get("status") == "error" or content.get("success") is False:
            status = protocol.FAILED
        protocol.post(protocol.DONE, status, req, (protocol.dump(content),))

    def _debug(self, req: int, arg: int, sections: list[bytes]) -> dict[str, Any]:
        request = json.loads(sections[0])
        return self.runner.debugger.answer(req, request)

    def _subshell(self, req: int, arg: int, sections: list[bytes]) -> dict[str, Any]:
        operation = json.loads(sections[0]).get("op")
        if operation == "create":
            self.runner.lanes.create(arg)
        elif operation == "delete":
            self.runner.lanes.delete(arg)
        else:
            raise ValueError(f"no operation {operation!r} on subshells")
        return {"status": "ok"}

    def _usage(self, req: int, arg: int, sections: list[bytes]) -> dict[str, Any]:
        from . import usage

        return usage.answer(json.loads(sections[0]))
