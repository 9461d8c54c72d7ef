"""libcellbox as a program finds it: installed, found by pkg-config, and faced with servers of every kind."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import BUILD, ROOT
from fake_server import FakeServer
from test_sdk_faults import kill_gateway

pytestmark = pytest.mark.release

SECONDS = 60
LIBRARY = ROOT / "clients" / "c"
EXAMPLES = ROOT / "docs" / "examples" / "c"
PROGRAMS = ROOT / "tests" / "integration" / "libcellbox"
STRICT = ("-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-D_POSIX_C_SOURCE=200809L")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")


def run(*command: str | Path, **env: str) -> str:
    done = subprocess.run(
        command, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


class Installed:
    """A prefix that the library was installed into."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        run("cmake", "--install", BUILD, "--prefix", prefix, "--component", "libcellbox")
        (pc,) = prefix.rglob("cellbox.pc")
        self.libdir = pc.parent.parent
        self.pkg_config = str(pc.parent)

    def flags(self, *options: str) -> list[str]:
        return run("pkg-config", *options, "cellbox", PKG_CONFIG_PATH=self.pkg_config).split()

    def compile(self, source: Path) -> Path:
        program = self.prefix / source.stem
        run("cc", *STRICT, "-o", program, source, *self.flags("--cflags", "--libs"), "-pthread")
        return program


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("libcellbox"))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Programs with the library's modules in them, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    work = tmp_path_factory.mktemp("libcellbox-asan")
    defines = ("-std=gnu17", "-D_GNU_SOURCE", '-DCELLBOX_VERSION="test"', "-fno-strict-aliasing", f"-I{ROOT}")
    objects = []
    for source in sorted(LIBRARY.glob("*.c")):
        objects.append(work / f"{source.stem}.o")
        run("cc", *defines, *SANITIZED, "-c", "-o", objects[-1], source)

    def build(source: Path, *more: str) -> Path:
        program = work / source.stem
        libs = ("-lcurl", "-ljansson", "-lwslay", "-pthread")
        run("cc", *STRICT, *SANITIZED, f"-I{LIBRARY / 'include'}", "-o", program, source, *objects, *libs, *more)
        return program

    return build


@pytest.fixture(scope="module")
def driver(sanitized: Callable[[Path], Path]) -> Path:
    return sanitized(PROGRAMS / "driver.c")


def drive(server: Any, driver: Path, *arguments: str, meanwhile: Callable[[], None] | None = None) -> list[str]:
    """Lines that the driver shows; `meanwhile` is done when it says "now"."""
    env = os.environ | {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token}
    with subprocess.Popen(
        [driver, *arguments], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as program:  # fmt: skip
        assert program.stdin and program.stdout
        guard = threading.Timer(SECONDS, program.kill)
        guard.start()
        shown = []
        for line in program.stdout:
            shown.append(line.rstrip("\r\n"))
            if shown[-1].endswith("now") and meanwhile:
                shown[-1] = shown[-1].removesuffix("now")
                meanwhile()
                program.stdin.write("done\n")
                program.stdin.flush()
        guard.cancel()
    assert program.returncode == 0, "\n".join(shown)
    return shown


# ---- the package ----


def declared() -> set[str]:
    header = (LIBRARY / "include" / "cellbox.h").read_text()
    return set(re.findall(r"CELLBOX_API\s[^;(]*?\b(cellbox_\w+)\(", header))


def symbols(path: Path, *options: str) -> set[str]:
    return {line.split()[-1] for line in run("nm", *options, "--defined-only", path).splitlines() if " T " in line}


def test_only_what_the_header_declares_can_be_seen(installed: Installed) -> None:
    assert len(declared()) > 50
    assert symbols(installed.libdir / "libcellbox.so", "-D") == declared()
    assert symbols(installed.libdir / "libcellbox.a", "-g") == declared()


def test_the_library_has_a_name_of_its_own(installed: Installed) -> None:
    dynamic = run("readelf", "-d", installed.libdir / "libcellbox.so")
    assert "Library soname: [libcellbox.so.0]" in dynamic
    assert run("pkg-config", "--modversion", "cellbox", PKG_CONFIG_PATH=installed.pkg_config) == "0.1.0\n"


def test_the_header_stands_alone_in_c_and_cpp(installed: Installed) -> None:
    header = installed.prefix / "include" / "cellbox.h"
    run("cc", *STRICT, "-fsyntax-only", "-x", "c", header)
    run("c++", "-std=c++17", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", header)


def test_a_program_is_linked_with_the_archive(installed: Installed, server: Any) -> None:
    program = installed.prefix / "static"
    flags = installed.flags("--cflags", "--static", "--libs-only-L")
    libs = [f for f in installed.flags("--libs") if f != "-lcellbox"]
    run("cc", *STRICT, "-o", program, EXAMPLES / "life.c", *flags, "-l:libcellbox.a", *libs, "-lcurl", "-ljansson",
        "-lwslay")  # fmt: skip
    assert run(program, CELLBOX_URL=server.url, CELLBOX_TOKEN=server.token).endswith("ok\n")


def test_the_manual_names_every_function() -> None:
    page = (LIBRARY / "libcellbox.3").read_text()
    assert {name for name in declared() if name not in page} == set()


@pytest.mark.parametrize("page", [LIBRARY / "libcellbox.3", ROOT / "clients" / "cli" / "cellbox.1"])
def test_the_manual_is_well_formed(page: Path) -> None:
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], stdout=subprocess.PIPE, text=True)
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


