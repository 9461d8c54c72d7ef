"""Input that is a stream, in both clients: it goes beside the command, and what happens to one ends the other."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_sdk_js import installed_package as installed_package

sys.path.insert(0, str(ROOT / "clients" / "python"))
import cellbox

MIB = bytes(1 << 20)
GONE = "for i in $(seq 100); do kill -0 $(cat pid) 2>&- || exit 0; sleep 0.1; done; exit 1"


@pytest.fixture
def sandbox(server: Any, box: str) -> Iterator[cellbox.Sandbox]:
    with cellbox.Sandbox(box, url=server.url, token=server.token) as made:
        yield made


def test_javascript(server: Any, box: str, installed_package: Path) -> None:
    program = shutil.copy(Path(__file__).with_name("sdk_stdin.mjs"), installed_package)
    env = {"PATH": "/usr/bin:/bin", "CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token}
    done = subprocess.run(
        ["node", program, box], cwd=installed_package, env=env, capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "ok\n", done.stdout + done.stderr


def test_a_dialogue(sandbox: cellbox.Sandbox) -> None:
    heard: list[str] = []

    def talk() -> Iterator[bytes]:
        for i in range(5):
            yield b"%d\n" % i
            while len(heard) <= i:
                time.sleep(0.01)

    done = sandbox.exec(
        "while read -r n; do echo got $n; done", stdin=talk(), on_output=lambda _, data: heard.append(data)
    )
    assert (done.exit_code, heard) == (0, [f"got {i}\n" for i in range(5)])


def test_any_length_and_files(sandbox: cellbox.Sandbox, tmp_path: Path) -> None:
    assert sandbox.exec("wc -c", stdin=(MIB for _ in range(64))).stdout.strip() == str(64 << 20)
    (tmp_path / "f").write_bytes(MIB)
    with (tmp_path / "f").open("rb") as f:
        assert sandbox.exec("wc -c", stdin=f).stdout.strip() == str(1 << 20)
    assert sandbox.exec("cat; echo end", stdin=iter(())).stdout == "end\n"
    assert sandbox.exec("cat; echo end", stdin=b"").stdout == "end\n"


def test_not_all_is_wanted(sandbox: cellbox.Sandbox) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield MIB

    assert sandbox.exec("head -c 3; exit 5", stdin=endless()).exit_code == 5
    events = sandbox.exec_stream("cat", stdin=endless())
    assert [next(events).type, next(events).type] == ["start", "stdout"]
    events.close()


def test_a_source_that_fails(sandbox: cellbox.Sandbox) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        sandbox.exec("echo $$ > pid; cat; sleep 600", stdin=broken())
    assert sandbox.exec(GONE).success


def test_asynchronous(server: Any, box: str) -> None:
    async def three() -> AsyncIterator[bytes]:
        for i in range(3):
            yield b"%d\n" % i
            await asyncio.sleep(0.05)

    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("no more")

    async def work() -> None:
        async with cellbox.AsyncSandbox(box, url=server.url, token=server.token) as sandbox:
            assert (await sandbox.exec("while read -r n; do echo got $n; done", stdin=three())).stdout == (
                "got 0\ngot 1\ngot 2\n"
            )
            assert (await sandbox.exec("wc -c", stdin=(MIB for _ in range(16)))).stdout.strip() == str(16 << 20)
            assert (await sandbox.exec("head -c 1", stdin=never())).stdout == "x"
            with pytest.raises(LookupError, match="no more"):
                await sandbox.exec("echo $$ > pid; cat; sleep 600", stdin=broken())
            assert (await sandbox.exec(GONE)).success
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sandbox.exec("echo $$ > pid; cat", stdin=never()), 1)
            assert (await sandbox.exec(GONE)).success
            process = await sandbox.start_process("cat", stdin=True)
            await process.write_stdin(three())
            await process.write_stdin("end\n", end=True)
            assert (await process.wait_for_exit()).exit_code == 0
            assert (await process.get_logs()).stdout == "0\n1\n2\nend\n"

    asyncio.run(work())
