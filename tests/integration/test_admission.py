"""What strangers can do to a server before they show a token, and what they cannot take from its owner."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

MIB = 1 << 20


def connect(server: Any, text: str = "") -> socket.socket:
    at = urlsplit(server.url)
    s = socket.create_connection((at.hostname, at.port), timeout=20)
    if text:
        s.sendall(text.replace("\n", "\r\n").encode())
    return s


def answer(s: socket.socket) -> bytes:
    """All that comes until the server closes."""
    got = b""
    while piece := s.recv(65536):
        got += piece
    return got


@pytest.mark.parametrize("length", ["Content-Length: 30000000", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    ("path", "head", "status"),
    [
        ("/v1/sandboxes/a/run", "", b"401"),
        ("/v1/sandboxes/a/run", "Authorization: Bearer wrong\n", b"403"),
        ("/v1/sandboxes/a/files/workspace/x", "", b"401"),
        ("/api/kernels", "", b"401"),
        ("/nowhere", "", b"401"),
    ],
)
def test_refused_at_the_head(server: Any, path: str, head: str, status: bytes, length: str) -> None:
    with connect(server, f"POST {path} HTTP/1.1\nHost: x\n{head}{length}\n\n") as s:
        assert s.recv(65536).split()[1] == status, "no byte of the body was sent, and none is waited for"


def test_open_routes_take_little(server: Any) -> None:
    with connect(server, "POST /login HTTP/1.1\nHost: x\nContent-Length: 5000\n\n") as s:
        assert s.recv(65536).split()[1] == b"413"


def test_bodies_of_strangers_are_not_kept(server: Any) -> None:
    gateway = server.gateway()
    before = gateway.memory_info().rss
    with ExitStack() as stack:
        for i in range(40):
            length = "Transfer-Encoding: chunked\n\n1e00000\n" if i % 2 else "Content-Length: 31457280\n\n"
            s = stack.enter_context(connect(server, f"POST /v1/sandboxes/a/run HTTP/1.1\nHost: x\n{length}"))
            s.settimeout(0.5)
            try:
                for _ in range(30):
                    s.sendall(b"x" * MIB)
            except OSError:
                pass  # it was told so, and the server has closed
        assert gateway.memory_info().rss - before < 48 * MIB
    server.run("admitted", "1")


def test_idle_strangers_leave_room(server: Any) -> None:
    """More connections than strangers may have: the oldest go, and the owner always gets in."""
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(server)) for _ in range(400)]
        fresh = requests.Session()
        assert fresh.get(server.url + "/v1/sandboxes", headers=dict(server.http.headers), timeout=20).status_code == 200
        idle[0].settimeout(10)
        assert idle[0].recv(1) == b"", "the oldest was closed"
        idle[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer(idle[-1]).split()[1] == b"200"
        metrics = server.call("GET", "/metrics").text
    untrusted = next(line for line in metrics.splitlines() if line.startswith("cellbox_connections_untrusted "))
    assert float(untrusted.split()[1]) <= 256


def test_heads_of_strangers_are_bounded(server: Any) -> None:
    gateway = server.gateway()
    before = gateway.memory_info().rss
    with ExitStack() as stack:
        for _ in range(250):
            s = stack.enter_context(connect(server, "GET / HTTP/1.1\nHost: x\n"))
            s.sendall(b"".join(b"X-%d: " % i + b"y" * 900 + b"\r\n" for i in range(65)))
        assert gateway.memory_info().rss - before < 64 * MIB
        assert server.call("GET", "/v1/sandboxes").status_code == 200


def test_answers_that_nobody_reads(server: Any) -> None:
    """Requests in a row on one connection wait until their answers are read."""
    gateway = server.gateway()
    before = gateway.memory_info().rss
    with connect(server) as s:
        s.settimeout(1)
        try:
            for _ in range(200):
                s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
        except TimeoutError:
            pass
        assert gateway.memory_info().rss - before < 16 * MIB


def test_wrong_tokens_are_slowed_and_right_ones_are_not(own_server: Any) -> None:
    server = own_server("--pool", "0", "--pool-node", "0")
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(8):
        assert requests.get(server.url + "/v1/sandboxes", headers=wrong, timeout=20).status_code == 403
    began = time.monotonic()
    assert requests.get(server.url + "/v1/sandboxes", headers=wrong, timeout=20).status_code == 403
    guess = time.monotonic() - began
    began = time.monotonic()
    assert server.call("GET", "/v1/sandboxes").status_code == 200
    assert time.monotonic() - began < guess, "who has the token does not wait"
    assert any("wrong token" in line and "127.0.0.1" in line for line in server.log)
    assert "cellbox_wrong_tokens_total 9" in server.call("GET", "/metrics").text
    with connect(server, "GET /v1/sandboxes HTTP/1.1\nHost: x\nAuthorization: Bearer wrong\n\n"):
        pass  # gone while its answer waits
    assert server.call("GET", "/v1/sandboxes").status_code == 200


def test_the_token_is_in_no_command_line(own_server: Any) -> None:
    server = own_server("--pool", "0", "--pool-node", "0")
    me = psutil.Process(server.process.pid)
    for p in [me, *me.children()]:
        line = Path(f"/proc/{p.pid}/cmdline").read_bytes()
        assert server.token.encode() not in line, p.name()
    assert not any(server.token in line for line in server.log)
