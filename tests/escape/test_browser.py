"""A page of one sandbox in the browser of a signed-in person: what it can do to other sandboxes."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
API, PREVIEWS = "cellbox.test", "previews.test"
# The browser finds both domains, and all names below them, on this machine, and asks nobody else.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP *.{API} 127.0.0.1, MAP {API} 127.0.0.1, MAP *.{PREVIEWS} 127.0.0.1",
]

# Every way that a page has to send a request with the cookies of another host of its site.
ATTACK = """<!doctype html><title>attack</title><body><script>
const api = %(api)s, victim = %(victim)s, name = api.split('//')[1].split(':')[0];
const at = `${api}/v1/sandboxes/${victim}`, done = [];
for (const path of ['/', '/v1', '/login'])
  for (const word of ['_xsrf=mine', 'cellbox-session-%(port)s=' + '0'.repeat(64)])
    try { document.cookie = `${word}; Domain=${name.split('.').slice(-2).join('.')}; Path=${path}`; } catch { }
const send = (url, more) => done.push(fetch(url, {mode: 'no-cors', credentials: 'include', ...more}).catch(() => 0));
const put = {method: 'POST', body: JSON.stringify({code: "open('/workspace/owned', 'w').write('x')"})};
send(`${at}/run?_xsrf=mine`, put);
send(`${at}/run`, {...put, headers: {'content-type': 'text/plain'}});
send(`${at}/run`, {...put, mode: 'cors', headers: {'x-xsrftoken': 'mine', 'content-type': 'application/json'}});
send(`${at}/files/workspace/owned?_xsrf=mine`, {method: 'PUT', mode: 'cors', body: 'x'});
send(`${at}?_xsrf=mine`, {method: 'DELETE', mode: 'cors'});
navigator.sendBeacon(`${at}/run?_xsrf=mine`, put.body);
const frame = document.createElement('iframe'); frame.name = 'out'; document.body.append(frame);
const form = document.createElement('form');
Object.assign(form, {action: `${at}/run?_xsrf=mine`, method: 'post', enctype: 'text/plain', target: 'out'});
const field = document.createElement('input');
Object.assign(field, {name: put.body.slice(0, -2) + '", "x": "', value: '"}'});
form.append(field); document.body.append(form); form.submit();
done.push(new Promise((over) => {
  const ws = new WebSocket(`${api.replace('http', 'ws')}/api/kernels/${%(kernel)s}/channels`);
  ws.onopen = () => { document.title = 'websocket opened'; over(); };
  ws.onerror = over;
}));
done.push(fetch(`${api}/v1/sandboxes`, {credentials: 'include'}).then((r) => r.text())
  .then((t) => { if (t.includes(victim)) document.title = 'list read'; }).catch(() => 0));
const script = document.createElement('script'); script.src = `${api}/v1/sandboxes`; document.body.append(script);
Promise.all(done).then(() => setTimeout(() => { document.body.dataset.done = 'yes'; }, 1000));
</script></body>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env={**os.environ, "HOME": home})
        yield browser
        browser.close()


def show(server: Any, box: str, page: str, host: str) -> dict[str, Any]:
    """A page that a sandbox serves, and its preview's addresses for who reaches the server by this host."""
    server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/index.html", data=page.encode())
    r = server.call(
        "POST",
        f"/v1/sandboxes/{box}/processes",
        json={"command": ["python3", "-m", "http.server", "3000", "-d", "/workspace"], "processId": "site"},
    )
    assert r.status_code < 300, r.text
    server.call("POST", f"/v1/sandboxes/{box}/processes/site/wait", json={"port": 3000, "timeout": 30000})
    shown: dict[str, Any] = server.call(
        "PUT", f"/v1/sandboxes/{box}/ports/3000", json={}, headers={"Host": host}
    ).json()
    return shown


def attack(server: Any, browser: Browser, form: str) -> None:
    port = urlsplit(server.url).port
    host = f"{API}:{port}"
    server.run("victim", "secret = 1")
    kernel = server.call("POST", "/api/kernels", json={}).json()["id"]
    words = {"api": f"http://{host}", "victim": "victim", "kernel": kernel}
    page = ATTACK % {**{k: json.dumps(v) for k, v in words.items()}, "port": port}
    shown = show(server, "attacker", page, host)
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(f"http://{host}/?token={server.token}")
    assert tab.evaluate("async () => (await fetch('/v1/sandboxes')).status") == 200, "the person is signed in"
    tab.goto(shown[form])
    tab.wait_for_selector("body[data-done=yes]", state="attached", timeout=60000)
    assert tab.title() == "attack"
    # The person's own page still works, whatever cookies the attack has left.
    tab.goto(f"http://{host}/")
    assert tab.evaluate("async () => (await fetch('/v1/sandboxes')).status") == 200
    context.close()
    assert server.call("GET", "/v1/sandboxes/victim/files/workspace/owned").status_code == 404
    assert server.run("victim", "secret")["results"][0]["data"]["text/plain"] == "1"
    server.call("DELETE", f"/api/kernels/{kernel}")
    server.call("DELETE", "/v1/sandboxes/attacker")


