"""What is let through and what is not, and that a change counts at once."""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

import pytest
from conftest import Server

from egress.conftest import log, policy, secret, sh
from egress.net import NETWORK

STATUS = "curl -sS -o /dev/null -w '%{http_code}' "


def status(server: Server, name: str, url: str, *options: str) -> str:
    return sh(server, name, STATUS + " ".join(options) + " " + shlex.quote(url))


def reason(server: Server, name: str, url: str) -> str:
    return sh(server, name, f"curl -sS -o /dev/null -w '%header{{x-cellbox-egress-reason}}' {shlex.quote(url)}")


@pytest.mark.parametrize(
    ("document", "url", "code"),
    [
        ({}, "https://one.test/", "200"),
        ({"enableInternet": False, "rules": []}, "https://one.test/", "520"),
        ({"deniedHosts": ["one.*"]}, "https://one.test/", "520"),
        ({"deniedHosts": ["*.one.test"]}, "https://one.test/", "200"),
        ({"allowedHosts": ["two.test"]}, "https://one.test/", "520"),
        ({"allowedHosts": ["*.test"], "deniedHosts": ["one.test"]}, "https://one.test/", "520"),
        ({"enableInternet": False, "allowedHosts": ["one.test"]}, "https://one.test/", "200"),
        ({"allowedHosts": ["one.test:443"]}, "http://one.test/", "520"),
        ({"allowedHosts": ["ONE.test."]}, "https://one.test/", "200"),
        ({"rules": [{"match": {"paths": ["/admin*"]}, "action": "deny"}]}, "https://one.test/admin/x", "520"),
        ({"rules": [{"match": {"paths": ["/admin*"]}, "action": "deny"}]}, "https://one.test//%61dmin", "520"),
        ({"rules": [{"match": {"paths": ["/admin*"]}, "action": "deny"}]}, "https://one.test/x/..%2fadmin", "520"),
        ({"rules": [{"match": {"methods": ["POST"]}, "action": "deny"}]}, "https://one.test/", "200"),
        ({"rules": [{"match": {"schemes": ["http"]}, "action": "deny"}]}, "http://one.test/", "520"),
        ({"rules": [{"match": {"ports": ["400-500"]}, "action": "deny"}]}, "https://one.test/", "520"),
    ],
)  # fmt: skip
def test_decisions(proxy: Server, sandbox: str, document: dict[str, Any], url: str, code: str) -> None:
    policy(proxy, sandbox, document, world_too="enableInternet" not in document or "allowedHosts" in document)
    assert status(proxy, sandbox, url, "--path-as-is") == code


def test_a_blocked_request_says_why(proxy: Server, sandbox: str) -> None:
    policy(proxy, sandbox, {"deniedHosts": ["denied.test"]})
    assert reason(proxy, sandbox, "https://denied.test/") == "the host is in deniedHosts"
    assert "no public one" in reason(proxy, sandbox, "https://loopback.test/")
    assert "does not exist" in reason(proxy, sandbox, "http://nxhost.test/")
    assert "not trusted" in reason(proxy, sandbox, "https://one.test:4443/")
    entry = log(proxy, sandbox)[0]
    assert (entry["decision"], entry["rule"], entry["status"]) == ("deny", "deniedHosts", 520)


@pytest.mark.parametrize("host", ["loopback.test", "metadata.test"])
def test_names_for_forbidden_addresses(proxy: Server, sandbox: str, host: str) -> None:
    assert status(proxy, sandbox, f"http://{host}/") == "520"


def test_rebinding(proxy: Server, sandbox: str) -> None:
    """The address that is checked is the one that is dialled, each time."""
    codes = {status(proxy, sandbox, "http://rebind.test/once") for _ in range(6)}
    assert codes <= {"200", "520"} and "520" in codes


def test_fronting_is_refused(proxy: Server, sandbox: str) -> None:
    policy(proxy, sandbox, {"allowedHosts": ["one.test"]})
    for version in ("--http1.1", "--http2"):
        assert status(proxy, sandbox, "https://one.test/", version, "-H 'Host: two.test'") in ("421", "520")
    assert status(proxy, sandbox, "http://one.test/", "-H 'Host: two.test'") in ("421", "520")
    tunnelled = "--connect-to one.test:443:two.test:443 https://one.test/"
    assert sh(proxy, sandbox, f"curl -sS {tunnelled} | head -c 1") == "{", "the server name decides where it goes"


