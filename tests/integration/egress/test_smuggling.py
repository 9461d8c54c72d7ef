"""What an origin takes for a request is one that was judged and logged: nginx and Node, over TLS, say what they saw."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Server

from egress.conftest import log, policy, secret, sh
from egress.net import ADDRESS, World
from egress.test_hostile import talk

KEY = "the-key-of-smuggling-tests"
NGINX = """
daemon off; pid {0}/nginx.pid; error_log /dev/null; worker_processes 1;
events {{ }}
http {{
  log_format seen escape=json '["$request_method","$request_uri","$http_x_key"]';
  access_log {0}/nginx.seen seen;
  client_body_temp_path {0}/t1; proxy_temp_path {0}/t2; fastcgi_temp_path {0}/t3; uwsgi_temp_path {0}/t4; scgi_temp_path {0}/t5;
  server {{
    listen {1}:8444 ssl; ssl_certificate {0}/server.pem; ssl_certificate_key {0}/server.key; keepalive_requests 1000;
    location / {{ return 200 "fine\\n"; }}
  }}
}}
"""


class Origin:
    def __init__(self, port: int, seen: Path) -> None:
        self.port, self.file = port, seen

    def seen(self, prefix: str) -> list[tuple[str, str]]:
        """Method and target of everything that is not a test's before."""
        entries = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        return [(m, t) for m, t, _ in entries if prefix in t or m in ("RAW", "BROKEN", "")]

    def clear(self) -> None:
        self.file.write_text("")


@pytest.fixture(scope="module")
def origins(world: World) -> Iterator[dict[str, Origin]]:
    (world.folder / "nginx.conf").write_text(NGINX.format(world.folder, ADDRESS))
    made = {"nginx": Origin(8444, world.folder / "nginx.seen"), "node": Origin(8446, world.folder / "node.seen")}
    enter = ["ip", "netns", "exec", world.name]
    here = Path(__file__).parent / "origin.mjs"
    nginx = subprocess.Popen(
        [*enter, "/usr/sbin/nginx", "-c", str(world.folder / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    node = subprocess.Popen(
        [*enter, "node", str(here), ADDRESS, str(world.folder), "8446", str(made["node"].file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert node.stdout and node.stdin
    assert node.stdout.readline() == "ready\n"
    end = time.monotonic() + 20
    while not (world.folder / "nginx.pid").exists():
        assert nginx.poll() is None and time.monotonic() < end, "nginx does not start"
        time.sleep(0.05)
    yield made
    node.stdin.close()
    node.wait(10)
    nginx.terminate()
    nginx.wait(10)


def upgrade(port: int, *fields: str, protocol: str = "websocket", path: str = "/t/up") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: one.test:{port}", *fields, "Connection: Upgrade", f"Upgrade: {protocol}",
             "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "Sec-WebSocket-Version: 13"]  # fmt: skip
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def after(head: bytes, field: str) -> bytes:
    return head[:-2] + field.encode() + b"\r\n\r\n"


HIDDEN = b"GET /t/hidden HTTP/1.1\r\nHost: one.test\r\n\r\n"


def attacks(port: int) -> dict[str, list[bytes]]:
    """Bytes of one connection after the other."""
    # what is eaten ends where the value begins: the rest of the head is a request with the credential in it
    before = f"POST /t/second HTTP/1.1\r\nhost: one.test:{port}\r\na: "
    second = (
        f"POST /t/second HTTP/1.1\r\nHost: one.test:{port}\r\nA: GET /t/hidden HTTP/1.1\r\nB: one.test\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n"
    ).encode()
    n = len(before)
    chunked = b"5\r\nhello\r\n0\r\n\r\n"
    return {
        "length before upgrade": [upgrade(port, f"Content-Length: {n}"), second],
        "length after upgrade": [after(upgrade(port), f"Content-Length: {n}"), second],
        "length and body": [upgrade(port, f"Content-Length: {len(HIDDEN)}") + HIDDEN, second],
        "chunks": [upgrade(port, "Transfer-Encoding: chunked") + chunked + HIDDEN, second],
        "h2c and length": [upgrade(port, f"Content-Length: {n}", protocol="h2c"), second],
        "h2c and chunks": [upgrade(port, "Transfer-Encoding: chunked", protocol="h2c") + chunked, second],
        "two protocols": [upgrade(port, f"Content-Length: {n}", protocol="h2c, websocket"), second],
        "not answered by 101": [upgrade(port) + HIDDEN, second],
        "coding of its own": [
            f"POST /t/te HTTP/1.1\r\nHost: one.test:{port}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".encode()
            + chunked + HIDDEN, second],
        "chunks in 1.0": [
            f"POST /t/old HTTP/1.0\r\nHost: one.test:{port}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            + chunked + HIDDEN, second],
        "trailers": [
            f"POST /t/trail HTTP/1.1\r\nHost: one.test:{port}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            + b"0\r\nHost: two.test\r\nX-Key: mine\r\n\r\n", second],
        "cut body": [f"POST /t/cut HTTP/1.1\r\nHost: one.test:{port}\r\nContent-Length: 100\r\n\r\nshort".encode(), second],
    }  # fmt: skip


def judged(server: Server, name: str) -> list[tuple[str, str]]:
    return [(e["method"], e["path"]) for e in log(server, name) if e["decision"] == "allow"]


@pytest.mark.parametrize("which", ["nginx", "node"])
@pytest.mark.parametrize("attack", sorted(attacks(0)))
def test_nothing_is_smuggled(proxy: Server, sandbox: str, origins: dict[str, Origin], which: str, attack: str) -> None:
    origin = origins[which]
    origin.clear()
    secret(proxy, "smuggling", value=KEY)
    rules = [
        {"name": "no", "match": {"paths": ["/t/hidden*"]}, "action": "deny"},
        {"name": "key", "match": {"ports": [origin.port]}, "inject": [{"header": "x-key", "secret": "smuggling"}]},
    ]
    policy(proxy, sandbox, {"rules": rules})
    first, second = attacks(origin.port)[attack]
    got = talk(proxy, sandbox, first, port=origin.port, wait=1)
    assert KEY.encode() not in got
    answer = talk(proxy, sandbox, second, port=origin.port, wait=5)
    assert b" 200 " in answer.split(b"\r\n")[0], answer
    sh(proxy, sandbox, f"curl -sS --http1.1 https://one.test:{origin.port}/t/last")
    seen = origin.seen("/t/")
    assert not [s for s in seen if "hidden" in s[1] or s[0] in ("RAW", "BROKEN", "")], seen
    # a body that never comes makes no request to nginx, and one to Node, that writes down heads
    assert sorted(set(seen) | {("POST", "/t/cut")}) == sorted(set(judged(proxy, sandbox)) | {("POST", "/t/cut")})
    assert len(seen) == len(set(seen))
    refused = attack not in ("not answered by 101", "trailers", "cut body")
    assert (got.split(b" ")[1:2] == [b"400"]) == refused, got
    if refused:
        assert [e["status"] for e in log(proxy, sandbox) if e["decision"] == "deny"][:1] == [400]
