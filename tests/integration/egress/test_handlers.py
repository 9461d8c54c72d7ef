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
    globals: () => Response.json({ process: typeof process, require: typeof require, Buffer: typeof Buffer }),
    count: () => new Response(new ReadableStream({ async start(c) { for (let i = 0; i < 3; i++) c.enqueue(new TextEncoder().encode(i + '\\n')); c.close(); } })),
  },
};
"""


@pytest.fixture
def module(proxy: Server, sandbox: str) -> str:
    secret(proxy, "key", value="a-key-of-20-letters.")
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