def test_a_change_counts_on_open_connections(proxy: Server, sandbox: str) -> None:
    code = (
        "import http.client, sys; c = http.client.HTTPSConnection('one.test'); "
        "\nfor line in sys.stdin:\n    c.request('GET', '/'); r = c.getresponse(); r.read(); print(r.status, flush=True)"
    )
    started = proxy.call(
        "POST", f"/v1/sandboxes/{sandbox}/processes", json={"command": f"touch /tmp/go; tail -f /tmp/go | python3 -c {shlex.quote(code)}", "processId": "conn"}
    )  # fmt: skip
    assert started.status_code in (200, 201), started.text
    sh(proxy, sandbox, "echo a >> /tmp/go")
    wait_for(lambda: logs(proxy, sandbox, "conn") == "200\n")
    policy(proxy, sandbox, {"deniedHosts": ["one.test"]})
    sh(proxy, sandbox, "echo b >> /tmp/go")
    wait_for(lambda: logs(proxy, sandbox, "conn") == "200\n520\n")


def logs(server: Server, name: str, process: str) -> str:
    r = server.call("GET", f"/v1/sandboxes/{name}/processes/{process}/logs")
    return "".join(e.get("data", "") for e in r.json().get("entries", [])) or r.json().get("stdout", "")


def wait_for(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it has not come"
        time.sleep(0.05)


def test_a_stream_ends_when_it_is_denied(proxy: Server, sandbox: str) -> None:
    sh(
        proxy,
        sandbox,
        "(curl -sSN https://one.test/events > /tmp/out 2> /tmp/err; echo done >> /tmp/out) > /dev/null 2>&1 &",
    )
    wait_for(lambda: "data: one" in sh(proxy, sandbox, "cat /tmp/out 2>/dev/null || true"))
    policy(proxy, sandbox, {"deniedHosts": ["one.test"]})
    wait_for(lambda: "done" in sh(proxy, sandbox, "cat /tmp/out"))


def test_tcp_only_by_a_rule(proxy: Server, sandbox: str) -> None:
    talk = "import socket; s = socket.create_connection(('mail.test', 2525), 10); print(s.recv(100)); s.sendall(b'hi'); print(s.recv(10))"
    rule = {
        "name": "mail",
        "match": {"hosts": ["mail.test"], "cidrs": [NETWORK], "ports": [2525]},
        "action": "tcp",
    }
    policy(proxy, sandbox, {"rules": [rule]})
    assert sh(proxy, sandbox, f"python3 -c {shlex.quote(talk)}") == "b'220 mail.test\\r\\n'\nb'hi'\n"
    assert log(proxy, sandbox, "tcp")[-1]["rule"] == "mail"
    policy(proxy, sandbox, {})
    send = "import socket; s = socket.create_connection(('mail.test', 2525), 10); s.sendall(b'\\0EHLO'); print(s.recv(100))"
    r = proxy.call("POST", f"/v1/sandboxes/{sandbox}/exec", json={"command": f"python3 -c {shlex.quote(send)}"}).json()
    assert r["exitCode"] != 0 or r["stdout"] == "b''\n", r


def test_spliced_hosts_show_their_own_certificate(proxy: Server, sandbox: str, world: Any) -> None:
    policy(proxy, sandbox, {"splice": ["splice.test"]})
    show = "openssl s_client -connect {0}:443 -servername {0} < /dev/null 2>/dev/null | openssl x509 -noout -issuer"
    probe = "python3 -c \"import ssl; print(ssl.get_server_certificate(('{0}', 443)))\""
    del show
    theirs = (world.folder / "server.pem").read_text().strip()
    assert sh(proxy, sandbox, probe.format("splice.test")).strip() == theirs
    assert sh(proxy, sandbox, probe.format("one.test")).strip() != theirs
    assert log(proxy, sandbox, "tls")[-1]["decision"] == "splice"


def test_rates_and_quotas(proxy: Server, sandbox: str) -> None:
    rule = {
        "name": "slow",
        "match": {"hosts": ["one.test"]},
        "action": "allow",
        "rate": {"requestsPerMinute": 1, "burst": 2},
    }
    policy(proxy, sandbox, {"rules": [rule]})
    codes = sh(proxy, sandbox, f"for i in 1 2 3; do {STATUS} https://one.test/; echo; done").split()
    assert codes == ["200", "200", "429"]
    policy(proxy, sandbox, {"limits": {"quota": {"bytes": 100_000}}})
    r = proxy.call(
        "POST", f"/v1/sandboxes/{sandbox}/exec", json={"command": "curl -sS https://two.test/bytes/1000000 | wc -c"}
    ).json()
    assert int(r["stdout"]) < 1_000_000
    assert status(proxy, sandbox, "https://two.test/") == "429"


def test_an_error_leaves_the_old_policy(proxy: Server, sandbox: str) -> None:
    policy(proxy, sandbox, {"deniedHosts": ["one.test"]})
    document = '{\n "deniedHosts": [],\n "rules": [\n  {"match": {"cidrs": ["10.0.0.1/8"]}}\n ]\n}'
    r = proxy.call("PUT", f"/v1/sandboxes/{sandbox}/egress", data=document)
    assert r.status_code == 400 and r.json()["error"]["code"] == "EGRESS_POLICY_INVALID", r.text
    assert r.json()["error"]["details"]["line"] == 4
    assert "rules[0].match.cidrs[0]" in r.json()["error"]["message"]
    assert status(proxy, sandbox, "https://one.test/") == "520"
    assert proxy.call("GET", f"/v1/sandboxes/{sandbox}/egress").json()["deniedHosts"] == ["one.test"]


def test_patch_merges_and_delete_resets(proxy: Server, sandbox: str) -> None:
    policy(proxy, sandbox, {"deniedHosts": ["one.test"]})
    r = proxy.call("PATCH", f"/v1/sandboxes/{sandbox}/egress", json={"deniedHosts": None, "enableInternet": True})
    assert "deniedHosts" not in r.json() and r.json()["rules"], r.text
    assert status(proxy, sandbox, "https://one.test/") == "200"
    assert proxy.call("DELETE", f"/v1/sandboxes/{sandbox}/egress").json() == {}
    assert status(proxy, sandbox, "https://one.test/") == "520", "the world's network is no public one"


def test_policies_outlive_sleep_and_processes(proxy: Server, sandbox: str) -> None:
    import psutil

    policy(proxy, sandbox, {"deniedHosts": ["one.test"]})
    [egress] = [c for c in psutil.Process(proxy.process.pid).children() if c.name() == "cbx-egress"]
    before = sh(proxy, sandbox, f"{STATUS} https://two.test/")
    certificate = "cat /usr/local/share/ca-certificates/cellbox.crt"
    trusted = sh(proxy, sandbox, certificate)
    egress.kill()
    assert before == "200"
    wait_for(lambda: status(proxy, sandbox, "https://two.test/") == "200")
    assert status(proxy, sandbox, "https://one.test/") == "520", "the box trusts the authority of the new process"
    wait_for(lambda: sh(proxy, sandbox, certificate) != trusted)
    assert status(proxy, sandbox, "https://two.test/") == "200", "it trusts the new certificate"
    assert sh(proxy, sandbox, "grep -c 'Cellbox egress' /etc/ssl/certs/ca-certificates.crt") == "2\n", "and no other"
    proxy.gateway().kill()
    proxy.wait_ready()
    assert status(proxy, sandbox, "https://one.test/") == "520"


def test_the_servers_default(own_server: Any, tmp_path: Any) -> None:
    file = tmp_path / "default.json"
    file.write_text('{"enableInternet": false}')
    server = own_server("--egress-policy", str(file), "--pool", "1", "--pool-node", "0")
    assert status(server, "plain", "https://one.test/") == "520"
    assert server.call("GET", "/v1/sandboxes/plain/egress").json() == {"enableInternet": False}
    policy(
        server,
        "own",
        {"rules": [{"match": {"hosts": ["one.test"]}, "action": "respond", "respond": {"status": 201}}]},
        world_too=False,
    )
    assert status(server, "own", "https://one.test/") == "201"
    assert server.call("DELETE", "/v1/sandboxes/own/egress").status_code == 200
    assert status(server, "own", "https://one.test/") == "520"


def test_created_with_a_policy(proxy: Server, sandbox: str) -> None:
    proxy.call("DELETE", f"/v1/sandboxes/{sandbox}")
    r = proxy.call("PUT", f"/v1/sandboxes/{sandbox}", json={"egress": {"enableInternet": False}})
    assert r.status_code == 201, r.text
    assert status(proxy, sandbox, "https://one.test/") == "520"


def test_secrets_are_write_only_and_bound(proxy: Server, sandbox: str) -> None:
    value = "sk-this-is-very-secret-0001"
    secret(proxy, "bound", value=value, hosts=["two.test"])
    assert value not in proxy.call("GET", "/v1/secrets").text
    rule = {"name": "inject", "inject": [{"header": "x-key", "secret": "bound"}]}
    policy(proxy, sandbox, {"rules": [rule]})
    out = sh(proxy, sandbox, "curl -sSi https://two.test/")
    assert "x-key" in out and value not in out
    assert "may not be sent" in reason(proxy, sandbox, "https://one.test/")
    assert value not in sh(proxy, sandbox, "curl -sSiL 'https://two.test/redirect/302?to=https://one.test/' || true")
    stored = b"".join(f.read_bytes() for f in (proxy.state / "egress").rglob("*") if f.is_file())
    assert value.encode() not in stored
    assert value not in "".join(proxy.log)
    assert proxy.call("DELETE", "/v1/secrets/bound").status_code == 204
    assert proxy.call("DELETE", "/v1/secrets/bound").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"value": "x"},
        {"hosts": ["*"]},
        {"value": "a\nb", "hosts": ["*"]},
        {"value": 1, "hosts": ["*"]},
        {"value": "x", "hosts": []},
    ],
)
def test_bad_secrets(proxy: Server, body: dict[str, Any]) -> None:
    r = proxy.call("PUT", "/v1/secrets/bad", json=body)
    assert r.status_code == 400 and r.json()["error"]["code"] == "INVALID_FIELD", r.text


