"""cellbox cp, watch and port."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import BUILD


@pytest.fixture
def cellbox(server: Any) -> Any:
    env = {**os.environ, "CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token}

    def run(*args: Any, **kw: Any) -> subprocess.CompletedProcess[bytes]:
        kw.setdefault("timeout", 60)
        return subprocess.run([BUILD / "bin" / "cellbox", *args], env=env, capture_output=True, **kw)

    run.env = env  # type: ignore[attr-defined]
    return run


def ok(done: subprocess.CompletedProcess[bytes]) -> bytes:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_files_there_and_back(cellbox: Any, server: Any, box: str, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "a b").write_bytes(data)
    (tmp_path / "a b").chmod(0o750)
    ok(cellbox("cp", tmp_path / "a b", f"{box}:"))
    ok(cellbox("cp", tmp_path / "a b", f"{box}:deep/er/"))
    ok(cellbox("cp", tmp_path / "a b", f"{box}:/tmp/other"))
    shown = server.call("POST", f"/v1/sandboxes/{box}/files:stat", json={"path": "a b"}).json()
    assert (shown["size"], shown["mode"]) == (len(data), "0750")
    ok(cellbox("cp", f"{box}:deep/er/a b", tmp_path / "back"))
    ok(cellbox("cp", f"{box}:/tmp/other", tmp_path))
    assert (tmp_path / "back").read_bytes() == (tmp_path / "other").read_bytes() == data
    ok(cellbox("cp", "-", f"{box}:~/in", input=b"piped"))
    assert ok(cellbox("cp", f"{box}:~/in", "-")) == b"piped"
    assert ok(cellbox("cp", f"{box}:/home/user/in", "-")) == b"piped"


def test_trees_there_and_back(cellbox: Any, server: Any, box: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    (tree / "sub" / "f").write_text("1")
    (tree / "link").symlink_to("sub/f")
    ok(cellbox("cp", tree, f"{box}:"))
    ok(cellbox("cp", f"{tree}/", f"{box}:renamed"))
    listed = server.call("POST", f"/v1/sandboxes/{box}/files:list", json={"path": ".", "recursive": True}).json()
    below = ["link", "sub", "sub/empty", "sub/f"]
    assert [f["relativePath"] for f in listed["files"]] == [
        f"{top}{'/' if name else ''}{name}" for top in ("renamed", "tree") for name in ("", *below)
    ]
    ok(cellbox("cp", f"{box}:tree", tmp_path / "new"))
    (tmp_path / "there").mkdir()
    ok(cellbox("cp", f"{box}:tree", tmp_path / "there"))
    for root in (tmp_path / "new", tmp_path / "there" / "tree"):
        assert (root / "link").readlink() == Path("sub/f")
        assert (root / "link").read_text() == "1"
        assert (root / "sub" / "empty").is_dir()


def test_cp_failures(cellbox: Any, box: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    for args, status in [
        (("cp", tmp_path / "none", f"{box}:"), 1),
        (("cp", tmp_path / "f", tmp_path / "g"), 2),
        (("cp", f"{box}:a", f"{box}:b"), 2),
        (("cp", tmp_path / "f"), 2),
        (("cp", tmp_path / "f", f"{box}:/etc/passwd"), 3),
        (("cp", f"{box}:/none", tmp_path / "f"), 1),
        (("cp", f"{box}:/etc/shadow", tmp_path / "f"), 3),
    ]:
        done = cellbox(*args)
        assert done.returncode == status, (args, done)
        assert done.stderr.startswith(b"cellbox: ")
    assert (tmp_path / "f").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_watch_and_port(cellbox: Any, server: Any, box: str) -> None:
    server.run(box, "1")
    watching = subprocess.Popen(
        [BUILD / "bin" / "cellbox", "watch", box, "--json", "--coalesce", "0"], env=cellbox.env, stdout=subprocess.PIPE
    )
    assert watching.stdout
    assert json.loads(watching.stdout.readline())["type"] == "watching"
    server.run(box, "open('new', 'w').close()")
    event = json.loads(watching.stdout.readline())
    assert (event["type"], event["path"]) == ("create", "/workspace/new")
    watching.terminate()
    assert watching.wait(20) == 130
    url = ok(cellbox("port", "show", box, "3000", "--name", "web", "--token", "clitoken1")).decode().strip()
    assert f"//3000-{box}-clitoken1." in url
    listed = json.loads(ok(cellbox("port", "ls", box, "--json")))
    assert [(p["port"], p["name"], p["url"]) for p in listed] == [(3000, "web", url)]
    assert url.encode() in ok(cellbox("port", "ls", box))
    ok(cellbox("port", "rm", box, "3000"))
    assert json.loads(ok(cellbox("port", "ls", box, "--json"))) == []
    assert cellbox("port", "show", box).returncode == 2
    assert cellbox("port", "show", box, "99999").returncode == 3