def test_the_example_of_the_manual(server: Any, installed: Installed) -> None:
    page = (LIBRARY / "libcellbox.3").read_text()
    example = page.split("\n.EX\n")[1].split("\n.EE\n")[0].replace("\\e", "\\").replace("\\-", "-")
    source = installed.prefix / "manual.c"
    source.write_text(example + "\n")
    env = {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token, "LD_LIBRARY_PATH": str(installed.libdir)}
    assert run(installed.compile(source), **env) == "42\n"


# ---- against a server ----


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.c")))
def test_example(server: Any, installed: Installed, name: str) -> None:
    program = installed.compile(EXAMPLES / name)
    env = {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token, "LD_LIBRARY_PATH": str(installed.libdir)}
    assert run(program, **env).splitlines()[-1] == "ok"


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.c")))
def test_example_is_clean(server: Any, sanitized: Callable[[Path], Path], name: str) -> None:
    shown = run(sanitized(EXAMPLES / name), CELLBOX_URL=server.url, CELLBOX_TOKEN=server.token)
    assert shown.splitlines()[-1] == "ok"


def test_results_and_errors_of_code(server: Any, driver: Path) -> None:
    assert drive(server, driver, "run", "h = display('a', display_id=True); h.update('b'); print('o'); 7") == [
        "result: 'a'",
        "result: 'b' update",
        "out:o",
        "result: 7 main",
        "ok | 7 | o",
        "|",
        "ok",
    ]
    assert drive(server, driver, "run", "{}['k']") == ["error: KeyError: 'k'", "error | - | |", "ok"]


def test_code_asks_for_input(server: Any, driver: Path) -> None:
    shown = drive(server, driver, "input", "input('how many? ').upper()")
    assert shown == ["asked: how many? ", "result: 'FORTY-TWO' main", "ok | 'FORTY-TWO' | |", "ok"]


def test_a_callback_ends_a_command_and_interrupts_a_run(server: Any, driver: Path) -> None:
    assert drive(server, driver, "exec-stop", "echo one; sleep 4702; echo two") == [
        "out:one", "stopped by the caller | 0 |  | stopped by the caller",
    ]  # fmt: skip
    assert drive(server, driver, "exec", "while pgrep -fx 'sleep 4702' >x; do sleep 0.05; done") == ["ok"]
    shown = drive(server, driver, "run-stop", "kept = 5\nprint('one', flush=True)\nimport time\ntime.sleep(600)")
    assert shown[-1].startswith("stopped by the caller")
    assert drive(server, driver, "run", "kept")[-2:] == ["ok | 5 | |", "ok"]