def test_injection_kinds(proxy: Server, sandbox: str) -> None:
    secret(proxy, "kinds", value="secret-of-kinds-123")
    rules = [
        {"name": "q", "match": {"hosts": ["one.test"]}, "inject": [{"query": "api_key", "secret": "kinds"}], "setHeaders": {"X-Set": "1"}, "removeHeaders": ["User-Agent"]},
        {"name": "f", "match": {"hosts": ["two.test"]}, "inject": [{"header": "Authorization", "secret": "kinds", "format": "Token {secret}"}]},
    ]  # fmt: skip
    policy(proxy, sandbox, {"rules": rules})
    one = json.loads(sh(proxy, sandbox, "curl -sS 'https://one.test/x?api_key=mine&b=1'"))
    assert one["path"] == "/x?b=1&api_key=" + "*" * len("secret-of-kinds-123")
    assert one["headers"]["x-set"] == "1" and "user-agent" not in one["headers"]
    two = json.loads(sh(proxy, sandbox, "curl -sS -H 'Authorization: mine' https://two.test/"))
    assert two["headers"]["authorization"] == "Token " + "*" * len("secret-of-kinds-123")
    plain = json.loads(sh(proxy, sandbox, "curl -sS http://two.test/"))
    assert "authorization" not in plain["headers"], "credentials go over TLS alone"


