"""input() and getpass over the frame socket."""

from __future__ import annotations

import builtins
import getpass
import queue
import threading
from typing import Any

import _cellbox
from IPython.core.error import StdinNotImplementedError

from . import protocol

REFUSED = "raw_input was called, but this frontend does not support input requests."


class Stdin:
    """Asks the client of the running request. The main thread receives; other threads wait for it to hand over."""

    def __init__(self, receive: Any) -> None:
        self._receive = receive  # () -> None: blocks for one frame and dispatches it
        self._waiting: dict[int, queue.SimpleQueue[tuple[int, bytes]]] = {}
        self.allowed: dict[int, bool] = {}

    def install(self) -> None:
        builtins.input = self.input
        getpass.getpass = self.getpass  # type: ignore[assignment]

    def deliver(self, req: int, arg: int, value: bytes) -> None:
        """An INPUT frame came; stale ones find nobody waiting."""
        waiting = self._waiting.get(req)
        if waiting is not None:
            waiting.put((arg, value))

    def input(self, prompt: object = "", /) -> str:
        return self._ask(str(prompt), password=False)

    def getpass(self, prompt: str = "Password: ", stream: object = None, *, echo_char: str | None = None) -> str:
        return self._ask(prompt, password=True)

    def _ask(self, prompt: str, *, password: bool) -> str:
        req = _cellbox.current_request()
        if _cellbox.is_detached() or not self.allowed.get(req, False) or req in self._waiting:
            raise StdinNotImplementedError(REFUSED)
        answers: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._waiting[req] = answers
        try:
            protocol.send_json(protocol.STDIN, req, {"prompt": prompt, "password": password})
            if threading.current_thread() is threading.main_thread():
                while answers.empty():
                    self._receive()
            refused, value = answers.get()
        finally:
            del self._waiting[req]
        if refused:
            raise StdinNotImplementedError(REFUSED)
        return value.decode("utf-8", "replace")
