"""From events to what a method gives. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .calls import execution_of
from .errors import ConnectionError
from .events import Event
from .types import (
    CellDone,
    ExecEvent,
    ExecResult,
    Execution,
    ExecutionError,
    ExecutionLogs,
    GitCheckout,
    GitProgress,
    InputRequest,
    LogEvent,
    NotebookResult,
    OutputMessage,
    Result,
)
from .wire import decode, output_bytes


def _with_bytes(event: Event) -> dict[str, Any]:
    if event["type"] not in ("stdout", "stderr"):
        return {}
    data = output_bytes(event["data"], event.get("encoding"))
    return {"bytes": data, "data": data.decode(errors="replace")}


def exec_event(event: Event) -> ExecEvent:
    """One event of a command."""
    return decode(ExecEvent, event, **_with_bytes(event))


def log_event(event: Event) -> LogEvent:
    """One event of a process's output."""
    return decode(LogEvent, event, **_with_bytes(event))


class ExecCollector:
    """Puts an ExecResult together. Output over ``max_output`` bytes of each stream is cut, which is said."""

    def __init__(self, max_output: int, on_output: Callable[[str, str], None] | None) -> None:
        self._max = max_output
        self._on_output = on_output
        self._output = {"stdout": bytearray(), "stderr": bytearray()}
        self._cut = False
        self._command = ""
        self._end: Event | None = None

    def take(self, event: Event) -> None:
        """An event of the command."""
        if event["type"] == "start":
            self._command = event["command"]
        elif event["type"] == "complete":
            self._end = event
        elif event["type"] in self._output:
            piece = exec_event(event)
            kept = self._output[event["type"]]
            room = self._max - len(kept)
            self._cut |= len(piece.bytes) > room
            kept += piece.bytes[:room]
            if self._on_output:
                self._on_output(event["type"], piece.data)

    def result(self) -> ExecResult:
        """After its end."""
        if not self._end:
            raise ConnectionError("the connection ended before the command did")
        return decode(
            ExecResult,
            self._end,
            command=self._command,
            truncated=self._cut or self._end["truncated"],
            duration=self._end["durationMs"] / 1000,
            stdout_bytes=bytes(self._output["stdout"]),
            stderr_bytes=bytes(self._output["stderr"]),
        )


class GitCollector:
    """Passes progress on and keeps the end."""

    def __init__(self, on_progress: Callable[[GitProgress], None] | None) -> None:
        self._on_progress = on_progress
        self._end: Event | None = None

    def take(self, event: Event) -> None:
        """An event of the checkout."""
        if event["type"] == "complete":
            self._end = event
        elif event["type"] == "progress" and self._on_progress:
            self._on_progress(decode(GitProgress, event))

    def result(self) -> GitCheckout:
        """After its end."""
        if not self._end:
            raise ConnectionError("the connection ended before the checkout did")
        return decode(GitCheckout, self._end)


class RunCollector:
    """Puts an Execution together, as the server does."""

    def __init__(
        self,
        code: str,
        on_stdout: Callable[[OutputMessage], None] | None = None,
        on_stderr: Callable[[OutputMessage], None] | None = None,
        on_result: Callable[[Result], None] | None = None,
        on_error: Callable[[ExecutionError], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self._code = code
        self._on_output = {"stdout": on_stdout, "stderr": on_stderr}
        self._on_result = on_result
        self._on_error = on_error
        self._on_notice = on_notice
        self._results: list[Result] = []
        self._logs: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._raised: ExecutionError | None = None
        self._typed: ExecutionError | None = None
        self._end: Event | None = None

    def take(self, event: Event) -> InputRequest | None:
        """An event of the run; what it gives has to be answered."""
        kind = event["type"]
        if kind in self._logs:
            self._logs[kind].append(event["text"])
            tell = self._on_output[kind]
            if tell:
                tell(decode(OutputMessage, event))
        elif kind in ("display", "result", "update_display"):
            self._display(kind, event)
        elif kind == "error":
            self._error(decode(ExecutionError, event))
        elif kind == "notice" and self._on_notice:
            self._on_notice(event["text"])
        elif kind == "input_request":
            return InputRequest(event.get("prompt", ""), event.get("password", False))
        elif kind == "done":
            self._end = event
            if self.error and self._on_error:
                self._on_error(self.error)
        return None

    @property
    def error(self) -> ExecutionError | None:
        """The server's reason (TIMEOUT...) if there is one, with the traceback of what the code raised then."""
        if self._typed and self._raised:
            typed = self._typed
            return ExecutionError(typed.code, typed.name, typed.message, self._raised.traceback, typed.details)
        return self._typed or self._raised

    def _display(self, kind: str, event: Event) -> None:
        result = decode(Result, event, is_main_result=kind == "result" and event.get("isMainResult", True))
        if kind == "update_display":
            for shown in self._results:
                if shown.display_id is not None and shown.display_id == result.display_id:
                    shown.data, shown.metadata = result.data, result.metadata
        else:
            self._results.append(result)
        if self._on_result:
            self._on_result(result)

    def _error(self, error: ExecutionError) -> None:
        if error.code == "EXCEPTION":
            self._raised = error
        elif not self._typed:
            self._typed = error

    def result(self) -> Execution:
        """After its end."""
        if not self._end:
            raise ConnectionError("the stream of events ended before the run did")
        logs = ExecutionLogs(self._logs["stdout"], self._logs["stderr"])
        known = {"id": self._end["executionId"], "code": self._code, "results": self._results, "logs": logs}
        return execution_of(self._end, error=self.error, **known)


class NotebookCollector:
    """Puts a NotebookResult together."""

    def __init__(
        self, on_cell_started: Callable[[int], None] | None, on_cell_done: Callable[[CellDone], None] | None
    ) -> None:
        self._on_cell_started = on_cell_started
        self._on_cell_done = on_cell_done
        self._end: Event | None = None

    def take(self, event: Event) -> None:
        """An event of the notebook."""
        if event["type"] == "cell_started" and self._on_cell_started:
            self._on_cell_started(event["index"])
        elif event["type"] == "cell_done" and self._on_cell_done:
            self._on_cell_done(decode(CellDone, event))
        elif event["type"] == "done":
            self._end = event

    def result(self) -> NotebookResult:
        """After its end."""
        if not self._end:
            raise ConnectionError("the connection ended before the notebook did")
        return decode(NotebookResult, self._end)
