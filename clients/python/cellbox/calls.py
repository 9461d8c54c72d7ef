"""What is sent, and how answers are read: no I/O.

An *operation* is a generator: it yields calls, receives the answers' bodies, and returns what its method gives. The
same operations are driven by the blocking and by the asynchronous client.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, urlencode

from .content import whole
from .errors import (
    BucketError,
    ConnectionError,
    FileNotFoundError,
    ProcessNotFoundError,
    ProcessReadyTimeoutError,
    SandboxNotFoundError,
    TerminalNotFoundError,
)
from .types import (
    BucketInfo,
    CodeContext,
    Command,
    Completion,
    EgressLog,
    Execution,
    ExecutionError,
    ExecutionInfo,
    ExecutionLogs,
    ExitInfo,
    ExposedPort,
    FileInfo,
    FileList,
    Inspection,
    LogMatch,
    Logs,
    PortReady,
    ProcessInfo,
    Result,
    SandboxInfo,
    SearchMatch,
    SearchResult,
    SessionInfo,
    TerminalInfo,
    Timing,
    Usage,
)
from .wire import body, decode, milliseconds, output_bytes

T = TypeVar("T")
WAIT_SLICE_SECONDS = 60.0
"""One wait of the server is at most so long, so that nothing in between takes silence for a fault."""


@dataclass
class Call:
    """One request. ``idempotent`` says that sending it twice does no harm."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = False
    one_way: bool = False
    """The content is a stream, which can be sent only once."""

    def address(self) -> str:
        """Path and query."""
        pairs: list[tuple[str, str]] = []
        for name, value in self.query.items():
            for item in value if isinstance(value, (list, tuple)) else [value]:
                if item is not None:
                    pairs.append((name, str(item).lower() if isinstance(item, bool) else str(item)))
        return self.path + ("?" + urlencode(pairs) if pairs else "")


Operation: TypeAlias = Generator[Call, bytes, T]


def get(path: str, /, **query: Any) -> Call:
    """A call that reads."""
    return Call("GET", path, query, idempotent=True)


def ask(call: Call) -> Operation[Any]:
    """The JSON of a call's answer."""
    answer = yield call
    try:
        return json.loads(answer)
    except ValueError as e:
        raise ConnectionError("the answer broke off") from e


