"""Real clients in a box, unconfigured, against servers of their kind, with and without injected credentials."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import Server

from egress.conftest import log, policy, secret, sh

GIT = {"name": "git", "match": {"hosts": ["git.test"]}, "inject": [{"basic": True, "secret": "git"}]}
PYPI = {
    "name": "pypi",
    "match": {"hosts": ["pypi.test"]},
    "inject": [{"basic": True, "secret": "pypi", "username": "robot"}],
}
NPM = {"name": "npm", "match": {"hosts": ["npm.test"]}, "inject": [{"bearer": True, "secret": "npm"}]}
S3 = {"name": "s3", "match": {"hosts": ["s3.test"]}, "inject": [{"sigv4": True, "secret": "s3", "service": "s3"}]}


@pytest.fixture(autouse=True)
def secrets(proxy: Server) -> None:
    secret(proxy, "git", username="robot", password="git-password-0815")
    secret(proxy, "pypi", value="registry-token-4711")
    secret(proxy, "npm", value="registry-token-4711")
    secret(proxy, "s3", accessKeyId="AKIATESTTESTTEST", secretAccessKey="aws-secret-key-0123456789abcdef")


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl(proxy: Server, sandbox: str, version: str) -> None:
    r = json.loads(sh(proxy, sandbox, f"curl -sS {version} -d hello https://echo.test/a?b=c"))
    assert (r["method"], r["path"], r["length"]) == ("POST", "/a?b=c", 5)
    assert r["headers"]["host"] == "echo.test"
    entry = log(proxy, sandbox)[-1]
    assert entry["protocol"] == ("HTTP/2" if version == "--http2" else "HTTP/1.1")
    assert entry["path"] == "/a?b=", "values of the query are not logged"
    assert (entry["status"], entry["bytesOut"], entry["decision"]) == (200, 5, "allow")


def test_wget_python_and_node_trust_it(proxy: Server, sandbox: str) -> None:
    assert json.loads(sh(proxy, sandbox, "wget -qO- https://echo.test/wget"))["path"] == "/wget"
    code = "import urllib.request as u; print(u.urlopen('https://echo.test/python').read().decode())"
    assert json.loads(sh(proxy, sandbox, f"python3 -c {shlex.quote(code)}"))["path"] == "/python"
    code = "fetch('https://echo.test/node').then((r) => r.text()).then(console.log)"
    assert json.loads(sh(proxy, sandbox, f"node -e {shlex.quote(code)}"))["path"] == "/node"


def test_cells_trust_it(proxy: Server, sandbox: str) -> None:
    """Warm interpreters, made before the box had a name, know the box's authority."""
    r = proxy.run(sandbox, "import urllib.request as u; u.urlopen('https://echo.test/cell').status")
    assert r["results"][0]["data"]["text/plain"] == "200", r
    r = proxy.run(sandbox, "(await fetch('https://echo.test/cell')).status", language="javascript")
    assert r["results"][0]["data"]["text/plain"] == "200", r


def test_httpx_over_http2(proxy: Server, sandbox: str, tmp_path: Path) -> None:
    upload(proxy, sandbox, "httpx", "httpcore", "h11", "anyio", "sniffio", "idna", "certifi", "typing_extensions.py")
    code = "import httpx; r = httpx.post('https://echo.test/httpx', content=b'x' * 100000); print(r.text)"
    assert json.loads(sh(proxy, sandbox, f"PYTHONPATH=/tmp/site python3 -c {shlex.quote(code)}"))["length"] == 100000


def upload(server: Server, name: str, *modules: str) -> None:
    """Modules of the test environment, which has the box's Python version, into the box."""
    import io
    import tarfile

    import httpx

    site = Path(httpx.__file__).parents[1]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for module in modules:
            if (site / module).exists():
                t.add(site / module, module)
    sh(server, name, "mkdir -p /tmp/site")
    r = server.call("PUT", f"/v1/sandboxes/{name}/files/tmp/site?archive=tar", data=out.getvalue())
    assert r.status_code in (200, 201, 204), r.text


