"""Numbers of the frame protocol and the sending side of it."""

from __future__ import annotations

import json
from typing import Any

import _cellbox

from .encode import dump as dump

SETUP, WARMUP, EXECUTE, COMPLETE, INSPECT, IS_COMPLETE, HISTORY = 1, 2, 3, 4, 5, 6, 7
COMM_INFO, COMM, INPUT, SHUTDOWN, DEBUG, SUBSHELL, USAGE = 8, 9, 10, 11, 12, 13, 14
HELLO, DISPLAY, UPDATE_DISPLAY, RESULT, CLEAR_OUTPUT, ERROR, STDIN = 33, 34, 35, 36, 37, 38, 39
COMM_OUT, DONE, DEBUG_EVENT = 40, 41, 42
OK, FAILED, ABORTED = 0, 1, 2

DONE_EXECUTED = b'{"status":"ok","user_expressions":{},"payload":[]}'
EMPTY = b"{}"

send = _cellbox.send
post = _cellbox.post  # at once, whatever text has not yet left
load = json.loads


def send_json(kind: int, req: int, *parts: Any, arg: int = 0, buffers: tuple[bytes, ...] = ()) -> None:
    """One message whose sections are JSON objects, then buffers."""
    send(kind, arg, req, (*map(dump, parts), *buffers))


def done(req: int, content: dict[str, Any], status: int = OK) -> None:
    send(DONE, status, req, (dump(content),))
