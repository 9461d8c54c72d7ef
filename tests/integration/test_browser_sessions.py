"""Signing in with a browser: what the session's cookie is worth, and what pages of boxes cannot do with it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from jupyterws import Kernel

SESSION = "cellbox-session-"


class Browser:
    """A signed-in browser as far as HTTP shows it."""

    def __init__(self, server: Any, **headers: str) -> None:
        self.server, self.http = server, requests.Session()
        self.http.headers.update(headers)
        r = self.http.get(f"{server.url}/?token={server.token}", allow_redirects=False, timeout=10)
        assert (r.status_code, r.headers["Location"]) == (302, "/"), "the token leaves the address bar"
        self.lines = r.raw.headers.getlist("set-cookie")
        pairs = [line.split(";")[0].partition("=")[::2] for line in self.lines]
        self.cookies = dict(pairs)
        self.http.cookies.clear()
        self.cookie = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        self.http.headers["Cookie"] = self.cookie
        self.xsrf = self.cookies["_xsrf"]

    def call(self, method: str, path: str, own: bool = True, **kw: Any) -> requests.Response:
        headers = kw.pop("headers", {})
        if own:
            headers = {"Origin": self.server.url, "X-XSRFToken": self.xsrf} | headers
        headers = {k: v for k, v in headers.items() if v is not None}
        return self.http.request(method, self.server.url + path, headers=headers, timeout=20, **kw)


@pytest.fixture(scope="module")
def browser(server: Any) -> Browser:
    return Browser(server)


def test_cookies(server: Any, browser: Browser) -> None:
    port = urlsplit(server.url).port
    session = next(line for line in browser.lines if line.startswith(f"{SESSION}{port}="))
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(session.split("; "))
    assert "Domain" not in "".join(browser.lines)
    assert server.token not in "".join(browser.lines)
    other = Browser(server)
    assert other.cookies[f"{SESSION}{port}"] != browser.cookies[f"{SESSION}{port}"], "sessions are random"
    tls = Browser(server, **{"X-Forwarded-Proto": "https"})
    session = next(line for line in tls.lines if line.startswith(f"__Host-{SESSION}{port}="))
    assert "Secure" in session.split("; ")


def test_reading_and_changing(server: Any, browser: Browser, box: str) -> None:
    assert browser.call("GET", "/api/kernels").status_code == 200
    path = f"/v1/sandboxes/{box}/run"
    assert browser.call("POST", path, json={"code": "1"}).status_code == 200
    same = {"Origin": None, "Sec-Fetch-Site": "same-origin"}
    assert browser.call("POST", path, headers=same, json={"code": "1"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-XSRFToken": None},
        {"X-XSRFToken": "0" * 64},
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://3000-a-b.localhost:8888"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": None},
    ],
)
def test_forged(server: Any, browser: Browser, box: str, headers: dict[str, Any]) -> None:
    r = browser.call("POST", f"/v1/sandboxes/{box}/run", headers=headers, json={"code": "1"})
    assert (r.status_code, r.json()["error"]["code"]) == (403, "CROSS_SITE")
    assert browser.call("PUT", f"/v1/sandboxes/{box}/files/workspace/x", headers=headers, data="x").status_code == 403
    assert server.call("GET", f"/v1/sandboxes/{box}").status_code == 404, "nothing was made"


def test_word_of_another_session(server: Any, browser: Browser, box: str) -> None:
    """Neither the query nor a tossed cookie nor another session's word stands for the session's own."""
    other = Browser(server)
    path = f"/v1/sandboxes/{box}/files/workspace/x"
    assert browser.call("PUT", path, headers={"X-XSRFToken": other.xsrf}, data="x").status_code == 403
    tossed = {"Cookie": f"_xsrf=mine; {browser.cookie}", "X-XSRFToken": "mine"}
    assert browser.call("PUT", path, headers=tossed, data="x").status_code == 403
    query = {"Cookie": f"_xsrf=mine; {browser.cookie}", "X-XSRFToken": None}
    assert browser.call("PUT", path + "?_xsrf=mine", headers=query, data="x").status_code == 403
    port = urlsplit(server.url).port
    first = {"Cookie": f"{SESSION}{port}={'0' * 64}; {browser.cookie}"}
    assert browser.call("GET", "/api/kernels", headers=first).status_code == 200, "a tossed session shadows nothing"


def test_bodies_are_json(browser: Browser, box: str) -> None:
    r = browser.call("POST", f"/v1/sandboxes/{box}/run", data='{"code": "1"}', headers={"Content-Type": "text/plain"})
    assert (r.status_code, r.json()["error"]["code"]) == (415, "JSON_REQUIRED")
    assert browser.call("PUT", f"/v1/sandboxes/{box}/files/workspace/x", data="x").status_code in (200, 201, 204)


def test_reads_of_other_pages(browser: Browser) -> None:
    image = {"Origin": None, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    assert browser.call("GET", "/v1/sandboxes", headers=image).status_code == 403
    link = {"Origin": None, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert browser.call("GET", "/v1/sandboxes", headers=link).status_code == 200


def test_websockets(server: Any, browser: Browser) -> None:
    kernel = browser.call("POST", "/api/kernels", json={}).json()["id"]
    cookie = {"Cookie": browser.cookie}
    Kernel(server.url, server.token, kernel, header=cookie, origin=server.url).close()
    for origin in ("http://elsewhere.example", "null", server.url.replace("127.0.0.1", "3000-a-b.127.0.0.1")):
        with pytest.raises(Exception, match="403"):
            Kernel(server.url, server.token, kernel, header=cookie, origin=origin)
    assert browser.call("DELETE", f"/api/kernels/{kernel}").status_code == 204


def test_signing_out_ends_the_session(server: Any) -> None:
    assert requests.post(server.url + "/login", data={"token": "wrong"}, timeout=20).status_code == 403
    r = requests.post(server.url + "/login", data={"token": server.token}, allow_redirects=False, timeout=20)
    assert r.status_code == 302
    gone, stays = Browser(server), Browser(server)
    assert gone.call("POST", "/logout", headers={"X-XSRFToken": None}).status_code == 403
    assert gone.call("POST", "/logout", allow_redirects=False).status_code == 302
    assert gone.call("GET", "/api/kernels").status_code == 401, "a copy of the cookie is worth nothing"
    assert stays.call("GET", "/api/kernels").status_code == 200


def test_sessions_outlive_the_gateway_but_not_their_token(own_server: Any) -> None:
    server = own_server("--pool", "0", "--pool-node", "0")
    kept, gone = Browser(server), Browser(server)
    gone.call("POST", "/logout", allow_redirects=False)
    server.stop()
    again = own_server("--pool", "0", "--pool-node", "0", state=server.state)
    old, new = urlsplit(server.url).port, urlsplit(again.url).port
    cookie = kept.cookie

    def ask(where: Any, cookie: Any, token_port: int) -> int:
        return requests.get(
            where.url + "/v1/sandboxes", headers={"Cookie": str(cookie), "Host": f"127.0.0.1:{token_port}"}, timeout=20
        ).status_code

    assert new
    assert ask(again, cookie, old) == 200
    assert ask(again, gone.cookie, old) == 401
    state = b"".join(p.read_bytes() for p in (server.state / "gateway").glob("registry.db*"))
    session = kept.cookies[f"{SESSION}{old}"]
    assert session.encode() not in state, "the registry knows digests alone"
    again.stop()
    token = own_server("--token", "another", "--pool", "0", "--pool-node", "0", state=server.state)
    assert ask(token, cookie, old) == 401
