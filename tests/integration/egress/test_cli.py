"""The command line of egress."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from conftest import BUILD, Server

from egress.conftest import sh
from egress.net import ALLOW

HANDLER = "export default { outbound: (request, env, ctx) => new Response(`${env.K.length} ${ctx.params}`) };\n"


def cli(server: Server, *args: str, stdin: str = "", status: int = 0) -> str:
    env = {**os.environ, "CELLBOX_URL": server.url, "CELLBOX_TOKEN": server.token}
    r = subprocess.run(
        [BUILD / "bin" / "cellbox", *args], input=stdin, env=env, capture_output=True, text=True, timeout=60
    )
    assert r.returncode == status, r.stderr
    return r.stdout + r.stderr


def test_commands(proxy: Server, sandbox: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{\n  "rules": [\n    {"match": {"ports": [0]}}\n  ]\n}')
    assert f"{file}:3:" in cli(proxy, "egress", "set", sandbox, str(file), status=1)
    file.write_text(json.dumps({"rules": [ALLOW]}))
    cli(proxy, "egress", "set", sandbox, str(file))
    assert json.loads(cli(proxy, "egress", "deny", sandbox, "two.test"))["deniedHosts"] == ["two.test"]
    sh(proxy, sandbox, "curl -sS https://one.test/seen https://two.test/blocked")
    shown = cli(proxy, "egress", "log", sandbox)
    assert "allow" in shown and "one.test/seen" in shown and "the host is in deniedHosts" in shown
    lines = [json.loads(line) for line in cli(proxy, "egress", "log", sandbox, "--json").splitlines()]
    assert {e["host"] for e in lines} == {"one.test", "two.test"}
    assert json.loads(cli(proxy, "egress", "log", sandbox, "--har"))["log"]["version"] == "1.2"
    assert cli(proxy, "egress", "reset", sandbox).strip() == "{}"


def test_following(proxy: Server, sandbox: str) -> None:
    env = {**os.environ, "CELLBOX_URL": proxy.url, "CELLBOX_TOKEN": proxy.token}
    p = subprocess.Popen(
        [BUILD / "bin" / "cellbox", "egress", "log", "-f", sandbox], env=env, stdout=subprocess.PIPE, text=True
    )
    sh(proxy, sandbox, "curl -sS https://one.test/followed || true")
    assert p.stdout
    for line in p.stdout:
        if "/followed" in line:
            break
    p.terminate()
    p.wait(10)


def test_secrets_and_handlers(proxy: Server, sandbox: str) -> None:
    assert "--host" in cli(proxy, "secret", "set", "cli", "-", stdin="0123456789\n", status=2)
    cli(proxy, "secret", "set", "cli", "-", "--host", "*", stdin="0123456789\n")
    assert "cli" in cli(proxy, "secret", "ls") and "0123456789" not in cli(proxy, "secret", "ls", "--json")
    cli(proxy, "handler", "set", "cli", "-", "--env", "K=cli", stdin=HANDLER)
    assert cli(proxy, "handler", "show", "cli") == HANDLER
    assert "loaded" in cli(proxy, "handler", "ls")
    cli(proxy, "egress", "set", sandbox, "-", stdin='{"outbound": {"name": "cli", "params": "p"}}')
    assert sh(proxy, sandbox, "curl -sS https://one.test/") == "43 p", "a placeholder"
    cli(proxy, "secret", "set", "cli", "-", "--host", "*", "--handler", "cli", stdin="0123456789\n")
    assert sh(proxy, sandbox, "curl -sS https://one.test/") == "10 p"
    cli(proxy, "handler", "rm", "cli")
    cli(proxy, "secret", "rm", "cli")
    assert "there is none" in cli(proxy, "secret", "rm", "cli", status=1)
