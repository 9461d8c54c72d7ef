"""Options that the server cannot use stop its start, with the option or file, the line and what would be right."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import BUILD


def refused(*args: str) -> str:
    done = subprocess.run([BUILD / "bin" / "kernel-gw", *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    assert "listening" not in done.stdout
    assert "\nkernel-gw: cannot start: " in "\n" + done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--listen", "127.0.0.1:99999"], "127.0.0.1:99999 is not ADDR:PORT with a port from 0 to 65535"),
        (["--listen", "127.0.0.1"], "is not ADDR:PORT"),
        (["--listen", "127.0.0.1:"], "is not ADDR:PORT"),
        (["--memory", "99999999T"], "--memory: 99999999T is not a number"),
        (["--memory", "1K"], "--memory: 1024 is not between"),
        (["--memory", "2X"], "--memory: 2X is not a number"),
        (["--pool", "-1"], "--pool: -1 is not a number"),
        (["--pool", "4294967296"], "--pool: 4294967296 is not a number"),
        (["--pool", "100000"], "--pool: 100000 is not between 0 and 1000"),
        (["--pids", "1"], "--pids: 1 is not between"),
        (["--disk", "65G"], "--disk: 69793218560 is not between"),
        (["--cpu", "1"], "--cpu: 1 is not between"),
        (["--uid-base", "0"], "--uid-base: 0 is not between"),
        (["--uid-base", "4294900000"], "--uid-base: 4294900000 is not between"),
        (["--ws-compression", "zip"], "--ws-compression is auto, never or always, not zip"),
        (["--preview-domain", "Https://x"], "is not a domain name"),
        (["--kernel-launchers", "host.test"], "is not a list of addresses"),
        (["--token-file", "/missing/token"], "/missing/token: No such file"),
        (["--token", "x" * 200], "--token is too long"),
        (["--listen"], "--listen needs a value"),
        (["--frobnicate", "1"], "unknown option --frobnicate"),
        (["loose"], "unexpected argument loose"),
        (["--config", "/missing/config"], "/missing/config: No such file"),
    ],
)
def test_options(tmp_path: Path, args: list[str], says: str) -> None:
    assert says in refused("--state-dir", str(tmp_path), "--listen", "127.0.0.1:0", *args)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pool = many\n", ":1: --pool: many is not a number"),
        ("# first\npool 4\n", ":2: expected name = value"),
        ("pool = 4\nfrob = 1\n", ":2: unknown option --frob"),
        ("pool = 4\nimage-dir = /" + "x" * 600 + "\n", ":2: the line is too long"),
    ],
)
def test_configuration_files(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "cellbox.conf"
    file.write_text(text)
    assert f"{file}{says}" in refused("--state-dir", str(tmp_path / "state"), "--config", str(file))


@pytest.mark.parametrize("text", ["", "\n", "two words\n", "x" * 128])
def test_token_files(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    assert "a token of 1 to 127 characters" in refused("--state-dir", str(tmp_path), "--token-file", str(file))


def test_keys(tmp_path: Path) -> None:
    for name in ("secrets.key", "registry.key"):
        (tmp_path / name).write_bytes(b"short")
        said = refused("--state-dir", str(tmp_path), "--listen", "127.0.0.1:0")
        assert f"{tmp_path / name} does not hold a key of 32 bytes" in said
        (tmp_path / name).unlink()


def test_a_token_from_a_file(own_server: Any, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("integration-token\n")
    server = own_server("--token", "another", "--token-file", str(file), "--pool", "0", "--pool-node", "0")
    assert server.call("GET", "/v1/sandboxes").status_code == 200
