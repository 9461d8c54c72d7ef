"""Parser, retries, streams, patterns, errors: against a server that follows a script, without a network."""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cellbox
import httpx
import pytest
from cellbox import calls
from cellbox.sse import ServerEvent, SseParser

sys.path.insert(0, str(Path(__file__).parents[1]))
import make_async

TEXT = (
    ': a comment\n\nid: 1\nevent: stdout\ndata: {"text":"é😀"}\n\n'
    "data: two\r\ndata:  lines\r\n\r\nevent: only a name\n\nid: 3\rdata: cr\r\rdata: mixed\r\n\n"
    "data\n\nretry: 5\nunknown: x\nid: a\0b\ndata: last\u2028\x85\n\ndata: never ended\n"
).encode()
EXPECTED = [
    ServerEvent("stdout", '{"text":"é😀"}', "1"),
    ServerEvent("message", "two\n lines", "1"),
    ServerEvent("message", "cr", "3"),
    ServerEvent("message", "mixed", "3"),
    ServerEvent("message", "", "3"),
    ServerEvent("message", "last\u2028\x85", "3"),
]
TIME = "2026-01-01T00:00:00.000Z"


def parse(*pieces: bytes) -> list[ServerEvent]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def test_parser_cut_anywhere() -> None:
    for cut in range(len(TEXT) + 1):
        assert parse(TEXT[:cut], TEXT[cut:]) == EXPECTED, cut
    assert parse(*(bytes([byte]) for byte in TEXT)) == EXPECTED


def event(kind: str, id: int | str | None = None, **members: Any) -> bytes:
    data = json.dumps({"type": kind, "timestamp": TIME, "executionId": "e", **members})
    return (f"id: {id}\n" if id is not None else "").encode() + f"event: {kind}\ndata: {data}\n\n".encode()


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Pieces of a body; None breaks the connection."""

    def __init__(self, *pieces: bytes | None) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            if piece is None:
                raise httpx.ReadError("reset")
            yield piece

    async def __aiter__(self) -> Any:
        for piece in self:
            yield piece


class Script:
    """Answers one after the other; (status, body) or a Stream or an exception."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.cursors: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        self.cursors.append(request.headers.get("last-event-id"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Stream):
            return httpx.Response(200, stream=answer)
        status, content = answer
        return httpx.Response(status, content=content if isinstance(content, str) else json.dumps(content))

    def sandbox(self, retries: int = 4, **options: Any) -> cellbox.Sandbox:
        retry = cellbox.Retry(retries, delay=0.001)
        return cellbox.Sandbox("s", url="http://server", token="t", retry=retry, http=self.client(), **options)

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self))


def error(status: int, code: str) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": code}}


CONTEXT = {
    "id": "c", "sandbox": "s", "language": "python", "cwd": "/", "env": {}, "state": "idle", "executionCount": 0,
    "queued": 0, "createdAt": TIME, "lastUsedAt": TIME,
}  # fmt: skip
MADE = {
    "name": "s", "state": "running", "image": "i", "env": {}, "labels": {}, "limits": {}, "contexts": 0,
    "keepAlive": False, "createdAt": TIME, "lastUsedAt": TIME,
}  # fmt: skip


def test_reading_is_repeated() -> None:
    script = Script(
        error(503, "BOX_GONE"), error(429, "QUEUE_FULL"), httpx.ReadError("reset"), (200, {"contexts": [CONTEXT]})
    )
    assert script.sandbox().list_code_contexts()[0].id == "c"
    assert len(script.asked) == 4


@pytest.mark.parametrize("answer", [error(503, "BOX_GONE"), error(500, "COMMAND_FAILED"), httpx.ReadError("reset")])
def test_what_may_have_begun_is_not_repeated(answer: Any) -> None:
    script = Script(answer)
    with pytest.raises(cellbox.CellboxError):
        script.sandbox().create_code_context()
    assert script.asked == ["POST /v1/sandboxes/s/contexts"]


