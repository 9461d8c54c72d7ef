"""What boxes leave on the host's disk: owned by nobody of the host, and gone without a trace of harm when removed."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest


def out(execution: dict[str, Any]) -> str:
    assert execution["status"] == "ok", execution
    return "".join(execution["logs"]["stdout"])


def disk_with(server: Any, name: str) -> Path:
    found = [p for p in (server.state / "disks").iterdir() if (p / "upper" / "workspace" / name).exists()]
    assert len(found) == 1, found
    return found[0]


def wait_until(what: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_uid_ranges_are_apart(server: Any) -> None:
    names = ["u-" + uuid.uuid4().hex[:8] for _ in range(3)]
    owners: set[int] = set()
    for name in names:
        out(server.run(name, f"open('/workspace/{name}', 'w').write('x'); import os; os.mkdir('/workspace/d')"))
    for name in names:
        upper = disk_with(server, name) / "upper"
        uids = {p.lstat().st_uid for p in [upper, *upper.rglob("*")]} | {p.lstat().st_gid for p in upper.rglob("*")}
        slots = {uid // 65536 for uid in uids}
        assert len(slots) == 1, uids
        assert min(uids) >= 0x20000000 + 65536, uids
        owners |= slots
    assert len(owners) == 3
    assert {(server.state / "disks").stat().st_uid, server.state.stat().st_uid} == {0}
    below = psutil.Process(server.process.pid).children(recursive=True)
    boxes = [p for p in below if p.name() in ("cbx-init", "cbx-python")]
    assert boxes and all(uid >= 0x20000000 for p in boxes for uid in p.uids())
    for name in names:
        assert server.call("DELETE", f"/v1/sandboxes/{name}").status_code == 204


HOSTILE_TREE = """
import os, subprocess
os.chdir('/workspace')
open('{name}', 'w').close()
os.mkdir('links')
for i, target in enumerate(['{marker}', '{folder}', '/', '..', '../../../../..', '/proc/self/root', 'loop']):
    os.symlink(target, f'links/{{i}}')
os.symlink('loop', 'loop')
os.makedirs('shut/inner'); open('shut/inner/f', 'w').close(); os.chmod('shut/inner', 0); os.chmod('shut', 0)
os.mkdir(b'bad\\xff\\n name'); open(b'bad\\xff\\n name/-rf *', 'w').close()
open('x' * 255, 'w').close()
os.link('{name}', 'links/hard')
os.mkfifo('fifo')
import socket
socket.socket(socket.AF_UNIX).bind('sock')
print(subprocess.run(['chattr', '+i', '{name}'], capture_output=True).returncode != 0)
# replaced while it is being deleted is the same as replaced now: a directory where a link was
os.remove('links/0'); os.symlink('{marker}', 'links/0')
for depth in range(12000):
    os.mkdir('d'); os.chdir('d')
    if depth % 1000 == 0:
        open('f', 'w').close()
os.chdir('/workspace')
os.makedirs('wide')
for i in range(3000):
    os.mkdir(f'wide/{{i}}')
"""


def test_a_hostile_disk_is_removed(server: Any, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    marker.write_text("untouched")
    name = "d-" + uuid.uuid4().hex[:8]
    tree = HOSTILE_TREE.format(name=name, marker=marker, folder=tmp_path)
    assert out(server.run(name, tree, timeout=100_000)) == "True\n"
    disk = disk_with(server, name)
    assert server.call("DELETE", f"/v1/sandboxes/{name}").status_code == 204
    wait_until(lambda: not disk.exists())
    wait_until(lambda: list((server.state / "trash").iterdir()) == [])
    assert marker.read_text() == "untouched" and list(tmp_path.iterdir()) == [marker]


@pytest.mark.parametrize("target", ["workspace", "work"])
def test_a_disk_turned_into_links(server: Any, tmp_path: Path, target: str) -> None:
    """The top of what the box owns becomes a link to the host."""
    marker = tmp_path / "marker"
    marker.write_text("untouched")
    name = "d-" + uuid.uuid4().hex[:8]
    code = f"import os\nopen('/workspace/{name}', 'w').close()\n"
    code += f"os.symlink('{tmp_path}', '/home/user/{target}')\nprint('ok')"
    assert out(server.run(name, code)) == "ok\n"
    disk = disk_with(server, name)
    server.call("DELETE", f"/v1/sandboxes/{name}")
    wait_until(lambda: not disk.exists() and not list((server.state / "trash").iterdir()))
    assert list(tmp_path.iterdir()) == [marker]
