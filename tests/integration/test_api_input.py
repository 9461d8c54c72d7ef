"""What the interface makes of bad requests."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests


def error(response: requests.Response, status: int, code: str) -> dict[str, Any]:
    body = response.json()
    assert (response.status_code, body["error"]["code"]) == (status, code), response.text
    assert body["error"]["message"]
    return body["error"]


def test_tokens(server: Any) -> None:
    url = server.url + "/v1/sandboxes"
    r = requests.get(url, timeout=10)
    error(r, 401, "UNAUTHORIZED")
    assert r.headers["WWW-Authenticate"] == "Bearer"
    error(requests.get(url, headers={"Authorization": "Bearer no"}, timeout=10), 403, "FORBIDDEN")
    error(requests.get(url + "?token=", timeout=10), 403, "FORBIDDEN")
    assert requests.get(url, headers={"Authorization": f"token {server.token}"}, timeout=10).status_code == 200
    assert requests.get(f"{url}?token={server.token}", timeout=10).status_code == 200
    assert requests.get(server.url + "/healthz", timeout=10).json()["status"] == "ok"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/sandboxes/b/run", "{", 400, "INVALID_JSON"),
        ("POST", "/v1/sandboxes/b/run", '{"code":"\xff"}', 400, "INVALID_JSON"),
        ("POST", "/v1/sandboxes/b/run", "[]", 400, "INVALID_JSON"),
        ("POST", "/v1/sandboxes/b/run", '{"code":1}', 400, "INVALID_FIELD"),
        ("POST", "/v1/sandboxes/b/run", "{}", 400, "MISSING_FIELD"),
        ("POST", "/v1/sandboxes/b/run", '{"code":"1","nope":1}', 400, "UNKNOWN_FIELD"),
        ("POST", "/v1/sandboxes/b/run", '{"code":"1","timeout":0}', 400, "INVALID_FIELD"),
        ("POST", "/v1/sandboxes/b/run", '{"code":"1","formats":["gif"]}', 400, "INVALID_FIELD"),
        ("POST", "/v1/sandboxes/b/run", '{"code":"1","language":"cobol"}', 400, "INVALID_LANGUAGE"),
        ("POST", "/v1/sandboxes/B_AD/run", '{"code":"1"}', 400, "SANDBOX_NAME_INVALID"),
        ("PUT", "/v1/sandboxes/-x", "{}", 400, "SANDBOX_NAME_INVALID"),
        ("PUT", "/v1/sandboxes/x", '{"egress":{"rules":7}}', 400, "EGRESS_POLICY_INVALID"),
        ("PUT", "/v1/sandboxes/x", '{"env":{"A":1}}', 400, "INVALID_FIELD"),
        ("GET", "/v1/sandboxes/none", None, 404, "SANDBOX_NOT_FOUND"),
        ("DELETE", "/v1/sandboxes/none", None, 404, "SANDBOX_NOT_FOUND"),
        ("GET", "/v1/nothing", None, 404, "NOT_FOUND"),
        ("POST", "/v1/sandboxes", "{}", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_bad_requests(server: Any, method: str, path: str, body: str | None, status: int, code: str) -> None:
    data = body.encode("latin-1") if body is not None else None
    r = server.call(method, path, data=data)
    error(r, status, code)
    if status == 405:
        assert r.headers["Allow"] == "GET, HEAD"


def test_unknown_ids(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}")
    error(server.call("GET", f"/v1/sandboxes/{box}/contexts/no"), 404, "CONTEXT_NOT_FOUND")
    error(server.call("GET", f"/v1/sandboxes/{box}/executions/no"), 404, "EXECUTION_NOT_FOUND")
    error(
        server.call("POST", f"/v1/sandboxes/{box}/run", json={"code": "1", "context": "no"}), 404, "CONTEXT_NOT_FOUND"
    )
    error(server.call("GET", f"/v1/sandboxes/{box}/executions?limit=x"), 400, "INVALID_PARAMETER")


def test_put_twice(server: Any, box: str) -> None:
    assert server.call("PUT", f"/v1/sandboxes/{box}", json={"labels": {"a": "1"}}).status_code == 201
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"labels": {"a": "2"}})
    assert r.status_code == 200 and r.json()["labels"] == {"a": "2"}
    error(server.call("PUT", f"/v1/sandboxes/{box}", json={"limits": {"memory": 1 << 28}}), 409, "SANDBOX_EXISTS")


def raw(server: Any, data: bytes, shut: bool = False) -> bytes:
    at = urlsplit(server.url)
    with socket.create_connection((at.hostname, at.port), timeout=20) as s:
        s.sendall(data)
        if shut:
            s.shutdown(socket.SHUT_WR)
        out = b""
        while chunk := s.recv(65536):
            out += chunk
        return out


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70000 + b"\r\n\r\n", b"431"),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (b"POST /v1/sandboxes/x/run HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b"401"),
        (
            b"POST /v1/sandboxes/x/run HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer integration-token\r\n"
            b"Content-Length: 99999999999\r\n\r\n",
            b"413",
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", b"417"),
    ],
)
def test_malformed_http(server: Any, data: bytes, status: bytes) -> None:
    assert raw(server, data).split(b" ")[1] == status


def test_pipelining_and_continue(server: Any) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert raw(server, one * 20 + last).count(b'{"status":"ok"') == 21
    head = f"POST /v1/sandboxes/x/run HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n".encode()
    at = urlsplit(server.url)
    with socket.create_connection((at.hostname, at.port), timeout=20) as s:
        s.sendall(head + b"Content-Length: 1\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 100 ")
        s.sendall(b"{")
        assert b"INVALID_JSON" in s.recv(10000)


def test_head_and_options(server: Any) -> None:
    r = server.call("HEAD", "/v1/sandboxes")
    assert r.status_code == 200 and not r.content and int(r.headers["Content-Length"]) > 0
    assert requests.options(server.url + "/v1/sandboxes", timeout=10).status_code == 204


def test_metrics(server: Any) -> None:
    text = server.call("GET", "/metrics").text
    for name in ("executions_total", "pool_ready", "run_seconds_bucket", "protocol_errors_total"):
        assert f"cellbox_{name}" in text
