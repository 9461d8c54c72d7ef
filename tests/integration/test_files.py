"""Files of a sandbox through /v1: bytes, trees, archives, search, and what refuses."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import pytest


class Files:
    """The files of one sandbox."""

    def __init__(self, server: Any, box: str) -> None:
        self.server = server
        self.base = f"/v1/sandboxes/{box}/files"

    def put(self, path: str, data: Any, query: str = "", **kw: Any) -> Any:
        return self.server.call("PUT", f"{self.base}/{quote(path)}{query}", data=data, **kw)

    def get(self, path: str, query: str = "", **kw: Any) -> Any:
        return self.server.call("GET", f"{self.base}/{quote(path)}{query}", **kw)

    def delete(self, path: str, query: str = "") -> Any:
        return self.server.call("DELETE", f"{self.base}/{quote(path)}{query}")

    def do(self, verb: str, **body: Any) -> Any:
        return self.server.call("POST", f"{self.base}:{verb}", json=body)

    def names(self, path: str, **body: Any) -> list[str]:
        r = self.do("list", path=path, **body)
        assert r.status_code == 200, r.text
        assert r.json()["count"] == len(r.json()["files"])
        return [f["relativePath"] for f in r.json()["files"]]


def refused(r: Any, status: int, code: str) -> None:
    assert (r.status_code, r.json()["error"]["code"]) == (status, code), r.text


@pytest.fixture
def files(server: Any, box: str) -> Files:
    assert server.call("PUT", f"/v1/sandboxes/{box}", json={}).status_code == 201
    return Files(server, box)


def test_bytes_survive(files: Files, server: Any, box: str) -> None:
    data = bytes(range(256)) * 5000
    r = files.put("workspace/a b%/\u00fc.bin".replace("/", "_").replace("workspace_", "workspace/"), data)
    assert r.status_code == 201, r.text
    assert (r.json()["size"], r.json()["uid"], r.json()["mode"]) == (len(data), 1000, "0644")
    name = r.json()["absolutePath"]
    r = files.get(name)
    assert r.content == data
    assert int(r.headers["Content-Length"]) == len(data)
    assert r.headers["Content-Security-Policy"].startswith("sandbox")
    assert server.run(box, f"len(open({name!r}, 'rb').read())")["results"][0]["data"]["text/plain"] == str(len(data))


def test_empty_chunked_and_huge_pieces(files: Files) -> None:
    def pieces() -> Iterator[bytes]:
        for i in range(300):
            yield bytes([i % 256]) * (1 + i * 97)

    assert files.put("workspace/empty", b"").json()["size"] == 0
    r = files.get("workspace/empty")
    assert (r.content, r.headers["Content-Length"]) == (b"", "0")
    whole = b"".join(pieces())
    assert files.put("workspace/chunked", pieces()).json()["size"] == len(whole)
    assert files.get("workspace/chunked").content == whole


def test_append_offset_mode_and_parents(files: Files) -> None:
    refused(files.put("workspace/new/dir/f", b"x"), 404, "FILE_NOT_FOUND")
    assert files.put("workspace/new/dir/f", b"one", "?parents=true&mode=0750").json()["mode"] == "0750"
    r = files.put("workspace/new/dir/f", b"two", "?append=true")
    assert (r.status_code, r.json()["size"], r.json()["mode"]) == (200, 6, "0750")
    files.put("workspace/new/dir/f", b"XY", "?offset=2")
    assert files.get("workspace/new/dir/f").content == b"onXYwo"
    assert files.put("workspace/new/dir/f", b"fresh").json()["mode"] == "0750"
    assert files.get("workspace/new/dir/f").content == b"fresh"
    refused(files.put("workspace/new/dir/f", b"", "?exclusive=true"), 409, "FILE_EXISTS")
    refused(files.put("workspace/new/dir/f", b"", "?mode=9"), 400, "INVALID_FIELD")
    refused(files.put("workspace/new/dir/f", b"", "?offset=-1"), 400, "INVALID_PARAMETER")
    refused(files.put("workspace/new/dir", b"x"), 409, "IS_DIRECTORY")
    refused(files.put("workspace/new/dir/f/g", b"x"), 409, "NOT_DIRECTORY")


def test_ranges_and_validators(files: Files) -> None:
    files.put("workspace/r", b"0123456789")
    for asked, got, shown in [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=-30", b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", b"89", "bytes 8-9/10"),
    ]:
        r = files.get("workspace/r", headers={"Range": asked})
        assert (r.status_code, r.content, r.headers["Content-Range"]) == (206, got, shown)
    for whole in ["bytes=5-4", "lines=1-2", "bytes=0-1,3-4", "bytes=x-"]:
        assert files.get("workspace/r", headers={"Range": whole}).status_code == 200
    for none in ["bytes=10-", "bytes=-0"]:
        r = files.get("workspace/r", headers={"Range": none})
        refused(r, 416, "RANGE_NOT_SATISFIABLE")
        assert r.headers["Content-Range"] == "bytes */10"
    tag = files.get("workspace/r").headers["ETag"]
    assert files.get("workspace/r", headers={"If-None-Match": tag}).status_code == 304
    files.put("workspace/r", b"other")
    assert files.get("workspace/r", headers={"If-None-Match": tag}).content == b"other"
    head = files.server.call("HEAD", files.base + "/workspace/r")
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, "5", b"")


def test_replacing_is_atomic(files: Files, server: Any, box: str) -> None:
    """A reader sees the old file or the new one, and a broken upload leaves the old one and nothing else."""
    files.put("workspace/f", b"old")
    at = urlsplit(server.url)
    with socket.create_connection((at.hostname, at.port)) as s:
        s.sendall(
            f"PUT {files.base}/workspace/f HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {server.token}\r\n"
            "Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert s.recv(100).startswith(b"HTTP/1.1 100 ")
        s.sendall(b"n" * 200000)
        assert any(n.startswith(".cbx-upload-") for n in files.names("/workspace", includeHidden=True))
        assert files.get("workspace/f").content == b"old"
    for _ in range(500):
        if files.names("/workspace", includeHidden=True) == ["f"]:
            break
    assert files.names("/workspace", includeHidden=True) == ["f"]
    assert files.get("workspace/f").content == b"old"


def test_a_link_is_written_through(files: Files) -> None:
    files.put("workspace/real", b"1")
    r = files.do("symlink", path="/workspace/link", target="real")
    assert (r.json()["type"], r.json()["target"]) == ("symlink", "real")
    files.put("workspace/link", b"2")
    assert files.get("workspace/real").content == b"2"
    assert files.do("stat", path="link", followSymlinks=False).json()["type"] == "symlink"
    assert files.do("stat", path="link").json()["type"] == "file"
    refused(files.do("symlink", path="link", target="x"), 409, "FILE_EXISTS")
    assert files.do("symlink", path="link", target="elsewhere", overwrite=True).json()["target"] == "elsewhere"
    refused(files.do("symlink", path="real", target="x", overwrite=True), 409, "FILE_EXISTS")
    assert files.put("workspace/link", b"3").status_code == 201
    assert files.get("workspace/elsewhere").content == b"3"


def test_trees(files: Files) -> None:
    assert files.do("mkdir", path="/workspace/t/a/b", recursive=True).status_code == 201
    assert files.do("mkdir", path="/workspace/t/a/b", recursive=True).status_code == 200
    refused(files.do("mkdir", path="/workspace/t/a/b"), 409, "FILE_EXISTS")
    for name in ["t/x.py", "t/a/y.py", "t/a/b/z.txt", "t/.hidden", "t/a/node_modules/m.js"]:
        files.put(f"workspace/{name}", name.encode(), "?parents=true")
    assert files.names("/workspace/t") == ["a", "x.py"]
    assert files.names("t", includeHidden=True) == [".hidden", "a", "x.py"]
    everything = ["a", "a/b", "a/b/z.txt", "a/node_modules", "a/node_modules/m.js", "a/y.py", "x.py"]
    assert files.names("t", recursive=True) == everything
    assert files.names("t", depth=2) == ["a", "a/b", "a/node_modules", "a/y.py", "x.py"]
    assert files.names("t", recursive=True, include=["*.py"]) == ["a/y.py", "x.py"]
    assert files.names("t", recursive=True, exclude=["node_modules", "b"]) == ["a", "a/y.py", "x.py"]
    assert files.names("t", recursive=True, include=["a/**"], exclude=["*.js"]) == [*everything[1:4], "a/y.py"]
    r = files.do("list", path="t", recursive=True, limit=3)
    assert (r.json()["count"], r.json()["truncated"]) == (3, True)
    refused(files.do("copy", source="t", destination="u"), 409, "IS_DIRECTORY")
    assert files.do("copy", source="t", destination="u", recursive=True).status_code == 200
    assert files.names("u", recursive=True) == everything
    assert files.get("workspace/u/a/b/z.txt").content == b"t/a/b/z.txt"
    assert files.do("copy", source="t", destination="t/self", recursive=True).status_code == 200
    refused(files.do("move", source="u", destination="t", overwrite=False), 409, "FILE_EXISTS")
    assert files.do("move", source="u", destination="/home/user/v").json()["absolutePath"] == "/home/user/v"
    assert files.get("~/v/x.py").content == b"t/x.py"
    assert files.do("chmod", path="t", mode="0700", recursive=True).json()["mode"] == "0700"
    assert files.do("stat", path="t/x.py").json()["mode"] == "0700"
    refused(files.delete("workspace/t"), 409, "IS_DIRECTORY")
    assert files.delete("workspace/t", "?recursive=true").status_code == 204
    assert files.delete("workspace/x").status_code == 404
    assert files.names("/workspace") == []


def test_search(files: Files) -> None:
    files.put("workspace/s/one.py", b"alpha\nBeta gamma\n", "?parents=true")
    files.put("workspace/s/two.txt", b"beta\nbeta beta\n")

    def found(**body: Any) -> list[tuple[str, int]]:
        r = files.do("search", path="/workspace/s", **body)
        assert r.status_code == 200, r.text
        return sorted((m["path"].rpartition("/")[2], m["line"]) for m in r.json()["matches"])

    assert found(query="beta") == [("two.txt", 1), ("two.txt", 2)]
    assert found(query="beta", ignoreCase=True, include=["*.py"]) == [("one.py", 2)]
    assert found(query="^b.*a$", regex=True, exclude=["*.py"]) == [("two.txt", 1), ("two.txt", 2)]
    assert found(query="--help") == []
    assert found(query="nothing") == []
    m = files.do("search", path="s", query="beta beta").json()["matches"][0]
    assert (m["text"], m["submatches"]) == ("beta beta\n", [{"start": 0, "end": 9}])
    r = files.do("search", path="s", query="beta", limit=1).json()
    assert (len(r["matches"]), r["truncated"]) == (1, True)
    refused(files.do("search", path="s", query="(", regex=True), 400, "INVALID_ARGUMENT")
    refused(files.do("search", path="nowhere", query="x"), 404, "FILE_NOT_FOUND")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.zst", "tar.xz"])
def test_archives(files: Files, kind: str) -> None:
    files.put("workspace/d/deep/er/f", b"content", "?parents=true&mode=0711")
    files.do("symlink", path="d/l", target="deep/er/f")
    packed = files.get("workspace/d", f"?archive={kind}")
    assert packed.status_code == 200
    r = files.put("workspace/e", packed.content, f"?archive={kind}&parents=true")
    assert r.status_code == 204, r.text
    assert files.names("e", recursive=True) == ["deep", "deep/er", "deep/er/f", "l"]
    assert files.do("stat", path="e/deep/er/f").json()["mode"] == "0711"
    assert files.get("workspace/e/l").content == b"content"
    refused(files.get("workspace/d/deep/er/f", f"?archive={kind}"), 409, "NOT_DIRECTORY")
    refused(files.get("workspace/none", f"?archive={kind}"), 404, "FILE_NOT_FOUND")
    refused(files.put("workspace/e", b"this is no archive" * 100, f"?archive={kind}"), 400, "INVALID_ARGUMENT")
    refused(files.get("workspace/d", "?archive=rar"), 400, "INVALID_PARAMETER")


def test_an_archive_that_cannot_start_is_an_error(files: Files, server: Any, box: str) -> None:
    files.do("mkdir", path="d")
    server.call("PATCH", f"/v1/sandboxes/{box}", json={"limits": {"pids": 8}})
    server.run(box, "import subprocess\nfor _ in range(8): subprocess.Popen(['sleep', '60'])")
    r = files.get("workspace/d", "?archive=tar.zst")
    assert r.status_code >= 400
    assert r.json()["error"]["code"] in ("PROGRAM_FAILED", "QUOTA_EXCEEDED", "HELPER_GONE")


def test_bombs_and_hostile_archives(files: Files) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        info = tarfile.TarInfo("big")
        info.size = 200 << 20
        t.addfile(info, io.BytesIO(bytes(info.size)))
    bomb = gzip.compress(out.getvalue(), 9)
    assert len(bomb) < 1 << 20
    refused(files.put("workspace", bomb, "?archive=tar&maxBytes=10000000"), 413, "FILE_TOO_LARGE")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, link in [("../up", ""), ("/etc/abs", ""), ("way", "/etc"), ("way/x", "")]:
            info = tarfile.TarInfo(name)
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            t.addfile(info, io.BytesIO(b""))
    files.put("workspace/x", out.getvalue(), "?archive=tar&parents=true")
    for name in ["etc/abs", "etc/x", "up", "workspace/up"]:
        assert files.get(name).status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("%00", 400, "INVALID_PATH"),
        ("a%00b", 400, "INVALID_PATH"),
        ("a/" * 2048, 400, "NAME_TOO_LONG"),
        ("b" * 256, 400, "NAME_TOO_LONG"),
        ("none", 404, "FILE_NOT_FOUND"),
        ("etc", 409, "IS_DIRECTORY"),
        ("", 409, "IS_DIRECTORY"),
        ("etc/passwd/x", 409, "NOT_DIRECTORY"),
        ("etc/shadow", 403, "PERMISSION_DENIED"),
        ("dev/zero", 409, "NOT_A_FILE"),
        ("proc/1/root", 403, "PERMISSION_DENIED"),
        ("workspace/none?user=nobody", 400, "INVALID_PARAMETER"),
    ],
)
def test_refusals(files: Files, path: str, status: int, code: str) -> None:
    refused(files.server.call("GET", f"{files.base}/{path}"), status, code)


def test_dots_lead_to_the_roots_own_root(files: Files) -> None:
    raw = files.server.url + files.base + "/workspace/%2e%2e/%2e%2e/%2e%2e/etc/hostname"
    inside = files.get("etc/hostname").content
    assert files.server.http.get(raw, timeout=20).content == inside


def test_root_of_the_box_where_asked(files: Files) -> None:
    assert files.get("etc/shadow", "?user=root").status_code == 200
    refused(files.put("etc/made", b""), 403, "PERMISSION_DENIED")
    assert files.put("etc/made", b"", "?user=root").json()["uid"] == 0
    assert files.do("stat", path="/etc/shadow", user="root").json()["permissions"]["writable"] is True
    refused(files.put("proc/sys/kernel/core_pattern", b"|/x", "?user=root"), 403, "PERMISSION_DENIED")


def test_names_that_are_no_text(files: Files, server: Any, box: str) -> None:
    server.run(box, "open(b'/workspace/\\xff\\n', 'wb').write(b'here')")
    shown = files.do("list", path="/workspace").json()["files"][0]
    assert shown["encodedPath"] == "%FF%0A"
    assert server.call("GET", f"{files.base}/workspace/{shown['encodedPath']}").content == b"here"


def test_unsized_files_and_unknown_sandboxes(files: Files, server: Any) -> None:
    assert b"Name:" in files.get("proc/self/status").content
    refused(server.call("GET", "/v1/sandboxes/never-made/files/x"), 404, "SANDBOX_NOT_FOUND")
    refused(server.call("PUT", "/v1/sandboxes/BAD_/files/x", data=b"x"), 400, "SANDBOX_NAME_INVALID")


def test_upload_makes_the_sandbox(server: Any, box: str) -> None:
    assert Files(server, box).put("workspace/first", b"1").status_code == 201
    assert server.run(box, "open('first').read()")["results"][0]["data"]["text/plain"] == "'1'"


def test_a_refused_upload_leaves_the_connection_usable(files: Files) -> None:
    """The answer arrives although the body was not read, and the next request works."""
    refused(files.put("etc/nope", b"x" * 3_000_000), 403, "PERMISSION_DENIED")
    assert files.put("workspace/ok", b"y" * 3_000_000).status_code == 201


def test_gigabytes_in_constant_memory(files: Files, server: Any) -> None:
    """4.1 GiB, more than 32 bits, through a gateway that does not grow."""
    block, count = os.urandom(1 << 20), 4200
    gateway = server.gateway()
    peak = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], psutil.Process(gateway.pid).memory_info().rss)

    before = psutil.Process(gateway.pid).memory_info().rss
    threading.Thread(target=watch, daemon=True).start()
    r = files.put("workspace/large", (block for _ in range(count)), timeout=300)
    assert r.json()["size"] == count << 20
    want, got = hashlib.md5(), 0
    with files.get("workspace/large", stream=True, timeout=300) as r:
        for piece in r.iter_content(1 << 20):
            got += len(piece)
            if got <= 8 << 20:
                want.update(piece)
    done.set()
    assert got == count << 20
    assert want.digest() == hashlib.md5(block * 8).digest()
    assert peak[0] - before < 32 << 20
    tail = files.get("workspace/large", headers={"Range": f"bytes={(count << 20) - 5}-"})
    assert tail.content == block[-5:]
    files.delete("workspace/large")
