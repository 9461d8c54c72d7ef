"""Streams of events: which call opens one, how it goes on after a broken connection, when it is over. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .calls import Box, Call, below, context_id, get
from .errors import CellboxError, ConnectionError, error_for
from .retry import Retry
from .sse import SseParser
from .types import CodeContext
from .wire import body, milliseconds

Event = dict[str, Any]


class EventSource:
    """One stream of events, over as many connections as it takes.

    ``first`` opens it, ``again(last_id)`` goes on behind the event of that id (None: it cannot), ``last`` are the
    types of events after which nothing follows. The driver asks for call(), feeds bytes, and reports a connection that
    ended.
    """

    def __init__(
        self, box: Box, first: Call, last: set[str], again: Callable[[str], Call | None] | None = None
    ) -> None:
        self.box = box
        self.finished = False
        self.last_id = ""
        self.seen: Event | None = None
        self._first = first
        self._again = again or (lambda _: None)
        self._last = last
        self._failures = 0
        self._next: Call = first
        self._parser = SseParser()

    def call(self) -> Call:
        """Of the next connection."""
        self._parser = SseParser()
        self._next.headers = {**self._next.headers, "Accept": "text/event-stream"}
        return self._next

    def feed(self, piece: bytes) -> list[Event]:
        """Events that are complete with this piece; an ``error`` event of a command is raised."""
        events: list[Event] = []
        for found in self._parser.feed(piece):
            event: Event = json.loads(found.data)
            self._failures = 0
            self.last_id = found.id or self.last_id
            if self.accept(event):
                events.append(event)
            self.seen = event
            self.finished |= event["type"] in self._last
            if self.finished:
                break
        return events

    def accept(self, event: Event) -> bool:
        """Whether an event is for the caller."""
        return True

    def beside(self, event: Event) -> Call | None:
        """A call to make while the events go on, now that there is this one; its content is what the user gave."""
        return None

    def broken(self, error: CellboxError, retry: Retry) -> float:
        """Seconds until the next connection; raises where there cannot be one."""
        call = self._again(self.last_id)
        self._failures += 1
        if not isinstance(error, ConnectionError) or call is None or self._failures > retry.retries:
            raise error
        self._next = call
        return retry.pause(self._failures)

    @staticmethod
    def ended() -> ConnectionError:
        """What a stream that ends without its last event amounts to."""
        return ConnectionError("the stream of events ended before its last event")


class CommandSource(EventSource):
    """Events of a command: it belongs to its request, so there is no second connection."""

    def __init__(self, box: Box, where: str, members: Mapping[str, Any], stdin: Any = None) -> None:
        super().__init__(box, Call("POST", box.base + where, json=members), {"complete"})
        self._stdin = stdin if members.get("stdinStream") else None

    def beside(self, event: Event) -> Call | None:
        if self._stdin is None or event["type"] != "start":
            return None
        path = below(self.box, "processes", event["processId"]) + "/input"
        return Call("POST", path, query={"end": "true"}, content=self._stdin, one_way=True)

    def accept(self, event: Event) -> bool:
        if event["type"] == "error":
            code = str(event.get("code", "STREAM_FAILED"))
            status = event.get("status", 503 if code == "BOX_GONE" else 500)
            raise error_for(code, status, str(event.get("message", code)))
        return True


class LogSource(EventSource):
    """Output of a process, kept and new."""

    def __init__(self, box: Box, name: str, cursor: int | None, stream: str | None) -> None:
        def follow(at: str | int | None) -> Call:
            return get(below(box, "processes", name) + "/logs", follow=True, cursor=at, stream=stream)

        super().__init__(box, follow(cursor), {"exit"}, lambda last: follow(last or cursor))


class RunSource(EventSource):
    """Events of a run; another connection reads on from its record."""

    def __init__(self, box: Box, members: Mapping[str, Any]) -> None:
        self.id = ""
        super().__init__(box, Call("POST", f"{box.base}/run", json=members), {"done"}, self._follow)

    def _follow(self, last: str) -> Call | None:
        if not self.id:
            return None
        call = get(below(self.box, "executions", self.id))
        call.headers = {"Last-Event-ID": last} if last else {}
        return call

    def accept(self, event: Event) -> bool:
        if event["type"] == "started" and self.id:
            return False  # of a second connection
        self.id = event["executionId"]
        return True


class WatchSource(EventSource):
    """Changes of files, behind one ``watching``. A gap that the server cannot fill is told as ``resync``."""

    def __init__(self, box: Box, query: Mapping[str, Any], since: str | None) -> None:
        self.box = box
        self._query = query
        self.established = False
        self._lost = False
        super().__init__(box, self._open(since or ""), {"stopped"}, self._open)
        self.last_id = since or ""

    def _open(self, cursor: str) -> Call:
        call = get(f"{self.box.base}/watch", **self._query)
        call.headers = {"Last-Event-ID": cursor} if cursor else {}
        return call

    def accept(self, event: Event) -> bool:
        if event["type"] != "watching":
            return True
        again, lost = self.established, self._lost
        self.established, self._lost = True, False
        if lost:
            event.update(type="resync", reason="expired")
        return lost or not again

    def broken(self, error: CellboxError, retry: Retry) -> float:
        if error.status == 410 and self.established:
            self._lost = True
            self.last_id = ""
            error = self.ended()
        return super().broken(error, retry)


class NotebookSource(EventSource):
    """Events of a notebook; it ends with its request."""

    def __init__(self, box: Box, members: Mapping[str, Any]) -> None:
        super().__init__(box, Call("POST", f"{box.base}/notebooks:execute", json=members), {"done"})


def run_body(
    code: str,
    *,
    context: CodeContext | str | None,
    language: str | None,
    env: Mapping[str, str] | None,
    timeout: float | None,
    formats: Sequence[str] | None,
    stop_on_error: bool | None,
    allow_stdin: bool | None = None,
) -> dict[str, Any]:
    """Of a call that runs code."""
    return body(
        code=code,
        context=None if context is None else context_id(context),
        language=language,
        env=env,
        timeout=milliseconds(timeout),
        formats=formats and list(formats),
        stop_on_error=stop_on_error,
        allow_stdin=allow_stdin or None,
    )
