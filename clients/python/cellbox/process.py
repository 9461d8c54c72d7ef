"""Handles of background processes and sessions, blocking and asynchronous."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing
from datetime import datetime

from . import calls
from .calls import Box
from .collect import ExecCollector, exec_event, log_event
from .content import AsyncContent, Content, async_pieces, pieces, whole
from .events import CommandSource, LogSource
from .http import AsyncDriver, Driver
from .types import ExecEvent, ExecResult, ExitInfo, LogEvent, LogMatch, Logs, PortReady, ProcessInfo, SessionInfo

MAX_OUTPUT = 32 << 20
OnOutput = Callable[[str, str], None]


class ProcessBase:
    """Fields of a process, as of the last answer of the server; ``refresh`` asks again."""

    def __init__(self, box: Box, info: ProcessInfo) -> None:
        self._box = box
        self.info = info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def pid(self) -> int | None:
        return self.info.pid

    @property
    def command(self) -> str:
        return self.info.command

    @property
    def status(self) -> str:
        """running, restarting, completed, failed, killed or error"""
        return self.info.status

    @property
    def start_time(self) -> datetime:
        return self.info.start_time

    @property
    def end_time(self) -> datetime | None:
        return self.info.end_time

    @property
    def exit_code(self) -> int | None:
        return self.info.exit_code

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status}>"


class Process(ProcessBase):
    """A background process; it outlives the request that started it, and the gateway. Times are in seconds."""

    def __init__(self, driver: Driver, box: Box, info: ProcessInfo) -> None:
        super().__init__(box, info)
        self._driver = driver

    def refresh(self) -> Process:
        """Asks the server and updates the fields."""
        self.info = self._driver.run(calls.get_process(self._box, self.id))
        return self

    def get_status(self) -> str:
        """The status as it is now."""
        return self.refresh().status

    def kill(self, signal: str | int = "SIGTERM", *, grace: float | None = None, tree: bool | None = None) -> None:
        """Sends a signal.

        TERM, INT, HUP, QUIT and KILL end the whole tree, with KILL after ``grace`` (default 5); others only arrive.
        Returns before the process has ended: wait_for_exit.
        """
        self.info = self._driver.run(calls.kill_process(self._box, self.id, signal, grace, tree))

    def delete(self) -> None:
        """Ends it if it runs, and forgets it and its logs."""
        self._driver.run(calls.remove(self._box, "processes", self.id))

    def get_logs(self, *, cursor: int | None = None, stream: str | None = None) -> Logs:
        """What is kept of its output, all of it or from a cursor on, of one stream or both."""
        return self._driver.run(calls.get_logs(self._box, self.id, cursor, stream))

    logs = get_logs

    def stream_logs(self, *, cursor: int | None = None, stream: str | None = None) -> Generator[LogEvent, None, None]:
        """Output that is kept and then as it comes, up to the event ``exit``.

        Goes on by itself after a broken connection.
        """
        for event in self._driver.events(LogSource(self._box, self.id, cursor, stream)):
            yield log_event(event)

    def write_stdin(self, data: Content, *, end: bool = False) -> None:
        """Standard input, of any length; returns once the process has been given all of it.

        ``end``: nothing follows. Raises ConflictError if it was started without ``stdin``, or ends before.
        """
        sent = whole(data)
        sent = pieces(data) if sent is None else sent  # type: ignore[arg-type,assignment]
        self._driver.run(calls.write_input(self._box, self.id, sent, end))

    def close_stdin(self) -> None:
        """Nothing follows."""
        self.write_stdin(b"", end=True)

    def wait_for_log(self, pattern: str | re.Pattern[str], timeout: float | None = None) -> LogMatch:
        """Waits for a line that holds the text or matches the pattern; what was written before counts, too.

        The server matches (PCRE2), so the usual syntax works. Raises ProcessReadyTimeoutError,
        ProcessExitedBeforeReadyError.
        """
        return self._driver.run(calls.wait_for_log(self._box, self.id, pattern, timeout))

    def wait_for_port(
        self,
        port: int,
        *,
        mode: str | None = None,
        path: str | None = None,
        status: int | tuple[int, int] | None = None,
        interval: float | None = None,
        timeout: float | None = None,
    ) -> PortReady:
        """Waits until a port of the box answers.

        ``mode`` http (default: a status in the range, 200 to 399, of ``path``) or tcp (a connection). Raises
        ProcessReadyTimeoutError, ProcessExitedBeforeReadyError.
        """
        return self._driver.run(calls.wait_for_port(self._box, self.id, port, mode, path, status, interval, timeout))

    def wait_for_exit(self, timeout: float | None = None) -> ExitInfo:
        """Waits for its end (of a restarted one: its last). Raises ProcessReadyTimeoutError."""
        return self._driver.run(calls.wait_for_exit(self._box, self.id, timeout))


class AsyncProcess(ProcessBase):
    """As Process; every method is awaited."""

    def __init__(self, driver: AsyncDriver, box: Box, info: ProcessInfo) -> None:
        super().__init__(box, info)
        self._driver = driver

    async def refresh(self) -> AsyncProcess:
        self.info = await self._driver.run(calls.get_process(self._box, self.id))
        return self

    async def get_status(self) -> str:
        return (await self.refresh()).status

    async def kill(
        self, signal: str | int = "SIGTERM", *, grace: float | None = None, tree: bool | None = None
    ) -> None:
        self.info = await self._driver.run(calls.kill_process(self._box, self.id, signal, grace, tree))

    async def delete(self) -> None:
        await self._driver.run(calls.remove(self._box, "processes", self.id))

    async def get_logs(self, *, cursor: int | None = None, stream: str | None = None) -> Logs:
        return await self._driver.run(calls.get_logs(self._box, self.id, cursor, stream))

    logs = get_logs

    async def stream_logs(
        self, *, cursor: int | None = None, stream: str | None = None
    ) -> AsyncGenerator[LogEvent, None]:
        async with aclosing(self._driver.events(LogSource(self._box, self.id, cursor, stream))) as events:
            async for event in events:
                yield log_event(event)

    async def write_stdin(self, data: AsyncContent, *, end: bool = False) -> None:
        sent = whole(data)
        sent = async_pieces(data) if sent is None else sent  # type: ignore[arg-type,assignment]
        await self._driver.run(calls.write_input(self._box, self.id, sent, end))

    async def close_stdin(self) -> None:
        await self.write_stdin(b"", end=True)

    async def wait_for_log(self, pattern: str | re.Pattern[str], timeout: float | None = None) -> LogMatch:
        return await self._driver.run(calls.wait_for_log(self._box, self.id, pattern, timeout))

    async def wait_for_port(
        self,
        port: int,
        *,
        mode: str | None = None,
        path: str | None = None,
        status: int | tuple[int, int] | None = None,
        interval: float | None = None,
        timeout: float | None = None,
    ) -> PortReady:
        return await self._driver.run(
            calls.wait_for_port(self._box, self.id, port, mode, path, status, interval, timeout)
        )

    async def wait_for_exit(self, timeout: float | None = None) -> ExitInfo:
        return await self._driver.run(calls.wait_for_exit(self._box, self.id, timeout))


class Session:
    """A persistent shell: directory, variables, functions and jobs last from one script to the next.

    Scripts take turns; a stuck one is cancelled by its timeout and the shell lives on.
    """

    def __init__(self, driver: Driver, box: Box, id: str) -> None:
        self._driver = driver
        self._box = box
        self.id = id

    def exec(
        self,
        script: str,
        *,
        timeout: float | None = None,
        grace: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: OnOutput | None = None,
    ) -> ExecResult:
        """Runs a script in the shell. Times are in seconds. Raises SessionNotFoundError."""
        source = session_source(self._box, self.id, script, timeout, grace)
        return self._driver.collect(source, ExecCollector(max_output, on_output))

    def exec_stream(
        self, script: str, *, timeout: float | None = None, grace: float | None = None
    ) -> Generator[ExecEvent, None, None]:
        """The same as events. Closing the generator cancels the script."""
        for event in self._driver.events(session_source(self._box, self.id, script, timeout, grace)):
            yield exec_event(event)

    def info(self) -> SessionInfo:
        """Its state."""
        return self._driver.run(calls.get_session(self._box, self.id))

    def delete(self) -> None:
        """Ends the shell and everything in it."""
        self._driver.run(calls.remove(self._box, "sessions", self.id))


def session_source(box: Box, id: str, script: str, timeout: float | None, grace: float | None) -> CommandSource:
    """Events of a script in a session."""
    where = calls.below(box, "sessions", id).removeprefix(box.base) + "/exec"
    return CommandSource(box, where, calls.command_body(script, timeout=timeout, grace=grace))


class AsyncSession:
    """As Session; every method is awaited."""

    def __init__(self, driver: AsyncDriver, box: Box, id: str) -> None:
        self._driver = driver
        self._box = box
        self.id = id

    async def exec(
        self,
        script: str,
        *,
        timeout: float | None = None,
        grace: float | None = None,
        max_output: int = MAX_OUTPUT,
        on_output: OnOutput | None = None,
    ) -> ExecResult:
        source = session_source(self._box, self.id, script, timeout, grace)
        return await self._driver.collect(source, ExecCollector(max_output, on_output))

    async def exec_stream(
        self, script: str, *, timeout: float | None = None, grace: float | None = None
    ) -> AsyncGenerator[ExecEvent, None]:
        source = session_source(self._box, self.id, script, timeout, grace)
        async with aclosing(self._driver.events(source)) as events:
            async for event in events:
                yield exec_event(event)

    async def info(self) -> SessionInfo:
        return await self._driver.run(calls.get_session(self._box, self.id))

    async def delete(self) -> None:
        await self._driver.run(calls.remove(self._box, "sessions", self.id))
