"""Node contexts through fake_init, in the root filesystem of a box: the image, the runtime at /opt/cellbox."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python_runner"))

import harness

BUILD = harness.BUILD
IMAGES = Path(os.environ.get("CELLBOX_IMAGE_DIR", BUILD / "images"))

# Mounts die with the process: they are in a namespace of its own. The box's disk is a directory of the test.
MOUNTS = """
set -e
mkdir -p "$W/image" "$W/root" "$W/work"
mount -t tmpfs none "$W/work"
mkdir "$W/work/up" "$W/work/wk"
mount -t erofs -o ro "$IMAGE" "$W/image" 2>/dev/null || mount -t erofs -o ro,loop "$IMAGE" "$W/image"
mount -t overlay -o "lowerdir=$W/image,upperdir=$W/work/up,workdir=$W/work/wk" overlay "$W/root"
mount --bind "$RUNTIME" "$W/root/opt/cellbox"
mount -o remount,bind,ro "$W/root/opt/cellbox"
mount -t proc proc "$W/root/proc"
mount --rbind /dev "$W/root/dev"
mount -t tmpfs tmpfs "$W/root/tmp"
exec "$FAKE_INIT" node "$CONTROL" "$W/root"
"""

ENVIRONMENT = {
    "HOME": "/home/user",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "USER": "user",
}


def image() -> Path:
    return IMAGES / ((IMAGES / "refs/default").read_text().strip() + ".erofs")


class Init(harness.Init):
    """fake_init over a root of its own; files of the contexts are under ``root``."""

    def __init__(self, work: Path) -> None:
        self.mode = "node"
        self.base = dict(ENVIRONMENT)
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNTS],
            pass_fds=[theirs.fileno()],
            env={
                **os.environ,
                "W": str(work),
                "IMAGE": str(image()),
                "RUNTIME": str(BUILD / "libexec/cellbox/runtime"),
                "FAKE_INIT": str(BUILD / "tests/fake_init"),
                "CONTROL": str(theirs.fileno()),
            },
        )
        theirs.close()
        self.control.settimeout(harness.LIMIT)
        assert self.control.recv(100).startswith(b"ready"), "fake_init did not start"
        self.root = Path(f"/proc/{self.process.pid}/root{work}/root")

    def node(self, language: str = "javascript", env: dict[str, str] | None = None, cwd: str = "/workspace") -> Node:
        """A context that has been told its language."""
        context = self.context(cwd, env, hello=False)
        context.__class__ = Node
        assert isinstance(context, Node)
        setup = {"language": language, "cwd": cwd, "env": {}, "session": "s"}
        reply = context.ask(harness.SETUP, setup)
        assert reply["status"] == "ok", reply
        return context


class Node(harness.Context):
    def values(self, *cells: str) -> list[str | None]:
        """text/plain of each cell's result; None where there is none."""
        found = []
        for cell in cells:
            run = self.run(cell)
            assert run.error is None, (cell, run.error)
            results = run.of(harness.RESULT)
            found.append(results[0].json[0]["text/plain"] if results else None)
        return found


@contextmanager
def started(work: Path) -> Iterator[Init]:
    init = Init(work)
    try:
        yield init
    finally:
        init.close()