class Box:
    """One sandbox: its address, and that it is made when it is first needed."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.base = f"/v1/sandboxes/{quote(name, safe='')}"
        self.options = options
        self.made = not options

    def make(self) -> Operation[SandboxInfo]:
        """Makes it if there is none, starts it if it is stopped."""
        info = yield from ask(Call("PUT", self.base, json=self.options, idempotent=True))
        self.made = True
        return decode(SandboxInfo, info)

    def prepared(self) -> Operation[None]:
        """Options are put before the first use."""
        if not self.made:
            yield from self.make()

    def need(self, operation: Operation[T]) -> Operation[T]:
        """An operation whose calls find the sandbox; one that is gone is made, and the call sent again."""
        yield from self.prepared()
        answer: bytes | None = None
        error: Exception | None = None
        while True:
            try:
                call = operation.throw(error) if error else operation.send(answer)  # type: ignore[arg-type]
            except StopIteration as end:
                return end.value
            answer, error = None, None
            try:
                try:
                    answer = yield call
                except SandboxNotFoundError:
                    yield from self.make()
                    answer = yield call
            except Exception as e:
                error = e


# ---- sandbox ----


def info(box: Box) -> Operation[SandboxInfo]:
    return decode(SandboxInfo, (yield from ask(get(box.base))))


def usage(box: Box) -> Operation[Usage]:
    return decode(Usage, (yield from ask(get(f"{box.base}/usage"))))


def list_sandboxes() -> Operation[list[SandboxInfo]]:
    answer = yield from ask(get("/v1/sandboxes"))
    return [decode(SandboxInfo, one) for one in answer["sandboxes"]]


def patch(box: Box, **members: Any) -> Operation[None]:
    yield Call("PATCH", box.base, json=members, idempotent=True)


def set_env_vars(box: Box, variables: Mapping[str, str | None]) -> Operation[None]:
    now = yield from info(box)
    yield from patch(box, env={k: v for k, v in {**now.env, **variables}.items() if v is not None})


def destroy(box: Box) -> Operation[None]:
    box.made = not box.options
    with suppress(SandboxNotFoundError):
        yield Call("DELETE", box.base, idempotent=True)


# ---- commands, sessions ----


def command_body(
    command: Command | None,
    *,
    cwd: str | None = None,
    env: Mapping[str, str | None] | None = None,
    stdin: object = None,
    timeout: float | None = None,
    grace: float | None = None,
) -> dict[str, Any]:
    """Of a call that starts a command. Variables that are None are left out."""
    data = whole(stdin)
    is_text = isinstance(stdin, str)
    return body(
        command=command if command is None or isinstance(command, str) else list(command),
        cwd=cwd,
        env=None if env is None else {k: v for k, v in env.items() if v is not None},
        stdin=stdin if is_text else None if data is None else base64.b64encode(data).decode(),
        stdin_encoding=None if is_text or data is None else "base64",
        stdin_stream=True if data is None and stdin is not None else None,
        timeout=milliseconds(timeout),
        grace=None if grace is None else round(grace * 1000),
    )


def create_session(box: Box, **members: Any) -> Operation[SessionInfo]:
    return decode(SessionInfo, (yield from ask(Call("POST", f"{box.base}/sessions", json=body(**members)))))


def list_sessions(box: Box) -> Operation[list[SessionInfo]]:
    answer = yield from ask(get(f"{box.base}/sessions"))
    return [decode(SessionInfo, one) for one in answer["sessions"]]


def below(box: Box, kind: str, name: str) -> str:
    """Address of a thing in a sandbox."""
    return f"{box.base}/{kind}/{quote(name, safe='')}"


def get_session(box: Box, name: str) -> Operation[SessionInfo]:
    return decode(SessionInfo, (yield from ask(get(below(box, "sessions", name)))))


def remove(box: Box, kind: str, name: str) -> Operation[None]:
    yield Call("DELETE", below(box, kind, name), idempotent=True)


# ---- processes ----


def start_process(box: Box, command: dict[str, Any], **members: Any) -> Operation[ProcessInfo]:
    call = Call("POST", f"{box.base}/processes", json={**command, **body(**members)})
    return decode(ProcessInfo, (yield from ask(call)))


def write_input(box: Box, name: str, content: Any, end: bool) -> Operation[None]:
    query = {"end": "true"} if end else {}
    yield Call("POST", below(box, "processes", name) + "/input", query=query, content=content, one_way=True)


def list_processes(box: Box) -> Operation[list[ProcessInfo]]:
    answer = yield from ask(get(f"{box.base}/processes"))
    return [decode(ProcessInfo, one) for one in answer["processes"]]


def get_process(box: Box, name: str) -> Operation[ProcessInfo]:
    return decode(ProcessInfo, (yield from ask(get(below(box, "processes", name)))))


def find_process(box: Box, name: str) -> Operation[ProcessInfo | None]:
    try:
        return (yield from get_process(box, name))
    except ProcessNotFoundError:
        return None


def kill_process(
    box: Box, name: str, signal: str | int = "SIGTERM", grace: float | None = None, tree: bool | None = None
) -> Operation[ProcessInfo]:
    members = body(signal=signal, grace=None if grace is None else round(grace * 1000), tree=tree)
    call = Call("POST", below(box, "processes", name) + "/kill", json=members, idempotent=True)
    return decode(ProcessInfo, (yield from ask(call)))


ALIVE = ("running", "restarting")


def kill_all_processes(box: Box) -> Operation[int]:
    alive = [p for p in (yield from list_processes(box)) if p.status in ALIVE]
    for process in alive:
        yield from kill_process(box, process.id)
    return len(alive)


def cleanup_completed_processes(box: Box) -> Operation[int]:
    ended = [p for p in (yield from list_processes(box)) if p.status not in ALIVE]
    for process in ended:
        yield from remove(box, "processes", process.id)
    return len(ended)


def get_logs(box: Box, name: str, cursor: int | None, stream: str | None) -> Operation[Logs]:
    wire = yield from ask(get(below(box, "processes", name) + "/logs", cursor=cursor, stream=stream))
    text = {
        key: output_bytes(wire[key], wire[f"{key}Encoding"]).decode(errors="replace") for key in ("stdout", "stderr")
    }
    return decode(Logs, wire, **text)


def _wait(box: Box, name: str, kind: type[T], timeout: float | None, condition: dict[str, Any]) -> Operation[T]:
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = WAIT_SLICE_SECONDS if end is None else end - time.monotonic()
        slice_ms = milliseconds(min(left, WAIT_SLICE_SECONDS))
        members = {**condition, "timeout": slice_ms}
        try:
            call = Call("POST", below(box, "processes", name) + "/wait", json=members, idempotent=True)
            return decode(kind, (yield from ask(call)))
        except ProcessReadyTimeoutError:
            if end is not None and left <= WAIT_SLICE_SECONDS:
                raise


_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}


def pattern_of(pattern: re.Pattern[str]) -> str:
    """A pattern as the server's PCRE2 reads it: flags in front, ``\\uXXXX`` as ``\\x{XXXX}``, ``\\Z`` as ``\\z``."""
    flags = "".join(letter for flag, letter in _FLAGS.items() if pattern.flags & flag)
    source = re.sub(
        r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(Z)|(.))",
        lambda m: r"\z" if m[3] else m[0] if m[4] else f"\\x{{{m[1] or m[2]}}}",
        pattern.pattern,
        flags=re.DOTALL,
    )
    return f"(?{flags}){source}" if flags else source


