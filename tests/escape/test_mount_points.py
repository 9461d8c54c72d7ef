"""Where buckets are mounted: on the box's own disk, never where a link of the box points."""

from __future__ import annotations

import time
from typing import Any

import pytest
from box_calls import execute, post

KEYS = {"accessKeyId": "A", "secretAccessKey": "S"}
NOWHERE = {"bucket": "first", "endpoint": "http://192.0.2.1:9", "credentials": KEYS}

# What the box's user prepares, the path asked for, and what the answer says.
REFUSED = {
    "link": ("ln -s /etc /workspace/way", "/workspace/way", "a part of it is a link"),
    "link on the way": ("ln -s /opt /workspace/way", "/workspace/way/cellbox/bin", "a part of it is a link"),
    "link to programs": ("ln -s /opt/cellbox/bin /workspace/way", "/workspace/way", "a part of it is a link"),
    "link that leads nowhere": ("ln -s /absent /workspace/way", "/workspace/way", "a part of it is a link"),
    "dots": ("mkdir /workspace/way", "/workspace/way/../../etc", "a part of it is .."),
    "root": ("true", "/", "it belongs to the system"),
    "programs": ("true", "/opt/cellbox/bin", "it belongs to the system"),
    "above programs": ("true", "//opt/", "it belongs to the system"),
    "etc": ("true", "/etc/app", "it belongs to the system"),
    "usr": ("true", "/usr/local", "it belongs to the system"),
    "devices": ("true", "/dev/shm/x", "it belongs to the system"),
    "processes": ("true", "/proc/1", "it belongs to the system"),
    "a file": ("touch /workspace/way", "/workspace/way", "Not a directory"),
}

SWAP = """
import ctypes, os
os.makedirs("/workspace/a/x", exist_ok=True)
os.symlink("/etc", "/workspace/b")
libc = ctypes.CDLL(None)
while True:
    libc.renameat2(-100, b"/workspace/a", -100, b"/workspace/b", 2)
"""


def mounts(server: Any, box: str) -> str:
    return execute(server, box, "grep bucket /proc/self/mountinfo")["stdout"]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused(server: Any, box: str, name: str) -> None:
    prepare, path, why = REFUSED[name]
    assert execute(server, box, prepare)["exitCode"] == 0
    began = time.monotonic()
    r = server.call("POST", f"/v1/sandboxes/{box}/buckets", json={**NOWHERE, "path": path}, timeout=90)
    assert (r.status_code, r.json()["error"]["code"]) in ((502, "BUCKET_MOUNT_FAILED"), (400, "INVALID_FIELD")), r.text
    if r.status_code == 502:
        assert why in r.json()["error"]["message"], r.text
        assert time.monotonic() - began < 25
    assert mounts(server, box) == ""
    assert execute(server, box, "ls /etc/passwd /opt/cellbox/bin/cbx-files")["exitCode"] == 0


def test_a_path_that_changes_all_the_while(server: Any, box: str) -> None:
    post(server, box, "processes", 201, command=["python3", "-c", SWAP], processId="swap")
    for _ in range(6):
        r = server.call("POST", f"/v1/sandboxes/{box}/buckets", json={**NOWHERE, "path": "/workspace/a/x"}, timeout=90)
        assert r.status_code == 502, r.text
        found = mounts(server, box)
        assert " /etc" not in found, found
    post(server, box, "processes/swap/kill", 200, signal="SIGKILL")
    assert mounts(server, box) == ""
    assert execute(server, box, "test -e /etc/x || ls /etc/passwd")["exitCode"] == 0
