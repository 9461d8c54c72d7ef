"""Programs that dial addresses: what is judged, and gets credentials, is the address and not what the request calls it."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest
from conftest import Server

from egress.conftest import log, policy, secret
from egress.net import ADDRESS, NETWORK
from egress.test_hostile import talk

KEY = "the-key-that-is-bound-to-one"
OWN4, OWN6 = "11.22.33.44", "2a0f:ffff::44"


def ask(host: str, path: str = "/", port: int | None = None) -> bytes:
    named = host if port is None else f"{host}:{port}"
    return f"GET {path} HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


@pytest.fixture
def bound(proxy: Server, sandbox: str) -> str:
    secret(proxy, "bound-by-name", value=KEY, hosts=["one.test"])
    rule = {"name": "key", "match": {"paths": ["/key*"]}, "insecure": True,
            "inject": [{"header": "x-key", "secret": "bound-by-name"}]}  # fmt: skip
    policy(proxy, sandbox, {"rules": [rule]})
    return sandbox


def test_a_secret_does_not_follow_the_host_field(proxy: Server, bound: str) -> None:
    """The network is opened by its cidr, so any name may be spoken to there; the secret is for one of them."""
    got = talk(proxy, bound, ask("one.test", "/key"), ADDRESS, 80, tls=False)
    assert status(got) == 520, got
    assert b"may not be sent to " + ADDRESS.encode() in got
    entry = log(proxy, bound)[-1]
    assert (entry["host"], entry["decision"]) == (ADDRESS, "deny")
    assert "secrets" not in entry
    free = talk(proxy, bound, ask("one.test", "/free"), ADDRESS, 80, tls=False)
    assert status(free) == 200 and b'"host": "one.test"' in free, "the field itself goes on"
    assert log(proxy, bound)[-1]["host"] == ADDRESS


def test_a_secret_may_be_bound_to_an_address(proxy: Server, bound: str) -> None:
    secret(proxy, "bound-by-name", value=KEY, hosts=[ADDRESS])
    got = talk(proxy, bound, ask(ADDRESS, "/key"), ADDRESS, 80, tls=False)
    assert status(got) == 200 and b'"x-key"' in got and KEY.encode() not in got
    assert log(proxy, bound)[-1]["secrets"] == ["bound-by-name"]
    named = talk(proxy, bound, ask("one.test", "/key"), "one.test", 80, tls=False)
    assert status(named) == 520


@pytest.mark.parametrize(
    ("dialled", "port", "host", "code"),
    [
        (ADDRESS, 80, "10.9.9.9", 421),
        (ADDRESS, 80, "[::1]", 421),
        (ADDRESS, 80, f"{ADDRESS}:81", 421),
        (ADDRESS, 80, f"[::ffff:{ADDRESS}]", 200),
        ("93.184.216.34", 80, "one.test", 421),
        ("93.184.216.34", 80, "93.184.216.35", 421),
        ("one.test", 80, "one.test:81", 421),
        ("one.test", 80, "one.test:080", 200),
        ("one.test", 80, "ONE.TEST.", 200),
        ("one.test", 80, ADDRESS, 421),
        ("one.test", 80, "one.test:", 400),
        ("one.test", 80, "one.test:0", 400),
        ("one.test", 80, "u@one.test", 400),
        ("one.test", 80, "[one.test]", 400),
        ("one.test", 80, "", 400),
    ],
)
def test_one_spelling_of_the_host(proxy: Server, sandbox: str, dialled: str, port: int, host: str, code: int) -> None:
    got = talk(proxy, sandbox, ask(host), dialled, port, tls=False, wait=5)
    assert status(got) == code, got
    if code == 200 and dialled == "one.test":
        assert b'"host": "one.test"' in got.replace(b":80", b"")


@pytest.fixture
def own_address() -> Iterator[int]:
    """Public addresses on an interface of the host's, with a service: its port."""
    link = f"cbo{os.getpid()}"
    subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", link + "p"], check=True)
    try:
        for command in (["link", "set", link, "up"], ["link", "set", link + "p", "up"]):
            subprocess.run(["ip", *command], check=True)
        service = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)

        def serve() -> None:
            while True:
                try:
                    s, _ = service.accept()
                except OSError:
                    return
                with s:
                    s.recv(4096)
                    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhost")

        threading.Thread(target=serve, daemon=True).start()
        subprocess.run(["ip", "addr", "add", f"{OWN4}/32", "dev", link], check=True)
        subprocess.run(["ip", "-6", "addr", "add", f"{OWN6}/128", "dev", link, "nodad"], check=True)
        yield service.getsockname()[1]
        service.shutdown(socket.SHUT_RDWR)
        service.close()
    finally:
        subprocess.run(["ip", "link", "del", link], check=True)


def test_the_hosts_own_addresses(proxy: Server, sandbox: str, own_address: int) -> None:
    """Those that stand on an interface now, whatever is public about them; a rule may name them."""
    for host in (OWN4, f"[{OWN6}]", f"[64:ff9b::{OWN4}]", f"[::ffff:{OWN4}]"):
        got = talk(proxy, sandbox, ask(host, port=own_address), host.strip("[]"), own_address, tls=False)
        assert status(got) == 520 and b"the host's own" in got, (host, got)
        assert log(proxy, sandbox)[-1]["rule"] == "address"
    tcp = {"name": "raw", "match": {"hosts": [OWN4], "ports": [own_address]}, "action": "tcp"}
    policy(proxy, sandbox, {"rules": [tcp]})
    assert talk(proxy, sandbox, ask(OWN4), OWN4, own_address, tls=False) == b""
    rule = {"name": "mine", "match": {"cidrs": [f"{OWN4}/32", f"{OWN6}/128"]}, "action": "allow"}
    policy(proxy, sandbox, {"rules": [rule]})
    for host in (OWN4, f"[{OWN6}]"):
        got = talk(proxy, sandbox, ask(host, port=own_address), host.strip("[]"), own_address, tls=False)
        assert got.endswith(b"host"), (host, got)


def test_secrets_and_networks(proxy: Server, sandbox: str) -> None:
    """A credential for a whole network is asked for by its cidr in the rule and * in the secret."""
    secret(proxy, "net", value=KEY, hosts=["*"])
    rule = {
        "name": "net",
        "match": {"cidrs": [NETWORK]},
        "insecure": True,
        "inject": [{"bearer": True, "secret": "net"}],
    }
    policy(proxy, sandbox, {"rules": [rule]})
    assert b"Bearer ***" in talk(proxy, sandbox, ask("any.name"), ADDRESS, 80, tls=False)