def wait_for_log(box: Box, name: str, pattern: str | re.Pattern[str], timeout: float | None) -> Operation[LogMatch]:
    condition = {"log": pattern} if isinstance(pattern, str) else {"pattern": pattern_of(pattern)}
    return _wait(box, name, LogMatch, timeout, condition)


def wait_for_port(
    box: Box,
    name: str,
    port: int,
    mode: str | None,
    path: str | None,
    status: int | tuple[int, int] | None,
    interval: float | None,
    timeout: float | None,
) -> Operation[PortReady]:
    low, high = (None, None) if status is None else (status, status) if isinstance(status, int) else status
    members = body(port=port, mode=mode, path=path, status_min=low, status_max=high, interval=milliseconds(interval))
    return _wait(box, name, PortReady, timeout, members)


def wait_for_exit(box: Box, name: str, timeout: float | None) -> Operation[ExitInfo]:
    return _wait(box, name, ExitInfo, timeout, {"exit": True})


# ---- files ----


def absolute_path(path: str) -> str:
    """Absolute, and without "." and ".." (an address cannot hold them); relative paths lie below /workspace."""
    if path == "~" or path.startswith("~/"):
        path = "/home/user" + path[1:]
    parts: list[str] = []
    for part in (path if path.startswith("/") else f"/workspace/{path}").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def file_address(box: Box, path: str) -> str:
    return f"{box.base}/files{quote(absolute_path(path))}"


def read_call(box: Box, path: str, offset: int | None, length: int | None, user: str | None) -> Call:
    call = get(file_address(box, path), user=user)
    if offset is not None or length is not None:
        first = offset or 0
        call.headers = {"Range": f"bytes={first}-{'' if length is None else first + length - 1}"}
    return call


def write_call(box: Box, path: str, content: Any, one_way: bool, **query: Any) -> Call:
    """Appending twice is not writing once."""
    idempotent = not query.get("append") and not query.get("exclusive")
    return Call("PUT", file_address(box, path), query, content=content, idempotent=idempotent, one_way=one_way)


def file_of(call: Call) -> Operation[FileInfo]:
    return decode(FileInfo, (yield from ask(call)))


def operate(box: Box, verb: str, idempotent: bool, **members: Any) -> Operation[FileInfo]:
    return file_of(Call("POST", f"{box.base}/files:{verb}", json=body(**members), idempotent=idempotent))


def delete_file(box: Box, path: str, recursive: bool, user: str | None) -> Operation[None]:
    yield Call("DELETE", file_address(box, path), {"recursive": recursive, "user": user}, idempotent=True)