@pytest.mark.parametrize("form", ["url", "pathUrl"])
def test_preview_beside_the_api(server: Any, browser: Browser, form: str) -> None:
    attack(server, browser, form)


def test_preview_domain(own_server: Any, browser: Browser) -> None:
    server = own_server("--preview-domain", PREVIEWS)
    attack(server, browser, "url")
    shown = show(server, "site", "<!doctype html><title>own</title>", f"{API}:{urlsplit(server.url).port}")
    assert re.fullmatch(rf"http://3000-site-[a-z0-9]+\.{PREVIEWS}:\d+/", shown["url"])
    label = urlsplit(shown["url"]).netloc.split(".")[0]

    def get(host: str, path: str = "/") -> int:
        headers = {"Host": host, "Authorization": f"Bearer {server.token}"}
        return requests.get(server.url + path, headers=headers, timeout=20).status_code

    assert get(f"{label}.{PREVIEWS}") == 200
    assert get(f"{label}.{API}", "/v1/sandboxes") == 200, "another domain serves no preview by host"
    for host in (PREVIEWS, f"x.{PREVIEWS}:80", f"{PREVIEWS}."):
        assert get(host, "/v1/sandboxes") == 404, "the domain of previews serves no API"
        assert get(host, urlsplit(shown["pathUrl"]).path) == 404


HEADERS = """
from http.server import *
class H(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        for line in %r:
            self.send_header(*line)
        self.send_header("Content-Length", "0")
        self.end_headers()
import threading
threading.Thread(target=HTTPServer(("127.0.0.1", 3000), H).serve_forever, daemon=True).start()
"""
REACHING = {
    "NEL": '{"report_to": "x", "max_age": 9}',
    "Report-To": '{"group": "x"}',
    "Reporting-Endpoints": 'x="https://x.test"',
    "Clear-Site-Data": '"*"',
    "Alt-Svc": 'h3=":1"',
    "Strict-Transport-Security": "max-age=9; includeSubDomains",
}


def test_headers_that_reach_further(server: Any) -> None:
    cookies = [
        "a=1; Domain=cellbox.test; Path=/",
        "b=2;domain=localhost",
        "cellbox-session-80=x; Path=/",
        "c=3; Secure",
    ]
    lines = [*REACHING.items(), ("Service-Worker-Allowed", "/"), ("WWW-Authenticate", "Basic"), ("X-Own", "yes")]
    lines += [("Set-Cookie", c) for c in cookies] + [("Referrer-Policy", "unsafe-url"), ("ETag", '"1"')]
    assert server.run("headers", HEADERS % lines)["status"] == "ok"
    shown = server.call("PUT", "/v1/sandboxes/headers/ports/3000", json={}).json()
    by_path = requests.get(shown["pathUrl"], timeout=20)
    by_host = requests.get(server.url, headers={"Host": urlsplit(shown["url"]).netloc}, timeout=20)
    for r in (by_path, by_host):
        assert r.status_code == 200
        assert not set(REACHING) & set(r.headers)
        assert (r.headers["Referrer-Policy"], r.headers["X-Own"], r.headers["ETag"]) == ("same-origin", "yes", '"1"')
    assert not {"Service-Worker-Allowed", "WWW-Authenticate", "Set-Cookie"} & set(by_path.headers)
    assert by_host.raw.headers.getlist("set-cookie") == ["a=1; Path=/", "b=2", "c=3; Secure"]
    server.call("DELETE", "/v1/sandboxes/headers")


def test_files_are_not_pages_of_the_api(server: Any) -> None:
    """A file of a box that is opened at the API's own address runs no script there."""
    for name in ("evil.html", "evil.svg", "evil.xml", "evil"):
        server.call("PUT", f"/v1/sandboxes/files/files/workspace/{name}", data=b"<script>alert(1)</script>")
        r = server.call("GET", f"/v1/sandboxes/files/files/workspace/{name}")
        sandboxed = "sandbox" in r.headers.get("Content-Security-Policy", "")
        assert sandboxed or r.headers["Content-Type"] == "application/octet-stream", (name, r.headers)
        assert r.headers["X-Content-Type-Options"] == "nosniff", name
    server.call("DELETE", "/v1/sandboxes/files")


def test_the_browser_is_where_the_test_says() -> None:
    assert Path(CHROMIUM).exists()