def test_what_cannot_have_begun_is_repeated() -> None:
    script = Script(error(429, "TOO_MANY"), error(503, "STARTING"), httpx.ConnectError("refused"), (201, CONTEXT))
    assert script.sandbox().create_code_context().id == "c"
    assert len(script.asked) == 4


def test_it_gives_up() -> None:
    script = Script(*[error(429, "QUEUE_FULL")] * 9)
    with pytest.raises(cellbox.LimitError):
        script.sandbox(retries=2).list_code_contexts()
    assert len(script.asked) == 3


def test_a_stream_is_sent_once() -> None:
    script = Script(error(429, "TOO_MANY_OPERATIONS"))
    with pytest.raises(cellbox.LimitError):
        script.sandbox().write_file("f", iter([b"x"]))
    assert len(script.asked) == 1


def test_a_sandbox_is_made_on_demand() -> None:
    missing = error(404, "SANDBOX_NOT_FOUND")
    script = Script(missing, (201, MADE), (200, {"contexts": []}))
    assert script.sandbox().list_code_contexts() == []
    assert script.asked == ["GET /v1/sandboxes/s/contexts", "PUT /v1/sandboxes/s", "GET /v1/sandboxes/s/contexts"]
    script = Script(missing, (201, MADE), missing)
    with pytest.raises(cellbox.SandboxNotFoundError):
        script.sandbox().list_code_contexts()
    script = Script((201, MADE), (200, {"contexts": []}), (200, {"contexts": []}))
    with script.sandbox(labels={"a": "b"}) as sandbox:  # options are put first, and once
        sandbox.list_code_contexts()
        sandbox.list_code_contexts()
    assert [one.split()[0] for one in script.asked] == ["PUT", "GET", "GET"]


DONE = event("done", 3, status="ok", executionCount=7, timing={"queuedAt": TIME})
RUN = (
    Stream(event("started"), event("stdout", 1, text="a"), event("stdout", 2, text="cut")[:30], None),
    Stream(event("stdout", 2, text="b")),
    Stream(DONE),
)


def test_a_run_goes_on() -> None:
    script = Script(*RUN)
    run = script.sandbox().run_code("code")
    assert (run.logs.stdout, run.execution_count, run.id) == (["a", "b"], 7, "e")
    assert script.asked[1:] == ["GET /v1/sandboxes/s/executions/e"] * 2 and script.cursors == [None, "1", "2"]


def test_a_run_goes_on_asynchronously() -> None:
    script = Script(*RUN)
    client = httpx.AsyncClient(transport=httpx.MockTransport(script))
    sandbox = cellbox.AsyncSandbox("s", url="http://server", retry=cellbox.Retry(delay=0.001), http=client)
    assert asyncio.run(sandbox.run_code("code")).logs.stdout == ["a", "b"]


def test_a_run_whose_beginning_is_unknown_is_not_run_again() -> None:
    script = Script(Stream(None))
    with pytest.raises(builtins.ConnectionError):
        script.sandbox().run_code("code")
    assert len(script.asked) == 1


def test_a_command_never_gets_an_end_that_did_not_come() -> None:
    with pytest.raises(cellbox.ConnectionError):
        Script(Stream(event("start", command="c"), event("stdout", data="x"))).sandbox().exec("c")
    with pytest.raises(cellbox.SandboxGoneError):
        Script(Stream(event("start", command="c"), event("error", code="BOX_GONE", message="m"))).sandbox().exec("c")


def test_output_over_the_bound_says_so() -> None:
    end = event("complete", exitCode=0, signal=None, success=True, timedOut=False, truncated=False, durationMs=1)
    script = Script(Stream(event("start", command="c"), event("stdout", data="abcdef"), end))
    result = script.sandbox().exec("c", max_output=4)
    assert (result.stdout, result.truncated, result.signal) == ("abcd", True, None)


