"""The command line: sandboxes with options, repositories, buckets."""

from __future__ import annotations

import json
import os
from typing import Any

from test_cli import cli, environment

__all__ = ["cli"]  # a fixture


def test_create_set_and_info(cli: Any, server: Any, box: str) -> None:
    made = cli(
        "create", box, "--type", "lite", "--disk", "64M", "--sleep-after", "10m", "--label", "team=red", "--env", "A=1"
    )
    assert made.stdout == f"{box}\n", made.stderr
    info = json.loads(cli("info", box, "--json").stdout)
    assert (info["limits"]["disk"], info["limits"]["memory"]) == (64 << 20, 256 << 20)
    assert (info["sleepAfter"], info["labels"], info["env"]) == (600000, {"team": "red"}, {"A": "1"})
    assert info["usage"]["state"] == "running"
    changed = json.loads(
        cli("set", box, "--memory", "512M", "--cpu", "1.5", "--sleep-after", "never", "--keep-alive", "--json").stdout
    )
    assert (changed["limits"]["memory"], changed["limits"]["cpu"], changed["keepAlive"]) == (512 << 20, 1.5, True)
    assert "sleepAfter" not in changed
    shown = cli("info", box).stdout
    assert "512.0 MiB" in shown and "never (keepAlive)" in shown and "CPU used" in shown
    assert cli("info", "not-there").returncode == 1
    for wrong in (["--memory", "much"], ["--cpu", "x"], ["--label", "x"], ["--type", "huge"], ["--disk", "1"]):
        assert cli("set", box, *wrong).returncode in (2, 3), wrong
    assert cli("set", box, "--disk", "1X").returncode == 2


def test_git_clone(cli: Any, server: Any, box: str) -> None:
    make = "git init -q -b main /tmp/s && cd /tmp/s && git config user.name t && git config user.email t@t.test"
    cli(
        "exec",
        box,
        f"{make} && echo 1 > f && git add f && git commit -qm 1 && git tag v1 && git commit -q --allow-empty -m 2",
    )
    assert cli("git", "clone", box, "/tmp/s").stdout == "/workspace/s\n"
    told = json.loads(
        cli("git", "clone", box, "file:///tmp/s", "old", "--branch", "v1", "--depth", "1", "--json").stdout
    )
    assert (told["targetDir"], told["branch"]) == ("/workspace/old", "v1")
    again = cli("git", "clone", box, "/tmp/s")
    assert again.returncode == 1
    assert "already exists" in again.stderr and "FILE_EXISTS" in again.stderr
    assert cli("git", "clone", box, "--", "-x").returncode in (2, 3)
    assert cli("git", "fetch", box, "/tmp/s").returncode == 2


def test_buckets(cli: Any, server: Any, box: str) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B"}
    where = ["--endpoint", "http://store.invalid"]
    r = cli("bucket", "mount", box, "reports", "/data", *where, env={**environment(server), **keys})
    assert r.returncode == 3
    assert "BUCKET_MOUNT_FAILED" in r.stderr
    bare = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    r = cli("bucket", "mount", box, "reports", "/data", *where, env={**bare, **environment(server)})
    assert r.returncode == 2
    assert "AWS_ACCESS_KEY_ID" in r.stderr
    assert cli("bucket", "mount", box, "reports", "/data").returncode == 2
    assert cli("bucket", "ls", box).stdout.split() == ["PATH", "BUCKET", "STATE", "MODE", "ENDPOINT"]
    assert json.loads(cli("bucket", "ls", box, "--json").stdout) == []
    assert cli("bucket", "umount", box, "/data").returncode == 1
    assert cli("bucket", "eat", box).returncode == 2


def test_a_process_that_keeps_awake(cli: Any, server: Any, box: str) -> None:
    assert cli("exec", box, "--background", "--keep-awake", "--id", "w", "sleep 30").stdout == "w\n"
    assert server.call("GET", f"/v1/sandboxes/{box}/processes/w").json()["keepAwake"] is True
    assert cli("exec", box, "--keep-awake", "true").returncode == 2
