"""pydevd in this process, spoken to in the Debug Adapter Protocol: no adapter process between."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .control import hide_from_debugger

TIMEOUT = 20.0  # seconds for an answer of pydevd; a stopped thread that evaluates may take that long


class Connection:
    """One for the life of the process: pydevd cannot be started twice."""

    def __init__(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        self._on_event = on_event
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._send_turn = threading.Lock()
        self._socket = self._start_pydevd()
        reader = threading.Thread(target=self._read, name="cellbox-debug-events", daemon=True)
        hide_from_debugger(reader)
        reader.start()

    def _start_pydevd(self) -> socket.socket:
        """pydevd connects to us as to an adapter. It traces all threads from now on."""
        before = sys.breakpointhook
        _load()
        import debugpy
        import pydevd

        self._directory = str(Path(pydevd.__file__).parent)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(TIMEOUT)
            host, port = server.getsockname()[:2]
            # What debugpy.connect() does, but without waiting for the client's configurationDone.
            pydevd.settrace(
                host=host,
                port=port,
                suspend=False,
                wait_for_ready_to_run=False,
                patch_multiprocessing=False,
                notify_stdin=False,
                dont_trace_start_patterns=(str(Path(debugpy.__file__).parent),),
                dont_trace_end_patterns=("debugpy_launcher.py",),
            )
            connection, _ = server.accept()
        self._hooks = before, sys.breakpointhook
        sys.breakpointhook = before
        # Both ends: pydevd writes a message in two pieces, and the second would wait 40 ms for an acknowledgement.
        for end in (connection, pydevd.get_global_debugger().writer.sock):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def take_breakpoints(self, on: bool) -> None:
        """Whether breakpoint() stops here, or asks pdb as without us. A hook of the user's own is left alone."""
        import pydevd_tracing

        if sys.breakpointhook in self._hooks:
            sys.breakpointhook = self._hooks[on]
        if on:  # pydevd warns whoever else traces, such as pdb
            pydevd_tracing.replace_sys_set_trace_func()
        else:
            pydevd_tracing.restore_sys_set_trace_func()

    def is_inside(self, frame: Any) -> bool:
        """Whether a frame is, or was called by, pydevd's."""
        while frame is not None:
            if frame.f_code.co_filename.startswith(self._directory):
                return True
            frame = frame.f_back
        return False

    def send(self, command: str, arguments: dict[str, Any] | None = None) -> queue.SimpleQueue[dict[str, Any]]:
        """Send a request; its response will be put into the queue."""
        number = next(self._numbers)
        answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._waiting[number] = answer
        message = {"type": "request", "seq": number, "command": command, "arguments": arguments or {}}
        body = json.dumps(message).encode()
        with self._send_turn:
            self._socket.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return answer

    def ask(self, command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        """The response of pydevd, a failure if it does not come."""
        try:
            return self.send(command, arguments).get(timeout=TIMEOUT)
        except queue.Empty:
            return {"success": False, "command": command, "message": f"no answer within {TIMEOUT:.0f} s", "body": {}}

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as stream:
            while (message := _message(stream)) is not None:
                if message.get("type") == "response":
                    answer = self._waiting.pop(message.get("request_seq", 0), None)
                    if answer is not None:
                        answer.put(message)
                elif message.get("type") == "event":
                    self._on_event(message)


def _load() -> None:
    """Import debugpy's server side, which brings pydevd and its protocol."""
    name = "PYDEVD_DISABLE_FILE_VALIDATION"  # it warns about frozen modules, which no cell is in
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        import debugpy.server.api  # noqa: F401
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _message(stream: Any) -> dict[str, Any] | None:
    length = 0
    while True:
        line = stream.readline()
        if not line:
            return None
        if line == b"\r\n":
            return json.loads(stream.read(length))
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)


def trace_this_thread(on: bool) -> None:
    """Let breakpoints of this thread count, or take the cost of tracing away."""
    import debugpy

    debugpy.trace_this_thread(on)


def stop_in_child() -> None:
    """A process that user code forked has no debugger."""
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]


def own_directory() -> str:
    return str(Path(__file__).parent)
