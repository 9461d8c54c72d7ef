"""Ports of a sandbox as web sites: what passes, what is refused, and what stays inside."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

APP = Path(__file__).with_name("preview_app.py").read_bytes()


class Site:
    """An exposed port. get() and others go by host; by_path() to the path form."""

    def __init__(self, server: Any, box: str, port: int, **body: Any) -> None:
        self.server, self.box, self.port = server, box, port
        r = server.call("PUT", f"/v1/sandboxes/{box}/ports/{port}", json=body)
        assert r.status_code in (200, 201), r.text
        self.shown = r.json()
        self.host = urlsplit(self.shown["url"]).netloc
        self.http = requests.Session()

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, **kw: Any) -> requests.Response:
        kw.setdefault("timeout", 20)
        return self.http.request(
            method, self.server.url + path, headers={"Host": self.host, **(headers or {})}, allow_redirects=False, **kw
        )

    def get(self, path: str, **kw: Any) -> requests.Response:
        return self.call("GET", path, **kw)

    def by_path(self, method: str, path: str, **kw: Any) -> requests.Response:
        return self.http.request(method, self.shown["pathUrl"] + path, allow_redirects=False, timeout=20, **kw)

    def raw(self, text: str) -> socket.socket:
        at = urlsplit(self.server.url)
        s = socket.create_connection((at.hostname, at.port), timeout=20)
        s.sendall(text.replace("HOST", self.host).replace("\n", "\r\n").encode())
        return s


def start_app(server: Any, box: str, port: int, host: str = "127.0.0.1") -> None:
    server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/app.py", data=APP)
    done = server.run(
        box,
        f"""import socket, subprocess, time
app = subprocess.Popen(["python3", "app.py", "{port}", "{host}"])
for _ in range(500):
    try:
        socket.create_connection(("{host}", {port})).close()
        break
    except OSError:
        time.sleep(0.02)
