"""One world and one server for all tests of egress."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Server

from egress.net import ADDRESS, ALLOW, World

Shell = Callable[..., str]


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    w = World()
    yield w
    w.stop()


@pytest.fixture(scope="session")
def proxy(world: World) -> Iterator[Server]:
    """A server whose sandboxes' connections go into the world."""
    state = Path(tempfile.mkdtemp(prefix="cellbox-egress-"))
    s = Server(
        state, "--egress-resolver", f"{ADDRESS}:53", "--egress-ca", str(world.ca), "--pool", "2", "--pool-node", "1"
    )
    yield s
    s.stop()
    shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def sandbox(proxy: Server) -> Iterator[str]:
    name = "e-" + uuid.uuid4().hex[:10]
    policy(proxy, name, {})
    yield name
    proxy.call("DELETE", f"/v1/sandboxes/{name}")


def policy(server: Server, name: str, document: dict[str, Any], world_too: bool = True) -> None:
    """Puts a policy in force; the world's network is let through by its last rule."""
    if world_too:
        document = {**document, "rules": [*document.get("rules", []), ALLOW]}
    r = server.call("PUT", f"/v1/sandboxes/{name}", json={})
    assert r.status_code in (200, 201), r.text
    r = server.call("PUT", f"/v1/sandboxes/{name}/egress", json=document)
    assert r.status_code == 200, r.text


def sh(server: Server, name: str, command: str, timeout: int = 60_000, **body: Any) -> str:
    """Standard output of a command that succeeds."""
    r = server.call(
        "POST",
        f"/v1/sandboxes/{name}/exec",
        json={"command": command, "timeout": timeout, **body},
        timeout=timeout / 1000 + 10,
    ).json()
    assert r.get("exitCode") == 0, r
    return str(r["stdout"])


def log(server: Server, name: str, kind: str = "http") -> list[dict[str, Any]]:
    r = server.call("GET", f"/v1/sandboxes/{name}/egress/log")
    assert r.status_code == 200, r.text
    return [e for e in r.json()["entries"] if e["kind"] == kind]


def secret(server: Server, name: str, **members: Any) -> None:
    r = server.call("PUT", f"/v1/secrets/{name}", json={"hosts": ["*.test"], **members})
    assert r.status_code == 204, r.text


def handler(server: Server, name: str, source: str, **body: Any) -> None:
    r = server.call("PUT", f"/v1/handlers/{name}", json={"source": source, **body})
    assert r.status_code == 204, r.text
