"""git:checkout against a git server that wants credentials."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests
from conftest import Server
from sse import events

from egress.conftest import log, sh

URL = "https://git.test/repo.git"
GIT_PASSWORD = "git-password-0815"  # the one of world.py
LOGIN = {"username": "robot", "password": GIT_PASSWORD}


@pytest.fixture(autouse=True)
def the_world_is_open(proxy: Server, sandbox: str) -> Iterator[None]:
    """And nothing of a checkout is left in egress when it is over."""
    yield
    end = time.monotonic() + 10
    while rule_names(proxy, sandbox) != ["world"] or stored_secrets(proxy):
        assert time.monotonic() < end, "the credentials of a checkout outlive it"
        time.sleep(0.05)


def rule_names(server: Server, box: str) -> list[str]:
    return [r["name"] for r in server.call("GET", f"/v1/sandboxes/{box}/egress").json()["rules"]]


def stored_secrets(server: Server) -> list[str]:
    return [f.name for f in (server.state / "egress" / "secrets").glob("_git-*")]


def checkout(server: Server, box: str, url: str = URL, **body: Any) -> Any:
    return server.call("POST", f"/v1/sandboxes/{box}/git:checkout", json={"url": url, **body}, timeout=60)


def failure(server: Server, box: str, url: str = URL, **body: Any) -> tuple[int, str, str]:
    r = checkout(server, box, url, **body)
    e = r.json()["error"]
    return r.status_code, e["code"], e["message"]


def test_clones_with_credentials(proxy: Server, sandbox: str) -> None:
    r = checkout(proxy, sandbox, credentials=LOGIN)
    assert r.status_code == 200, r.text
    got = r.json()
    assert (got["success"], got["repoUrl"], got["branch"], got["targetDir"]) == (True, URL, "main", "/workspace/repo")
    assert got["commit"] == sh(proxy, sandbox, "git -C repo rev-parse HEAD").strip()
    assert sh(proxy, sandbox, "git -C repo remote get-url origin").strip() == URL
    assert all(s.startswith("_git-") for e in log(proxy, sandbox) for s in e["secrets"])
    again = failure(proxy, sandbox, credentials=LOGIN)
    assert again[:2] == (409, "FILE_EXISTS")
    assert sh(proxy, sandbox, "cat repo/README"), "a second checkout leaves the first alone"


@pytest.mark.parametrize(
    "url",
    [
        f"https://robot:{GIT_PASSWORD}@git.test/repo.git",
        f"https://robot:{GIT_PASSWORD.replace('-', '%2d')}@git.test/repo",
    ],
)
def test_credentials_in_the_address(proxy: Server, sandbox: str, url: str) -> None:
    r = checkout(proxy, sandbox, url, targetDir="deep/er/dir")
    assert r.status_code == 200, r.text
    assert GIT_PASSWORD not in r.text
    assert r.json()["targetDir"] == "/workspace/deep/er/dir"
    assert "@" not in sh(proxy, sandbox, "git -C deep/er/dir remote get-url origin")


def test_secrets_are_nowhere(proxy: Server, sandbox: str) -> None:
    """Not in arguments or environments while it runs, and not on disk or in a log afterwards."""
    spy = (
        "import glob, time\n"
        "seen = set()\n"
        "end = time.time() + 20\n"
        "while time.time() < end and not __import__('os').path.exists('/tmp/done'):\n"
        "    for p in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ'):\n"
        "        try: seen.add(open(p, 'rb').read())\n"
        "        except OSError: pass\n"
        "hits = [s for s in seen if b'git-pass' + b'word' in s]\n"
        "gits = [s for s in seen if b'git-remote-https' in s]\n"
        "(len(hits), len(gits) > 0)"
    )
    answer: dict[str, Any] = {}
    watcher = threading.Thread(target=lambda: answer.update(proxy.run(sandbox, spy)))
    watcher.start()
    time.sleep(1)
    for i in range(8):
        assert checkout(proxy, sandbox, credentials=LOGIN, targetDir=f"r{i}").status_code == 200
    wrong = failure(proxy, sandbox, f"https://robot:x{GIT_PASSWORD}@git.test/repo.git", targetDir="bad")
    assert GIT_PASSWORD not in wrong[2]
    sh(proxy, sandbox, "touch /tmp/done")
    watcher.join()
    assert answer["results"][0]["data"]["text/plain"] == "(0, True)", answer
    assert sh(proxy, sandbox, "grep -rlI git-password /workspace /tmp /home /root 2>/dev/null || true") == ""
    assert GIT_PASSWORD not in "".join(proxy.log)
    assert GIT_PASSWORD not in proxy.call("GET", f"/v1/sandboxes/{sandbox}/egress/log").text
    ours = psutil.Process(proxy.process.pid)
    for p in [ours, *ours.children(recursive=True)]:
        assert GIT_PASSWORD not in " ".join(p.cmdline())


def test_nothing_of_a_box_ever_holds_the_credentials(proxy: Server, sandbox: str) -> None:
    """Not even the memory of git: programs of the box look for them as long as it waits for the server."""
    hunt = (
        "import glob, os, time\n"
        "needle, hits, seen = b'git-pass' + b'word', [], 0\n"
        "end = time.time() + 20\n"
        "while time.time() < end and not os.path.exists('/tmp/over'):\n"
        "    for p in glob.glob('/proc/[0-9]*/maps'):\n"
        "        pid = p.split('/')[2]\n"
        "        try:\n"
        "            if b'git' not in open(f'/proc/{pid}/cmdline', 'rb').read(): continue\n"
        "            memory = open(f'/proc/{pid}/mem', 'rb', 0)\n"
        "            for line in open(p):\n"
        "                a, b = (int(n, 16) for n in line.split()[0].split('-'))\n"
        "                if 'r' not in line.split()[1] or '[v' in line: continue\n"
        "                memory.seek(a); seen += 1\n"
        "                if needle in memory.read(min(b - a, 1 << 26)): hits.append(line)\n"
        "        except (OSError, OverflowError, ValueError): pass\n"
        "print(len(hits), seen > 0)"
    )
    found: list[str] = []
    sh(proxy, sandbox, "cat > /tmp/hunt.py", stdin=hunt)
    watcher = threading.Thread(target=lambda: found.append(sh(proxy, sandbox, "python3 /tmp/hunt.py")))
    watcher.start()
    slow = f"https://robot:{GIT_PASSWORD}@one.test/events"
    assert failure(proxy, sandbox, slow, timeout=4000, targetDir="slow")[:2] == (408, "TIMEOUT")
    assert checkout(proxy, sandbox, credentials=LOGIN).status_code == 200
    sh(proxy, sandbox, "touch /tmp/over")
    watcher.join()
    assert found == ["0 True\n"]


def test_the_grant_is_for_reading_that_repository(proxy: Server, sandbox: str) -> None:
    """While a checkout runs others in the box may use it, for no more than that."""
    ask = threading.Thread(
        target=lambda: failure(
            proxy, sandbox, "https://one.test/hang", credentials=LOGIN, timeout=6000, targetDir="slow"
        )
    )
    ask.start()
    end = time.monotonic() + 5
    while "***" not in sh(proxy, sandbox, "curl -sS https://one.test/hang/info/lfs/objects"):
        assert time.monotonic() < end, "the grant does not come"
    for url in ("one.test/hang/git-receive-pack", "one.test/other/info/refs", "two.test/hang/HEAD", "one.test/"):
        assert "***" not in sh(proxy, sandbox, f"curl -sS https://{url}"), url
    assert "***" not in sh(proxy, sandbox, "curl -sS http://one.test/hang/info/lfs/objects")
    ask.join()


def test_a_token_goes_to_its_host_alone(proxy: Server, sandbox: str) -> None:
    elsewhere = "https://one.test/moved/repo.git"
    refused = failure(proxy, sandbox, elsewhere, credentials=LOGIN, targetDir="r")
    assert refused[:2] == (401, "GIT_AUTH_FAILED"), refused
    assert log(proxy, sandbox)[-1]["host"] == "git.test", "it was followed"
    assert checkout(proxy, sandbox, credentials={"token": GIT_PASSWORD, "username": "robot"}).status_code == 200


def test_failures_say_what_to_do(proxy: Server, sandbox: str) -> None:
    assert failure(proxy, sandbox)[:2] == (401, "GIT_AUTH_FAILED")
    assert failure(proxy, sandbox, credentials={"token": "wrong"})[:2] == (401, "GIT_AUTH_FAILED")
    none = failure(proxy, sandbox, "https://git.test/none.git", credentials=LOGIN)
    assert none[:2] == (404, "GIT_REPOSITORY_NOT_FOUND"), none
    assert failure(proxy, sandbox, branch="none", credentials=LOGIN)[:2] == (404, "GIT_BRANCH_NOT_FOUND")
    assert failure(proxy, sandbox, "https://nowhere.invalid/r.git")[:2] == (502, "GIT_NETWORK_ERROR")
    assert sh(proxy, sandbox, "ls -A /workspace") == "", "nothing half cloned is left"


def test_progress_and_its_end_as_events(proxy: Server, sandbox: str) -> None:
    with proxy.call(
        "POST",
        f"/v1/sandboxes/{sandbox}/git:checkout",
        json={"url": URL, "credentials": LOGIN},
        headers={"Accept": "text/event-stream"},
        stream=True,
    ) as r:
        got = list(events(r))
    kinds = [e["type"] for e in got]
    assert kinds[-1] == "complete"
    assert got[-1]["targetDir"] == "/workspace/repo"
    assert "progress" in kinds
    shown = [e for e in got if e["type"] == "progress"]
    assert all(0 <= e["percent"] <= 100 and e["phase"] for e in shown), json.dumps(shown)
    with proxy.call(
        "POST",
        f"/v1/sandboxes/{sandbox}/git:checkout",
        json={"url": "https://git.test/none.git", "credentials": LOGIN},
        headers={"Accept": "text/event-stream"},
        stream=True,
    ) as r:
        assert [e["code"] for e in events(r) if e["type"] == "error"] == ["GIT_REPOSITORY_NOT_FOUND"]


def git_processes(server: Server, box: str) -> str:
    return sh(server, box, "pgrep -f '[g]it-remote|[g]it clone' || true")


def test_time_limit_and_cancel_leave_nothing(proxy: Server, sandbox: str) -> None:
    stuck = "https://one.test/events"
    status, code, _ = failure(proxy, sandbox, stuck, timeout=1500)
    assert (status, code) == (408, "TIMEOUT")
    with pytest.raises(requests.exceptions.ReadTimeout):
        proxy.call("POST", f"/v1/sandboxes/{sandbox}/git:checkout", json={"url": stuck, "targetDir": "c"}, timeout=1.5)
    end = time.monotonic() + 15
    while git_processes(proxy, sandbox):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert sh(proxy, sandbox, "ls -A /workspace") == ""


def test_git_killed_in_the_box_leaves_nothing(proxy: Server, sandbox: str) -> None:
    """Git has no time to clean up, so its parent does."""
    answer: list[tuple[int, str, str]] = []
    ask = threading.Thread(
        target=lambda: answer.append(failure(proxy, sandbox, "https://one.test/events", targetDir="c/d"))
    )
    ask.start()
    end = time.monotonic() + 15
    while not sh(proxy, sandbox, "ls -A /workspace/c/d 2>/dev/null || true"):
        assert time.monotonic() < end
        time.sleep(0.05)
    sh(proxy, sandbox, "pkill -9 git")
    ask.join()
    assert answer[0][:2] == (500, "GIT_CLONE_FAILED")
    assert sh(proxy, sandbox, "ls -A /workspace/c") == ""