else:
    raise RuntimeError("the app did not start")""",
    )
    assert done["status"] == "ok", done


@pytest.fixture(scope="module")
def site(server: Any) -> Iterator[Site]:
    start_app(server, "preview-site", 3000)
    yield Site(server, "preview-site", 3000)
    server.call("DELETE", "/v1/sandboxes/preview-site")


def refused(r: requests.Response, status: int, code: str) -> None:
    assert (r.status_code, r.json()["error"]["code"]) == (status, code), r.text


def test_what_the_program_sees(site: Site) -> None:
    r = site.get("/a%2Fb/?q=1%20&z", headers={"X-App": "yes", "Origin": f"http://{site.host}"})
    seen = r.json()
    assert seen["path"] == "/a%2Fb/?q=1%20&z"
    headers = {k.lower(): v for k, v in seen["headers"].items()}
    assert headers["host"] == "localhost:3000"
    assert headers["origin"] == "http://localhost:3000"
    assert headers["x-forwarded-host"] == site.host
    assert headers["x-app"] == "yes"
    assert r.headers["Access-Control-Allow-Origin"] == "https://app.test"
    seen = site.by_path("GET", "deep/er?x").json()
    assert seen["path"] == "/deep/er?x"
    assert seen["headers"]["x-forwarded-prefix"] == urlsplit(site.shown["pathUrl"]).path.rstrip("/")


def test_secrets_stay_outside(site: Site) -> None:
    token = site.server.token
    for value in [f"Bearer {token}", f"token {token}"]:
        assert "uthorization" not in json.dumps(site.get("/", headers={"Authorization": value}).json()["headers"])
    cookies = "a=1; cellbox-session-8888=x; __Host-cellbox-session-443=z; _xsrf=y; b=2"
    own = site.get("/", headers={"Authorization": "Bearer app", "Cookie": cookies}).json()
    assert {k.lower(): v for k, v in own["headers"].items()}["authorization"] == "Bearer app"
    assert {k.lower(): v for k, v in own["headers"].items()}["cookie"] == "a=1; _xsrf=y; b=2"
    own = site.by_path("GET", "", headers={"Cookie": cookies}).json()
    assert {k.lower(): v for k, v in own["headers"].items()}["cookie"] == "a=1; b=2"
    refused(site.get(f"/?token={token}"), 400, "TOKEN_NOT_WANTED")


def test_redirects_cookies_and_the_path_form(site: Site) -> None:
    assert site.get("/redirect").headers["Location"] == "/there?x=1"
    r = site.get("/cookies")
    assert r.raw.headers.getlist("set-cookie") == ["a=1", "b=2; Path=/"]
    prefix = urlsplit(site.shown["pathUrl"]).path
    assert site.by_path("GET", "redirect").headers["Location"] == prefix + "there?x=1"
    r = site.by_path("GET", "cookies")
    assert "Set-Cookie" not in r.headers
    assert r.headers["Content-Security-Policy"].startswith("sandbox ")
    bare = requests.get(site.shown["pathUrl"].rstrip("/"), allow_redirects=False, timeout=20)
    assert (bare.status_code, bare.headers["Location"]) == (308, prefix)


def test_every_kind_of_body(site: Site) -> None:
    assert site.get("/empty").status_code == 204
    head = site.call("HEAD", "/big")
    assert (head.headers["Content-Length"], head.content) == (str(64 << 20), b"")
    assert len(site.get("/big").content) == 64 << 20
    assert site.get("/until-close").content == b"x" * 300000
    data = bytes(range(256)) * 4096 * 20
    want = f"{len(data)} {hashlib.sha256(data).hexdigest()}"
    assert site.call("POST", "/", data=data).text == want
    assert site.call("POST", "/", data=(data[i : i + 70000] for i in range(0, len(data), 70000))).text == want
    assert site.call("POST", "/", data=b"").text.startswith("0 ")
    assert site.get("/after").json()["path"] == "/after"


def test_connections_to_the_program_are_reused(site: Site) -> None:
    assert site.get("/").json()["peer"] == site.get("/").json()["peer"]


def test_events_come_as_they_happen(site: Site) -> None:
    got = []
    with site.get("/events", stream=True) as r:
        for piece in r.iter_content(None):
            got.append((piece, time.monotonic()))
    assert b"".join(p for p, _ in got) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert len(got) == 3
    assert got[2][1] - got[0][1] > 0.4  # the program sleeps twice between them


def test_websocket(site: Site) -> None:
    with site.raw(
        "GET /socket HTTP/1.1\nHost: HOST\nConnection: Upgrade\nUpgrade: websocket\n"
        "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n"
    ) as s:
        head = b""
        while b"\r\n\r\n" not in head:
            head += s.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        data = b"\x00\xff" * 500000
        s.settimeout(20)
        sent, back = 0, b""
        while len(back) < len(data):
            if sent < len(data):
                sent += s.send(data[sent : sent + 65536])
            if sent == len(data) or sent > len(back) + 200000:
                back += s.recv(1 << 20)
        assert back == data
        s.shutdown(socket.SHUT_RDWR)
    assert site.get("/").status_code == 200


def test_bad_programs(site: Site) -> None:
    refused(site.get("/garbage"), 502, "BAD_GATEWAY")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        _ = site.get("/cut").content
    assert site.get("/").status_code == 200


def test_a_client_that_goes_away(site: Site) -> None:
    for path in ["/big", "/events", "/"]:
        with site.raw(f"GET {path} HTTP/1.1\nHost: HOST\n\n") as s:
            s.recv(100)
    with site.raw("POST / HTTP/1.1\nHost: HOST\nContent-Length: 100000\n\nonly this"):
        pass
    assert site.get("/").status_code == 200


def test_nobody_listens(site: Site) -> None:
    quiet = Site(site.server, site.box, 3999)
    refused(quiet.get("/"), 502, "SERVICE_NOT_RESPONDING")
    page = quiet.get("/", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert "Nothing answers there" in page.text


def test_ipv6_only(site: Site) -> None:
    start_app(site.server, site.box, 3006, "::1")
    assert Site(site.server, site.box, 3006).get("/six").json()["path"] == "/six"


def test_tokens(site: Site) -> None:
    server, box = site.server, site.box
    first = Site(server, box, 3100, token="my_own_token", name="web")
    assert (first.shown["token"], first.shown["name"]) == ("my_own_token", "web")
    assert Site(server, box, 3100).shown["token"] == "my_own_token"
    refused(server.call("PUT", f"/v1/sandboxes/{box}/ports/3101", json={"token": "my_own_token"}), 409, "TOKEN_IN_USE")
    for bad in ["short", "UPPERCASE", "with-hyphen", "x" * 17]:
        refused(server.call("PUT", f"/v1/sandboxes/{box}/ports/3101", json={"token": bad}), 400, "INVALID_FIELD")
    rotated = Site(server, box, 3100, rotate=True)
    assert rotated.shown["token"] != "my_own_token"
    refused(first.get("/"), 410, "STALE_PREVIEW_URL")
    listed = server.call("GET", f"/v1/sandboxes/{box}/ports").json()["ports"]
    assert [p["token"] for p in listed if p["port"] == 3100] == [rotated.shown["token"]]
    assert server.call("DELETE", f"/v1/sandboxes/{box}/ports/3100").status_code == 204
    assert server.call("DELETE", f"/v1/sandboxes/{box}/ports/3100").status_code == 204
    refused(rotated.get("/"), 410, "STALE_PREVIEW_URL")
    for port in ["0", "65536", "x", "-1", "080000"]:
        refused(server.call("PUT", f"/v1/sandboxes/{box}/ports/{port}", json={}), 400, "INVALID_PORT")


def test_expiry(site: Site) -> None:
    brief = Site(site.server, site.box, 3000 + 200, expiresIn=1000)
    assert "expiresAt" in brief.shown
    refused(brief.get("/"), 502, "SERVICE_NOT_RESPONDING")
    deadline = time.monotonic() + 10
    while brief.get("/").status_code == 502 and time.monotonic() < deadline:
        time.sleep(0.05)
    refused(brief.get("/"), 410, "STALE_PREVIEW_URL")


def test_only_that_port_of_that_box(site: Site) -> None:
    """Wrong labels never reach a program, nor the API behind them."""
    token = site.shown["token"]
    other = Site(site.server, site.box, 3500)
    name = site.box
    for label in [
        f"3001-{name}-{token}",
        f"3000-{name}-{other.shown['token']}",
        f"3000-{name}x-{token}",
        f"3000-{name}-{token[:-1]}",
        f"3000-{name}-{'a' * 16}",
    ]:
        for path in ["/", "/healthz", "/v1/sandboxes"]:
            r = requests.get(
                site.server.url + path,
                headers={"Host": f"{label}.example.test", "Authorization": f"Bearer {site.server.token}"},
                timeout=20,
            )
            refused(r, 404, "INVALID_TOKEN")
        refused(requests.get(f"{site.server.url}/preview/{label}/", timeout=20), 404, "INVALID_TOKEN")
    # what only looks like one is an ordinary request
    assert requests.get(site.server.url + "/healthz", headers={"Host": "3000-x.example.test"}, timeout=20).ok
    inside = site.get("/../../v1/sandboxes").json()
    assert "v1/sandboxes" in inside["path"]


def test_ports_survive_the_server_and_go_with_the_sandbox(own_server: Any) -> None:
    s = own_server()
    start_app(s, "kept", 4000)
    kept = Site(s, "kept", 4000)
    assert kept.get("/").status_code == 200
    gone = Site(s, "kept", 4001)
    s.call("DELETE", "/v1/sandboxes/kept/ports/4001")
    state = s.state
    s.stop()
    again = own_server(state=state)
    kept.server = gone.server = again
    refused(kept.get("/"), 502, "SERVICE_NOT_RESPONDING")  # the box is woken; its program is not
    refused(gone.get("/"), 410, "STALE_PREVIEW_URL")
    again.call("DELETE", "/v1/sandboxes/kept")
    refused(kept.get("/"), 404, "INVALID_TOKEN")


def test_login(server: Any, box: str) -> None:
    start_app(server, box, 8123)
    site = Site(server, box, 8123, login=True)
    assert site.shown["login"] is True
    key = urlsplit(site.shown["loginUrl"]).query.removeprefix("cellbox-login=")
    for r in (
        site.get("/"),
        site.get("/?cellbox-login=" + "0" * 32),
        site.get("/", headers={"Cookie": "cellbox_preview=x"}),
    ):
        assert (r.status_code, r.headers["X-Cellbox-Error"]) == (401, "LOGIN_REQUIRED")
    assert site.by_path("GET", "?cellbox-login=" + key).status_code == 401
    entered = site.get(f"/a/b?x=1&cellbox-login={key}&y=2")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/a/b?x=1&y=2")
    assert site.get(f"//evil.example/?cellbox-login={key}").headers["Location"].startswith("/evil.example/")
    cookie = entered.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie
    sent = {"Cookie": f"mine=1; cellbox_preview={key}; yours=2"}
    seen = site.get("/headers", headers=sent)
    assert seen.status_code == 200
    assert key not in seen.text and "mine=1" in seen.text and "yours=2" in seen.text
    again = Site(server, box, 8123)
    assert again.shown["loginUrl"] == site.shown["loginUrl"], "it stays as it was"
    assert site.get("/", headers=sent).status_code == 200
    server.call("PUT", f"/v1/sandboxes/{box}/ports/8123", json={"login": False})
    assert site.get("/").status_code == 200
    anew = Site(server, box, 8123, login=True)
    assert anew.get("/", headers=sent).status_code == 401, "the old key is none any more"
