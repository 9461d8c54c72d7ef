"""What one box does to the gateway that all boxes share: its neighbours and the gateway itself go on."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

KILL_INTERPRETERS = """
for comm in /proc/[0-9]*/comm; do
    name=$(cat $comm); pid=${comm#/proc/}; pid=${pid%/comm}
    case $name in cbx-python|cbx-node) kill -9 $pid; echo killed;; esac
done
"""


def exec_in(server: Any, name: str, command: str) -> dict[str, Any]:
    r = server.call("POST", f"/v1/sandboxes/{name}/exec", json={"command": command})
    assert r.status_code == 200, r.text
    return r.json()


def wait_for_warm_boxes(server: Any) -> None:
    deadline = time.monotonic() + 60
    while not re.search(r"^cellbox_pool_ready [1-9]", server.call("GET", "/metrics").text, re.M):
        assert time.monotonic() < deadline, "the pool stays empty"
        time.sleep(0.05)


def test_a_spare_interpreter_is_killed(own_server: Any) -> None:
    """The warm interpreter of a box that nobody has run anything in yet."""
    server = own_server("--pool", "1", "--pool-node", "0")
    server.run("bystander", "kept = 1")
    gateway = server.gateway().pid
    for _ in range(3):
        wait_for_warm_boxes(server)
        name = "s-" + uuid.uuid4().hex[:8]
        r = server.call("PUT", f"/v1/sandboxes/{name}", json={})
        assert r.status_code in (200, 201), r.text
        assert "killed" in exec_in(server, name, KILL_INTERPRETERS)["stdout"]
        done = server.run(name, "1 + 1")
        assert done["status"] == "ok" and done["results"][0]["data"]["text/plain"] == "2", done
        assert server.call("DELETE", f"/v1/sandboxes/{name}").status_code == 204
    assert server.gateway().pid == gateway
    assert server.run("bystander", "print(kept)")["logs"]["stdout"] == ["1\n"]
