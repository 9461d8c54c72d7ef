"""git:checkout of repositories that are in the box, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

MAKE = """
set -e
git init -q -b main /tmp/src && cd /tmp/src
git config user.name t && git config user.email t@t.test
for i in 1 2 3; do echo $i > f && git add f && git commit -qm $i; done
git tag v1 HEAD~1
git checkout -qb side && echo side > f && git commit -qam side && git checkout -q main
git init -q --bare /tmp/empty.git
"""


def sh(server: Any, box: str, command: str) -> str:
    done = server.call("POST", f"/v1/sandboxes/{box}/exec", json={"command": command}).json()
    assert done["exitCode"] == 0, done
    return str(done["stdout"])


def checkout(server: Any, box: str, url: Any, **body: Any) -> Any:
    return server.call("POST", f"/v1/sandboxes/{box}/git:checkout", json={"url": url, **body})


@pytest.fixture
def repository(server: Any, box: str) -> str:
    sh(server, box, MAKE)
    return box


def test_branch_tag_depth_and_directory(server: Any, repository: str) -> None:
    box = repository
    got = checkout(server, box, "/tmp/src").json()
    assert (got["branch"], got["targetDir"]) == ("main", "/workspace/src")
    got = checkout(server, box, "file:///tmp/src", branch="side", targetDir="/tmp/side", depth=1).json()
    assert (got["branch"], got["targetDir"]) == ("side", "/tmp/side")
    assert sh(server, box, "git -C /tmp/side log --oneline | wc -l; cat /tmp/side/f").split() == ["1", "side"]
    got = checkout(server, box, "file:///tmp/src/.git", branch="v1", targetDir="tag").json()
    assert got["branch"] == "v1"
    assert got["commit"] == sh(server, box, "git -C /tmp/src rev-parse v1").strip()
    assert sh(server, box, "cat /workspace/tag/f") == "2\n"
    got = checkout(server, box, "/tmp/empty.git", cwd="/tmp", targetDir="it's empty $(id) ä").json()
    assert got["targetDir"] == "/tmp/it's empty $(id) ä"
    assert "commit" not in got


def test_an_empty_directory_is_used_and_kept(server: Any, repository: str) -> None:
    sh(server, repository, "mkdir /workspace/here")
    r = checkout(server, repository, "/tmp/nothing", targetDir="here")
    assert (r.status_code, r.json()["error"]["code"]) == (404, "GIT_REPOSITORY_NOT_FOUND")
    assert sh(server, repository, "ls -A /workspace") == "here\n"
    assert checkout(server, repository, "/tmp/src", targetDir="here").status_code == 200
    sh(server, repository, "ln -s /tmp/src /workspace/link")
    r = checkout(server, repository, "/tmp/nothing", targetDir="link")
    assert r.json()["error"]["code"] in {"FILE_EXISTS", "GIT_REPOSITORY_NOT_FOUND"}
    assert sh(server, repository, "cat /workspace/link/f") == "3\n"


def test_where_nothing_can_be_written(server: Any, repository: str) -> None:
    r = checkout(server, repository, "/tmp/src", targetDir="/usr/x")
    assert (r.status_code, r.json()["error"]["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "MISSING_FIELD"),
        ({"url": ""}, "INVALID_GIT_URL"),
        ({"url": "--upload-pack=touch /tmp/pwned"}, "INVALID_GIT_URL"),
        ({"url": "-u./x"}, "INVALID_GIT_URL"),
        ({"url": "ext::sh -c touch% /tmp/pwned"}, "INVALID_GIT_URL"),
        ({"url": "ext::sh"}, "INVALID_GIT_URL"),
        ({"url": "fd::17"}, "INVALID_GIT_URL"),
        ({"url": "https://"}, "INVALID_GIT_URL"),
        ({"url": "https://host"}, "INVALID_GIT_URL"),
        ({"url": "https://-oProxyCommand=x/r"}, "INVALID_GIT_URL"),
        ({"url": "https://a%0ab:c@host/r"}, "INVALID_GIT_URL"),
        ({"url": "https://host/a b"}, "INVALID_GIT_URL"),
        ({"url": "https://host/a\nb"}, "INVALID_GIT_URL"),
        ({"url": "https://host/" + "a" * 3000}, "INVALID_FIELD"),
        ({"url": "/"}, "INVALID_FIELD"),
        ({"url": "/tmp/src", "branch": "--config=x"}, "INVALID_FIELD"),
        ({"url": "/tmp/src", "branch": "a b"}, "INVALID_FIELD"),
        ({"url": "/tmp/src", "branch": "a..b"}, "INVALID_FIELD"),
        ({"url": "/tmp/src", "targetDir": "-x"}, "INVALID_FIELD"),
        ({"url": "/tmp/src", "targetDir": ""}, "INVALID_FIELD"),
        ({"url": "/tmp/src", "depth": 0}, "INVALID_FIELD"),
        ({"url": "/tmp/src", "timeout": 0}, "INVALID_FIELD"),
        ({"url": "/tmp/src", "credentials": {"token": "t"}}, "INVALID_FIELD"),
        ({"url": "https://host/r", "credentials": {"username": "u"}}, "INVALID_FIELD"),
        ({"url": "https://host/r", "credentials": {"token": "a\nb"}}, "INVALID_FIELD"),
        ({"url": "https://host/r", "credentials": {"key": "k"}}, "INVALID_FIELD"),
        ({"url": "/tmp/src", "recursive": True}, "UNKNOWN_FIELD"),
    ],
)
def test_bad_input(server: Any, body: dict[str, Any], code: str) -> None:
    r = server.call("POST", "/v1/sandboxes/git-input/git:checkout", json=body)
    assert (r.status_code, r.json()["error"]["code"]) == (400, code), r.text


def test_ssh_asks_nobody(server: Any, box: str) -> None:
    r = checkout(server, box, "git@nowhere.invalid:a/b.git")
    assert (r.status_code, r.json()["error"]["code"]) == (502, "GIT_NETWORK_ERROR"), r.text


def test_makes_the_sandbox(server: Any, box: str) -> None:
    r = checkout(server, box, "/tmp/nowhere")
    assert (r.status_code, r.json()["error"]["code"]) == (404, "GIT_REPOSITORY_NOT_FOUND")
    assert "/tmp/nowhere" in r.json()["error"]["message"]
