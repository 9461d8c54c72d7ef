"""Secrets of handlers: placeholders that are filled in at fetch, and clear text only for modules that the secret names."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from conftest import Server

from egress.conftest import handler, log, policy, secret, sh

VALUE = "a-value/that is+secret"
MODULE = """
const send = (url, headers) => fetch(url, { headers });
export default { outboundHandlers: {
  read: (request, env) => new Response(JSON.stringify(env)),
  header: (request, env) => send('https://one.test/h', { 'x-key': `Token ${env.KEY}` }),
  basic: (request, env) => send('https://one.test/b', { authorization: `Basic ${btoa(`me:${env.KEY}`)}` }),
  query: (request, env) => fetch(`https://one.test/q?a=1&key=${encodeURIComponent(env.KEY)}`),
  path: (request, env) => fetch(`https://one.test/p/${env.KEY}`),
  body: (request, env) => fetch('https://one.test/body', { method: 'POST', body: env.KEY }),
  elsewhere: (request, env) => send('https://two.test/', { 'x-key': env.KEY }),
  address: (request, env) => send('https://10.66.0.2/', { 'x-key': env.KEY }),
  plain: (request, env) => send('http://one.test/', { 'x-key': env.KEY }),
  redirected: (request, env) => send('https://one.test/redirect/302?to=https://two.test/', { 'x-key': env.KEY }),
  pass: (request) => fetch(request),
} };
"""


@pytest.fixture
def module(proxy: Server, sandbox: str) -> str:
    secret(proxy, "held", value=VALUE, hosts=["one.test"])
    handler(proxy, "held", MODULE, env={"KEY": "held"})
    return sandbox


def ask(server: Server, name: str, which: str, options: str = "", url: str = "https://handled.test/") -> str:
    policy(server, name, {"outboundByHost": {"handled.test": f"held.{which}"}})
    return sh(server, name, f"curl -sS {options} {url}")


def spellings() -> list[str]:
    return [VALUE, base64.b64encode(VALUE.encode()).decode(), VALUE.replace("/", "%2F")]


def test_a_handler_cannot_give_away_what_it_does_not_have(proxy: Server, module: str) -> None:
    shown = json.loads(ask(proxy, module, "read"))
    assert shown["KEY"].startswith("cbx-secret-") and VALUE not in shown["KEY"]
    placeholder = shown["KEY"]
    assert "secrets" not in log(proxy, module)[-1]
    # nor does what it gave away become worth something: not by itself, and not through the handler
    assert placeholder in sh(proxy, module, f"curl -sS -H 'x-key: {placeholder}' https://one.test/")
    out = ask(proxy, module, "pass", f"-D- -H 'x-key: {placeholder}'")
    assert " 502" in out and "placeholder" in out


@pytest.mark.parametrize("which", ["header", "basic", "query"])
def test_filled_in_for_its_hosts(proxy: Server, module: str, which: str) -> None:
    out = ask(proxy, module, which)
    assert "cbx-secret-" not in out and "**********" in out, "what comes back is searched for it"
    for text in spellings():
        assert text not in out
    entry = next(e for e in log(proxy, module) if e["host"] == "one.test")
    assert (entry["status"], entry["secrets"]) == (200, ["held"])
    assert "cbx-secret-" not in entry["path"]


@pytest.mark.parametrize("which", ["path", "body"])
def test_not_filled_in_elsewhere_in_a_request(proxy: Server, module: str, which: str) -> None:
    out = ask(proxy, module, which)
    assert VALUE not in out and "secrets" not in log(proxy, module)[-1]


@pytest.mark.parametrize(
    ("which", "reason"),
    [
        ("elsewhere", "may not be sent to two.test"),
        ("address", "may not be sent to 10.66.0.2"),
        ("plain", "over TLS alone"),
    ],
)
def test_not_for_others(proxy: Server, module: str, which: str, reason: str) -> None:
    out = ask(proxy, module, which, "-D-")
    assert reason in out and " 520" in out
    entry = next(e for e in log(proxy, module) if e["decision"] == "deny")
    assert reason in entry["reason"]


def test_not_for_other_sandboxes_or_redirects(proxy: Server, module: str) -> None:
    assert " 520" in ask(proxy, module, "redirected", "-D-"), "the header goes on, and two.test may not have it"
    secret(proxy, "held", value=VALUE, hosts=["one.test"], sandboxes=["somebody-else"])
    assert "may not be sent" in ask(proxy, module, "header", "-D-")


def test_clear_text_for_modules_that_the_secret_names(proxy: Server, module: str) -> None:
    secret(proxy, "held", value=VALUE, hosts=["one.test"], handlers=["held"])
    assert json.loads(ask(proxy, module, "read"))["KEY"] == VALUE
    assert log(proxy, module)[-1]["secrets"] == ["held"], "the log names it"
    [shown] = [s for s in proxy.call("GET", "/v1/secrets").json()["secrets"] if s["name"] == "held"]
    assert shown["handlers"] == ["held"]
    secret(proxy, "held", value=VALUE, hosts=["one.test"], handlers=["held"], sandboxes=["somebody-else"])
    assert "not for this sandbox" in ask(proxy, module, "read", "-D-")
    secret(proxy, "held", value=VALUE, hosts=["one.test"], handlers=["other"])
    assert VALUE not in ask(proxy, module, "read")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"KEY": "nowhere"}, "there is no secret"),
        ({"KEY": "aws-one"}, "neither value nor password"),
        ({"KEY": ""}, "there is no secret"),
    ],
)
def test_an_env_that_cannot_be_given(proxy: Server, env: dict[str, Any], said: str) -> None:
    secret(proxy, "aws-one", accessKeyId="AKIA", secretAccessKey="x")
    r = proxy.call("PUT", "/v1/handlers/bad", json={"source": "export default () => new Response('x');", "env": env})
    assert r.status_code == 400 and said in r.text, r.text


@pytest.mark.parametrize("handlers", [[], "held", [1], [""]])
def test_bad_lists_of_handlers(proxy: Server, handlers: Any) -> None:
    r = proxy.call("PUT", "/v1/secrets/bad", json={"value": "x", "hosts": ["*"], "handlers": handlers})
    assert r.status_code == 400 and r.json()["error"]["code"] == "INVALID_FIELD", r.text
