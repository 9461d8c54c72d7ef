"""Changes of files as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sse import lines

STREAM = {"Accept": "text/event-stream"}


class Watch:
    """One connection; stop() leaves it."""

    def __init__(self, server: Any, box: str, query: str = "", cursor: str | None = None) -> None:
        headers = dict(STREAM)
        if cursor:
            headers["Last-Event-ID"] = cursor
        self.response = server.call(
            "GET", f"/v1/sandboxes/{box}/watch?{query}", stream=True, headers=headers, timeout=20
        )
        assert self.response.status_code == 200, self.response.text
        self.events = self._events()
        self.cursor = ""
        self.first = next(self.events)

    def _events(self) -> Iterator[dict[str, Any]]:
        fields: dict[str, str] = {}
        for line in lines(self.response):
            if not line and "data" in fields:
                event = json.loads(fields["data"])
                assert event["type"] == fields["event"]
                self.cursor = fields["id"]
                yield event
                fields = {}
            elif line and not line.startswith(":"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")

    def until(self, path: str, kind: str | None = None) -> list[tuple[str, str]]:
        """Everything up to the first event of that path (and type)."""
        seen = []
        for e in self.events:
            seen.append((e["type"], e.get("path", "")))
            if e.get("path") == path and kind in (None, e["type"]):
                return seen
        raise AssertionError(f"the stream ended: {seen}")

    def stop(self) -> None:
        self.response.close()


@pytest.fixture
def watch(server: Any, box: str) -> Iterator[Any]:
    assert server.call("PUT", f"/v1/sandboxes/{box}", json={}).status_code == 201
    made: list[Watch] = []

    def start(query: str = "", cursor: str | None = None) -> Watch:
        made.append(Watch(server, box, query, cursor))
        return made[-1]

    yield start
    for w in made:
        w.stop()


def test_what_changes_is_told(watch: Any, server: Any, box: str) -> None:
    w = watch("path=/workspace&recursive=true")
    assert (w.first["type"], w.first["path"]) == ("watching", "/workspace")
    server.run(
        box,
        """import os
open('a', 'w').write('1')
open('a', 'a').write('2')
os.rename('a', 'b')
os.chmod('b', 0o600)
os.unlink('b')
open('end1', 'w').close()""",
    )
    seen = w.until("/workspace/end1")
    assert seen[0] == ("create", "/workspace/a")
    assert ("modify", "/workspace/a") in seen or seen[1][0] == "rename"
    assert seen[-4:] == [
        ("rename", "/workspace/b"),
        ("attributes", "/workspace/b"),
        ("delete", "/workspace/b"),
        ("create", "/workspace/end1"),
    ]


def test_rename_pairs_name_both(watch: Any, server: Any, box: str) -> None:
    server.run(box, "import os; open('x', 'w').close(); os.mkdir('out'); os.mkdir('in')")
    w = watch("path=/workspace/in")
    server.run(box, "os.rename('x', 'in/x'); os.rename('in/x', 'in/y'); os.rename('in/y', 'out/y')")
    events = [next(w.events) for _ in range(3)]
    assert [e["type"] for e in events] == ["create", "rename", "delete"]
    assert (events[1]["oldPath"], events[1]["path"]) == ("/workspace/in/x", "/workspace/in/y")


def test_new_and_moved_directories_are_watched(watch: Any, server: Any, box: str) -> None:
    w = watch("path=/workspace")
    server.run(box, "import os; os.makedirs('p/q/r'); open('p/q/r/f', 'w').close()")
    seen = w.until("/workspace/p/q/r/f")
    assert ("create", "/workspace/p") in seen
    assert ("create", "/workspace/p/q/r") in seen
    server.run(box, "os.rename('p', 'z'); open('z/q/r/g', 'w').close()")
    assert ("rename", "/workspace/z") in w.until("/workspace/z/q/r/g")
    server.run(box, "import shutil; shutil.rmtree('z')")
    assert ("delete", "/workspace/z/q/r/g") in w.until("/workspace/z", "delete")


def test_patterns(watch: Any, server: Any, box: str) -> None:
    server.run(box, "import os; os.makedirs('node_modules/m'); os.makedirs('src/deep')")
    py = watch("path=/workspace&include=*.py,*.pyi&exclude=test_*")
    default = watch("path=/workspace")
    flat = watch("path=/workspace&recursive=false")
    server.run(
        box,
        """for n in ['node_modules/m/x.js', 'src/deep/test_a.py', 'src/deep/b.txt', 'src/deep/c.py', 'last.py']:
    open(n, 'w').close()""",
    )
    created = [p for t, p in py.until("/workspace/last.py") if t == "create"]
    assert created == ["/workspace/src/deep/c.py", "/workspace/last.py"]
    assert "/workspace/node_modules/m/x.js" not in [p for _, p in default.until("/workspace/last.py")]
    assert [p for _, p in flat.until("/workspace/last.py")] == ["/workspace/last.py"]


def test_coalescing(watch: Any, server: Any, box: str) -> None:
    w = watch("path=/workspace&coalesce=200")
    server.run(
        box,
        """import os
