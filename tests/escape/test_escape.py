"""Hostile programs, one per control, inside real boxes; each must end with the line CONTAINED."""

from __future__ import annotations

import json
import os
import socket
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

PROGRAMS = Path(__file__).parent / "programs"
SUPPORT = {p.name: p.read_text() for p in sorted((PROGRAMS / "lib").iterdir()) if p.is_file()}
NAMES = sorted(p.name for p in PROGRAMS.iterdir() if p.suffix in (".py", ".c"))

# Writes the program and what it includes, compiles it if it is C, runs it with the box's own tools.
STAGE = """
import os, subprocess, sys
os.makedirs("/workspace/attack/lib", exist_ok=True)
os.chdir("/workspace/attack")
for name, text in files.items():
    with open(name, "w") as f:
        f.write(text)
os.environ["PYTHONPATH"] = "/workspace/attack/lib"
"""
RUN_C = """
build = subprocess.run(["gcc", "-O1", "-w", "-o", "attack", name, "-lpthread"], capture_output=True, text=True)
print(build.stderr, end="")
if build.returncode == 0:
    run = subprocess.run(["./attack"], capture_output=True, text=True)
    print(run.stdout + run.stderr, end="" if run.returncode == 0 else f"exit status {run.returncode}\\n")
"""
RUN_PYTHON = """
run = subprocess.run([sys.executable, name], capture_output=True, text=True)
print(run.stdout + run.stderr, end="" if run.returncode == 0 else f"exit status {run.returncode}\\n")
"""
RUN_CELL = """
sys.path.insert(0, "/workspace/attack/lib")
exec(compile(files[name], name, "exec"), {"__name__": "__main__"})
"""


def staged(name: str, text: str, facts: dict[str, Any]) -> dict[str, str]:
    return {f"lib/{k}": v for k, v in SUPPORT.items()} | {"lib/facts.json": json.dumps(facts), name: text}


def cell_for(name: str, facts: dict[str, Any]) -> str:
    text = (PROGRAMS / name).read_text()
    head = f"name = {name!r}\nfiles = {staged(name, text, facts)!r}\n"
    if name.endswith(".c"):
        return head + STAGE + RUN_C
    return head + STAGE + (RUN_CELL if "RUN: cell" in text else RUN_PYTHON)


def verdict(execution: dict[str, Any]) -> str:
    out = "".join(execution["logs"]["stdout"])
    assert execution["status"] == "ok", json.dumps(execution.get("error"), indent=1) + out
    return out


@pytest.fixture(scope="module")
def facts(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Things of the host that a box may neither reach nor learn."""
    secret = uuid.uuid4().hex
    marker = Path("/tmp") / f"cellbox-marker-{uuid.uuid4().hex[:8]}"
    marker.write_text(secret)
    marker.chmod(0o644)
    named = tmp_path_factory.mktemp("host") / "socket"
    abstract = f"cellbox-{secret[:12]}"
    listeners = []
    for address in ("127.0.0.1", "0.0.0.0"):
        listeners.append(socket.create_server((address, 0)))
    unix = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    unix[0].bind("\0" + abstract)
    unix[1].bind(str(named))
    for u in unix:
        u.listen()
    gateway_port = int(server.url.rsplit(":", 1)[1])
    inside = server.process.pid
    image_dir = os.environ.get("CELLBOX_IMAGE_DIR", "/var/lib/cellbox/images")
    repository = str(Path(__file__).resolve().parents[2])
    yield {
        "secret": secret,
        "marker": str(marker),
        "pids": [inside, *[p.pid for p in psutil.Process(inside).children()]],
        "hostname": socket.gethostname(),
        "host_words": [str(server.state), repository, image_dir, marker.name, secret, server.token, "runtime.erofs"],
        "host_dirs": [str(server.state), repository, image_dir, str(named.parent)],
        "listeners": [["127.0.0.1", s.getsockname()[1]] for s in listeners] + [["127.0.0.1", gateway_port]],
        "abstract": abstract,
        "named": str(named),
    }
    for s in [*listeners, *unix]:
        s.close()
    marker.unlink()


@pytest.mark.parametrize("name", NAMES)
def test_contained(server: Any, box: str, facts: dict[str, Any], name: str) -> None:
    out = verdict(server.run(box, cell_for(name, facts), timeout=90_000))
    assert out.rstrip().splitlines()[-1:] == ["CONTAINED"], textwrap.shorten(out, 6000)
    # whatever it tried, the box still works
    assert verdict(server.run(box, "print(6 * 7)")) == "42\n"


def test_contained_in_node(server: Any, box: str) -> None:
    out = verdict(server.run(box, (PROGRAMS / "node.js").read_text(), language="javascript", timeout=30_000))
    assert out.rstrip().splitlines()[-1:] == ["CONTAINED"], out
    assert verdict(server.run(box, "console.log(6 * 7)", language="javascript")) == "42\n"


def test_a_forged_frame_ends_only_its_context(server: Any, box: str) -> None:
    server.run(box, "kept = 5")
    forged = "require('/opt/cellbox/node/cbx-node.node').send(41, 9, 1, ['not json'])"
    done = server.run(box, forged, language="javascript")
    assert done["error"]["code"] == "PROTOCOL_ERROR", done
    assert verdict(server.run(box, "print(kept)")) == "5\n"
    assert verdict(server.run(box, "console.log(1)", language="javascript")) == "1\n"


def test_the_programs_would_notice(server: Any, box: str, facts: dict[str, Any]) -> None:
    """A control that is not there, and a program that checks nothing, are both reported."""
    missing = "from attack import *\nrefused('reading', lambda: read('/etc/passwd'), errno.EPERM)\ndone()\n"
    nothing = "from attack import *\ndone()\n"
    verdicts = []
    for text in (missing, nothing):
        files = staged("probe.py", text, facts)
        out = verdict(server.run(box, f"name = 'probe.py'\nfiles = {files!r}\n" + STAGE + RUN_PYTHON))
        verdicts.append(out)
    assert verdicts[0].startswith("ESCAPED: reading (got "), verdicts
    assert verdicts[1] == "ESCAPED: nothing was checked\n"