def test_git_clones_and_pushes(proxy: Server, sandbox: str) -> None:
    refused = proxy.call(
        "POST", f"/v1/sandboxes/{sandbox}/exec",
        json={"command": "GIT_TERMINAL_PROMPT=0 git clone -q https://git.test/repo.git /tmp/no"},
    ).json()  # fmt: skip
    assert refused["exitCode"] != 0
    policy(proxy, sandbox, {"rules": [GIT]})
    sh(proxy, sandbox, "git clone -q https://git.test/repo.git /tmp/repo && grep -q repository /tmp/repo/README")
    commit = f"git -c user.name=t -c user.email=t@t.test commit -qam {sandbox}"
    sh(proxy, sandbox, f"cd /tmp/repo && git checkout -qb {sandbox} && echo more >> README && {commit}")
    sh(proxy, sandbox, f"cd /tmp/repo && git push -q origin {sandbox}")
    assert sandbox in sh(proxy, sandbox, "git ls-remote https://git.test/repo.git")
    assert sh(proxy, sandbox, "grep -rl git-password /tmp/repo /proc/self/environ ~ 2>/dev/null || true") == ""
    assert log(proxy, sandbox)[-1]["secrets"] == ["git"]


def test_pip_installs_from_a_private_index(proxy: Server, sandbox: str) -> None:
    policy(proxy, sandbox, {"rules": [PYPI]})
    sh(proxy, sandbox, "pip install -q --no-cache-dir --target /tmp/p -i https://pypi.test/simple greeting")
    assert "hello" in sh(proxy, sandbox, "PYTHONPATH=/tmp/p python3 -c 'import greeting; print(greeting.TEXT)'")


def test_npm_installs_from_a_private_registry(proxy: Server, sandbox: str) -> None:
    policy(proxy, sandbox, {"rules": [NPM]})
    sh(proxy, sandbox, "mkdir -p /tmp/n && cd /tmp/n && npm install --silent --registry https://npm.test greeting")
    assert "hello" in sh(proxy, sandbox, "cd /tmp/n && node -p 'require(\"greeting\")'")


def test_apt_updates_and_downloads(proxy: Server, sandbox: str) -> None:
    options = (
        "-o Dir::State=/tmp/apt -o Dir::Cache=/tmp/apt -o Dir::Etc::sourcelist=/tmp/apt/list -o Dir::Etc::sourceparts=-"
    )
    sh(proxy, sandbox, "mkdir -p /tmp/apt/lists/partial /tmp/apt/archives/partial")
    sh(proxy, sandbox, "echo 'deb [trusted=yes] https://apt.test/ ./' > /tmp/apt/list")
    sh(proxy, sandbox, f"cd /tmp && apt-get {options} -q update && apt-get {options} -q download greeting")
    assert "hello" in sh(
        proxy, sandbox, "cd /tmp && dpkg-deb -x greeting_1.0_all.deb x && cat x/usr/share/greeting/text"
    )


def test_object_store_with_dummy_credentials(proxy: Server, sandbox: str) -> None:
    """curl signs with a key that is worth nothing; the signature is replaced on the way."""
    policy(proxy, sandbox, {"rules": [S3]})
    sign = "--aws-sigv4 aws:amz:eu-west-1:s3 --user dummy:dummy"
    sh(proxy, sandbox, f"echo content | curl -sSf {sign} -T - https://s3.test/bucket/key%20one?x=1")
    assert sh(proxy, sandbox, f"curl -sSf {sign} 'https://s3.test/bucket/key%20one'") == "content\n"
    policy(proxy, sandbox, {})
    denied = sh(proxy, sandbox, f"curl -sS {sign} https://s3.test/bucket/key%20one")
    assert "InvalidAccessKeyId" in denied


def test_grpc(proxy: Server, sandbox: str) -> None:
    code = (
        "import http2 from 'node:http2'; const c = http2.connect('https://h2.test:8443');"
        "const one = (p) => new Promise((ok) => { const r = c.request({':method': 'POST', ':path': p, 'content-type': 'application/grpc', te: 'trailers'});"
        "let n = 0, t; r.on('data', (d) => { n += d.length; }); r.on('trailers', (h) => { t = h['grpc-status']; }); r.on('end', () => ok([n, t]));"
        "r.end(Buffer.from([0, 0, 0, 0, 3, 98, 111, 120])); });"
        "console.log(JSON.stringify([await one('/greet.Greeter/Hello'), await one('/greet.Greeter/Stream')])); c.close();"
    )
    out = sh(proxy, sandbox, f"node --input-type=module -e {shlex.quote(code)}")
    assert json.loads(out) == [[14, "0"], [42, "0"]]
    assert log(proxy, sandbox)[-1]["protocol"] == "HTTP/2"


