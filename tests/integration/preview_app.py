"""A web site that runs in a sandbox, for the tests of previews: python3 preview_app.py PORT [HOST]."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Each path shows one thing that a proxy must not spoil."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Silence."""

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/redirect":
            self.answer(b"", 302, Location=f"http://localhost:{sys.argv[1]}/there?x=1")
        elif path == "/cookies":
            self.send_response(200)
            self.send_header("Set-Cookie", "a=1")
            self.send_header("Set-Cookie", "b=2; Path=/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/empty":
            self.send_response(204)
            self.end_headers()
        elif path == "/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for i in range(3):
                self.chunk(b"data: %d\n\n" % i)
                time.sleep(0.3)
            self.chunk(b"")
        elif path == "/until-close":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"x" * 300000)
            self.close_connection = True
        elif path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"short")
            self.close_connection = True
        elif path == "/garbage":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            self.close_connection = True
        elif path == "/big":
            self.answer(bytes(64 << 20))
        elif path == "/socket":
            self.echo()
        else:
            shown = {"path": self.path, "headers": dict(self.headers), "peer": self.client_address[1]}
            self.answer(json.dumps(shown).encode(), Access_Control_Allow_Origin="https://app.test")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        digest, size = hashlib.sha256(), 0
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while n := int(self.rfile.readline(), 16):
                digest.update(self.rfile.read(n))
                size += n
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers["Content-Length"])
            while left:
                piece = self.rfile.read(min(left, 1 << 20))
                digest.update(piece)
                size += len(piece)
                left -= len(piece)
        self.answer(f"{size} {digest.hexdigest()}".encode())

    def echo(self) -> None:
        """A WebSocket handshake, then every byte comes back."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        while data := self.connection.recv(65536):
            self.connection.sendall(data)
        self.close_connection = True


class Server(ThreadingHTTPServer):
    """On the family of its host."""

    daemon_threads = True
    address_family = socket.AF_INET6 if ":" in "".join(sys.argv[2:]) else socket.AF_INET


Server((sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
