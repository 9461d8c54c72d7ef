"""What a program that init starts by itself may do: no more than an interpreter's child."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

LOOK = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
fds = {}
for fd in os.listdir("/proc/self/fd"):
    try: fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError: pass
print(json.dumps({
    "uids": status["Uid"].split(), "gids": status["Gid"].split(), "groups": status["Groups"].split(),
    "caps": [int(status[c], 16) for c in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
    "nnp": status["NoNewPrivs"], "seccomp": status["Seccomp"], "blocked": int(status["SigBlk"], 16),
    "ignored": int(status["SigIgn"], 16), "fds": fds, "sid": os.getsid(0), "pid": os.getpid(), "ppid": os.getppid(),
}))
"""


@pytest.fixture
def call(server: Any) -> Iterator[Any]:
    def post(path: str, **body: Any) -> dict[str, Any]:
        r = server.call("POST", f"/v1/sandboxes/escape-programs/{path}", json=body)
        assert r.status_code in (200, 201), r.text
        return r.json()

    yield post
    server.call("DELETE", "/v1/sandboxes/escape-programs")


def check(seen: dict[str, Any], fds: set[str]) -> None:
    assert seen["uids"] == ["1000"] * 4 and seen["gids"] == ["1000"] * 4 and seen["groups"] == ["1000"]
    assert seen["caps"] == [0, 0, 0, 0]
    assert seen["nnp"] == "1" and seen["seccomp"] == "2"
    assert seen["blocked"] == 0 and seen["sid"] == seen["pid"] and seen["ppid"] == 1
    assert set(seen["fds"]) == fds, seen["fds"]


def test_a_command(call: Any) -> None:
    seen = json.loads(call("exec", command=["python3", "-c", LOOK])["stdout"])
    check(seen, {"0", "1", "2"})
    assert seen["ignored"] & ~(1 << 12 | 1 << 24) == 0  # python itself ignores SIGPIPE and SIGXFSZ


def test_a_process(call: Any) -> None:
    call("processes", processId="p", command=["python3", "-c", LOOK])
    line = call("processes/p/wait", pattern=r"^\{.*\}$", timeout=30_000)["line"]
    check(json.loads(line), {"0", "1", "2"})


def test_a_terminal(call: Any, server: Any) -> None:
    call("terminals", id="t", command=["python3", "-c", LOOK + "import time; time.sleep(60)"])
    line = call("processes/t/wait", pattern=r"\{.*\}", timeout=30_000)["match"][0]
    seen = json.loads(line)
    check(seen, {"0", "1", "2"})
    assert all(path.startswith("/dev/pts/") for path in seen["fds"].values())


def test_init_cannot_be_touched(call: Any) -> None:
    attacks = [
        "kill -9 1; kill -0 1",
        "cat /proc/1/environ",
        "ls /proc/1/fd",
        "cat /proc/1/mem",
        'python3 -c "import ctypes; l = ctypes.CDLL(None); raise SystemExit(0 if l.ptrace(16, 1, 0, 0) == 0 else 1)"',
    ]
    for attack in attacks:
        assert call("exec", command=attack)["exitCode"] != 0, attack
    # a program whose name holds what a parser of /proc may trip over, killed by its tree all the same
    odd = "cp /bin/sleep '/tmp/) R 1 1 1'; '/tmp/) R 1 1 1' 4701"
    assert call("exec", command=odd, timeout=300)["timedOut"] is True
    assert "4701" not in call("exec", command="cat /proc/[0-9]*/cmdline | tr '\\0' ' '")["stdout"]


def test_marks_of_others_do_not_kill_them(call: Any) -> None:
    """A command that wears another's mark joins that one's tree, not the other way round."""
    call("processes", processId="victim", command="sleep 4711")
    call("exec", command="CELLBOX_PROCESS=victim setsid sleep 4712 & sleep 4713", timeout=300)
    assert call("exec", command="pgrep -f '^sleep 4711'")["exitCode"] == 0
    call("processes/victim/kill", signal="SIGKILL")
    assert call("exec", command="pgrep -f '^sleep 471'")["exitCode"] == 1
