"""The world that boxes talk to in tests: names, web servers, registries, git, an object store. Runs in its own netns.

world.py ADDRESS FOLDER: serves on ADDRESS; FOLDER holds server.pem, server.key and repositories. Prints "ready".
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import http.server
import io
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import tarfile
import threading
import urllib.parse
import zipfile
from pathlib import Path
from typing import Any

ADDRESS, FOLDER = sys.argv[1], Path(sys.argv[2])
GIT_USER, GIT_PASSWORD = "robot", "git-password-0815"
TOKEN = "registry-token-4711"
AWS_ID, AWS_SECRET = "AKIATESTTESTTEST", "aws-secret-key-0123456789abcdef"
OBJECTS: dict[str, bytes] = {}
REBINDS = {"n": 0}


def serve_names() -> None:
    """Every name under .test is here, but for those that a test wants elsewhere."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((ADDRESS, 53))
    while True:
        question, asker = s.recvfrom(4096)
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += question[at] + 1
        name, kind = ".".join(labels).lower(), struct.unpack(">H", question[at + 1 : at + 3])[0]
        head = question[:2] + b"\x81\x80\0\1"
        asked = question[12 : at + 5]
        address = ADDRESS
        if name == "loopback.test":
            address = "127.0.0.1"
        elif name == "metadata.test":
            address = "169.254.169.254"
        elif name == "rebind.test" and kind == 1:
            REBINDS["n"] += 1
            address = ADDRESS if REBINDS["n"] % 2 else "127.0.0.1"
        if name.startswith("nx") or not name.endswith(".test"):
            s.sendto(question[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + asked, asker)
        elif kind == 1:
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(address)
            s.sendto(head + b"\0\1\0\0\0\0" + asked + answer, asker)
        else:
            s.sendto(head + b"\0\0\0\0\0\0" + asked, asker)


def wheel() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("greeting.py", "TEXT = 'hello from the registry'\n")
        z.writestr("greeting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        z.writestr("greeting-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("greeting-1.0.dist-info/RECORD", "greeting.py,,\ngreeting-1.0.dist-info/METADATA,,\n")
    return out.getvalue()


def package() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for name, text in (
            ("package/package.json", json.dumps({"name": "greeting", "version": "1.0.0", "main": "index.js"})),
            ("package/index.js", "module.exports = 'hello from the registry';\n"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            t.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


WHEEL, PACKAGE = wheel(), package()


def signature_of(method: str, target: str, headers: Any, key: str) -> str:
    """What AWS would compute for the request (Signature Version 4)."""
    parts = dict(p.strip().split("=", 1) for p in headers["authorization"].split(" ", 1)[1].split(","))
    _, date, region, service, _ = parts["Credential"].split("/")
    path, _, query = target.partition("?")
    pairs = sorted(p if "=" in p else p + "=" for p in query.split("&") if p)
    signed = parts["SignedHeaders"].split(";")
    fields = "".join(f"{n}:{' '.join(headers[n].split())}\n" for n in signed)
    payload = headers["x-amz-content-sha256"]
    canonical = "\n".join([method, path, "&".join(pairs), fields, parts["SignedHeaders"], payload])
    scope = f"{date}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
    k = ("AWS4" + key).encode()
    for step in (date, region, service, "aws4_request"):
        k = hmac.new(k, step.encode(), hashlib.sha256).digest()
    return hmac.new(k, text.encode(), hashlib.sha256).hexdigest()


def spellings(key: str) -> bytes:
    """A credential as services repeat it."""
    raw = key.encode()
    said = [key, urllib.parse.quote(key, safe=""), urllib.parse.quote_plus(key), json.dumps(key), raw.hex()]
    said += ["".join(f"\\u{ord(c):04x}" for c in key), "".join(f"%{b:02x}" for b in raw)]
    said += [base64.b64encode(b"x" * n + raw + b"yz").decode() for n in range(3)]
    said += [base64.urlsafe_b64encode(b"x" * n + raw).decode() for n in range(3)]
    return "\n".join(said).encode()


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    body = b""

    def log_message(self, *_: Any) -> None:
        pass

    def read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def needs(self, expected: str) -> bool:
        if self.headers.get("Authorization") == expected:
            return True
        self.answer(401, b"who are you?\n", WWW_Authenticate='Basic realm="test"')
        return False

    def handle_any(self) -> None:
        host = (self.headers.get("Host") or "").split(":")[0]
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
            self.wfile.flush()
        method = {"git.test": self.git, "pypi.test": self.pypi, "npm.test": self.npm, "apt.test": self.apt,
                  "s3.test": self.s3}.get(host, self.web)  # fmt: skip
        method()
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_TRACE = handle_any

    def web(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query)
        parts = url.path.strip("/").split("/")
        if parts[0] == "bytes":
            self.stream_bytes(int(parts[1]))
        elif parts[0] == "redirect":
            self.answer(int(parts[1]), b"", Location=query["to"][0])
        elif parts[0] == "moved":
            self.answer(301, b"", Location="https://git.test" + self.path.removeprefix("/moved"))
        elif parts[0] == "status":
            self.answer(int(parts[1]), b"")
        elif parts[0] == "events" or url.path == "/hang/info/refs":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"data: one\n\n")
            self.wfile.flush()
            self.rfile.read(1)  # until the client goes
        elif parts[0] == "spell":
            self.answer(200, spellings(self.headers.get("X-Key", "")))
        elif parts[0] == "gzip":
            self.answer(200, gzip.compress(b"packed\n" * 100, mtime=0), Content_Encoding="gzip")
        elif parts[0] == "once":
            self.close_connection = True
            self.answer(200, b"", Connection="close")
        elif parts[0] == "close":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif parts[0] == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            body = self.read_body()
            self.answer(
                200,
                json.dumps(
                    {
                        "method": self.command,
                        "path": self.path,
                        "headers": {k.lower(): v for k, v in self.headers.items()},
                        "length": len(body),
                        "sha256": hashlib.sha256(body).hexdigest(),
                    }
                ).encode(),
                Content_Type="application/json",
                Alt_Svc='h3=":443"; ma=86400',
                X_Echo=self.headers.get("Authorization", ""),
            )

    def stream_bytes(self, n: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(n))
        self.end_headers()
        block = bytes(range(256)) * 256
        while n > 0 and self.command != "HEAD":
            self.wfile.write(block[: min(n, len(block))])
            n -= len(block)

    def git(self) -> None:
        if not self.needs("Basic " + base64.b64encode(f"{GIT_USER}:{GIT_PASSWORD}".encode()).decode()):
            self.read_body()
            return
        url = urllib.parse.urlsplit(self.path)
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(FOLDER / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": GIT_USER,
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HOME": str(FOLDER),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        out = subprocess.run(["git", "http-backend"], input=self.read_body(), env=env, capture_output=True).stdout
        head, _, data = out.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(fields.pop("Status", "200").split()[0])
        self.answer(status, data, **{k.replace("-", "_"): v for k, v in fields.items()})

    def pypi(self) -> None:
        if not self.needs("Basic " + base64.b64encode(f"robot:{TOKEN}".encode()).decode()):
            return
        if self.path.endswith(".whl"):
            self.answer(200, WHEEL)
        elif self.path.startswith("/simple/greeting"):
            digest = hashlib.sha256(WHEEL).hexdigest()
            link = f'<a href="/files/greeting-1.0-py3-none-any.whl#sha256={digest}">greeting-1.0-py3-none-any.whl</a>'
            self.answer(200, link.encode(), Content_Type="text/html")
        else:
            self.answer(404, b"")

    def npm(self) -> None:
        if not self.needs("Bearer " + TOKEN):
            return
        if self.path.endswith(".tgz"):
            self.answer(200, PACKAGE)
        elif self.path.startswith("/greeting"):
            dist = {
                "tarball": "https://npm.test/greeting/-/greeting-1.0.0.tgz",
                "shasum": hashlib.sha1(PACKAGE).hexdigest(),
            }
            version = {"name": "greeting", "version": "1.0.0", "dist": dist}
            self.answer(
                200,
                json.dumps(
                    {"name": "greeting", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
                ).encode(),
                Content_Type="application/json",
            )
        else:
            self.answer(404, b"{}")

    def apt(self) -> None:
        file = FOLDER / "apt" / self.path.strip("/")
        if file.is_file():
            self.answer(200, file.read_bytes())
        else:
            self.answer(404, b"")

    def s3(self) -> None:
        body = self.read_body()
        claimed = self.headers.get("Authorization", "")
        if not claimed.startswith(f"AWS4-HMAC-SHA256 Credential={AWS_ID}/"):
            self.answer(403, b"<Error><Code>InvalidAccessKeyId</Code></Error>")
            return
        if not claimed.endswith("Signature=" + signature_of(self.command, self.path, self.headers, AWS_SECRET)):
            self.answer(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
            return
        key = self.path.partition("?")[0]
        if self.command == "PUT":
            OBJECTS[key] = body
            self.answer(200, b"", ETag='"x"')
        elif key in OBJECTS:
            self.answer(200, OBJECTS[key])
        else:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, *_: Any) -> None:
        pass


def serve_web(port: int, tls: ssl.SSLContext | None) -> None:
    server = Server((ADDRESS, port), Web)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def serve_tcp(port: int, greeting: bytes) -> None:
    """Says something first, then echoes."""
    listener = socket.create_server((ADDRESS, port))

    def one(s: socket.socket) -> None:
        with s:
            s.sendall(greeting)
            while data := s.recv(65536):
                s.sendall(data)

    while True:
        s, _ = listener.accept()
        threading.Thread(target=one, args=(s,), daemon=True).start()


def context(name: str) -> ssl.SSLContext:
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(FOLDER / f"{name}.pem", FOLDER / f"{name}.key")
    return c


def main() -> None:
    threading.Thread(target=serve_names, daemon=True).start()
    serve_web(80, None)
    serve_web(443, context("server"))
    serve_web(4443, context("stranger"))  # signed by nobody that anybody trusts
    threading.Thread(target=serve_tcp, args=(2525, b"220 mail.test\r\n"), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


main()