def exists(box: Box, path: str) -> Operation[bool]:
    try:
        yield from operate(box, "stat", True, path=path)
    except FileNotFoundError:
        return False
    return True


def list_files(box: Box, **members: Any) -> Operation[FileList]:
    wire = yield from ask(Call("POST", f"{box.base}/files:list", json=body(**members), idempotent=True))
    return FileList([decode(FileInfo, f) for f in wire["files"]], wire["count"], wire["truncated"])


def search_files(box: Box, **members: Any) -> Operation[SearchResult]:
    wire = yield from ask(Call("POST", f"{box.base}/files:search", json=body(**members), idempotent=True))
    return SearchResult([decode(SearchMatch, m) for m in wire["matches"]], wire["count"], wire["truncated"])


def done(call: Call) -> Operation[None]:
    """A call whose answer has no body."""
    yield call


# ---- ports, terminals ----


def expose_port(box: Box, port: int, **members: Any) -> Operation[ExposedPort]:
    call = Call("PUT", f"{box.base}/ports/{port}", json=body(**members), idempotent=not members.get("rotate"))
    return decode(ExposedPort, (yield from ask(call)))


def list_ports(box: Box) -> Operation[list[ExposedPort]]:
    return [decode(ExposedPort, one) for one in (yield from ask(get(f"{box.base}/ports")))["ports"]]


# ---- buckets ----


def mount_bucket(box: Box, **members: Any) -> Operation[BucketInfo]:
    return decode(BucketInfo, (yield from ask(Call("POST", f"{box.base}/buckets", json=body(**members)))))


def list_buckets(box: Box) -> Operation[list[BucketInfo]]:
    return [decode(BucketInfo, one) for one in (yield from ask(get(f"{box.base}/buckets")))["buckets"]]


def unmount_bucket(box: Box, path: str, force: bool) -> Operation[None]:
    found = [one for one in (yield from list_buckets(box)) if path in (one.path, one.id)]
    if not found:
        raise BucketError(f"no bucket is mounted at {path}", "BUCKET_NOT_FOUND", 404, {"path": path})
    yield Call("DELETE", f"{box.base}/buckets/{found[0].id}" + ("?force=true" if force else ""), idempotent=True)


# ---- egress ----


def egress(box: Box, method: str, document: Mapping[str, Any] | None = None) -> Operation[dict[str, Any]]:
    policy: dict[str, Any] = yield from ask(Call(method, f"{box.base}/egress", json=document, idempotent=True))
    return policy


def handler_choice(name: str | None, params: Any) -> dict[str, Any] | None:
    return None if name is None else {"name": name, "params": params}


def egress_log(box: Box, cursor: str) -> Operation[EgressLog]:
    page = yield from ask(get(f"{box.base}/egress/log", cursor=cursor))
    return EgressLog(page["entries"], page["cursor"], page["lost"])


def put_secret(name: str, secret: Mapping[str, Any]) -> Operation[None]:
    yield Call("PUT", f"/v1/secrets/{quote(name, safe='')}", json=secret, idempotent=True)


