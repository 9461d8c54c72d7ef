"""Bad input from a box, and bad servers: a clean answer or a close, a record, and nobody else is hurt."""

from __future__ import annotations

import base64
import json
from typing import Any

import psutil
import pytest
from conftest import Server

from egress.conftest import log, policy, sh

# runs in the box: raw bytes to a host, over TLS when asked, everything that comes back
TALK = """
import base64, json, socket, ssl, sys
host, port, tls, data, wait = json.loads(sys.argv[1])
got = b""
try:
    s = socket.create_connection((host, port), 20)
    s.settimeout(wait)
    if tls:
        s = ssl.create_default_context().wrap_socket(s, server_hostname=host)
    s.sendall(base64.b64decode(data))
    while part := s.recv(65536):
        got += part
        if len(got) > 1 << 20:
            break
except (ConnectionError, TimeoutError, ssl.SSLError) as e:
    print(type(e).__name__, file=sys.stderr)
sys.stdout.write(base64.b64encode(got).decode())
"""


def talk(
    server: Server, name: str, data: bytes, host: str = "one.test", port: int = 443, tls: bool = True, wait: float = 20
) -> bytes:
    """What the program in the box gets back."""
    argument = json.dumps([host, port, tls, base64.b64encode(data).decode(), wait])
    sh(server, name, "cat > /tmp/talk.py", stdin=TALK)
    sh(server, name, "cat > /tmp/argument", stdin=argument)
    return base64.b64decode(sh(server, name, 'python3 /tmp/talk.py "$(cat /tmp/argument)"'))


def alive(server: Server, name: str) -> None:
    assert sh(server, name, "curl -sS -o /dev/null -w '%{http_code}' https://two.test/") == "200"
    names = [c.name() for c in psutil.Process(server.process.pid).children()]
    assert names.count("cbx-egress") == 1


HEAD = b"POST /x HTTP/1.1\r\nHost: one.test\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        HEAD
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: one.test\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        HEAD + b"Content-Length: +5\r\n\r\nhello",
        HEAD + b"Content-Length : 5\r\n\r\nhello",
        HEAD + b"X: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"X: a\nY: b\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Host: two.test\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://two.test/ HTTP/1.1\r\nHost: one.test\r\n\r\n",
        b"CONNECT two.test:443 HTTP/1.1\r\nHost: two.test:443\r\n\r\n",
        b"GET x HTTP/1.1\r\nHost: one.test\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: one.test\r\n\r\n",
        HEAD + b"X: " + b"a" * 70000 + b"\r\n\r\n",
        HEAD + b"".join(b"X%d: y\r\n" % i for i in range(500)) + b"\r\n",
        b"\0" * 100 + b"\r\n\r\n",
    ],
)
def test_requests_that_are_refused(proxy: Server, sandbox: str, request_: bytes) -> None:
    got = talk(proxy, sandbox, request_)
    assert got == b"" or got.startswith(b"HTTP/1.1 4"), got[:200]
    assert got.count(b"HTTP/1.1 ") <= 1, "nothing was smuggled"
    assert not any(e.get("path") == "/smuggled" for e in log(proxy, sandbox))
    alive(proxy, sandbox)


@pytest.mark.parametrize("host", ["two.test", "TWO.test.", "two.test..", ".two.test", "two..test"])
def test_no_spelling_of_a_denied_host_passes(proxy: Server, sandbox: str, host: str) -> None:
    policy(proxy, sandbox, {"deniedHosts": ["two.test"]})
    got = talk(
        proxy, sandbox, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), "93.184.216.34", 80, tls=False, wait=5
    )
    assert got == b"" or got.split(b" ")[1] in (b"400", b"421", b"520"), got[:300]
    assert not [e for e in log(proxy, sandbox) if e["decision"] == "allow"]


def test_pipelining_and_bodies_stay_apart(proxy: Server, sandbox: str) -> None:
    two = b"".join(HEAD + b"Content-Length: %d\r\n\r\n%s" % (n, b"x" * n) for n in (3, 0, 70000))
    got = talk(proxy, sandbox, two + b"GET /last HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n")
    lengths = [
        json.loads(part.split(b"\r\n\r\n", 1)[1].split(b"HTTP/1.1")[0])["length"]
        for part in got.split(b"HTTP/1.1 200")[1:]
    ]
    assert lengths == [3, 0, 70000, 0]