def test_the_client_is_interrupted(server: Any, driver: Path) -> None:
    shown = drive(server, driver, "interrupted", "print('one', flush=True)\nimport time\ntime.sleep(600)")
    assert shown == ["out:one", "stopped by the caller | 0 |  | stopped by the caller"]


def test_bytes_that_are_no_text(server: Any, driver: Path) -> None:
    env = os.environ | {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token}
    done = subprocess.run([driver, "exec", r"printf '\377\000a'"], env=env, stdout=subprocess.PIPE, timeout=SECONDS)
    assert done.stdout == b"out:\xff\0aok\n"


def test_sandboxes_are_made_on_demand(server: Any, driver: Path) -> None:
    shown = drive(server, driver, "on-demand")
    assert shown.pop(0).startswith("refused by the server | 404 | SANDBOX_NOT_FOUND")
    assert shown == ["ok", "ok", "1", "ok", "ok", "ok"]


def test_threads_share_a_client(server: Any, driver: Path) -> None:
    assert drive(server, driver, "threads") == ["0 bad"]


def test_an_upload_that_breaks_off_leaves_the_file(server: Any, driver: Path) -> None:
    assert drive(server, driver, "half-file") == ["stopped by the caller | 0 |  | stopped by the caller", "old"]


def test_wrong_arguments_are_never_sent(driver: Path) -> None:
    with FakeServer() as fake:
        shown = drive(fake, driver, "arguments")
        assert [line.split(" |")[0] for line in shown] == ["invalid argument"] * 9, shown
        assert fake.requests == []


def test_a_viewer_that_only_looks(server: Any, driver: Path) -> None:
    shown = drive(server, driver, "viewer", "echo ready; sleep 1", meanwhile=lambda: None)
    assert "TERMINAL_ERROR" in shown[-1] or shown[-1] == "ok", shown
    server.call("DELETE", "/v1/sandboxes/libcellbox/terminals/main")


# ---- while the gateway dies ----


def test_runs_and_logs_go_on(own_server: Any, driver: Path) -> None:
    server = own_server()
    run_text = "print('before', flush=True)\nimport time\nwhile not open('/tmp/go').read(): pass\nprint('after'); 6 * 7"

    def kill_and_go() -> None:
        kill_gateway(server)
        server.call("PUT", "/v1/sandboxes/libcellbox/files/tmp/go", data=b"go")

    server.call("PUT", "/v1/sandboxes/libcellbox/files/tmp/go", data=b"")
    shown = drive(server, driver, "run-lost", run_text, meanwhile=kill_and_go)
    assert shown == ["out:before", "", "out:after", "result: 42 main", "ok | 42 | before", "after", "|", "ok"]

    body = {"command": "for i in $(seq 200); do echo $i; sleep 0.01; done", "processId": "count"}
    assert server.call("POST", "/v1/sandboxes/libcellbox/processes", json=body).status_code == 201
    shown = drive(server, driver, "follow", "count", meanwhile=lambda: kill_gateway(server))
    text = "\n".join(shown).replace("out:", "")
    assert [int(n) for n in text.split()[:-1]] == list(range(1, 201))

    command = "echo x >> count; echo up; sleep 4703"
    shown = drive(server, driver, "exec-lost", command, meanwhile=lambda: kill_gateway(server))
    assert shown[-1].startswith("connection failed") or "BOX_GONE" in shown[-1]
    assert drive(server, driver, "exec", "cat count") == ["out:x", "ok"]


def test_a_terminal_comes_back(own_server: Any, driver: Path) -> None:
    server = own_server()
    script = "stty -echo; echo ready; read x; stty size; echo got $x; exit 9"
    shown = drive(server, driver, "terminal", script, meanwhile=lambda: kill_gateway(server))
    text = "ready\r\n20 90\r\ngot go\r\n"
    assert "\n".join(shown).strip() == text.replace("\r", "") + f"exit 9 at {len(text)}\nok"


