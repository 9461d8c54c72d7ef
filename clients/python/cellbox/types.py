"""What calls give. Times are datetimes in UTC, durations say their unit."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

Bytes: TypeAlias = bytes  # some members are called bytes

Command: TypeAlias = str | Sequence[str]
"""A line for the shell, or a program with its arguments."""


@dataclass(frozen=True)
class SandboxInfo:
    """State of a sandbox. ``state`` is stopped, starting, running or failed."""

    name: str
    state: str
    image: str
    env: dict[str, str]
    labels: dict[str, str]
    limits: dict[str, float]
    """memory in bytes, cpu in CPUs (0 is unlimited), pids in processes and threads, disk in bytes (absent: none)."""
    keep_alive: bool
    contexts: int
    created_at: datetime
    last_used_at: datetime
    sleep_after: float | None = field(default=None, metadata={"read": lambda ms: ms / 1000})
    """Seconds; None if it never sleeps."""
    error: dict[str, str] | None = None
    """``step`` and ``message`` of why it failed to start."""


@dataclass(frozen=True)
class EgressLog:
    """Records of what a sandbox asked of the world; their members: docs/egress.md."""

    entries: list[dict[str, Any]]
    cursor: str
    """Where to go on."""
    lost: int
    """Bytes that the log has dropped before the first entry."""


@dataclass(frozen=True)
class Usage:
    """What a sandbox uses."""

    state: str
    active_cpu_ms: float
    """CPU time in milliseconds, of its whole life."""
    memory_bytes: int
    processes: int
    oom_kills: int
    """Since it was started."""
    egress_bytes: int = 0
    """To and from the world, since it exists."""
    memory_gib_seconds: float = field(default=0.0, metadata={"wire": "memoryGiBSeconds"})
    """Memory times time, of its whole life, by samples."""
    disk_bytes: int | None = None
    """What it has written and not deleted; None if the files could not be counted in time."""


@dataclass(frozen=True)
class BucketInfo:
    """A bucket of an object store that is a directory. ``state`` is asleep, mounting, mounted or failed."""

    id: str
    bucket: str
    path: str
    endpoint: str
    read_only: bool
    state: str
    region: str | None = None
    prefix: str | None = None
    secret: str | None = None
    error: str | None = None
    """Why it failed."""


@dataclass(frozen=True)
class GitProgress:
    """What one step of a checkout has done so far."""

    phase: str
    """As git calls it, e.g. "Receiving objects"."""
    percent: int
    current: int = 0
    total: int = 0


@dataclass(frozen=True)
class GitCheckout:
    """What was cloned, and where to."""

    repo_url: str
    """Without user and password."""
    target_dir: str
    """Absolute."""
    branch: str | None = None
    """None when the repository is empty and has none."""
    commit: str | None = None


@dataclass(frozen=True)
class ExecResult:
    """How a command ended and what it wrote."""

    command: str
    success: bool
    """Exit code 0."""
    exit_code: int
    """128 + signal if one ended it, 124 after a timeout."""
    signal: str | None
    timed_out: bool
    truncated: bool
    """Output was left out: over max_output, or dropped in the box."""
    duration: float
    """Seconds."""
    stdout_bytes: bytes
    stderr_bytes: bytes
    session_id: str | None = None
    session_ended: bool = False
    """The session's shell ended with this script; the next one has a new shell."""
    session_restarted: bool = False
    """The session's shell was new, because the one before had ended."""

    @property
    def stdout(self) -> str:
        """As text; bytes that are no UTF-8 are U+FFFD."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """As text; bytes that are no UTF-8 are U+FFFD."""
        return self.stderr_bytes.decode(errors="replace")


@dataclass(frozen=True)
class ExecEvent:
    """An event of a command: start, stdout, stderr or complete. An error is none of them: it is raised."""

    type: Literal["start", "stdout", "stderr", "complete"]
    timestamp: datetime
    data: str = ""
    """Of stdout and stderr."""
    bytes: Bytes = b""
    command: str | None = None
    pid: int | None = None
    exit_code: int | None = None
    """Of complete, as everything below."""
    signal: str | None = None
    success: bool | None = None
    timed_out: bool | None = None
    truncated: bool | None = None
    session_id: str | None = None
    session_ended: bool | None = None
    session_restarted: bool | None = None


@dataclass(frozen=True)
class SessionInfo:
    """A persistent shell. ``status`` is running or ended."""

    id: str
    status: str
    cwd: str
    restarts: int
    """How often its shell has been replaced after its end."""
    created_at: datetime
    pid: int | None = None


@dataclass(frozen=True)
class ProcessInfo:
    """A background process. ``status`` is running, restarting, completed, failed, killed or error."""

    id: str
    command: str
    cwd: str
    status: str
    restart: str
    restarts: int
    start_time: datetime
    end_time: datetime | None = None
    pid: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    timed_out: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    """Why it could not be started (again)."""


@dataclass(frozen=True)
class Logs:
    """Kept output of a process."""

    stdout: str
    stderr: str
    cursor: int
    """Give it back to get only what came later."""
    truncated: bool
    """Output between the given cursor and what is kept has been dropped."""


@dataclass(frozen=True)
class LogEvent:
    """stdout, stderr, gap (output was dropped before this place), restart, or exit, which is the last."""

    type: Literal["stdout", "stderr", "gap", "restart", "exit"]
    timestamp: datetime
    data: str = ""
    bytes: Bytes = b""
    cursor: int | None = None
    restarts: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    timed_out: bool | None = None


@dataclass(frozen=True)
class LogMatch:
    """A line that was waited for; ``match`` is the match and its groups, None for one that took no part."""

    line: str
    stream: str
    match: list[str | None]


@dataclass(frozen=True)
class PortReady:
    """A port that answers; ``status`` is the HTTP status, None for tcp."""

    port: int
    status: int | None = None


@dataclass(frozen=True)
class ExitInfo:
    """How a process ended."""

    exit_code: int
    timed_out: bool
    signal: str | None = None


@dataclass(frozen=True)
class FileInfo:
    """A file. ``type`` is file, directory, symlink or other; ``size`` in bytes; ``mode`` octal, such as 0644."""

    name: str
    absolute_path: str
    type: str
    size: int
    mode: str
    uid: int
    gid: int
    permissions: dict[str, bool]
    """readable, writable, executable: by who asked."""
    modified_at: datetime
    relative_path: str | None = None
    """In a list: below the directory that was listed."""
    target: str | None = None
    """Of a symlink."""
    encoded_path: str | None = None
    """Where the name is no UTF-8: how it is written in an address."""


@dataclass(frozen=True)
class FileList:
    """Entries of a directory. ``truncated``: there were more than ``limit``."""

    files: list[FileInfo]
    count: int
    truncated: bool


@dataclass(frozen=True)
class FileContent:
    """A file, or a range of it."""

    path: str
    bytes: Bytes
    mime_type: str

    @property
    def is_binary(self) -> bool:
        """It is not valid UTF-8, or holds a NUL."""
        try:
            return "\0" in self.bytes.decode()
        except UnicodeDecodeError:
            return True

    @property
    def encoding(self) -> str:
        """Of ``content``: utf-8, or base64 of a binary file."""
        return "base64" if self.is_binary else "utf-8"

    @property
    def content(self) -> str:
        """Text, or base64 of a binary file."""
        return base64.b64encode(self.bytes).decode() if self.is_binary else self.bytes.decode()

    @property
    def text(self) -> str:
        """As text whatever it is; bytes that are no UTF-8 are U+FFFD."""
        return self.bytes.decode(errors="replace")

    @property
    def size(self) -> int:
        """Bytes that were read."""
        return len(self.bytes)


@dataclass(frozen=True)
class SearchMatch:
    """A line that matches. ``line`` counts from 1, ``offset`` is its place in the file in bytes."""

    line: int
    offset: int
    submatches: list[dict[str, int]]
    """``start`` and ``end`` in bytes within the line."""
    path: str | None = None
    text: str | None = None
    path_base64: str | None = None
    """Where the path is no UTF-8."""
    text_base64: str | None = None


@dataclass(frozen=True)
class SearchResult:
    """Matches of a search. ``truncated``: there were more than ``limit``."""

    matches: list[SearchMatch]
    count: int
    truncated: bool


@dataclass(frozen=True)
class WatchEvent:
    """A change: create, modify, delete, rename, attributes.

    ``resync``: changes were lost (reason: overflow, slow, expired), so look for yourself. ``stopped``: the directory or
    the sandbox is gone; nothing follows.
    """

    type: str
    timestamp: datetime
    path: str | None = None
    old_path: str | None = None
    """Of a rename: where it was."""
    is_directory: bool | None = None
    reason: str | None = None


@dataclass(frozen=True)
class ExposedPort:
    """A port with an address. ``status`` is active or expired."""

    port: int
    status: str
    token: str
    url: str
    """By host name, or by path where the server is reached by an IP address."""
    path_url: str
    """By path; works without wildcard DNS."""
    created_at: datetime
    expires_at: datetime | None = None
    name: str | None = None
    login: bool = False
    login_url: str | None = None
    """With ``login``: gives a browser the cookie that it needs."""


@dataclass(frozen=True)
class TerminalInfo:
    """A terminal. ``status`` is running or exited; ``viewers``: who looks at it now."""

    id: str
    status: str
    command: str
    cols: int
    rows: int
    viewers: int
    start_time: datetime
    pid: int | None = None
    exit_code: int | None = None
    signal: str | None = None


@dataclass(frozen=True)
class TerminalExit:
    """How a terminal's program ended."""

    code: int
    signal: str | None = None


