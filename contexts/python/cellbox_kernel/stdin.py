"""input() and getpass over the frame socket."""

from __future__ import annotations

import builtins
import getpass
import threading
from typing import Any

import _cellbox
from IPython.core.error import StdinNotImplementedError

from . import protocol

PROMPT_MAX = 60_000  # characters, of up to twelve bytes each as JSON; the protocol carries a question of 1 MiB
REFUSED = "raw_input was called, but this frontend does not support input requests."


class Stdin:
    """Asks the client of the running request. The main thread reads the socket meanwhile; other threads wait."""

    def __init__(self, receive: Any) -> None:
        self._receive = receive  # (fd) -> None: blocks for a frame or for fd and dispatches what is for the main thread
        self._asking: set[int] = set()
        self.allowed: dict[int, bool] = {}

    def install(self) -> None:
        builtins.input = self.input
        getpass.getpass = self.getpass  # type: ignore[assignment]

    def input(self, prompt: object = "", /) -> str:
        return self._ask(str(prompt), password=False)

    def getpass(self, prompt: str = "Password: ", stream: object = None, *, echo_char: str | None = None) -> str:
        return self._ask(prompt, password=True)

    def _ask(self, prompt: str, *, password: bool) -> str:
        req = _cellbox.current_request()
        if _cellbox.is_detached() or not self.allowed.get(req, False) or req in self._asking:
            raise StdinNotImplementedError(REFUSED)
        self._asking.add(req)
        try:
            ready = _cellbox.open_box(_cellbox.INPUT, req)
            protocol.send_json(protocol.STDIN, req, {"prompt": prompt[-PROMPT_MAX:], "password": password})
            refused, value = self._answer(req, ready)
        finally:
            _cellbox.close_box(_cellbox.INPUT, req)
            self._asking.discard(req)
        if refused:
            raise StdinNotImplementedError(REFUSED)
        return value.decode("utf-8", "replace")

    def _answer(self, req: int, ready: int) -> tuple[int, bytes]:
        wait = self._receive if threading.current_thread() is threading.main_thread() else _cellbox.sleep
        while (message := _cellbox.take(_cellbox.INPUT, req)) is None:
            wait(ready)
        _, refused, _, sections = message
        return refused, sections[0] if sections else b""