def test_an_exception_of_a_callback_closes_the_stream() -> None:
    closed: list[bool] = []

    class Watched(Stream):
        def close(self) -> None:
            closed.append(True)

    script = Script(Watched(event("start", command="c"), event("stdout", data="x"), event("stdout", data="y")))

    def fail(stream: str, data: str) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError):
        script.sandbox().exec("c", on_output=fail)
    assert closed


def test_a_watch_goes_on_and_says_where_it_could_not() -> None:
    script = Script(
        Stream(event("watching", "w:0"), event("create", "w:1", path="/a")),
        Stream(event("watching", "w:1"), event("create", "w:2", path="/b"), None),
        error(410, "WATCH_EXPIRED"),
        Stream(event("watching", "v:0"), event("stopped", "v:1", reason="deleted")),
    )
    seen = [(one.type, one.path or one.reason) for one in script.sandbox().watch("/d")]
    assert seen == [("create", "/a"), ("create", "/b"), ("resync", "expired"), ("stopped", "deleted")]
    assert script.cursors == [None, "w:1", "w:2", None]


def test_answers_of_somebody_else() -> None:
    with pytest.raises(cellbox.UnavailableError) as e:
        Script((502, "<html>bad gateway")).sandbox(retries=0).info()
    assert e.value.code == "HTTP_502"
    with pytest.raises(cellbox.ConnectionError):
        Script((200, "{not json")).sandbox().info()
    with pytest.raises(cellbox.NotFoundError):
        Script((404, '{"error":"text"}')).sandbox().info()


def test_errors_have_builtin_twins() -> None:
    with pytest.raises(builtins.FileNotFoundError) as e:
        Script((404, {"error": {"code": "FILE_NOT_FOUND", "message": "m", "details": {"path": "p"}}})).sandbox().stat(
            "p"
        )
    assert isinstance(e.value, cellbox.FileNotFoundError)
    assert (str(e.value), e.value.status, e.value.details) == ("m", 404, {"path": "p"})


def test_patterns() -> None:
    assert calls.pattern_of(re.compile(r"a\\u\d+\Z", re.IGNORECASE | re.DOTALL)) == r"(?is)a\\u\d+\z"
    assert calls.pattern_of(re.compile("\\u00e9\\U0001F600")) == r"\x{00e9}\x{0001F600}"


def test_paths() -> None:
    for path, want in [("a", "/workspace/a"), ("/a//b/./c/../d", "/a/b/d"), ("~/x", "/home/user/x"), ("../../..", "/")]:
        assert calls.absolute_path(path) == want


def shape(source: str) -> list[str]:
    """What a module says, whatever its layout and the order of its imports."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            node.names.sort(key=lambda one: one.name)
    imports = [ast.dump(node) for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    return sorted(imports) + [
        ast.dump(node) for node in tree.body if not isinstance(node, (ast.Import, ast.ImportFrom))
    ]


def test_the_twins_are_equal() -> None:
    """aio.py is what make_async.py makes of sandbox.py, and every handle has the same methods."""
    folder = Path(cellbox.__file__).parent
    made = make_async.make((folder / "sandbox.py").read_text())
    assert shape(made) == shape((folder / "aio.py").read_text()), "run make_async.py and ruff"
    for one, other in [
        (cellbox.Sandbox, cellbox.AsyncSandbox),
        (cellbox.Process, cellbox.AsyncProcess),
        (cellbox.Session, cellbox.AsyncSession),
        (cellbox.Terminal, cellbox.AsyncTerminal),
    ]:
        names = {name for name in dir(one) if not name.startswith("_")}
        assert names == {name for name in dir(other) if not name.startswith("_")}
        for name in names:
            method, twin = getattr(one, name), getattr(other, name)
            if inspect.isfunction(method):
                assert list(inspect.signature(method).parameters) == list(inspect.signature(twin).parameters), name
