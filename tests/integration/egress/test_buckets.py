"""Buckets of an object store as directories of a sandbox. The store checks every signature."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from conftest import ROOT, Server

from egress.conftest import log, policy, sh
from egress.net import ADDRESS, World

FIRST = {"accessKeyId": "AKIDFIRST", "secretAccessKey": "the-secret-of-first-4711"}
SECOND = {"accessKeyId": "AKIDSECOND", "secretAccessKey": "the-secret-of-second-815"}
ENDPOINT = "http://store.test:9000"
MIB = 1 << 20


class Store:
    def __init__(self, world: World) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cellbox-store-"))
        self.log = self.folder / "log"
        keys = ",".join(f"{k['accessKeyId']}:{k['secretAccessKey']}" for k in (FIRST, SECOND))
        command = ["ip", "netns", "exec", world.name, "node", str(ROOT / "tests/integration/buckets/server.mjs")]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [*command, ADDRESS, "9000", "9443", str(self.folder / "data"), str(world.folder)],
                stdout=out,
                env={**os.environ, "KEYS": keys},
            )
        end = time.monotonic() + 30
        while "listening" not in self.log.read_text():
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def objects(self, bucket: str) -> dict[str, bytes]:
        root = self.folder / "data" / bucket
        end = "._S3rver_object"
        return {
            str(p.relative_to(root)).removesuffix(end): p.read_bytes() for p in root.rglob(f"*{end}") if p.is_file()
        }

    def refused(self) -> list[str]:
        return [x for x in self.log.read_text().splitlines() if x and not x.endswith(("signed", "listening"))]


@pytest.fixture(scope="module")
def store(world: World) -> Iterator[Store]:
    s = Store(world)
    yield s
    s.stop()


def mount(server: Server, box: str, **body: Any) -> Any:
    whole = {"bucket": "first", "path": "/data", "endpoint": ENDPOINT, "credentials": FIRST, **body}
    return server.call(
        "POST", f"/v1/sandboxes/{box}/buckets", json={k: v for k, v in whole.items() if v is not None}, timeout=90
    )


def mounted(server: Server, box: str, **body: Any) -> dict[str, Any]:
    r = mount(server, box, **body)
    assert r.status_code == 201, r.text
    return dict(r.json())


def state(server: Server, box: str) -> list[str]:
    return [b["state"] for b in server.call("GET", f"/v1/sandboxes/{box}/buckets").json()["buckets"]]


def failing(server: Server, box: str, command: str) -> str:
    r = server.call("POST", f"/v1/sandboxes/{box}/exec", json={"command": command, "timeout": 60000}).json()
    assert r["exitCode"] != 0, r
    return str(r["stderr"])


@pytest.mark.parametrize("endpoint", [ENDPOINT, "https://store.test:9443", f"http://{ADDRESS}:9000"])
def test_files_are_objects(proxy: Server, sandbox: str, store: Store, endpoint: str) -> None:
    got = mounted(proxy, sandbox, endpoint=endpoint)
    assert (got["bucket"], got["path"], got["state"], got["readOnly"]) == ("first", "/data", "mounted", False)
    assert "secret" not in got
    name = sandbox
    sh(proxy, sandbox, f"mkdir /data/{name} && echo hello > /data/{name}/a && cp /data/{name}/a /data/{name}/b")
    assert store.objects("first")[f"{name}/a"] == b"hello\n"
    sh(
        proxy,
        sandbox,
        f"mv /data/{name}/b '/data/{name}/b c ä' && echo more >> /data/{name}/a && chmod 600 /data/{name}/a",
    )
    assert store.objects("first")[f"{name}/a"] == b"hello\nmore\n"
    assert sh(proxy, sandbox, f"ls /data/{name}; cat '/data/{name}/b c ä'") == "a\nb c ä\nhello\n"
    sh(proxy, sandbox, f"rm -r /data/{name}")
    assert not [k for k in store.objects("first") if k.startswith(name)]
    assert store.refused() == []
    secrets = {s for e in log(proxy, sandbox) for s in e.get("secrets", [])}
    assert secrets == {f"_{got['id']}"}


def test_large_files_and_many(proxy: Server, sandbox: str, store: Store) -> None:
    mounted(proxy, sandbox, path="/workspace/deep/er/data")
    script = (
        "cd /workspace/deep/er/data && head -c 60000000 /dev/urandom > big && sha256sum < big && "
        "for i in $(seq 30); do echo $i > f$i; done && ls | wc -l"
    )
    hashed, count = sh(proxy, sandbox, script, timeout=120_000).split("\n")[:2]
    assert hashlib.sha256(store.objects("first")["big"]).hexdigest() == hashed.split()[0]
    assert int(count) == 31
    body = proxy.call("GET", f"/v1/sandboxes/{sandbox}/files/workspace/deep/er/data/big").content
    assert hashlib.sha256(body).hexdigest() == hashed.split()[0], "the files interface goes there, too"
    sh(proxy, sandbox, "rm /workspace/deep/er/data/*")


def test_keys_are_nowhere_in_the_box(proxy: Server, sandbox: str, store: Store) -> None:
    mounted(proxy, sandbox)
    sh(proxy, sandbox, "echo x > /data/x; rm /data/x")
    hunt = "import glob\nhits = []\n" + (
        "for p in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):\n"
        "    try: hits += [p] if b'the-sec' + b'ret-of' in open(p, 'rb').read() else []\n"
        "    except OSError: pass\n"
        "for p in glob.glob('/proc/[0-9]*/maps'):\n"
        "    pid = p.split('/')[2]\n"
        "    if b's3fs' not in open(f'/proc/{pid}/cmdline', 'rb').read(): continue\n"
        "    memory = open(f'/proc/{pid}/mem', 'rb', 0)\n"
        "    for line in open(p):\n"
        "        a, b = (int(n, 16) for n in line.split()[0].split('-'))\n"
        "        try:\n"
        "            memory.seek(a); hits += [line] if b'the-sec' + b'ret-of' in memory.read(min(b - a, 1 << 26)) else []\n"
        "        except (OSError, OverflowError, ValueError): pass\n"
        "hits"
    )
    assert proxy.run(sandbox, hunt)["results"][0]["data"]["text/plain"] == "[]"
    assert sh(proxy, sandbox, "grep -rlI the-secret-of /workspace /tmp /etc /home /run 2>/dev/null || true") == ""
    assert "the-secret-of" not in "".join(proxy.log)
    names = [s["name"] for s in proxy.call("GET", "/v1/secrets").json()["secrets"]]
    assert not [n for n in names if n.startswith("_")]
    assert "bucket:" not in proxy.call("GET", f"/v1/sandboxes/{sandbox}/egress").text
    state_files = subprocess.run(["grep", "-rl", "the-secret-of", str(proxy.state)], capture_output=True, text=True)
    assert state_files.stdout == ""


def test_read_only_is_so_for_the_store(proxy: Server, sandbox: str, store: Store) -> None:
    (store.folder / "data" / "first" / "seen._S3rver_object").unlink(missing_ok=True)
    mounted(proxy, sandbox, path="/rw")
    sh(proxy, sandbox, "echo seen > /rw/seen")
    [bucket] = proxy.call("GET", f"/v1/sandboxes/{sandbox}/buckets").json()["buckets"]
    assert proxy.call("DELETE", f"/v1/sandboxes/{sandbox}/buckets/{bucket['id']}").status_code == 204
    assert mounted(proxy, sandbox, readOnly=True)["readOnly"] is True
    assert sh(proxy, sandbox, "cat /data/seen") == "seen\n"
    assert "Read-only file system" in failing(proxy, sandbox, "echo x > /data/new")
    assert "Read-only file system" in failing(proxy, sandbox, "rm /data/seen")
    before = len(store.refused())
    direct = f"curl -sS -o /dev/null -w '%{{http_code}}' {ENDPOINT}/first/seen"
    assert sh(proxy, sandbox, direct) == "200", "what it may read is signed, whoever asks"
    assert sh(proxy, sandbox, f"{direct} -X DELETE") == "403"
    assert sh(proxy, sandbox, f"{direct} -T /etc/hostname") == "403"
    assert sh(proxy, sandbox, f"curl -sS -o /dev/null -w '%{{http_code}}' {ENDPOINT}/second/seen") == "403"
    assert len(store.refused()) == before + 3
    assert store.objects("first")["seen"] == b"seen\n"


def test_a_prefix_is_the_whole_bucket(proxy: Server, sandbox: str, store: Store) -> None:
    mounted(proxy, sandbox, path="/all")
    sh(proxy, sandbox, "mkdir -p /all/mine/deep /all/minestrone && echo 1 > /all/mine/deep/f && echo 2 > /all/other")
    mounted(proxy, sandbox, prefix="/mine")
    assert sh(proxy, sandbox, "find /data -type f; cat /data/deep/f") == "/data/deep/f\n1\n"
    sh(proxy, sandbox, "echo 3 > /data/new; cat /all/mine/new")
    [whole] = [
        b for b in proxy.call("GET", f"/v1/sandboxes/{sandbox}/buckets").json()["buckets"] if b["path"] == "/all"
    ]
    assert proxy.call("DELETE", f"/v1/sandboxes/{sandbox}/buckets/{whole['id']}").status_code == 204
    code = "curl -sS -o /dev/null -w '%{http_code}' "
    assert sh(proxy, sandbox, f"{code}{ENDPOINT}/first/mine/new") == "200"
    assert sh(proxy, sandbox, f"{code}{ENDPOINT}/first/other") == "403"
    assert sh(proxy, sandbox, f"{code}--path-as-is {ENDPOINT}/first/mine/../other") == "403"
    assert sh(proxy, sandbox, f"{code}--path-as-is {ENDPOINT}/first/mine/%2e%2e/other") == "403"


def test_two_buckets_and_two_boxes(proxy: Server, sandbox: str, store: Store) -> None:
    other = sandbox + "-2"
    policy(proxy, other, {})
    mounted(proxy, sandbox, path="/one")
    mounted(proxy, sandbox, path="/two", bucket="second", credentials=SECOND)
    mounted(proxy, other, path="/one", bucket="second", credentials=SECOND)
    sh(proxy, sandbox, f"echo a > /one/{sandbox}; echo b > /two/{sandbox}")
    assert sh(proxy, other, f"cat /one/{sandbox}") == "b\n"
    assert store.objects("first")[sandbox] == b"a\n"
    code = "curl -sS -o /dev/null -w '%{http_code}' "
    assert sh(proxy, other, f"{code}{ENDPOINT}/first/{sandbox}") == "403", "its neighbour's key signs nothing here"
    assert sh(proxy, sandbox, f"{code}{ENDPOINT}/first/{sandbox}") == "200"
    assert proxy.call("DELETE", f"/v1/sandboxes/{other}").status_code == 204


def test_a_secret_of_ones_own(proxy: Server, sandbox: str, store: Store) -> None:
    r = proxy.call("PUT", "/v1/secrets/store-key", json={**FIRST, "hosts": ["store.test"]})
    assert r.status_code == 204, r.text
    got = mounted(proxy, sandbox, credentials=None, secret="store-key")
    assert got["secret"] == "store-key"
    sh(proxy, sandbox, "echo x > /data/own; rm /data/own")
    assert mount(proxy, sandbox, path="/b", credentials=None, secret="missing").status_code != 201


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"credentials": {**FIRST, "secretAccessKey": "wrong"}}, 403, "BUCKET_ACCESS_DENIED"),
        ({"credentials": {"accessKeyId": "NOBODY", "secretAccessKey": "x"}}, 403, "BUCKET_ACCESS_DENIED"),
        ({"bucket": "missing"}, 404, "BUCKET_NOT_FOUND"),
        ({"endpoint": "http://store.test:9001"}, 502, "BUCKET_MOUNT_FAILED"),
        ({"endpoint": "http://nowhere.invalid"}, 502, "BUCKET_MOUNT_FAILED"),
        ({"path": "/etc/hostname"}, 502, "BUCKET_MOUNT_FAILED"),
    ],
)
def test_failures_leave_nothing(
    proxy: Server, sandbox: str, store: Store, body: dict[str, Any], status: int, code: str
) -> None:
    r = mount(proxy, sandbox, **body)
    assert (r.status_code, r.json()["error"]["code"]) == (status, code), r.text
    assert state(proxy, sandbox) == []
    assert sh(proxy, sandbox, "mount | grep fuse || true; pgrep s3fs || true") == ""
    assert sh(proxy, sandbox, "ls -d /data 2>/dev/null; ls /data 2>/dev/null || true") in {"", "/data\n"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"bucket": "a"}, "bucket"),
        ({"bucket": "a/b"}, "bucket"),
        ({"bucket": "-abc"}, "bucket"),
        ({"path": "data"}, "path"),
        ({"path": "/"}, "path"),
        ({"path": "/proc/x"}, "path"),
        ({"path": "/da\nta"}, "path"),
        ({"endpoint": "store.test"}, "endpoint"),
        ({"endpoint": "ftp://store.test"}, "endpoint"),
        ({"endpoint": "http://store.test/path"}, "endpoint"),
        ({"endpoint": "http://a,b"}, "endpoint"),
        ({"endpoint": "http://user@host"}, "endpoint"),
        ({"prefix": "mine"}, "prefix"),
        ({"prefix": "/a/../b"}, "prefix"),
        ({"prefix": "/a*"}, "prefix"),
        ({"prefix": "/a%2e"}, "prefix"),
        ({"region": "a,b"}, "region"),
        ({"s3fsOptions": ["passwd_file=/etc/shadow"]}, "s3fsOptions"),
        ({"s3fsOptions": ["retries=1,url=http://x"]}, "s3fsOptions"),
        ({"credentials": None}, "credentials"),
        ({"secret": "store-key"}, "credentials"),
        ({"credentials": {"accessKeyId": "x"}}, "credentials"),
        ({"credentials": None, "secret": "_0123456789abcdef"}, "secret"),
    ],
)
def test_bad_input(proxy: Server, body: dict[str, Any], field: str) -> None:
    r = mount(proxy, "bucket-input", **body)
    assert (r.status_code, r.json()["error"]["code"]) == (400, "INVALID_FIELD"), r.text
    assert r.json()["error"]["details"]["field"] == field


def test_unmounting(proxy: Server, sandbox: str, store: Store) -> None:
    got = mounted(proxy, sandbox, s3fsOptions=["parallel_count=3"])
    where = f"/v1/sandboxes/{sandbox}/buckets/{got['id']}"
    assert mount(proxy, sandbox).json()["error"]["code"] == "BUCKET_EXISTS"
    assert proxy.call("GET", where).json()["state"] == "mounted"
    proxy.call("POST", f"/v1/sandboxes/{sandbox}/processes", json={"command": "cd /data; sleep 600", "processId": "in"})
    time.sleep(0.3)
    r = proxy.call("DELETE", where)
    assert (r.status_code, r.json()["error"]["code"]) == (409, "RESOURCE_BUSY")
    assert proxy.call("DELETE", where + "?force=true").status_code == 204
    assert proxy.call("GET", where).status_code == 404
    assert sh(proxy, sandbox, "mount | grep fuse || true; ls -A /data") == ""
    code = f"curl -sS -o /dev/null -w '%{{http_code}}' {ENDPOINT}/first/"
    assert sh(proxy, sandbox, code) == "403", "and nothing is signed any more"
    end = time.monotonic() + 15
    while sh(proxy, sandbox, "pgrep s3fs || true"):
        assert time.monotonic() < end
        time.sleep(0.1)


def wait_for(server: Server, box: str, wanted: list[str], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while state(server, box) != wanted:
        assert time.monotonic() < end, state(server, box)
        time.sleep(0.1)


def test_comes_back_after_sleep(proxy: Server, sandbox: str, store: Store) -> None:
    proxy.call("PATCH", f"/v1/sandboxes/{sandbox}", json={"sleepAfter": "1s"})
    mounted(proxy, sandbox, path="/a")
    mounted(proxy, sandbox, path="/b", bucket="second", credentials=SECOND)
    sh(proxy, sandbox, f"echo kept > /a/{sandbox}")
    for _ in range(2):
        wait_for(proxy, sandbox, ["asleep", "asleep"])
        assert proxy.call("GET", f"/v1/sandboxes/{sandbox}").json()["state"] == "stopped"
        assert sh(proxy, sandbox, f"cat /a/{sandbox}; touch /b/x && echo ok") == "kept\nok\n", (
            "the first request sees it"
        )


def test_survives_the_gateway(proxy: Server, sandbox: str, store: Store) -> None:
    mounted(proxy, sandbox)
    sh(proxy, sandbox, f"echo 1 > /data/{sandbox}")
    [gateway] = [p for p in psutil.Process(proxy.process.pid).children(recursive=True) if p.name() == "cbx-gateway"]
    time.sleep(0.5)  # the registry is written a moment later
    gateway.kill()
    end = time.monotonic() + 20
    seen: Any = None
    while seen != ["mounted"]:
        assert time.monotonic() < end, seen
        time.sleep(0.1)
        try:
            seen = state(proxy, sandbox)
        except (requests.exceptions.ConnectionError, KeyError) as e:
            seen = e
    assert sh(proxy, sandbox, f"cat /data/{sandbox}; echo 2 >> /data/{sandbox}; cat /data/{sandbox}") == "1\n1\n2\n"
    [got] = proxy.call("GET", f"/v1/sandboxes/{sandbox}/buckets").json()["buckets"]
    assert proxy.call("DELETE", f"/v1/sandboxes/{sandbox}/buckets/{got['id']}").status_code == 204
    assert sh(proxy, sandbox, "mount | grep fuse || true") == ""


def test_its_program_killed_in_the_box(proxy: Server, sandbox: str, store: Store) -> None:
    mounted(proxy, sandbox)
    sh(proxy, sandbox, f"echo 1 > /data/{sandbox}; pkill -9 s3fs")
    end = time.monotonic() + 30
    while True:
        r = proxy.call("POST", f"/v1/sandboxes/{sandbox}/exec", json={"command": f"cat /data/{sandbox}"}).json()
        if r["stdout"] == "1\n":
            break
        assert time.monotonic() < end, r
        time.sleep(0.1)
    wait_for(proxy, sandbox, ["mounted"])


def test_a_program_that_answers_nothing_holds_nobody_up(proxy: Server, sandbox: str, store: Store) -> None:
    """User code may stop what serves the directory: only who looks into it waits."""
    got = mounted(proxy, sandbox)
    sh(proxy, sandbox, "pkill -STOP s3fs")
    proxy.call("POST", f"/v1/sandboxes/{sandbox}/processes", json={"command": "ls /data", "processId": "stuck"})
    assert sh(proxy, sandbox, "echo others go on") == "others go on\n"
    r = mount(proxy, sandbox, path="/data/below", bucket="second", credentials=SECOND)
    assert r.status_code == 502, r.text
    assert "something else is mounted" in r.json()["error"]["message"]
    stuck = proxy.call("POST", f"/v1/sandboxes/{sandbox}/exec", json={"command": "true", "cwd": "/data"})
    assert "does not get on" in stuck.json()["error"]["message"], stuck.text
    assert proxy.run(sandbox, "1 + 1")["results"][0]["data"]["text/plain"] == "2"
    assert proxy.call("DELETE", f"/v1/sandboxes/{sandbox}/buckets/{got['id']}?force=true").status_code == 204
    begun = time.monotonic()
    assert proxy.call("DELETE", f"/v1/sandboxes/{sandbox}").status_code == 204
    assert time.monotonic() - begun < 30


def test_code_of_a_box_mounts_nothing(proxy: Server, sandbox: str, store: Store) -> None:
    mounted(proxy, sandbox)
    steal = (
        "import ctypes, os\n"
        "pid = int(os.popen('pgrep s3fs').read())\n"
        "c = ctypes.CDLL(None, use_errno=True)\n"
        "def call(*a):\n"
        "    r = c.syscall(*a); return r if r >= 0 else -ctypes.get_errno()\n"
        "mount = call(165, b'x', b'/tmp', b'fuse', 0, b'fd=3,rootmode=40000,user_id=1000,group_id=1000')\n"
        "fsopen = call(430, b'fuse', 0)\n"
        "umount = call(166, b'/data', 2)\n"
        "[mount < 0, fsopen < 0, umount < 0, os.path.exists('/dev/fuse')]"
    )
    assert proxy.run(sandbox, steal)["results"][0]["data"]["text/plain"] == "[True, True, True, False]"
    assert sh(proxy, sandbox, "ls /data > /dev/null && echo ok") == "ok\n"