for i in range(300): open('busy', 'a').write('x')
open('passing', 'w').close(); os.unlink('passing')
open('end', 'w').close()""",
    )
    assert [e for e in w.until("/workspace/end") if e[0] != "attributes"] == [
        ("create", "/workspace/busy"),
        ("create", "/workspace/end"),
    ]


def test_one_file_across_replacement(watch: Any, server: Any, box: str) -> None:
    server.run(box, "open('conf', 'w').close()")
    w = watch("path=/workspace/conf")
    server.run(box, "import os; open('other', 'w').write('n'); os.rename('other', 'conf')")
    assert w.until("/workspace/conf") == [("create", "/workspace/conf")]
    server.run(box, "open('conf', 'a').write('m')")
    assert w.until("/workspace/conf") == [("modify", "/workspace/conf")]


def test_resume_misses_nothing(watch: Any, server: Any, box: str) -> None:
    w = watch("path=/workspace")
    server.run(box, "open('one', 'w').close()")
    w.until("/workspace/one")
    cursor = w.cursor
    w.stop()
    server.run(box, "open('two', 'w').close(); open('three', 'w').close()")
    again = watch("path=/workspace", cursor)
    assert again.first["watchId"] == w.first["watchId"]
    assert [p for t, p in again.until("/workspace/three") if t == "create"] == ["/workspace/two", "/workspace/three"]
    r = server.call("GET", f"/v1/sandboxes/{box}/watch", headers=STREAM | {"Last-Event-ID": "0123456789abcdef:7"})
    assert (r.status_code, r.json()["error"]["code"]) == (410, "WATCH_EXPIRED")


def test_a_client_that_falls_behind_is_told(watch: Any, server: Any, box: str) -> None:
    """More events than are kept: what was lost is no secret."""
    w = watch("path=/workspace")
    cursor = w.cursor
    w.stop()
    server.run(box, "for i in range(6000): open(f'f{i}', 'w').close()")
    probe = watch("path=/workspace")
    server.run(box, "open('end', 'w').close()")
    probe.until("/workspace/end")
    again = watch("path=/workspace", cursor)
    assert next(again.events)["type"] == "resync"


def test_kernel_overflow_is_reported(watch: Any, server: Any, box: str) -> None:
    """The helper is stopped while more happens than the kernel queues for it."""
    w = watch("path=/workspace")
    server.run(
        box,
        """import os, signal, subprocess
pid = int(subprocess.check_output(['pgrep', '-n', 'cbx-files']))
os.kill(pid, signal.SIGSTOP)
os.mkdir('new')
limit = int(open('/proc/sys/fs/inotify/max_queued_events').read())
for i in range(limit // 2 + 1000):
    open(f'a{i % 7}', 'w').close(); os.unlink(f'a{i % 7}')
os.kill(pid, signal.SIGCONT)""",
    )
    for e in w.events:
        if e["type"] == "resync":
            assert e["reason"] == "overflow"
            break
    server.run(box, "open('new/after', 'w').close()")
    w.until("/workspace/new/after")


def test_ends(watch: Any, server: Any, box: str) -> None:
    server.run(box, "import os; os.mkdir('d')")
    w = watch("path=/workspace/d")
    server.run(box, "os.rmdir('d')")
    last = list(w.events)[-1]
    assert (last["type"], last["reason"]) == ("stopped", "deleted")
    assert server.call("GET", f"/v1/sandboxes/{box}/watch").status_code == 406
    r = server.call("GET", f"/v1/sandboxes/{box}/watch?path=/none", headers=STREAM)
    assert (r.status_code, r.json()["error"]["code"]) == (404, "FILE_NOT_FOUND")
    w = watch("path=/workspace")
    server.call("DELETE", f"/v1/sandboxes/{box}")
    assert [e["reason"] for e in w.events if e["type"] == "stopped"] == ["sandbox_stopped"]