@dataclass(frozen=True)
class CodeContext:
    """An interpreter with a state. ``state`` is starting, idle, busy, restarting or dead."""

    id: str
    sandbox: str
    language: str
    cwd: str
    env: dict[str, str]
    state: str
    execution_count: int
    queued: int
    """Runs that are running or waiting."""
    created_at: datetime
    last_used: datetime = field(metadata={"wire": "lastUsedAt"})
    timeout_ms: int | None = field(default=None, metadata={"wire": "timeout"})
    """Time limit of runs that name none, milliseconds."""
    reason: str | None = None
    """Why it is dead; the next run starts it again."""


@dataclass
class Result:
    """One display or value: every form that the code gave of it (a MIME bundle; images are base64)."""

    is_main_result: bool
    """The value of the last expression, not a display."""
    data: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    display_id: str | None = None
    """Of a display that may be updated; it appears once, in its last form."""

    def _text(self, mime: str) -> str | None:
        value = self.data.get(mime)
        return value if isinstance(value, str) else None

    @property
    def text(self) -> str | None:
        """text/plain"""
        return self._text("text/plain")

    @property
    def html(self) -> str | None:
        """text/html"""
        return self._text("text/html")

    @property
    def png(self) -> str | None:
        """image/png in base64; ``bytes("image/png")`` gives bytes."""
        return self._text("image/png")

    @property
    def jpeg(self) -> str | None:
        """image/jpeg in base64"""
        return self._text("image/jpeg")

    @property
    def svg(self) -> str | None:
        """image/svg+xml"""
        return self._text("image/svg+xml")

    @property
    def pdf(self) -> str | None:
        """application/pdf in base64"""
        return self._text("application/pdf")

    @property
    def latex(self) -> str | None:
        """text/latex"""
        return self._text("text/latex")

    @property
    def markdown(self) -> str | None:
        """text/markdown"""
        return self._text("text/markdown")

    @property
    def javascript(self) -> str | None:
        """application/javascript"""
        return self._text("application/javascript") or self._text("text/javascript")

    @property
    def json(self) -> Any:
        """application/json, as a value"""
        return self.data.get("application/json")

    def formats(self) -> list[str]:
        """MIME types, in the order in which the code gave them."""
        return list(self.data)

    def bytes(self, mime: str) -> Bytes | None:
        """Bytes of a base64 form, such as image/png."""
        text = self._text(mime)
        return None if text is None else base64.b64decode(text)


