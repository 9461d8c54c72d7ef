"""Completion in bash, zsh and fish: everything that the command line's help names is offered, and names of things."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import BUILD, ROOT

CLI = ROOT / "clients" / "cli"
ENV = os.environ | {"PATH": f"{BUILD / 'bin'}:{os.environ['PATH']}"}
SHELLS = ("bash", "zsh", "fish")


def run(*command: str, **env: str) -> str:
    done = subprocess.run(command, env=ENV | env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


@cache
def help_of(command: str) -> str:
    return run("cellbox", command, "--help")


@cache
def commands() -> list[str]:
    return re.findall(r"^  ([a-z]+) ", run("cellbox", "help"), re.MULTILINE)


def options(command: str) -> set[str]:
    where = r"(--[a-z-]+)" if command == "image" else r"^  (--[a-z-]+)"
    return set(re.findall(where, help_of(command), re.MULTILINE))


def verbs(command: str) -> set[str]:
    if command == "image":
        return set(re.findall(r"^  ([a-z]+) ", help_of(command), re.MULTILINE))
    found = re.match(r"usage: cellbox [a-z]+ ([a-z|]+) ", help_of(command) + " ")
    return set(found[1].split("|")) if found else set()


def in_bash(words: list[str], **env: str) -> set[str]:
    script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cellbox; printf \'%s\\n\' "${COMPREPLY[@]}"'
    return set(run("bash", "-c", script, str(CLI / "cellbox.bash"), *words, **env).split("\n"))


# What a completion hands to the shell, one a line: compadd's words, and the names of _describe's array.
ZSH = """
compdef() { : }
compadd() {
    while [[ $1 == -? || $1 == -- ]]; do
        [[ $1 != -S ]] || shift
        [[ $1 != -- ]] || { shift; break }
        shift
    done
    print -lr -- "$@"
}
_describe() { print -lr -- "${(@P)@[-1]}" | sed -E 's/:.*//' }
_files() { print -lr -- files }
source $1; shift
words=("$@") CURRENT=$# PREFIX=${@[-1]}
_cellbox
"""


def in_zsh(words: list[str], **env: str) -> set[str]:
    return set(run("zsh", "-f", "-c", ZSH, "zsh", str(CLI / "cellbox.zsh"), *words, **env).split("\n"))


def in_fish(words: list[str], **env: str) -> set[str]:
    script = f"source {CLI / 'cellbox.fish'}; complete -C '{' '.join(words)}'"
    return {line.split("\t")[0] for line in run("fish", "--no-config", "-c", script, **env).split("\n")}


COMPLETE: dict[str, Callable[..., set[str]]] = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_verb_and_option(shell: str) -> None:
    complete = COMPLETE[shell]
    assert len(commands()) > 20
    assert set(commands()) <= complete(["cellbox", ""])
    for command in commands():
        assert options(command) <= complete(["cellbox", command, "--"]), command
        assert verbs(command) <= complete(["cellbox", command, ""]), command


@pytest.mark.parametrize("shell", SHELLS)
def test_names_of_things(shell: str, server: Any, box: str) -> None:
    env = {"CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token}
    server.call("PUT", f"/v1/sandboxes/{box}", json={})
    context = server.call("POST", f"/v1/sandboxes/{box}/contexts", json={}).json()["id"]
    server.call("POST", f"/v1/sandboxes/{box}/processes", json={"command": "sleep 60", "processId": "napper"})
    server.call("POST", f"/v1/sandboxes/{box}/terminals", json={"id": "tty"})
    complete = COMPLETE[shell]
    for words in (["run"], ["exec"], ["shell"], ["rm"], ["rm", "x"], ["watch"], ["port", "ls"], ["egress", "get"]):
        assert box in complete(["cellbox", *words, ""], **env), words
    assert {f"{box}:", box} & complete(["cellbox", "cp", ""], **env)
    assert context in complete(["cellbox", "context", "rm", box, ""], **env)
    assert "napper" in complete(["cellbox", "logs", box, ""], **env)
    assert "napper" not in complete(["cellbox", "shell", box, "--attach", ""], **env)
    assert "tty" in complete(["cellbox", "shell", box, "--attach", ""], **env)
    assert {"png", "svg"} <= complete(["cellbox", "run", box, "x.py", "--format", ""], **env)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_the_installed_file(shell: str) -> None:
    assert run("cellbox", "completion", shell) == (CLI / f"cellbox.{shell}").read_text()
    assert run(shell, "-n", str(CLI / f"cellbox.{shell}")) == ""


def test_zsh_itself_completes(tmp_path: Path) -> None:
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], ENV | {"TERM": "dumb", "ZDOTDIR": str(tmp_path)})
    setup = "autoload -Uz compinit; compinit -u -D; source <(cellbox completion zsh); print set''up\n"
    os.write(fd, setup.encode())
    shown = b""
    deadline = time.monotonic() + 60
    asked = False
    while b"--output-dir" not in shown and time.monotonic() < deadline:
        if select.select([fd], [], [], 1)[0]:
            shown += os.read(fd, 4096)
        if not asked and b"setup\r\n" in shown:
            os.write(fd, b"cellbox run demo x.py --outp\t")
            asked = True
    os.write(fd, b"\x15exit\n")
    os.close(fd)
    os.waitpid(pid, 0)
    assert b"--output-dir" in shown, shown.decode(errors="replace")
