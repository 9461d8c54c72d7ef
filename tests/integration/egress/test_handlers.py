"""JavaScript handlers: what they see, what they may do, and that they fail closed."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from conftest import Server

from egress.conftest import handler, log, policy, secret, sh

MODULE = """
export default {
  async outbound(request, env, ctx) {
    return Response.json({ url: request.url, method: request.method, body: await request.text(), sandbox: ctx.sandbox.name,
                           id: ctx.containerId.length, params: ctx.params, key: env.KEY?.length });
  },
  outboundByHost: { 'two.test': () => new Response('for two', { status: 207, headers: [['set-cookie', 'a=1'], ['set-cookie', 'b=2']] }) },
  outboundHandlers: {
    pass: (request) => fetch(request),
    async change(request) {
      const r = await fetch(request);
      return new Response((await r.text()).toUpperCase(), { status: r.status, headers: { 'x-changed': 'yes' } });
    },
    denied: async () => { const r = await fetch('https://denied.test/'); return new Response(r.headers.get('x-cellbox-egress-reason'), { status: 418 }); },
    follow: async () => new Response((await fetch('https://one.test/redirect/302?to=https://two.test/there')).url),
    throws() { throw new Error('on purpose'); },
    loop() { for (;;); },
    exit() { setTimeout.constructor('return process')().exit(3); },
    never: () => new Promise(() => {}),
    nothing() {},
    hold: async () => new Response(await (await fetch('https://one.test/events')).text()),
    async later(request, env, ctx) {
      ctx.waitUntil(new Promise((f) => setTimeout(f, 100)).then(() => fetch('https://two.test/afterwards')));
      return new Response('at once');
    },
    unpack: async (request) => new Response((await (await fetch(request)).text()).slice(0, 7)),
    escape: (request) => new Response(String([fetch, Request, setTimeout, request.signal].map((o) => {
      try { return typeof o.constructor.constructor('return process')(); } catch (e) { return e.name; }
    }))),
    longer: (request) => fetch('https://one.test/x', { method: 'POST', headers: { 'content-length': '2' }, duplex: 'half',
      body: new ReadableStream({ start(c) { c.enqueue(new Uint8Array([65, 66, 67])); c.close(); } }) }),
    globals: () => Response.json({ process: typeof process, require: typeof require, Buffer: typeof Buffer }),
    count: () => new Response(new ReadableStream({ async start(c) { for (let i = 0; i < 3; i++) c.enqueue(new TextEncoder().encode(i + '\\n')); c.close(); } })),
  },
};
"""


@pytest.fixture
def module(proxy: Server, sandbox: str) -> str:
    secret(proxy, "key", value="a-key-of-20-letters.", handlers=["m"])
    handler(proxy, "m", MODULE, env={"KEY": "key"})
    return sandbox


def use(server: Server, name: str, which: str, **more: Any) -> None:
    policy(server, name, {"outboundByHost": {"handled.test": which}, **more})


def test_what_a_handler_sees(proxy: Server, module: str) -> None:
    policy(proxy, module, {"outbound": {"name": "m", "params": {"a": [1]}}})
    r = json.loads(sh(proxy, module, "curl -sS -d hello https://one.test/x?y=z"))
    assert r == {"url": "https://one.test/x?y=z", "method": "POST", "body": "hello", "sandbox": module, "id": 32,
                 "params": {"a": [1]}, "key": 20}  # fmt: skip
    out = sh(proxy, module, "curl -sSi https://two.test/")
    assert "HTTP/2 207" in out and "set-cookie: a=1" in out and "set-cookie: b=2" in out and out.endswith("for two")
    assert log(proxy, module)[-1]["decision"] == "handler"


def test_set_at_run_time(proxy: Server, module: str) -> None:
    r = proxy.call(
        "PATCH",
        f"/v1/sandboxes/{module}/egress",
        json={"runtime": {"outboundByHost": {"one.test": {"name": "m", "params": 7}}}},
    )
    assert r.status_code == 200, r.text
    assert json.loads(sh(proxy, module, "curl -sS https://one.test/"))["params"] == 7
    proxy.call("PATCH", f"/v1/sandboxes/{module}/egress", json={"runtime": None})
    assert "params" not in json.loads(sh(proxy, module, "curl -sS https://one.test/"))


def test_passing_on(proxy: Server, module: str) -> None:
    use(proxy, module, "m.pass")
    assert (
        json.loads(sh(proxy, module, "head -c 3000000 /dev/zero | curl -sS -T - https://handled.test/up"))["length"]
        == 3_000_000
    )
    assert sh(proxy, module, "curl -sS https://handled.test/bytes/30000000 | wc -c").strip() == "30000000"
    assert "location: https://two.test/" in sh(
        proxy, module, "curl -sSi 'https://handled.test/redirect/302?to=https://two.test/'"
    )
    use(proxy, module, "m.change")
    assert '"PATH": "/C"' in sh(proxy, module, "curl -sS https://handled.test/c")
    use(proxy, module, "m.count")
    assert sh(proxy, module, "curl -sS https://handled.test/") == "0\n1\n2\n"


def test_the_policy_counts_for_handlers(proxy: Server, module: str) -> None:
    use(proxy, module, "m.denied", deniedHosts=["denied.test"])
    assert sh(proxy, module, "curl -sS https://handled.test/") == "the host is in deniedHosts"
    use(proxy, module, "m.pass", enableInternet=False)
    assert json.loads(sh(proxy, module, "curl -sS https://handled.test/inside"))["path"] == "/inside"
    assert sh(proxy, module, "curl -sS -o /dev/null -w '%{http_code}' https://one.test/") == "520"
    use(proxy, module, "m.follow")
    assert sh(proxy, module, "curl -sS https://handled.test/") == "https://two.test/there"


@pytest.mark.parametrize(
    ("which", "status", "text"),
    [
        ("m.throws", "502", "threw: on purpose"),
        ("m.nothing", "502", "returned no Response"),
        ("m.missing", "502", "has no missing"),
        ("nowhere", "502", "no handler"),
        ("m.exit", "502", "Code generation from strings disallowed"),
        ("m.loop", "504", "endless loop"),
    ],
)
def test_failures_are_closed(proxy: Server, module: str, which: str, status: str, text: str) -> None:
    use(proxy, module, which)
    out = sh(proxy, module, "curl -sS -D- https://handled.test/")
    assert f"HTTP/2 {status}" in out and text in out
    use(proxy, module, "m.count")
    end = time.monotonic() + 20
    while sh(proxy, module, "curl -sS https://handled.test/") != "0\n1\n2\n":
        assert time.monotonic() < end, "the worker does not come back"
        time.sleep(0.1)


def test_encodings_and_lengths(proxy: Server, module: str) -> None:
    use(proxy, module, "m.pass")
    head = sh(proxy, module, "curl -sS -o /tmp/got -D- --http1.1 -H 'accept-encoding: gzip' https://handled.test/gzip")
    assert "content-encoding: gzip" in head.lower() and "content-length: " in head.lower()
    assert sh(proxy, module, "gunzip < /tmp/got | sort -u") == "packed\n"
    sent = json.loads(sh(proxy, module, "curl -sS --http1.1 -d hello https://handled.test/up"))
    assert sent["headers"]["content-length"] == "5" and "transfer-encoding" not in sent["headers"]
    assert sh(proxy, module, "curl -sSI https://handled.test/bytes/1000").lower().count("content-length: 1000") == 1
    use(proxy, module, "m.unpack")
    assert sh(proxy, module, "curl -sS https://handled.test/gzip") == "packed\n"
    use(proxy, module, "m.longer")
    assert json.loads(sh(proxy, module, "curl -sS https://handled.test/"))["length"] == 3


def test_wait_until(proxy: Server, module: str) -> None:
    use(proxy, module, "m.later")
    assert sh(proxy, module, "curl -sS https://handled.test/") == "at once"
    end = time.monotonic() + 20
    while [e["status"] for e in log(proxy, module) if e["path"] == "/afterwards"] != [200]:
        assert time.monotonic() < end, log(proxy, module)
        time.sleep(0.05)


def test_no_way_to_the_process(proxy: Server, module: str) -> None:
    use(proxy, module, "m.escape")
    assert sh(proxy, module, "curl -sS https://handled.test/") == ",".join(["EvalError"] * 4)


def test_a_policy_ends_what_it_denies(proxy: Server, module: str) -> None:
    use(proxy, module, "m.hold")
    sh(proxy, module, "(curl -sS -o /dev/null -w '%{http_code}' https://handled.test/ > /tmp/code) > /dev/null 2>&1 &")
    end = time.monotonic() + 20
    while proxy.call("GET", f"/v1/sandboxes/{module}/egress/log").json()["entries"][-1:] == []:
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.5)
    use(proxy, module, "m.hold", deniedHosts=["handled.test"])
    while (code := sh(proxy, module, "cat /tmp/code")) == "":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert code == "520"
    use(proxy, module, "m.count")
    assert sh(proxy, module, "curl -sS https://handled.test/") == "0\n1\n2\n"


def test_a_crash_hurts_only_what_was_under_way(proxy: Server, module: str) -> None:
    import psutil

    use(proxy, module, "m.never")
    sh(proxy, module, "(curl -sS -o /dev/null -w '%{http_code}' https://handled.test/ > /tmp/code) > /dev/null 2>&1 &")
    egress = next(c for c in psutil.Process(proxy.process.pid).children() if c.name() == "cbx-egress")
    time.sleep(0.3)
    egress.children()[0].kill()
    end = time.monotonic() + 20
    while (code := sh(proxy, module, "cat /tmp/code")) == "":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert code == "502"
    assert json.loads(sh(proxy, module, "curl -sS https://one.test/"))["path"] == "/", "requests without handlers go on"


def test_modules_are_kept_and_checked(proxy: Server, module: str) -> None:
    bad = proxy.call("PUT", "/v1/handlers/m", json={"source": "export default {\n  outbound: (\n"})
    assert bad.status_code == 400 and "line 3" in bad.json()["error"]["message"], bad.text
    for source in (
        "import fs from 'node:fs'; export default () => {};",
        "export default 7;",
        "throw new Error('at load')",
    ):
        assert proxy.call("PUT", "/v1/handlers/other", json={"source": source}).status_code == 400
    assert proxy.call("GET", "/v1/handlers/m").json()["source"] == MODULE
    use(proxy, module, "m.globals")
    assert json.loads(sh(proxy, module, "curl -sS https://handled.test/")) == {
        "process": "undefined", "require": "undefined", "Buffer": "undefined"}  # fmt: skip
    names = [h["name"] for h in proxy.call("GET", "/v1/handlers").json()["handlers"]]
    assert "m" in names and "other" not in names
    assert proxy.call("DELETE", "/v1/handlers/m").status_code == 204
    assert "no handler" in sh(proxy, module, "curl -sS https://handled.test/")
    assert proxy.call("DELETE", "/v1/handlers/m").status_code == 404
