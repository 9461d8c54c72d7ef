"""The way into the world: TLS opened, decided, logged and injected on kept connections, beside proxies of the distribution."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from figures import Row
from peers import ROOT, Cellbox

sys.path.insert(0, str(ROOT / "tests" / "integration"))

from egress.net import ADDRESS, ALLOW, HOST, World

PORT, PROXY, MITM, SQUID = 9443, 9444, 9445, 9446
NGINX = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000; sendfile on;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
  scgi_temp_path {folder}/s;
  {upstream}
  server {{
    listen {listen} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
    {body}
  }}
}}
"""
# wrk asks no proxy for its connections: in front of the origin, with the same TLS on both sides
SQUID_CONFIG = """
https_port 127.0.0.1:{port} accel defaultsite=one.test:{origin_port} tls-cert={folder}/server.pem tls-key={folder}/server.key
cache_peer {origin} parent {origin_port} 0 no-query originserver tls tls-cafile={folder}/ca.pem tls-domain=one.test
http_access allow all
request_header_add X-Key secret-value all
cache deny all
access_log stdio:{folder}/access
cache_log {folder}/log
pid_filename {folder}/pid
pinger_enable off
shutdown_lifetime 1 second
coredump_dir {folder}
"""
# in the box: requests on one connection, with and without a handler between; Node compiles during the first ones
LATENCY = """
import http.client, statistics, sys, time
def median(host):
    c = http.client.HTTPSConnection(host, 9443); times = []
    for i in range(3000):
        began = time.perf_counter(); c.request('GET', '/1k'); c.getresponse().read(); times.append(time.perf_counter() - began)
    return statistics.median(times[2000:])
print(median('one.test'), median('own.test'), median('handled.test'))
"""


def nginx(
    world: World, name: str, listen: str, body: str, upstream: str = "", netns: bool = True
) -> subprocess.Popen[bytes]:
    config = world.folder / f"{name}.conf"
    config.write_text(NGINX.format(folder=world.folder, name=name, listen=listen, body=body, upstream=upstream))
    inside = ["ip", "netns", "exec", world.name] if netns else []
    return subprocess.Popen([*inside, "taskset", "-c", "1" if netns else "0", "/usr/sbin/nginx", "-c", str(config)])


def cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in processes)


def load(
    url: str, processes: list[psutil.Process], seconds: int, connections: int = 32, prefix: tuple[str, ...] = ()
) -> tuple[float, float, float, float]:
    """Requests a second, CPU microseconds a request, p50 and p99 in milliseconds."""
    before = cpu(processes)
    command = [
        *prefix,
        "taskset",
        "-c",
        "1",
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "-H",
        f"Host: one.test:{PORT}",
        url,
    ]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu(processes) - before
    done = int(re.search(r"(\d+) requests in", out)[1])  # type: ignore[index]
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    if errors or not done:
        raise RuntimeError(out)

    def latency(q: str) -> float:
        value, unit = re.search(rf"{q}%\s+([\d.]+)(us|ms|s)", out).groups()  # type: ignore[union-attr]
        return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]

    return done / seconds, used / done * 1e6, latency("50"), latency("99")


@contextlib.contextmanager
def running(process: subprocess.Popen[bytes], port_at: tuple[str, int]) -> Iterator[list[psutil.Process]]:
    import socket

    try:
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(port_at, 1):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{process.args!r} does not listen")
        main = psutil.Process(process.pid)
        yield [main, *main.children(recursive=True)]
    finally:
        process.terminate()
        process.wait(20)


def box_netns(server: Cellbox, name: str) -> int:
    """Pid of the init of a box."""
    link = server.call("POST", f"/v1/sandboxes/{name}/exec", {"command": "readlink /proc/self/ns/net"})[
        "stdout"
    ].strip()
    for child in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(OSError):
            if str(Path(f"/proc/{child.pid}/ns/net").readlink()) == link:
                return child.pid
    raise RuntimeError("no process of the box")