def test_no_spelling_of_a_credential_comes_back(proxy: Server, sandbox: str) -> None:
    key = 'k/ey+with "all" kinds~of?characters&in=it'
    secret(proxy, "spelled", value=key, hosts=["one.test"])
    policy(
        proxy,
        sandbox,
        {
            "rules": [
                {"name": "k", "inject": [{"header": "x-key", "secret": "spelled"}], "match": {"hosts": ["one.test"]}}
            ]
        },
    )
    for version in ("--http1.1", "--http2"):
        lines = sh(proxy, sandbox, f"curl -sS {version} https://one.test/spell").split("\n")
        assert len(lines) == 13
        for line in lines:
            assert line.count("*") >= len(line) - 12, line
    out = sh(proxy, sandbox, "curl -sSi https://one.test/gzip")
    assert " 502" in out and "cannot be searched for the credential" in out
    assert "200" in sh(proxy, sandbox, "curl -sSI https://one.test/gzip").split("\n")[0], (
        "a head alone has nothing to search"
    )


def test_the_log_follows_and_exports(proxy: Server, sandbox: str) -> None:
    sh(proxy, sandbox, "curl -sS https://one.test/first?token=abc")
    r = proxy.call("GET", f"/v1/sandboxes/{sandbox}/egress/log").json()
    stream = proxy.call(
        "GET",
        f"/v1/sandboxes/{sandbox}/egress/log?cursor={r['cursor']}",
        headers={"Accept": "text/event-stream"},
        stream=True,
    )
    sh(proxy, sandbox, "curl -sS https://one.test/second")
    for line in stream.iter_lines():
        if line.startswith(b"data:") and b"/second" in line:
            break
    stream.close()
    har = proxy.call("GET", f"/v1/sandboxes/{sandbox}/egress/log?format=har").json()["log"]
    urls = [e["request"]["url"] for e in har["entries"]]
    assert urls == ["https://one.test/first?token=", "https://one.test/second"]
    assert "cellbox_egress_requests_total" in proxy.call("GET", "/metrics").text
    assert proxy.call("GET", f"/v1/sandboxes/{sandbox}/usage").json()["egressBytes"] > 0
    assert proxy.call("GET", f"/v1/sandboxes/{sandbox}/egress/log?cursor=x").status_code == 400