# ---- servers that are not what they should be ----

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def answer(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def refusal(status: str, code: str, *headers: str) -> bytes:
    return answer(status, f'{{"error":{{"code":"{code}","message":"no\\n\\u001b[31m"}}}}'.encode(), *headers)


def test_no_server(driver: Path) -> None:
    with FakeServer() as fake:
        pass
    (shown,) = drive(fake, driver, "request", "POST", "/v1/sandboxes/x/exec")
    assert shown.startswith(f"connection failed | 0 |  | no connection to the server at {fake.url}: ")


@pytest.mark.parametrize(
    ("url", "token", "message"),
    [
        ("ftp://x", "t", "CELLBOX_URL is 'ftp://x', which does not start with http:// or https://"),
        ("http://127.0.0.1:1", "a\nb", "the token holds a line break"),
        ("http://127.0.0.1:1", "", "CELLBOX_URL is set but CELLBOX_TOKEN is not; set it to"),
    ],
)
def test_settings(driver: Path, url: str, token: str, message: str) -> None:
    given = FakeServer()
    given.url, given.token = url, token
    (shown,) = drive(given, driver, "request")
    assert shown.startswith(f"no server to talk to | 0 |  | {message}")


def test_a_wrong_token(server: Any, driver: Path) -> None:
    wrong = FakeServer()
    wrong.url, wrong.token = server.url, "wrong"
    (shown,) = drive(wrong, driver, "request", "GET", "/v1/sandboxes")
    assert shown.startswith("refused by the server | 403 | ")
    (shown,) = drive(wrong, driver, "terminal", "ls")
    assert shown.startswith("refused by the server | 403 | ")


@pytest.mark.parametrize(
    ("method", "first", "sent"),
    [
        ("GET", refusal("503 Busy", "STARTING"), 3),
        ("POST", refusal("503 Busy", "STARTING"), 3),
        ("POST", refusal("429 Slow", "TOO_MANY", "Retry-After: 0"), 3),
        ("GET", refusal("502 Bad", "BAD_GATEWAY"), 3),
        ("GET", b"", 3),
        ("POST", refusal("502 Bad", "BAD_GATEWAY"), 1),
        ("POST", refusal("503 Busy", "BOX_GONE"), 1),
        ("POST", b"", 1),
        ("GET", refusal("404 None", "NOT_FOUND"), 1),
    ],
)
def test_what_is_repeated(driver: Path, method: str, first: bytes, sent: int) -> None:
    with FakeServer([first, first, answer("200 OK", b"{}")]) as fake:
        shown = drive(fake, driver, "request", method, "/v1/x")
        assert len(fake.requests) == sent
    assert (shown[-1] == "ok") == (sent == 3), shown


def test_what_must_not_be_done_twice_is_not_sent_on_an_old_connection(driver: Path) -> None:
    """Which may be dead, and then nobody knows whether the server had read it."""
    kept = refusal("404 None", "SANDBOX_NOT_FOUND").replace(b"Connection: close\r\n", b"")
    with FakeServer([[kept, b""], b"", *[refusal("404 None", "NOT_FOUND")] * 20]) as fake:
        shown = drive(fake, driver, "on-demand")
        assert shown[1].startswith("connection failed")
        assert len([r for r in fake.requests if r.startswith(b"POST /v1/sandboxes/libcellbox-1/contexts ")]) == 1


def test_messages_are_one_harmless_line(driver: Path) -> None:
    with FakeServer([refusal("404 None", "NOT_FOUND")]) as fake:
        assert drive(fake, driver, "request", "GET", "/v1/x") == ["refused by the server | 404 | NOT_FOUND | no  [31m"]


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (answer("500 Oops", b"<html>"), "refused by the server | 500 |  | HTTP 500: "),
        (answer("302 There", b""), "refused by the server | 302 |  | HTTP 302: "),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "connection failed | 0 |  | "),
        (EVENTS + b"data: nonsense\n\n", "answer not understood | "),
        (EVENTS + b'data: {"type":"stdout","data":"%","encoding":"base64"}\n\n', "answer not understood | "),
        (EVENTS + b'data: {"type":"stdout","data":7}\n\ndata: {"type":"complete"}\n\n', "ok"),
        (EVENTS + b'data: {"type":"stdout","data":"half', "connection failed | "),
        (
            EVENTS + b'data: {"type":"error","code":"BOX_GONE","message":"gone"}\n\n',
            "refused by the server | 503 | BOX_GONE | gone",
        ),
        (EVENTS, "connection failed | "),
        (answer("200 OK", b'{"stdout":"x"}'), "connection failed | "),
        (EVENTS + b"\xff\xfe\0\0: \r\n\r\n" * 100, "connection failed | "),
    ],
)  # fmt: skip
def test_garbage(driver: Path, reply: bytes, shown: str) -> None:
    with FakeServer([reply]) as fake:
        assert drive(fake, driver, "exec", "x")[-1].removeprefix("out:").startswith(shown)