def mitmproxy(world: World) -> subprocess.Popen[bytes]:
    command = [
        "/usr/bin/mitmdump",
        "-q",
        "--mode",
        f"reverse:https://{ADDRESS}:{PORT}",
        "-p",
        str(MITM),
        "--ssl-insecure",
        "--set",
        f"confdir={world.folder}/mitm",
    ]
    return subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def squid(world: World) -> subprocess.Popen[bytes]:
    folder = world.folder / "squid"
    folder.mkdir()
    for name in ("ca.pem", "server.pem", "server.key"):
        shutil.copy(world.folder / name, folder)
    config = SQUID_CONFIG.format(folder=folder, port=SQUID, origin=ADDRESS, origin_port=PORT)
    (folder / "conf").write_text(config)
    subprocess.run(["chown", "-R", "proxy:", str(folder)], check=True)
    command = ["/usr/sbin/squid", "-N", "-n", f"bench{os.getpid()}", "-f", str(folder / "conf")]
    return subprocess.Popen(["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(quick: bool) -> list[Row]:
    seconds = 3 if quick else 6
    rows: list[Row] = []
    world = World()
    for name, size in (("1k", 1024), ("1m", 1 << 20)):
        (world.folder / name).write_bytes(b"x" * size)
    Path(world.folder).chmod(0o755)
    serve = f"root {world.folder};"
    upstream = f"upstream up {{ server {ADDRESS}:{PORT}; keepalive 64; }}"
    forward = 'location / { proxy_pass https://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Key secret-value; }'
    options = ("--egress-resolver", f"{ADDRESS}:53", "--egress-ca", str(world.ca))
    try:
        with running(nginx(world, "origin", f"{ADDRESS}:{PORT}", serve), (ADDRESS, PORT)):
            with running(
                nginx(world, "proxy", f"{HOST}:{PROXY}", forward, upstream, netns=False), (HOST, PROXY)
            ) as peer:
                peer_1k = load(f"https://{HOST}:{PROXY}/1k", peer, seconds)
                peer_1m = load(f"https://{HOST}:{PROXY}/1m", peer, seconds, 8)
            with running(mitmproxy(world), ("127.0.0.1", MITM)) as peer:
                mitm = load(f"https://127.0.0.1:{MITM}/1k", peer, seconds, 16)
            with running(squid(world), ("127.0.0.1", SQUID)) as peer:
                reverse = load(f"https://127.0.0.1:{SQUID}/1k", peer, seconds, 16)
            with Cellbox(1, *options) as server:
                rows += ours(server, seconds, peer_1k, peer_1m, mitm, reverse)
            with Cellbox(1, *options) as server:
                rows.append(many(server, 100 if quick else 1000))
    finally:
        world.stop()
    return rows


def ours(
    server: Cellbox,
    seconds: int,
    peer_1k: tuple[float, ...],
    peer_1m: tuple[float, ...],
    mitm: tuple[float, ...],
    squid: tuple[float, ...],
) -> list[Row]:
    [e] = [c for c in psutil.Process(server.process.pid).children() if c.name() == "cbx-egress"]
    subprocess.run(["taskset", "-cp", "0", str(e.pid)], check=True, capture_output=True)
    server.call("PUT", "/v1/secrets/bench", {"value": "secret-value-of-the-benchmark", "hosts": ["*.test"]})
    server.call("PUT", "/v1/handlers/own", {"source": "export default () => new Response('x'.repeat(1024));"})
    server.call("PUT", "/v1/handlers/bench", {"source": "export default (request) => fetch(request);"})
    rule = {
        "name": "inject",
        "match": {"hosts": ["one.test"], "paths": ["/*"]},
        "setHeaders": {"x-key": "secret-value"},
    }
    server.call(
        "PUT",
        "/v1/sandboxes/bench",
        {"egress": {"rules": [rule, ALLOW], "outboundByHost": {"handled.test": "bench", "own.test": "own"}}},
    )
    at = server.call(
        "POST", "/v1/sandboxes/bench/exec", {"command": "getent ahostsv4 one.test | head -1 | cut -d' ' -f1"}
    )["stdout"].strip()
    enter = ("nsenter", f"--net=/proc/{box_netns(server, 'bench')}/ns/net")
    one = load(f"https://{at}:{PORT}/1k", [e], seconds, prefix=enter)
    half = load(f"https://{at}:{PORT}/1k", [e], seconds, 4, prefix=enter)
    big = load(f"https://{at}:{PORT}/1m", [e], seconds, 8, prefix=enter)
    for process in (e, *e.children(recursive=True)):
        process.cpu_affinity([])  # a handler runs beside the proxy
    plain, own, handled = server.call(
        "POST", "/v1/sandboxes/bench/exec", {"command": f"python3 - <<'EOF'\n{LATENCY}\nEOF", "timeout": 60000}
    )["stdout"].split()
    return [
        ("TLS opened, policy, log, header set: CPU per 1 KB request", "at most 25 us", f"{one[1]:.1f} us", f"nginx {peer_1k[1]:.1f} us, squid {squid[1]:.0f} us, mitmproxy {mitm[1]:.0f} us"),
        ("the same: requests a second on one core", "at least 30k", f"{one[0]:.0f}", f"nginx {peer_1k[0]:.0f}, squid {squid[0]:.0f}, mitmproxy {mitm[0]:.0f}"),
        ("p99 against p50 with 4 connections", "at most 3x", f"{half[3] / half[2]:.1f}x ({half[2]:.2f} / {half[3]:.2f} ms)", "-"),
        ("1 MB bodies a second", "80 % of nginx", f"{big[0]:.0f} ({big[0] / peer_1m[0] * 100:.0f} %)", f"nginx {peer_1m[0]:.0f}"),
        ("a handler that answers adds, p50", "at most 150 us", f"{(float(own) - float(plain)) * 1e6:.0f} us", "-"),
        ("a handler that passes on adds, p50", "at most 150 us", f"{(float(handled) - float(plain)) * 1e6:.0f} us", "-"),
    ]  # fmt: skip


# TLS to the proxy and from it to the origin, both kept open
HOLD = f"""
(printf 'GET /1k HTTP/1.1\\r\\nHost: one.test:{PORT}\\r\\n\\r\\n'; sleep 1200) | openssl s_client -quiet -connect one.test:{PORT} > up 2>&1
"""


def many(server: Cellbox, count: int) -> Row:
    [e] = [c for c in psutil.Process(server.process.pid).children() if c.name() == "cbx-egress"]
    before = e.memory_info().rss
    for i in range(count):
        server.call("PUT", f"/v1/sandboxes/many-{i}", {"egress": {"rules": [ALLOW]}})
        server.call("POST", f"/v1/sandboxes/many-{i}/processes", {"command": HOLD})
    wait = {"command": "until grep -q xxxx up; do sleep 0.1; done", "timeout": 60000}
    for i in range(count):
        if not server.call("POST", f"/v1/sandboxes/many-{i}/exec", wait)["success"]:
            raise RuntimeError(f"box {i} got no answer")
    each = (e.memory_info().rss - before) / count / 1024
    return (f"memory of the proxy for each of {count} boxes with an open connection", "stated", f"{each:.0f} KiB", "-")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory():
        for r in measure(True):
            print(r)
