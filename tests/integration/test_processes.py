"""Background processes: logs, waiting, killing, restarting, and a gateway that dies."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
import requests
from box_calls import eventually, execute, follow, get, post, processes_of, refused


def start(server: Any, box: str, command: Any, **body: Any) -> str:
    return post(server, box, "processes", 201, command=command, **body)["id"]


def wait(server: Any, box: str, process: str, **body: Any) -> dict[str, Any]:
    return post(server, box, f"processes/{process}/wait", **body)


def test_life_of_a_process(server: Any, box: str) -> None:
    execute(server, box, "mkfifo gate")
    made = post(server, box, "processes", 201, command="echo up; read x < gate; exit 5", labels={"a": "b"})
    p = made["id"]
    assert made["status"] == "running" and made["pid"] > 1 and made["labels"] == {"a": "b"}
    assert made["command"].startswith("echo up")
    execute(server, box, "echo > gate")
    assert wait(server, box, p)["exitCode"] == 5
    again = get(server, box, f"processes/{p}")
    assert again["status"] == "failed" and again["pid"] is None and again["endTime"] >= again["startTime"]
    assert [x["id"] for x in get(server, box, "processes")["processes"]] == [p]
    assert server.call("DELETE", f"/v1/sandboxes/{box}/processes/{p}").status_code == 204
    assert get(server, box, f"processes/{p}", 404)["error"]["code"] == "PROCESS_NOT_FOUND"
    assert get(server, box, "processes")["processes"] == []


def test_ids(server: Any, box: str) -> None:
    assert start(server, box, "sleep 4401", processId="web.1") == "web.1"
    assert refused(server, box, "processes", 409, command="true", processId="web.1") == "PROCESS_EXISTS"
    assert refused(server, box, "processes", 400, command="true", processId="a/b") == "INVALID_FIELD"
    post(server, box, "processes/web.1/kill", signal="SIGKILL")
    wait(server, box, "web.1")
    assert start(server, box, "true", processId="web.1") == "web.1"  # an ended one makes room
    for path in ("processes/nope", "processes/nope/logs", f"processes/{'x' * 80}", "processes/%2e%2e%2f"):
        assert get(server, box, path, 404)["error"]["code"].endswith("NOT_FOUND")
    assert refused(server, box, "processes/nope/kill", 404) == "PROCESS_NOT_FOUND"
    assert refused(server, box, "processes/nope/wait", 404) == "PROCESS_NOT_FOUND"
    assert refused(server, box, "processes", 404, command=["no-such"]) == "COMMAND_NOT_FOUND"


def test_nothing_runs_in_a_box_that_does_not(server: Any, box: str) -> None:
    r = server.call("GET", f"/v1/sandboxes/{box}/processes")
    assert r.status_code == 404 and r.json()["error"]["code"] == "SANDBOX_NOT_FOUND"


def test_logs_with_cursors(server: Any, box: str) -> None:
    p = start(server, box, "echo one; echo two >&2; echo three")
    wait(server, box, p)
    logs = get(server, box, f"processes/{p}/logs")
    assert (logs["stdout"], logs["stderr"], logs["cursor"]) == ("one\nthree\n", "two\n", 14)
    assert logs["truncated"] is False
    rest = get(server, box, f"processes/{p}/logs?cursor=4")
    assert (rest["stdout"], rest["stderr"], rest["cursor"]) == ("three\n", "two\n", 14)
    assert get(server, box, f"processes/{p}/logs?cursor=14")["stdout"] == ""
    assert get(server, box, f"processes/{p}/logs?stream=stderr")["stdout"] == ""
    far = get(server, box, f"processes/{p}/logs?cursor=99999")
    assert (far["stdout"], far["cursor"]) == ("", 14)
    for bad in ("cursor=-1", "cursor=x", "cursor=", "stream=x", "encoding=x"):
        get(server, box, f"processes/{p}/logs?{bad}", 400)


def test_following_and_coming_back(server: Any, box: str) -> None:
    execute(server, box, "mkfifo go now")
    p = start(server, box, "echo a; read x < go; echo b; read x < now; exit 3")
    seen = follow(server, box, f"processes/{p}/logs")
    first = next(seen)
    assert (first["type"], first["data"], first["cursor"]) == ("stdout", "a\n", 2)
    seen.close()
    execute(server, box, "echo > go")
    seen = follow(server, box, f"processes/{p}/logs", **{"Last-Event-ID": str(first["event_id"])})
    assert next(seen)["data"] == "b\n"
    execute(server, box, "echo > now")
    last = list(seen)
    assert [e["type"] for e in last] == ["exit"] and last[0]["exitCode"] == 3


def test_old_output_gives_way(server: Any, box: str) -> None:
    p = start(server, box, "seq 1 400000", logLimit=400_000)
    wait(server, box, p)
    logs = get(server, box, f"processes/{p}/logs")
    assert logs["truncated"] is True and logs["stdout"].endswith("\n399999\n400000\n")
    assert 300_000 < len(logs["stdout"]) <= 400_000
    assert logs["cursor"] == sum(len(f"{i}\n") for i in range(1, 400_001))
    state = get(server, box, f"processes/{p}")["logs"]
    assert state["next"] - state["first"] == len(logs["stdout"])


def test_waiting_for_a_line(server: Any, box: str) -> None:
    p = start(server, box, "echo starting; sleep 0.3; echo listening on port 8080 >&2; printf 'prompt> '; sleep 60")
    found = wait(server, box, p, log="on port")
    assert found == {"stream": "stderr", "line": "listening on port 8080", "match": ["on port"]}
    found = wait(server, box, p, pattern=r"port (\d+)(x)?")
    assert found["match"] == ["port 8080", "8080"]
    assert wait(server, box, p, log="prompt>")["line"] == "prompt> "  # a line without an end
    code = refused(server, box, f"processes/{p}/wait", 408, log="never", timeout=200)
    assert code == "PROCESS_READY_TIMEOUT"
    post(server, box, f"processes/{p}/kill")
    code = refused(server, box, f"processes/{p}/wait", 409, log="never")
    assert code == "PROCESS_EXITED_BEFORE_READY"


def test_hostile_patterns(server: Any, box: str) -> None:
    p = start(server, box, "head -c 100000 /dev/zero | tr '\\0' a; echo; echo end; sleep 60")
    assert refused(server, box, f"processes/{p}/wait", 400, pattern="(") == "INVALID_PATTERN"
    assert refused(server, box, f"processes/{p}/wait", 400, pattern="((a{1,255}){1,255}){1,255}") == "INVALID_PATTERN"
    assert refused(server, box, f"processes/{p}/wait", 400, pattern="x", log="y") == "INVALID_FIELD"
    begun = time.monotonic()
    assert refused(server, box, f"processes/{p}/wait", 408, pattern="(a+)+$b", timeout=500)
    assert time.monotonic() - begun < 30  # not for ever
    assert wait(server, box, p, pattern="^end$")["line"] == "end"
    post(server, box, f"processes/{p}/kill")


def test_waiting_for_a_port(server: Any, box: str) -> None:
    program = (
        "import http.server, time\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(503 if self.path == '/busy' else 204); self.end_headers()\n"
        "http.server.HTTPServer(('127.0.0.1', 8701), H).serve_forever()\n"
    )
    p = start(server, box, ["sh", "-c", 'sleep 0.5; exec python3 -c "$0"', program])
    assert wait(server, box, p, port=8701, timeout=20_000) == {"port": 8701, "status": 204}
    assert wait(server, box, p, port=8701, mode="tcp") == {"port": 8701}
    assert wait(server, box, p, port=8701, path="/busy", statusMin=500, statusMax=599)["status"] == 503
    assert refused(server, box, f"processes/{p}/wait", 408, port=8701, path="/busy", timeout=300)
    for bad in ({"port": 0}, {"port": 70000}, {"port": 1, "mode": "udp"}, {"port": 1, "path": "x"}):
        refused(server, box, f"processes/{p}/wait", 400, **bad)
    refused(server, box, f"processes/{p}/wait", 400, port=8701, path="/a b\r\nX: y")
    post(server, box, f"processes/{p}/kill")
    assert refused(server, box, f"processes/{p}/wait", 409, port=8799) == "PROCESS_EXITED_BEFORE_READY"


def test_a_port_that_speaks_garbage(server: Any, box: str) -> None:
    program = (
        "import socket, os\ns = socket.socket(); s.bind(('127.0.0.1', 8702)); s.listen()\n"
        "while True:\n    c, _ = s.accept(); c.sendall(os.urandom(100000)); c.close()\n"
    )
    p = start(server, box, ["python3", "-c", program])
    assert wait(server, box, p, port=8702, mode="tcp", timeout=20_000)
    assert refused(server, box, f"processes/{p}/wait", 408, port=8702, timeout=500) == "PROCESS_READY_TIMEOUT"
    post(server, box, f"processes/{p}/kill")


def test_killing_a_tree(server: Any, box: str) -> None:
    p = start(server, box, "trap '' TERM; setsid sleep 4411 & (sleep 4412 &) ; while :; do sleep 1; done")
    eventually(lambda: "sleep 4412" in processes_of(server, box))
    post(server, box, f"processes/{p}/kill", grace=200)
    ended = wait(server, box, p)
    assert (ended["exitCode"], ended["signal"]) == (137, "SIGKILL")
    assert "sleep 441" not in processes_of(server, box)
    assert get(server, box, f"processes/{p}")["status"] == "killed"


def test_other_signals_only_arrive(server: Any, box: str) -> None:
    p = start(server, box, "trap 'echo got usr1' USR1; echo ready; while :; do sleep 0.1; done")
    wait(server, box, p, log="ready")
    post(server, box, f"processes/{p}/kill", signal="USR1", tree=False)
    wait(server, box, p, log="got usr1", timeout=5000)
    assert get(server, box, f"processes/{p}")["status"] == "running"
    signals: list[Any] = ["SIGNOPE", 0, 999, [], {}]
    for bad in signals:
        refused(server, box, f"processes/{p}/kill", 400, signal=bad)
    post(server, box, f"processes/{p}/kill", signal=9)
    assert wait(server, box, p)["signal"] == "SIGKILL"


def test_restart_policies(server: Any, box: str) -> None:
    p = start(server, box, "echo run; exit 1", restart="on-failure", maxRestarts=2)
    assert wait(server, box, p, timeout=20_000)["exitCode"] == 1
    assert get(server, box, f"processes/{p}/logs")["stdout"] == "run\n" * 3
    assert get(server, box, f"processes/{p}")["restarts"] == 2
    p = start(server, box, "echo once", restart="on-failure")
    assert wait(server, box, p, timeout=20_000)["exitCode"] == 0
    p = start(server, box, "echo again", restart="always")
    eventually(lambda: get(server, box, f"processes/{p}")["restarts"] >= 2)
    kinds = [e["type"] for _, e in zip(range(4), follow(server, box, f"processes/{p}/logs"), strict=False)]
    assert kinds[0] == "stdout"
    post(server, box, f"processes/{p}/kill")  # ends it for good
    eventually(lambda: get(server, box, f"processes/{p}")["status"] == "killed")
    assert refused(server, box, "processes", 400, command="true", restart="sometimes") == "INVALID_FIELD"


def test_timeout_of_a_process(server: Any, box: str) -> None:
    p = start(server, box, "sleep 4421", timeout=200)
    ended = wait(server, box, p, timeout=20_000)
    assert ended["timedOut"] is True and ended["exitCode"] == 124


def test_a_killed_gateway_loses_nothing(own_server: Any) -> None:
    server = own_server()
    box = "survivor"
    execute(server, box, "mkfifo go now")
    p = start(server, box, "echo before; read x < go; echo after; read x < now; exit 6", labels={"k": "v"})
    wait(server, box, p, log="before")
    old = server.gateway()
    os.kill(old.pid, signal.SIGKILL)
    old.wait(20)
    server.wait_ready()
    again = get(server, box, f"processes/{p}")
    assert again["status"] == "running" and again["labels"] == {"k": "v"}
    execute(server, box, "echo > go")
    assert wait(server, box, p, log="after", timeout=20_000)
    assert get(server, box, f"processes/{p}/logs")["stdout"] == "before\nafter\n"
    execute(server, box, "echo > now")
    assert wait(server, box, p, timeout=20_000)["exitCode"] == 6


def test_a_killed_gateway_ends_the_commands_of_its_requests(own_server: Any) -> None:
    server = own_server()
    execute(server, "b", "true")
    with pytest.raises(requests.ReadTimeout):
        server.call("POST", "/v1/sandboxes/b/exec", json={"command": "sleep 4431"}, timeout=0.5)
    server.http.close()
    start(server, "b", "sleep 4432")
    old = server.gateway()
    os.kill(old.pid, signal.SIGKILL)
    old.wait(20)
    server.wait_ready()
    eventually(lambda: "sleep 4431" not in processes_of(server, "b"))
    assert "sleep 4432" in processes_of(server, "b")