def test_bytes_that_are_no_tls(proxy: Server, sandbox: str) -> None:
    for data in (b"\x16\x03\x01\xff\xff" + b"A" * 100, b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01\x03\x01", b"\x16"):
        assert talk(proxy, sandbox, data, tls=False, wait=1) == b""
    alive(proxy, sandbox)
    assert any("ClientHello" in e.get("reason", "") for e in log(proxy, sandbox, "tls"))


def test_endless_server_names(proxy: Server, sandbox: str) -> None:
    """Each new name costs a certificate: past a burst a box has to wait, and nobody else."""
    code = (
        "import socket, ssl; c = ssl.create_default_context(); n = 0\n"
        "for i in range(400):\n"
        "    try:\n"
        "        c.wrap_socket(socket.create_connection(('1.1.1.1', 443), 10), server_hostname=f'n{i}.deep.test').close(); n += 1\n"
        "    except OSError: pass\n"
        "print(n)"
    )
    assert 100 < int(sh(proxy, sandbox, "python3 -", stdin=code, timeout=90_000)) < 400
    other = sandbox + "-b"
    policy(proxy, other, {})
    alive(proxy, other)
    proxy.call("DELETE", f"/v1/sandboxes/{other}")


def test_a_flood_of_half_open_connections(proxy: Server, sandbox: str) -> None:
    code = (
        "import resource, socket, time\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "s = []\n"
        "for i in range(2500):\n"
        "    c = socket.socket(); c.setblocking(False); c.connect_ex(('1.1.1.1', 443)); s.append(c)\n"
        "    if i % 2:\n"
        "        try: c.send(b'GET / HT')\n"
        "        except OSError: pass\n"
        "print(len(s))"
    )
    assert sh(proxy, sandbox, "python3 -", stdin=code) == "2500\n"
    alive(proxy, sandbox)


def test_bad_servers(proxy: Server, sandbox: str) -> None:
    status = "curl -sS -o /dev/null -w '%{http_code}' "
    assert sh(proxy, sandbox, status + "https://one.test/close") == "502"
    r = proxy.call("POST", f"/v1/sandboxes/{sandbox}/exec", json={"command": "curl -sS https://one.test/cut"}).json()
    assert r["exitCode"] != 0, "a cut answer does not look whole"
    assert sh(proxy, sandbox, status + "https://one.test:4443/") == "502"
    assert sh(proxy, sandbox, status + "http://one.test:1111/") == "502"
    assert sh(proxy, sandbox, status + "http://mail.test:2525/") == "502"
    alive(proxy, sandbox)


@pytest.mark.release
def test_large_bodies_in_constant_memory(proxy: Server, sandbox: str) -> None:
    [egress] = [c for c in psutil.Process(proxy.process.pid).children() if c.name() == "cbx-egress"]
    sh(proxy, sandbox, "curl -sS https://one.test/bytes/1000000 | wc -c")
    before = egress.memory_info().rss
    for version in ("--http1.1", "--http2"):
        got = sh(proxy, sandbox, f"curl -sS {version} https://one.test/bytes/500000000 | wc -c", timeout=120_000)
        assert got.strip() == "500000000"
    up = json.loads(
        sh(proxy, sandbox, "head -c 300000000 /dev/zero | curl -sS -T - https://one.test/up", timeout=120_000)
    )
    assert up["length"] == 300_000_000
    sh(
        proxy,
        sandbox,
        "timeout 3 sh -c 'curl -sS https://one.test/bytes/900000000 | (read -r -n 10 x; sleep 9)' || true",
    )
    assert egress.memory_info().rss - before < 40 << 20


def test_details_of_http(proxy: Server, sandbox: str) -> None:
    head = sh(proxy, sandbox, "curl -sSI https://one.test/bytes/1234")
    assert "content-length: 1234" in head.lower()
    assert "alt-svc" not in sh(proxy, sandbox, "curl -sSi https://one.test/").lower()
    expect = sh(
        proxy,
        sandbox,
        "head -c 100000 /dev/zero | curl -sS --http1.1 -H 'Expect: 100-continue' --data-binary @- https://one.test/",
    )
    assert json.loads(expect)["length"] == 100000
    r = json.loads(
        sh(
            proxy,
            sandbox,
            "echo body | curl -sSL --data-binary @- 'https://one.test/redirect/307?to=https://two.test/'",
        )
    )
    assert (r["method"], r["length"]) == ("POST", 5)
    assert sh(proxy, sandbox, "curl -sS -o /dev/null -w '%{http_code}' https://one.test/status/204") == "204"
    chunked = sh(
        proxy, sandbox, "echo hello | curl -sS -H 'Transfer-Encoding: chunked' --data-binary @- http://one.test/"
    )
    assert json.loads(chunked)["length"] == 6
    assert json.loads(sh(proxy, sandbox, "curl -sS --http1.0 http://one.test/old"))["path"] == "/old"
    assert "pin certificates" in failing_reason(proxy, sandbox)


def failing_reason(server: Server, name: str) -> Any:
    """A client that trusts nobody ends the handshake; the log says what to do."""
    r = server.call(
        "POST", f"/v1/sandboxes/{name}/exec", json={"command": "curl -sS --cacert /dev/null https://one.test/"}
    ).json()
    assert r["exitCode"] != 0
    return log(server, name, "tls")[-1]["reason"]


def test_a_hello_in_pieces(proxy: Server, sandbox: str) -> None:
    """The look at the first bytes leaves nothing behind on the connection: short records later still arrive."""
    code = (
        "import socket, ssl, time\n"
        "c = ssl.create_default_context(); i, o = ssl.MemoryBIO(), ssl.MemoryBIO(); t = c.wrap_bio(i, o, server_hostname='one.test')\n"
        "s = socket.create_connection(('one.test', 443), 10); s.settimeout(10); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
        "first = True\n"
        "def flush():\n"
        "    global first\n"
        "    data = o.read()\n"
        "    if first and data:\n"
        "        s.sendall(data[:1]); time.sleep(0.2); s.sendall(data[1:-1]); time.sleep(0.2); s.sendall(data[-1:]); first = False\n"
        "    elif data: s.sendall(data)\n"
        "def run(f):\n"
        "    while True:\n"
        "        try: r = f(); flush(); return r\n"
        "        except ssl.SSLWantReadError: flush(); i.write(s.recv(65536))\n"
        "run(t.do_handshake)\n"
        "for piece in (b'G', b'ET /pieces HTT', b'P/1.1\\r\\nHost: one.test\\r\\n\\r', b'\\n'):\n"
        "    run(lambda: t.write(piece)); time.sleep(0.05)\n"
        "print(run(lambda: t.read(65536)).decode().split()[1])"
    )
    assert sh(proxy, sandbox, "python3 -", stdin=code) == "200\n"


def test_more_connections_than_a_box_may_have(proxy: Server, sandbox: str) -> None:
    """Those beyond wait in the kernel; the proxy does not spin, and goes on when some are gone."""
    [egress] = [c for c in psutil.Process(proxy.process.pid).children() if c.name() == "cbx-egress"]
    code = (
        "import resource, socket, time\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "s = [socket.create_connection(('1.1.1.1', 443)) for _ in range(1500)]\n"
        "open('/tmp/full', 'w'); time.sleep(4)"
    )
    sh(proxy, sandbox, "cat > /tmp/fill.py", stdin=code)
    sh(proxy, sandbox, "(python3 /tmp/fill.py > /dev/null 2>&1 &); until [ -e /tmp/full ]; do sleep 0.1; done")
    before = sum(egress.cpu_times()[:2])
    sh(proxy, sandbox, "sleep 2")
    assert sum(egress.cpu_times()[:2]) - before < 0.5
    sh(proxy, sandbox, "sleep 3")
    alive(proxy, sandbox)