def test_a_cut_run_is_taken_up_behind_its_last_event(driver: Path) -> None:
    def event(number: int, kind: str, more: str = "") -> bytes:
        return f'id: {number}\nevent: {kind}\ndata: {{"type":"{kind}","executionId":"e1"{more}}}\n\n'.encode()

    one, two = event(1, "stdout", ',"text":"one\\n"'), event(2, "stdout", ',"text":"two\\n"')
    whole = b'{"id":"e1","status":"ok","code":"","results":[],"logs":{"stdout":["one\\n","two\\n"],"stderr":[]}}'
    replies = [
        EVENTS + event(0, "started") + one + two[:-9],
        b"",
        EVENTS + two + event(3, "done"),
        answer("200 OK", whole),
    ]
    with FakeServer(replies) as fake:
        assert drive(fake, driver, "run", "x")[:2] == ["out:one", "out:two"]
        assert [r.split(b"\r\n")[0] for r in fake.requests] == [
            b"POST /v1/sandboxes/libcellbox/run HTTP/1.1",
            *[b"GET /v1/sandboxes/libcellbox/executions/e1 HTTP/1.1"] * 3,
        ]
        assert b"Last-Event-ID: 1\r\n" in fake.requests[2]


def test_a_file_that_breaks_off(driver: Path) -> None:
    with FakeServer([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] * 20) as fake:
        (shown,) = drive(fake, driver, "file", "a/../b c")
        assert shown.startswith("connection failed | ")
        assert fake.requests[0].startswith(b"GET /v1/sandboxes/libcellbox/files/workspace/b%20c HTTP/1.1\r\n")


@pytest.mark.parametrize("reply", [b"HTTP/1.1 101 Switching\r\n\r\n\xff\xff\xff", b"HTTP/1.1 101 Switching\r\n\r\n"])
def test_a_terminal_of_garbage(driver: Path, reply: bytes) -> None:
    made = answer("201 Created", b'{"id":"main"}')
    none = refusal("404 None", "TERMINAL_NOT_FOUND")
    with FakeServer([none, made, none, made, reply]) as fake:
        assert drive(fake, driver, "terminal", "x")[-1].startswith("connection failed | ")


def test_memory_that_runs_out(server: Any, sanitized: Callable[..., Path]) -> None:
    wraps = ",".join(f"--wrap={name}" for name in ("malloc", "calloc", "realloc", "strdup", "strndup", "vasprintf"))
    program = sanitized(PROGRAMS / "memory.c", f"-Wl,{wraps}")
    shown = run(program, CELLBOX_URL=server.url, CELLBOX_TOKEN=server.token)
    assert shown.splitlines()[-1] == "ok"
