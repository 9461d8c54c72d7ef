"""What the processes that speak with strangers can reach of the host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

SERVICES = ["cbx-gateway", "cbx-egress"]
NEVER = [
    "/home",
    "/root",
    "/var",
    "/opt",
    "/work",
    "/boot",
    "/sys",
    "/mnt",
    "/etc/passwd",
    "/etc/shadow",
    "/usr/bin/sh",
]
NEVER += ["/bin/sh", "/usr/sbin", "/etc/ssl/private", "/run/lock", "/dev/sda", "/dev/fuse", "/dev/mem", "/proc/meminfo"]


def service(server: Any, name: str) -> psutil.Process:
    return next(p for p in psutil.Process(server.process.pid).children() if p.name() == name)


@pytest.mark.parametrize("name", SERVICES)
def test_the_host_is_not_there(server: Any, name: str) -> None:
    root = Path(f"/proc/{service(server, name).pid}/root")
    assert (root / "dev/null").is_char_device()
    found = [p for p in NEVER if os.path.lexists(str(root) + p)]
    assert found == []
    assert not Path(str(root) + str(server.state)).exists()
    assert {p.name for p in root.iterdir()} <= {"dev", "etc", "lib", "lib32", "lib64", "proc", "run", "tmp", "usr"}
    # its own state and nobody else's
    own = {p.name.split("-")[0] for p in (root / "run/cellbox").iterdir()}
    assert own == ({"gateway"} if name == "cbx-gateway" else {"egress", "handlers"}), own


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_of_its_root_can_be_written(server: Any, name: str) -> None:
    pid = service(server, name).pid
    writable = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        point, options = line.split()[4:6]
        flags = options.split(",")
        if "rw" in flags:
            assert "noexec" in flags, line
            writable.append(point)
        assert "nosuid" in flags, line
    places = {f"/run/cellbox/{name.removeprefix('cbx-')}-{server.process.pid}", "/proc", "/tmp"}
    assert {p for p in writable if not p.startswith("/dev/")} == places


@pytest.mark.parametrize("name", SERVICES)
def test_namespaces_and_limits_of_its_own(server: Any, name: str) -> None:
    pid = service(server, name).pid
    for kind in ("pid", "ipc", "mnt"):
        assert Path(f"/proc/{pid}/ns/{kind}").readlink() != Path(f"/proc/{server.process.pid}/ns/{kind}").readlink()
    inside = [p.name for p in Path(f"/proc/{pid}/root/proc").iterdir() if p.name.isdigit()]
    assert "1" in inside and str(server.process.pid) not in inside
    groups = Path(f"/proc/{pid}/cgroup").read_text()
    assert f"/cellbox-{server.process.pid}/{name.removeprefix('cbx-')}" in groups
    assert psutil.Process(pid).uids().real >= 0x20000000


def test_order_when_memory_runs_out(server: Any, box: str) -> None:
    score = {n: int(Path(f"/proc/{service(server, n).pid}/oom_score_adj").read_text()) for n in SERVICES}
    own = int(Path(f"/proc/{server.process.pid}/oom_score_adj").read_text())
    printed = server.run(box, "print(open('/proc/self/oom_score_adj').read())")["logs"]["stdout"]
    command = server.call("POST", f"/v1/sandboxes/{box}/exec", json={"command": "cat /proc/self/oom_score_adj"}).json()
    assert own <= min(score.values()) <= int("".join(printed)) < int(command["stdout"])
    inits = [p for p in psutil.Process(server.process.pid).children() if p.name() == "cbx-init"]
    assert inits
    assert all(int(Path(f"/proc/{p.pid}/oom_score_adj").read_text()) < int("".join(printed)) for p in inits)