def test_grpcio(proxy: Server, sandbox: str) -> None:
    """The library of Google's own, with its own TLS and its own list of authorities."""
    upload(proxy, sandbox, "grpc", "typing_extensions.py")
    code = (
        "import grpc; c = grpc.secure_channel('h2.test:8443', grpc.ssl_channel_credentials());"
        "f = c.unary_unary('/greet.Greeter/Hello', lambda b: b, lambda b: b); print(f(b'box', timeout=20).decode());"
        "s = c.unary_stream('/greet.Greeter/Stream', lambda b: b, lambda b: b); print(len(list(s(b'box', timeout=20))))"
    )
    assert sh(proxy, sandbox, f"PYTHONPATH=/tmp/site python3 -c {shlex.quote(code)}") == "hello box\n3\n"


def test_websocket(proxy: Server, sandbox: str) -> None:
    secret(proxy, "ws", value="ws-secret-credential")
    rule = {"name": "ws", "match": {"hosts": ["ws.test"]}, "inject": [{"bearer": True, "secret": "ws"}]}
    code = (
        "const w = new WebSocket('wss://ws.test:8443/'); let n = 0;"
        "w.onopen = () => w.send('one'); w.onmessage = (m) => { console.log(m.data); if (++n === 2) w.close(); else w.send('two'); };"
        "w.onerror = (e) => { console.log('error', e.message); process.exit(1); };"
    )
    assert sh(proxy, sandbox, f"node -e {shlex.quote(code)}") == "nobody: one\nnobody: two\n"
    assert log(proxy, sandbox)[-1]["protocol"] == "websocket"
    policy(proxy, sandbox, {"rules": [rule]})
    out = sh(proxy, sandbox, f"node -e {shlex.quote(code)}")
    assert out.count("one") == 1
    assert "ws-secret-credential" not in out, "what is echoed is taken out"


def test_java(proxy: Server, sandbox: str, java_class: bytes, jvm: Path) -> None:
    """Its own key store of authorities, its own HTTP client."""
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", dereference=True) as t:
        for part in ("bin/java", "lib", "conf"):
            for file in sorted(p for p in [jvm / part, *(jvm / part).rglob("*")] if p.is_file()):
                if file.suffix not in (".zip", ".sym", ".jsa"):
                    t.add(file, f"jvm/{file.relative_to(jvm)}")
        info = tarfile.TarInfo("Get.class")
        info.size = len(java_class)
        t.addfile(info, io.BytesIO(java_class))
    sh(proxy, sandbox, "mkdir -p /tmp/java")
    r = proxy.call("PUT", f"/v1/sandboxes/{sandbox}/files/tmp/java?archive=tar", data=out.getvalue(), timeout=120)
    assert r.status_code in (200, 201, 204), r.text
    out_text = sh(proxy, sandbox, "/tmp/java/jvm/bin/java -cp /tmp/java Get https://echo.test/java", timeout=90_000)
    assert '"path": "/java"' in out_text


@pytest.fixture(scope="session")
def jvm() -> Path:
    import shutil

    java = shutil.which("java")
    assert java, "./bootstrap clients installs a JDK"
    return Path(java).resolve().parents[1]


@pytest.fixture(scope="session")
def java_class(jvm: Path, tmp_path_factory: Any) -> bytes:
    import subprocess

    folder = tmp_path_factory.mktemp("java")
    (folder / "Get.java").write_text(
        "import java.net.URI; import java.net.http.*; public class Get { public static void main(String[] a) throws Exception {"
        " System.out.println(HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(a[0])).build(),"
        " HttpResponse.BodyHandlers.ofString()).body()); } }"
    )
    subprocess.run([jvm / "bin/javac", "Get.java"], cwd=folder, check=True)
    return (folder / "Get.class").read_bytes()


def test_registries_of_the_real_world(proxy: Server, own_server: Any) -> None:
    """pip and npm with what this machine uses."""
    import ipaddress
    import socket

    def network(host: str) -> str:
        address = ipaddress.ip_address(socket.getaddrinfo(host, 443)[0][4][0])
        return str(ipaddress.ip_network(address))

    server = own_server("--pool", "1", "--pool-node", "0")
    networks = [network(h) for h in ("pypi.org", "files.pythonhosted.org", "registry.npmjs.org")]
    rule = {"name": "registries", "match": {"cidrs": networks}, "action": "allow"}
    policy(server, "real", {"rules": [rule]}, world_too=False)
    sh(server, "real", "pip install -q --no-cache-dir --target /tmp/p six", timeout=180_000)
    assert sh(server, "real", "PYTHONPATH=/tmp/p python3 -c 'import six; print(six.__name__)'") == "six\n"
    sh(server, "real", "mkdir -p /tmp/n && cd /tmp/n && npm install --silent left-pad", timeout=180_000)
    assert sh(server, "real", "cd /tmp/n && node -p 'require(\"left-pad\")(1, 3)'") == "  1\n"
