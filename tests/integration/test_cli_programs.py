"""cellbox exec, shell, ps, logs and kill against a real server."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from box_calls import eventually, execute, get, post, processes_of
from conftest import BUILD
from terminal import Terminal

CELLBOX = str(BUILD / "bin" / "cellbox")
Cli = Callable[..., subprocess.CompletedProcess[bytes]]


def environment(server: Any) -> dict[str, str]:
    return {**os.environ, "CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token, "TERM": "xterm-256color"}


@pytest.fixture
def cli(server: Any, tmp_path: Path) -> Cli:
    def run(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [CELLBOX, *args], input=stdin, capture_output=True, cwd=tmp_path, env=environment(server), timeout=100
        )

    return run


@pytest.fixture
def terminal(server: Any) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def start(*args: str) -> Terminal:
        made.append(Terminal([CELLBOX, *args], environment(server)))
        return made[-1]

    yield start
    for t in made:
        t.close()


def test_exec(cli: Cli, box: str) -> None:
    done = cli("exec", box, "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)
    done = cli("exec", box, "--env", "A=1 2", "--cwd", "/tmp", "sh", "-c", 'pwd; echo "$A"; printf "\\377\\000"')
    assert (done.stdout, done.returncode) == (b"/tmp\n1 2\n\xff\x00", 0)
    data = bytes(range(256)) * 2000
    assert cli("exec", box, "--stdin", "cat", stdin=data).stdout == data
    assert cli("exec", box, "--timeout", "200", "sleep", "60").returncode == 124
    assert json.loads(cli("exec", box, "--json", "echo hi").stdout)["stdout"] == "hi\n"
    done = cli("exec", box, "no-such-program", "x")
    assert done.returncode == 1 and b"COMMAND_NOT_FOUND" in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ["exec"],
        ["exec", "b"],
        ["exec", "b", "--env", "x", "true"],
        ["exec", "b", "--id", "x", "true"],
        ["exec", "b", "--background", "--session", "s", "true"],
        ["exec", "b", "--session", "s", "a", "b"],
        ["exec", "b", "--nope", "true"],
        ["shell"],
        ["shell", "b", "--read-only"],
        ["shell", "b", "--attach", "x", "--command", "y"],
        ["logs", "b", "x", "--stream", "y"],
        ["kill", "b"],
        ["stdin", "b"],
    ],
)
def test_wrong_arguments(cli: Cli, args: list[str]) -> None:
    done = cli(*args)
    assert done.returncode == 2 and done.stderr.startswith(b"cellbox: ")


def test_input_as_it_comes(server: Any, box: str) -> None:
    command = [CELLBOX, "exec", box, "--stdin", "while read -r line; do echo got $line; done; exit 3"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(server)
    )
    assert process.stdin and process.stdout
    for i in range(20):
        process.stdin.write(b"%d\n" % i)
        process.stdin.flush()
        assert process.stdout.readline() == b"got %d\n" % i
    process.stdin.close()
    assert process.wait(30) == 3


def test_input_of_any_length(cli: Cli, server: Any, box: str, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as f:
        f.truncate(200 << 20)
    with (tmp_path / "large").open("rb") as f:
        done = subprocess.run(
            [CELLBOX, "exec", box, "--stdin", "wc -c"], stdin=f, capture_output=True, env=environment(server)
        )
    assert (done.stdout.strip(), done.returncode) == (b"%d" % (200 << 20), 0)


def test_a_command_that_does_not_want_all(cli: Cli, box: str) -> None:
    done = cli("exec", box, "--stdin", "head -c 3; exit 5", stdin=bytes(8 << 20))
    assert (done.stdout, done.stderr, done.returncode) == (bytes(3), b"", 5)
    assert cli("exec", box, "--stdin", "true", stdin=b"").returncode == 0


def test_input_of_a_background_process(cli: Cli, box: str) -> None:
    assert cli("exec", box, "--background", "--stdin", "--id", "p", "cat").returncode == 0
    assert cli("stdin", box, "p", stdin=b"one\n").returncode == 0
    assert cli("stdin", box, "p", "--end", stdin=b"two\n").returncode == 0
    assert cli("logs", box, "p", "--follow").stdout == b"one\ntwo\n"
    done = cli("stdin", box, "p", stdin=b"three\n")
    assert done.returncode == 3 and b"PROCESS_ENDED" in done.stderr


def test_exec_in_a_session(server: Any, cli: Cli, box: str) -> None:
    post(server, box, "sessions", 201, id="s")
    assert cli("exec", box, "--session", "s", "cd /tmp; x=5").returncode == 0
    assert cli("exec", box, "--session", "s", "pwd; echo $x").stdout == b"/tmp\n5\n"


def test_ctrl_c_ends_the_command(server: Any, box: str) -> None:
    execute(server, box, "true")
    p = subprocess.Popen([CELLBOX, "exec", box, "echo up; sleep 4601"], stdout=subprocess.PIPE, env=environment(server))
    assert p.stdout and p.stdout.readline() == b"up\n"
    p.send_signal(signal.SIGINT)
    assert p.wait(20) == -signal.SIGINT
    p.stdout.close()
    eventually(lambda: "sleep 4601" not in processes_of(server, box))


def test_background(server: Any, cli: Cli, box: str) -> None:
    command = "echo one; echo two >&2; exit 4"
    assert cli("exec", box, "--background", "--id", "bg", command).stdout == b"bg\n"
    done = cli("logs", box, "bg", "--follow")
    assert (done.stdout, done.stderr, done.returncode) == (b"one\n", b"two\n", 4)
    assert cli("logs", box, "bg", "--stream", "stderr").stderr == b"two\n"
    assert json.loads(cli("logs", box, "bg", "--json", "--cursor", "4").stdout)["stdout"] == ""
    name = cli("exec", box, "--background", "sleep", "4611").stdout.decode().strip()
    rows = {r.split()[0]: r.split() for r in cli("ps", box).stdout.decode().splitlines()}
    assert rows["bg"][1:3] == ["process", "failed"] and rows["bg"][4] == "4"
    assert rows[name][1:3] == ["process", "running"] and rows[name][-2:] == ["sleep", "4611"]
    assert cli("kill", box, name).returncode == 0
    eventually(lambda: get(server, box, f"processes/{name}")["status"] == "killed")
    assert [p["id"] for p in json.loads(cli("ps", box, "--json").stdout)["processes"]] == ["bg", name]
    assert cli("kill", box, "nope").returncode == 1
    assert cli("ps", "no-such-box").returncode == 1


def test_a_shell(terminal: Callable[..., Terminal], server: Any, box: str) -> None:
    t = terminal("shell", box)
    t.expect(r"\$ ")
    t.type("echo in-$((1+2)); tty; exit 6\r")
    t.expect(r"in-3\s+/dev/pts/\d")
    assert t.wait() == 6
    assert get(server, box, "terminals")["terminals"] == []


def test_size_interrupt_and_coming_back(terminal: Callable[..., Terminal], server: Any, box: str) -> None:
    t = terminal("shell", box)
    t.expect(r"\$ ")
    fcntl.ioctl(t.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    eventually(lambda: get(server, box, "terminals")["terminals"][0]["cols"] == 111)
    t.type("stty size; x=kept\r")
    t.expect(r"33 111")
    t.type("sleep 4621\r")
    eventually(lambda: "sleep 4621" in processes_of(server, box))
    t.type("\x03")
    t.type("echo code-$?\r")
    t.expect("code-130")
    t.type("\x1d")  # leaves it there
    name = t.expect(r"--attach (\S+)\]")[1]
    assert t.wait() == 0
    again = terminal("shell", box, "--attach", name)
    again.expect("code-130")  # what was shown before
    again.type("echo [$x]; exit\r")
    again.expect(r"\[kept\]")
    assert again.wait() == 0


def test_a_shell_whose_gateway_dies(own_server: Any) -> None:
    server = own_server()
    execute(server, "b", "true")
    t = Terminal([CELLBOX, "shell", "b"], environment(server))
    t.expect(r"\$ ")
    t.type("x=kept; echo here-$((1+1))\r")
    t.expect("here-2")
    old = server.gateway()
    os.kill(old.pid, signal.SIGKILL)
    old.wait(20)
    server.wait_ready()
    eventually(lambda: get(server, "b", "terminals")["terminals"][0]["viewers"] == 1)
    t.type("echo [$x]; exit 5\r")
    t.expect(r"\[kept\]")
    assert t.wait() == 5
    t.close()


def test_piped_into_a_shell(cli: Cli, box: str) -> None:
    done = cli("shell", box, "--command", "read x; echo got $x; exit 7", stdin=b"hello\n")
    assert b"got hello" in done.stdout and done.returncode == 7
    assert cli("shell", box, "--attach", "nope").returncode == 1
