"""Life of a sandbox: asleep when nothing goes on, awake when asked, limits and usage."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import psutil
import pytest


def state(server: Any, box: str) -> str:
    return server.call("GET", f"/v1/sandboxes/{box}").json()["state"]


def wait_for(server: Any, box: str, wanted: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while state(server, box) != wanted:
        assert time.monotonic() < deadline, state(server, box)
        time.sleep(0.05)


def processes(server: Any) -> set[int]:
    found = set()
    for p in psutil.Process(server.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended while we looked
            if p.name() == "cbx-init":
                found.add(p.pid)
    return found


def test_sleeps_keeps_its_disk_and_wakes(server: Any, box: str) -> None:
    r = server.call("PUT", f"/v1/sandboxes/{box}", json={"sleepAfter": "1s"})
    assert (r.status_code, r.json()["sleepAfter"], r.json()["keepAlive"]) == (201, 1000, False)
    server.run(box, "open('kept', 'w').write('yes'); x = 1")
    used = server.call("GET", f"/v1/sandboxes/{box}/usage").json()
    assert used["state"] == "running"
    assert used["memoryBytes"] > 0
    wait_for(server, box, "stopped")
    asleep = server.call("GET", f"/v1/sandboxes/{box}/usage").json()
    assert (asleep["state"], asleep["memoryBytes"], asleep["processes"]) == ("stopped", 0, 0)
    assert asleep["activeCpuMs"] >= used["activeCpuMs"] > 0
    assert state(server, box) == "stopped"  # looking wakes nobody
    assert server.call("GET", f"/v1/sandboxes/{box}/files/workspace/kept").text == "yes"
    assert state(server, box) == "running"
    wait_for(server, box, "stopped")
    done = server.run(box, "x")
    assert done["error"]["name"] == "NameError"
    assert (done["contextRestarted"], done["reason"]) == (True, "SLEPT")
    assert server.call("GET", f"/v1/sandboxes/{box}/usage").json()["activeCpuMs"] > asleep["activeCpuMs"]


def test_what_keeps_it_awake(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}", json={"sleepAfter": 1000})
    started = server.run(box, "import time; time.sleep(3); 'slept well'")
    assert started["results"][0]["data"]["text/plain"] == "'slept well'"
    done = server.call("POST", f"/v1/sandboxes/{box}/exec", json={"command": "sleep 3; echo slept"})
    assert done.json()["stdout"] == "slept\n", done.text
    with server.call(
        "GET", f"/v1/sandboxes/{box}/watch", headers={"Accept": "text/event-stream"}, stream=True, timeout=20
    ) as watch:
        pieces = watch.iter_content(1)  # held: the connection goes with it
        next(pieces)
        time.sleep(2.5)
        assert state(server, box) == "running"
    wait_for(server, box, "stopped")
    server.call("PATCH", f"/v1/sandboxes/{box}", json={"keepAlive": True})
    server.run(box, "1")
    time.sleep(2.5)
    assert state(server, box) == "running"
    server.call("PATCH", f"/v1/sandboxes/{box}", json={"keepAlive": False})
    wait_for(server, box, "stopped")
    assert "sleepAfter" not in server.call("PATCH", f"/v1/sandboxes/{box}", json={"sleepAfter": 0}).json()


def test_requests_that_meet_a_box_going_to_sleep(server: Any, box: str) -> None:
    """Whatever the moment, the request is served by one box with the disk."""
    server.call("PUT", f"/v1/sandboxes/{box}", json={"sleepAfter": 1})
    server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/n", data=b"0")
    for i in range(1, 40):
        assert server.call("GET", f"/v1/sandboxes/{box}/files/workspace/n").text == str(i - 1)
        assert server.call("PUT", f"/v1/sandboxes/{box}/files/workspace/n", data=str(i)).status_code == 200
        time.sleep(i % 8 * 0.04)
    before = processes(server)
    assert server.call("DELETE", f"/v1/sandboxes/{box}").status_code == 204
    assert processes(server) <= before
    server.call("PUT", f"/v1/sandboxes/{box}", json={})
    assert server.call("GET", f"/v1/sandboxes/{box}/files/workspace/n").status_code == 404


def test_life_survives_the_server(own_server: Any) -> None:
    s = own_server()
    s.call("PUT", "/v1/sandboxes/long", json={"sleepAfter": "10m", "keepAlive": True})
    s.run("long", "sum(range(10**6))")
    s.call("PUT", "/v1/sandboxes/short", json={"sleepAfter": "1s"})
    wait_for(s, "short", "stopped")
    where = s.state
    s.stop()
    again = own_server(state=where)
    shown = again.call("GET", "/v1/sandboxes/long").json()
    assert (shown["state"], shown["sleepAfter"], shown["keepAlive"]) == ("stopped", 600000, True)
    assert again.call("GET", "/v1/sandboxes/short/usage").json()["activeCpuMs"] > 0


def test_limits_change_while_it_runs(server: Any, box: str) -> None:
    server.call("PUT", f"/v1/sandboxes/{box}", json={"instanceType": "lite"})
    limits = server.call("GET", f"/v1/sandboxes/{box}").json()["limits"]
    assert (limits["memory"], limits["cpu"]) == (256 << 20, 0.063)
    hungry = "x = bytearray(400 << 20); len(x)"
    assert server.run(box, hungry)["error"]["code"] == "OUT_OF_MEMORY"
    r = server.call("PATCH", f"/v1/sandboxes/{box}", json={"limits": {"memory": 1 << 30, "cpu": 2, "pids": 300}})
    assert r.json()["limits"] == {"memory": 1 << 30, "cpu": 2, "pids": 300, "disk": 2 * 10**9}
    assert server.run(box, hungry)["results"][0]["data"]["text/plain"] == str(400 << 20)
    forks = "import subprocess\nps = []\nfor _ in range(60): ps.append(subprocess.Popen(['sleep', '5']))"
    assert server.run(box, forks)["status"] == "ok"
    server.call("PATCH", f"/v1/sandboxes/{box}", json={"limits": {"pids": 8}})
    assert server.run(box, "subprocess.Popen(['true'])")["error"]["name"] == "BlockingIOError"


@pytest.mark.parametrize(
    "body",
    [
        {"sleepAfter": -1},
        {"sleepAfter": "soon"},
        {"sleepAfter": "1w"},
        {"sleepAfter": None},
        {"keepAlive": 1},
        {"instanceType": "huge"},
        {"limits": {"memory": 1}},
    ],
)
def test_bad_life(server: Any, box: str, body: dict[str, Any]) -> None:
    for method in ("PUT", "PATCH"):
        r = server.call(method, f"/v1/sandboxes/{box}", json=body)
        if r.status_code == 404:
            server.call("PUT", f"/v1/sandboxes/{box}", json={})
            r = server.call(method, f"/v1/sandboxes/{box}", json=body)
        assert (r.status_code, r.json()["error"]["code"]) == (400, "INVALID_FIELD"), r.text