def list_named(kind: str) -> Operation[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = (yield from ask(get(f"/v1/{kind}")))[kind]
    return found


def delete_named(kind: str, name: str) -> Operation[None]:
    yield Call("DELETE", f"/v1/{kind}/{quote(name, safe='')}")


def put_handler(name: str, source: str, env: Mapping[str, str] | None) -> Operation[None]:
    members: dict[str, Any] = {"source": source} if env is None else {"source": source, "env": dict(env)}
    yield Call("PUT", f"/v1/handlers/{quote(name, safe='')}", json=members, idempotent=True)


def known_terminal(box: Box, name: str) -> Operation[TerminalInfo]:
    return decode(TerminalInfo, (yield from ask(get(below(box, "terminals", name)))))


def get_terminal(box: Box, name: str) -> Operation[TerminalInfo | None]:
    try:
        return (yield from known_terminal(box, name))
    except TerminalNotFoundError:
        return None


def list_terminals(box: Box) -> Operation[list[TerminalInfo]]:
    return [decode(TerminalInfo, one) for one in (yield from ask(get(f"{box.base}/terminals")))["terminals"]]


def open_terminal(box: Box, name: str | None, members: dict[str, Any]) -> Operation[TerminalInfo]:
    """The terminal of that id if it runs, else a new one."""
    known = (yield from get_terminal(box, name)) if name is not None else None
    if known and known.status == "running":
        return known
    call = Call("POST", f"{box.base}/terminals", json={**members, **body(id=name)})
    return decode(TerminalInfo, (yield from ask(call)))


# ---- code ----


def context_id(context: CodeContext | str) -> str:
    return context if isinstance(context, str) else context.id


def create_code_context(box: Box, **members: Any) -> Operation[CodeContext]:
    return decode(CodeContext, (yield from ask(Call("POST", f"{box.base}/contexts", json=body(**members)))))


def list_code_contexts(box: Box) -> Operation[list[CodeContext]]:
    return [decode(CodeContext, one) for one in (yield from ask(get(f"{box.base}/contexts")))["contexts"]]


def get_code_context(box: Box, name: str) -> Operation[CodeContext]:
    return decode(CodeContext, (yield from ask(get(below(box, "contexts", name)))))


def to_context(
    box: Box, context: CodeContext | str, verb: str, idempotent: bool = False, **members: Any
) -> Operation[bytes]:
    answer = yield Call(
        "POST", below(box, "contexts", context_id(context)) + "/" + verb, json=body(**members), idempotent=idempotent
    )
    return answer


def interrupt(box: Box, context: CodeContext | str | None) -> Operation[None]:
    """Without a context: every one that is busy."""
    targets: list[CodeContext | str] = [context] if context is not None else []
    if context is None:
        targets += [one for one in (yield from list_code_contexts(box)) if one.state == "busy"]
    for target in targets:
        yield from to_context(box, target, "interrupt")


def restart_code_context(box: Box, context: CodeContext | str) -> Operation[CodeContext]:
    return decode(CodeContext, json.loads((yield from to_context(box, context, "restart"))))


def complete(box: Box, context: CodeContext | str, code: str, cursor_pos: int | None) -> Operation[Completion]:
    answer = yield from to_context(box, context, "complete", True, code=code, cursor_pos=cursor_pos)
    return decode(Completion, json.loads(answer))


def inspect(
    box: Box, context: CodeContext | str, code: str, cursor_pos: int | None, detail_level: int | None
) -> Operation[Inspection]:
    members = {"code": code, "cursor_pos": cursor_pos, "detail_level": detail_level}
    return decode(Inspection, json.loads((yield from to_context(box, context, "inspect", True, **members))))


def send_input(box: Box, context: CodeContext | str, value: str, execution_id: str | None) -> Operation[None]:
    yield from to_context(box, context, "input", value=value, execution_id=execution_id)


def answer_input(box: Box, execution_id: str, value: str) -> Operation[None]:
    """Answers the input() of a run whose context is not known yet."""
    run = yield from get_execution(box, execution_id)
    if run.context:
        yield from send_input(box, run.context, value, execution_id)


def execution_of(wire: dict[str, Any], **known: Any) -> Execution:
    known.setdefault("results", [decode(Result, r) for r in wire.get("results", [])])
    known.setdefault("logs", decode(ExecutionLogs, wire.get("logs", {})))
    known.setdefault("error", decode(ExecutionError, wire["error"]) if wire.get("error") else None)
    return decode(Execution, wire, timing=decode(Timing, wire["timing"]), **known)


def get_execution(box: Box, name: str) -> Operation[Execution]:
    return execution_of((yield from ask(get(below(box, "executions", name)))))


def list_executions(box: Box, limit: int | None) -> Operation[list[ExecutionInfo]]:
    wire = yield from ask(get(f"{box.base}/executions", limit=limit))
    return [decode(ExecutionInfo, one, timing=decode(Timing, one["timing"])) for one in wire["executions"]]


def interrupt_run(box: Box, name: str) -> Operation[None]:
    """Interrupts a run that nobody waits for any more, if it is the one that runs."""
    run = yield from get_execution(box, name)
    if run.status == "running" and run.context:
        yield from interrupt(box, run.context)
