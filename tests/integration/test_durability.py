"""What was answered is on disk: the gateway killed, the power cut, the disk full, each right after an answer."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

POOL = ("--pool", "0", "--pool-node", "0")
SPEC: dict[str, Any] = {
    "env": {"A": "b"},
    "labels": {"team": "blue"},
    "limits": {"memory": 512 << 20, "pids": 99},
    "sleepAfter": 3600000,
    "egress": {"enableInternet": False},
}
EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


def kill_gateway(server: Any) -> None:
    gateway = server.gateway()
    gateway.kill()
    gateway.wait(10)


def check_spec(server: Any, name: str) -> None:
    kept = server.call("GET", f"/v1/sandboxes/{name}").json()
    assert {k: kept[k] for k in ("env", "labels", "sleepAfter")} == {
        k: SPEC[k] for k in ("env", "labels", "sleepAfter")
    }
    assert {k: kept["limits"][k] for k in SPEC["limits"]} == SPEC["limits"]
    assert server.call("GET", f"/v1/sandboxes/{name}/egress").json()["enableInternet"] is False


def test_killed_after_the_answer(own_server: Any) -> None:
    server = own_server()
    server.run("warm", "1")

    def answered(status: int, method: str, path: str, **kw: Any) -> Any:
        """The gateway dies in the moment in which its answer has come."""
        server.wait_ready()
        gateway = server.gateway()
        r = server.call(method, path, **kw)
        gateway.kill()
        assert r.status_code == status, r.text
        gateway.wait(10)
        server.http.close()
        server.wait_ready()
        return r

    for i in range(3):
        name = f"kept-{i}"
        at = f"/v1/sandboxes/{name}"
        answered(201, "PUT", at, json=SPEC)
        check_spec(server, name)
        answered(200, "PATCH", at, json={"labels": {"team": "red"}, "env": {"A": "c"}})
        assert server.call("GET", at).json()["labels"] == {"team": "red"}
        assert server.call("GET", at).json()["env"] == {"A": "c"}
        answered(200, "PUT", f"{at}/egress", json={"enableInternet": False, "allowedHosts": ["a.test"]})
        assert server.call("GET", f"{at}/egress").json()["allowedHosts"] == ["a.test"]
        shown = answered(201, "PUT", f"{at}/ports/3000", json={}).json()
        assert server.call("GET", f"{at}/ports").json()["ports"][0]["token"] == shown["token"]
        answered(204, "DELETE", f"{at}/ports/3000")
        assert server.call("GET", f"{at}/ports").json()["ports"] == []
        assert server.run(name, "1 + 1")["status"] == "ok"
        answered(204, "DELETE", at)
        assert server.call("GET", at).status_code == 404
        made = answered(200, "POST", f"/v1/sandboxes/run-{i}/run", json={"code": "x = 1"}).json()
        assert made["status"] == "ok"
        assert server.run(f"run-{i}", "x")["status"] == "ok", "the sandbox and its variables are there"


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for a state directory, as a disk that can be cut off or be full."""
    image, at = tmp_path / "disk.img", tmp_path / "state"
    at.mkdir()
    with image.open("wb") as f:
        f.truncate(512 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, at], check=True)
    yield at
    subprocess.run(["umount", "-l", at], check=True)


def cut_power(at: Path) -> None:
    """What the file system has not committed is lost, as with a power cut."""
    fd = os.open(at, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
    finally:
        os.close(fd)


def test_power_cut(own_server: Any, volume: Path) -> None:
    server = own_server(*POOL, state=volume)
    assert server.call("PUT", "/v1/sandboxes/before", json={}).status_code == 201
    os.sync()  # the server has run for a while
    assert server.call("PUT", "/v1/sandboxes/kept", json=SPEC).status_code == 201
    assert server.call("PATCH", "/v1/sandboxes/before", json={"labels": {"a": "b"}}).status_code == 200
    policy = {"enableInternet": False, "allowedHosts": ["b.test"]}
    assert server.call("PUT", "/v1/sandboxes/before/egress", json=policy).status_code == 200
    assert server.call("PUT", "/v1/secrets/key", json={"value": "x", "hosts": ["a.test"]}).status_code < 300
    source = "export default { outbound: (request, env, ctx) => fetch(request) }"
    assert server.call("PUT", "/v1/handlers/own", json={"source": source}).status_code < 300
    assert server.call("PUT", "/v1/sandboxes/gone", json={}).status_code == 201
    assert server.call("DELETE", "/v1/sandboxes/gone").status_code == 204
    cut_power(volume)
    server.process.kill()
    server.process.wait(20)
    server.http.close()
    # Other mount namespaces may still hold the file system that was cut off, so a copy of its disk is mounted.
    after = volume.parent / "after"
    after.mkdir()
    subprocess.run(["cp", "--sparse=always", volume.parent / "disk.img", volume.parent / "after.img"], check=True)
    subprocess.run(["mount", "-o", "loop", volume.parent / "after.img", after], check=True)
    try:
        check_power_cut(own_server(*POOL, state=after))
    finally:
        subprocess.run(["umount", after], check=True)


def check_power_cut(again: Any) -> None:
    names = [s["name"] for s in again.call("GET", "/v1/sandboxes").json()["sandboxes"]]
    assert sorted(names) == ["before", "kept"]
    check_spec(again, "kept")
    assert again.call("GET", "/v1/sandboxes/before").json()["labels"] == {"a": "b"}
    assert again.call("GET", "/v1/sandboxes/before/egress").json()["allowedHosts"] == ["b.test"]
    assert [s["name"] for s in again.call("GET", "/v1/secrets").json()["secrets"]] == ["key"]
    assert [h["name"] for h in again.call("GET", "/v1/handlers").json()["handlers"]] == ["own"]
    for name in names:
        assert again.run(name, "1 + 1")["results"][0]["data"]["text/plain"] == "2"
    again.stop()


def test_full_disk(own_server: Any, volume: Path) -> None:
    """A change that cannot be kept is refused with what to do, and kept once there is room."""
    server = own_server(*POOL, state=volume)
    server.run("box", "x = 1")
    filler = volume / "filler"
    with filler.open("wb", buffering=0) as f:
        try:
            while f.write(b"x" * (1 << 20)):
                pass
        except OSError:
            pass
        try:
            while f.write(b"x" * 512):
                pass
        except OSError:
            pass
    r = requests.Response()
    for i in range(400):  # the log has some room of its own
        r = server.call("PATCH", "/v1/sandboxes/box", json={"labels": {"n": str(i) * 3000}})
        if r.status_code != 200:
            break
    assert (r.status_code, r.json()["error"]["code"]) == (507, "NOT_STORED"), r.text
    assert server.call("GET", "/v1/sandboxes/box").status_code == 200
    filler.unlink()
    assert server.call("PATCH", "/v1/sandboxes/box", json={"labels": {"n": "kept"}}).status_code == 200
    kill_gateway(server)
    server.wait_ready()
    assert server.call("GET", "/v1/sandboxes/box").json()["labels"] == {"n": "kept"}
    server.stop()