@dataclass(frozen=True)
class ExecutionError:
    """Why code failed; it is part of the Execution and never raised.

    ``code`` is EXCEPTION if the code raised, else TIMEOUT, CONTEXT_DIED, OUT_OF_MEMORY, ... (docs/api.md).
    """

    code: str
    name: str
    message: str
    traceback: list[str]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OutputMessage:
    """A piece of output."""

    text: str
    timestamp: datetime


@dataclass(frozen=True)
class InputRequest:
    """What input() asks."""

    prompt: str
    password: bool


@dataclass(frozen=True)
class Timing:
    """Of a run."""

    queued_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None


@dataclass(frozen=True)
class ExecutionInfo:
    """A run without its output. ``status`` is queued, running, ok, error or aborted."""

    id: str
    status: str
    execution_count: int
    timing: Timing
    context: str | None = None
    """Id of the context."""
    context_restarted: bool = False
    """The context had died before this run, and its variables were lost; ``reason`` says why it died."""
    reason: str | None = None
    truncated: bool = False
    """Output over the server's bound was not kept."""


@dataclass(frozen=True)
class ExecutionLogs:
    """Output, in the pieces in which it came."""

    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Execution(ExecutionInfo):
    """A run and everything that it gave."""

    code: str = ""
    results: list[Result] = field(default_factory=list)
    logs: ExecutionLogs = field(default_factory=ExecutionLogs)
    error: ExecutionError | None = None

    @property
    def result(self) -> Result | None:
        """The value of the last expression."""
        return next((r for r in self.results if r.is_main_result), None)

    @property
    def text(self) -> str | None:
        """Its text form."""
        return self.result.text if self.result else None

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dictionaries."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Completion:
    """What fits between two places, which count code points."""

    matches: list[str]
    cursor_start: int
    cursor_end: int
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Inspection:
    """Documentation of what stands at a place, as a MIME bundle."""

    found: bool
    data: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class CellDone:
    """A cell of a notebook that has ended; ``index`` is its place, ``done`` how many there are by now."""

    index: int
    done: int
    status: str
    execution_count: int
    duration_ms: int
    outputs: list[Any]


@dataclass(frozen=True)
class NotebookResult:
    """A notebook that was run. ``cells`` counts code cells that are not empty."""

    status: str
    cells: int
    executed: int
    notebook: dict[str, Any]
    """With its outputs."""
    error: dict[str, Any] | None = None
    """``cell`` (index), ``name`` and ``message`` of the cell that ended the run."""
