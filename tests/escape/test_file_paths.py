"""Hostile trees against file operations from outside: links that move, endless depth, paths of 4097 bytes.

Whatever the box does, an operation reaches only the box, and its root's files only when root was asked for.
"""

from __future__ import annotations

import concurrent.futures
import uuid
from pathlib import Path
from typing import Any

import pytest

# /workspace/swap is a directory, a link to /etc and a link to the host's marker, in turn, thousands of times a second.
RACE = """
import os, threading
os.makedirs('real', exist_ok=True)
open('real/shadow', 'w').write('mine')
go = True
def swap():
    while go:
        for target in ('/etc', '/proc/1/root/etc', '../../../../etc', 'real'):
            os.symlink(target, 'next')
            os.rename('next', 'swap')
os.symlink('real', 'swap')
thread = threading.Thread(target=swap)
thread.start()
"""


@pytest.fixture
def base(server: Any, box: str) -> str:
    server.call("PUT", f"/v1/sandboxes/{box}", json={})
    return f"/v1/sandboxes/{box}/files"


def test_links_that_move(server: Any, box: str, base: str) -> None:
    server.run(box, RACE)
    shadow = server.call("GET", f"{base}/etc/shadow?user=root").content

    def attempt(i: int) -> bytes:
        if i % 4 == 0:
            server.call("PUT", f"{base}/workspace/swap/dropped{i}", data=b"x")
        if i % 4 == 1:
            server.call("DELETE", f"{base}/workspace/swap?recursive=true")
        if i % 4 == 2:
            server.call("POST", f"{base}:chmod", json={"path": "swap", "mode": "0777", "recursive": True})
        return bytes(server.call("GET", f"{base}/workspace/swap/shadow").content)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(attempt, range(400)))
    server.run(box, "go = False; thread.join()")
    assert shadow not in seen
    assert server.call("GET", f"{base}/etc/shadow?user=root").content == shadow
    listed = server.call("POST", f"{base}:list", json={"path": "/etc"}).json()["files"]
    assert not [f for f in listed if f["name"].startswith("dropped")]
    assert server.call("POST", f"{base}:stat", json={"path": "/etc/shadow"}).json()["mode"] == "0640"


def test_root_removes_links_not_what_they_lead_to(server: Any, box: str, base: str) -> None:
    """With root's rights a link in the way would be a way to root's files."""
    server.run(box, RACE)
    for i in range(60):
        server.run(box, f"import os; os.makedirs('tree/a', exist_ok=True); os.symlink('/etc', 'tree/a/l{i}')")
        r = server.call("DELETE", f"{base}/workspace/tree?recursive=true&user=root")
        assert r.status_code == 204, r.text
        server.call("POST", f"{base}:chmod", json={"path": "real", "mode": "0777", "recursive": True, "user": "root"})
    server.run(box, "go = False; thread.join()")
    assert server.call("GET", f"{base}/etc/passwd").status_code == 200
    assert server.call("POST", f"{base}:stat", json={"path": "/etc/shadow"}).json()["mode"] == "0640"


def test_the_host_has_no_path(server: Any, box: str, base: str) -> None:
    marker = Path("/tmp") / f"cellbox-marker-{uuid.uuid4().hex[:8]}"
    marker.write_text("of the host")
    try:
        for prefix in ["", "../" * 40, "proc/1/root/", "proc/self/root/", "proc/self/cwd/../", "dev/fd/../../"]:
            for user in ("user", "root"):
                encoded = f"{prefix}tmp/{marker.name}".replace("..", "%2e%2e")
                r = server.http.get(f"{server.url}{base}/{encoded}?user={user}", timeout=20)
                assert r.status_code in (403, 404), (prefix, r.text)
        for number in range(16):  # what the helper itself has open
            r = server.call("GET", f"{base}/proc/self/fd/{number}/tmp/{marker.name}?user=root")
            assert r.status_code in (403, 404, 409), r.text
    finally:
        marker.unlink()


def test_depth_and_length(server: Any, box: str, base: str) -> None:
    """A tree that no path reaches the end of is listed as far as paths go, and removed whole."""
    server.run(
        box,
        """import os
top = os.getcwd()
os.mkdir('deep'); os.chdir('deep')
for _ in range(3000):
    os.mkdir('d' * 20); os.chdir('d' * 20)
open('end', 'w').close()
os.chdir(top)""",
    )
    r = server.call("POST", f"{base}:list", json={"path": "deep", "recursive": True, "limit": 1000000})
    assert r.json()["truncated"] is True
    long = "/".join(["e" * 20] * 200)
    assert server.call("GET", f"{base}/{long}").json()["error"]["code"] == "NAME_TOO_LONG"
    assert server.call("PUT", f"{base}/{long}?parents=true", data=b"x").json()["error"]["code"] == "NAME_TOO_LONG"
    assert server.call("DELETE", f"{base}/workspace/deep?recursive=true").status_code == 204
    assert server.call("POST", f"{base}:list", json={"path": "/workspace"}).json()["files"] == []


def test_a_killed_helper_is_an_error_not_an_answer(server: Any, box: str, base: str) -> None:
    server.call("PUT", f"{base}/workspace/big", data=b"x" * (64 << 20))
    with server.call("GET", f"{base}/workspace/big", stream=True) as r:
        server.run(box, "import subprocess; subprocess.run(['pkill', '-9', 'cbx-files'])")
        with pytest.raises(Exception, match=r"(?i)incomplete|broken|reset"):
            while r.raw.read(1 << 20):
                pass
            raise ConnectionError("incomplete") if r.raw.tell() < 64 << 20 else AssertionError("all of it came")
    assert len(server.call("GET", f"{base}/workspace/big").content) == 64 << 20
