"""Both clients while the gateway dies under their streams: nothing is lost, seen twice, or made up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_sdk_js import installed_package as installed_package

sys.path.insert(0, str(ROOT / "clients" / "python"))
import cellbox


def kill_gateway(server: Any) -> None:
    old = server.gateway()
    os.kill(old.pid, signal.SIGKILL)
    old.wait(20)
    server.wait_ready()


@pytest.fixture
def server(own_server: Any) -> Any:
    return own_server()


@pytest.fixture
def sandbox(server: Any) -> Iterator[cellbox.Sandbox]:
    with cellbox.Sandbox("faults", url=server.url, token=server.token, retry=cellbox.Retry(retries=8)) as made:
        yield made


def test_a_run_goes_on(sandbox: cellbox.Sandbox, server: Any) -> None:
    sandbox.exec("mkfifo gate")
    heard: list[str] = []

    def kill_once(output: cellbox.OutputMessage) -> None:
        heard.append(output.text)
        if len(heard) == 1:
            kill_gateway(server)
            threading.Thread(target=sandbox.exec, args=("echo > gate",)).start()

    run = sandbox.run_code(
        "print('before', flush=True)\nopen('gate').read()\nprint('after'); 6 * 7", on_stdout=kill_once
    )
    assert ("".join(heard), run.text, run.status) == ("before\nafter\n", "42", "ok")
    assert sandbox.get_execution(run.id) == run


def test_logs_go_on(sandbox: cellbox.Sandbox, server: Any) -> None:
    process = sandbox.start_process("for i in $(seq 200); do echo $i; sleep 0.01; done; exit 5")
    seen: list[str] = []
    for event in process.stream_logs():
        seen.append(event.data if event.type == "stdout" else event.type)
        if len(seen) == 3:
            kill_gateway(server)
    assert "".join(seen) == "".join(f"{i}\n" for i in range(1, 201)) + "exit"


def test_waits_go_on(sandbox: cellbox.Sandbox, server: Any) -> None:
    process = sandbox.start_process("while [ ! -e go ]; do sleep 0.02; done; echo ready; sleep 60")

    def kill_and_go() -> None:
        kill_gateway(server)
        sandbox.write_file("go", "")

    killer = threading.Thread(target=kill_and_go)
    killer.start()
    assert process.wait_for_log("ready", timeout=60).line == "ready"
    killer.join()
    process.kill()


def test_a_command_ends_with_an_error_and_is_not_repeated(sandbox: cellbox.Sandbox, server: Any) -> None:
    def kill(stream: str, data: str) -> None:
        kill_gateway(server)

    with pytest.raises(cellbox.CellboxError):
        sandbox.exec("echo x >> count; echo up; sleep 4701", on_output=kill)
    assert sandbox.exec("cat count").stdout == "x\n"


TERMINAL = "stty -echo; echo ready; read x; echo got $x; exit 9"
SHOWN = b"ready\r\ngot go\r\n"


def test_a_terminal_comes_back(sandbox: cellbox.Sandbox, server: Any) -> None:
    with sandbox.terminal("main", command=TERMINAL).connect() as viewer:
        shown = b""
        while b"ready\r\n" not in shown:
            shown += viewer.read(60)
        kill_gateway(server)
        typist = threading.Thread(target=viewer.write, args=("go\n",))
        typist.start()
        shown += b"".join(viewer)
        typist.join()
        assert (shown, viewer.exit, viewer.cursor) == (SHOWN, cellbox.TerminalExit(9), len(SHOWN))


def test_a_terminal_comes_back_to_a_task(server: Any) -> None:
    async def look() -> bytes:
        async with cellbox.AsyncSandbox("faults", url=server.url, token=server.token) as sandbox:
            terminal = await sandbox.terminal("main", command=TERMINAL)
            async with await terminal.connect() as viewer:
                shown = b""
                while b"ready\r\n" not in shown:
                    shown += await viewer.read()
                await asyncio.to_thread(kill_gateway, server)
                _, rest = await asyncio.gather(viewer.write("go\n"), read_all(viewer))
                assert viewer.exit == cellbox.TerminalExit(9)
                return shown + rest

    async def read_all(viewer: cellbox.AsyncTerminalConnection) -> bytes:
        return b"".join([piece async for piece in viewer])

    assert asyncio.run(look()) == SHOWN


def test_a_watch_goes_on_or_says_what_is_lost(sandbox: cellbox.Sandbox, server: Any) -> None:
    with sandbox.watch() as watcher:
        sandbox.write_file("first", "")
        for event in watcher:
            if (event.path or "").endswith("/first"):
                kill_gateway(server)
                sandbox.write_file("last", "")
            if event.type == "resync" or (event.path or "").endswith("/last"):
                break
    assert sandbox.exists("last")


def test_the_javascript_client(server: Any, installed_package: Path) -> None:
    program = installed_package / "faults.mjs"
    program.write_text((ROOT / "tests" / "integration" / "sdk_faults.mjs").read_text())
    env = os.environ | {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token}
    with subprocess.Popen(
        ["node", program], cwd=installed_package, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as client:  # fmt: skip
        assert client.stdin and client.stdout
        guard = threading.Timer(90, client.kill)
        guard.start()
        shown = []
        for line in client.stdout:
            shown.append(line)
            if line == "kill\n":
                kill_gateway(server)
                client.stdin.write("done\n")
                client.stdin.flush()
        guard.cancel()
    assert client.returncode == 0 and shown[-1] == "ok\n", "".join(shown)
